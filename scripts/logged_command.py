"""Runs commands of the environment that write what they print to a file; for scripts that compare trainings."""

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def call(log: Path, *command: object) -> None:
    """Run a command of the environment, its output going to a file."""
    with open(log, "a", encoding="utf-8") as stream:
        done = subprocess.run(
            [str(BIN / str(command[0])), *map(str, command[1:])], stdout=stream, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: see the end of {log}; the same command resumes")
