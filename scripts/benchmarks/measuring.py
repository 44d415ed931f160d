"""Shared parts of all benchmarks: sides in separate processes, and a table that is printed and recorded row by row."""

import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parent.parent.parent
RESULT = "RESULT "
RECORD_HELP = "CSV file to write the rows to, with the conditions; written after each row"


class SideFailed(Exception):
    """A side ended with an error; the message is its last line of output."""


def resident(field: str = "VmRSS") -> int:
    """Return resident memory, or its peak (``VmHWM``), in bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[field].split()[0]) * 1024


def device_name() -> str:
    """Return the hardware of the measurements: the GPU, or the number of CPU cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores, {platform.machine()}"


def conditions() -> str:
    """Return the device, the version of torch, and the commit, for a record."""
    git = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return f"{device_name()}, torch {version('torch')}, commit {git.stdout.strip() or 'unknown'}"


def give_result(**values: Any) -> None:
    """Pass the figures of a side to the process that started it."""
    print(RESULT + json.dumps(values))


def run_side(*arguments: object, **options: Any) -> dict[str, Any]:
    """Run a Python script in a separate process.

    Args:
        *arguments: the script and its arguments.
        **options: of ``subprocess.run``.

    Returns:
        What it passed to :func:`give_result`, if anything.

    Raises:
        SideFailed: it ended with an error.
    """
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SideFailed((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:160])
    found = [line[len(RESULT) :] for line in done.stdout.splitlines() if line.startswith(RESULT)]
    return dict(json.loads(found[-1])) if found else {}


class Table:
    """Rows that are printed as they are added, aligned, and recorded as CSV.

    Args:
        columns: the name of each column and the width it is printed with; 0 is recorded and not printed.
        record: the CSV file, or ``None``.
    """

    def __init__(self, columns: dict[str, int], record: Optional[str] = None):
        self.columns, self.record = columns, record
        self.rows: list[dict[str, Any]] = []
        print("  ".join(f"{name:>{width}}" for name, width in columns.items() if width), flush=True)

    def add(self, **row: Any) -> None:
        """Print and record a row; columns without a value stay empty.

        Raises:
            ValueError: a name is not a column.
        """
        unknown = sorted(row.keys() - self.columns.keys())
        if unknown:
            raise ValueError(f"columns must be of {', '.join(self.columns)}, but {unknown[0]} is not")
        self.rows.append({name: row.get(name, "") for name in self.columns})
        cells = (f"{self.rows[-1][name]!s:>{width}}" for name, width in self.columns.items() if width)
        print("  ".join(cells), flush=True)
        if self.record:
            write_csv(self.record, [*self.columns], self.rows)


def write_csv(path: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows at once, so that an interrupted run keeps them."""
    from langsamp_plugin.atomic import atomic_write

    with atomic_write(path) as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
