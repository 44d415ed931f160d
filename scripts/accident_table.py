"""Write docs/accidents.md: what each command does under each accident to its --out, and two runs into one place.

    python scripts/accident_table.py [--rounds 50]

Runs tests/integration/test_accidents.py, whose cells these are; needs root, for small disks and folders of others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Accidents

Written by `scripts/accident_table.py`; each cell is a test of `tests/integration/test_accidents.py`. A command is
stopped, or the disk filled, in the middle of its writing. "Left" is what remains in the place afterwards, next to a
file of another program that must not change. "Next" is the same command again, whose output must equal that of an
undisturbed run, with no hidden file left. No run printed a traceback.

"""


def shorten(line: str) -> str:
    """Return a last line without what differs from run to run."""
    line = re.sub(
        r"process \d+ on \S+ since [^(]*\([^)]*\).*", "process N on HOST since TIME (COMMAND): wait for it ...", line
    )
    line = re.sub(r"\.[0-9a-f]{8}-[0-9a-f]{12}\.tmp", "", line)
    return line.replace("|", "\\|").removeprefix("langsamp: ")[:150]


def table(cells: Iterable[dict[str, Any]]) -> str:
    """Return a section per accident, a row per command; commands that say the same share a row."""
    sections: dict[str, dict[tuple[Any, ...], list[str]]] = {}
    for cell in cells:
        last = "" if cell["status"] in (0, -9) else shorten(cell["last"])
        key = (cell["status"], re.sub(r"^/\S+", "OUT", last), cell["left"], cell["following"])
        sections.setdefault(cell["accident"], {}).setdefault(key, []).append(cell["command"])
    parts = []
    for accident, rows in sections.items():
        parts.append(
            f"## {accident}\n\n| commands | status | last line | left | next |\n| --- | ---: | --- | --- | --- |\n"
        )
        for (status, last, left, following), commands in rows.items():
            parts.append(f"| {', '.join(commands)} | {status} | {last} | {left} | {following} |\n")
        parts.append("\n")
    return "".join(parts)


def races(found: Iterable[dict[str, Any]]) -> str:
    """Return the section of races."""
    lines = [
        "## Two runs with different options into one place\n",
        "\nEach run pauses for 0.6 s at a random one of its writes. In each round, the result is the output of one run "
        "that\nended with status 0, by its weights or tokens.\n\n",
        "| command | rounds | one was told of the other (status 1) | one after the other | mixtures |\n",
        "| --- | ---: | ---: | ---: | ---: |\n",
    ]
    for one in found:
        lines.append(f"| {one['race']} | {one['rounds']} | {one['told']} | {one['one after the other']} | 0 |\n")
    return "".join(lines)


def main() -> None:
    """Run the tests and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="of each race")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "accidents.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cells = Path(folder) / "cells.jsonl"
        environment = {**os.environ, "LANGSAMP_ACCIDENTS": str(cells), "LANGSAMP_ROUNDS": str(options.rounds)}
        command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "integration" / "test_accidents.py")]
        status = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
        found = [json.loads(line) for line in cells.read_text(encoding="utf-8").splitlines()]
    where = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores.\n"
    rows = [cell for cell in found if "command" in cell]
    count = f"{len(rows)} runs of {len({cell['command'] for cell in rows})} commands, {where}\n"
    text = HEAD + count + table(rows) + races(one for one in found if "race" in one)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(f"{options.out}: {len(rows)} cells; the tests ended with status {status}")
    sys.exit(status)


if __name__ == "__main__":
    main()
