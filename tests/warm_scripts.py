"""Environments in which the commands of bash scripts and of programs are forks of a process that has imported what they
need."""

import os
import sys
from pathlib import Path

import warm_commands
from warm_commands import NAMES, PYTHON, SOCKET, start_server


def for_scripts():
    """Return the environment in which a bash script's commands are warm: functions stand before what PATH has."""
    start_server()
    functions = Path(os.environ[SOCKET]).with_name(f"functions{os.getpid()}.sh")
    names = ("langsamp", "fairseq-train", "fairseq-hydra-train", "python")
    functions.write_text(
        "".join(f'{name}() {{ {sys.executable} {warm_commands.__file__} ask {name} "$@" ; }}\n' for name in names)
    )
    return {**os.environ, "BASH_ENV": str(functions)}


def for_programs():
    """Return the environment in which ``python`` is warm, and what its programs start by ``sys.executable``."""
    start_server()
    folder = Path(os.environ[SOCKET]).with_name(f"bin{os.getpid()}")
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -S {warm_commands.__file__} ask {name} "$@"\n')
        (folder / name).chmod(0o755)
    return {**os.environ, PYTHON: str(folder / "python"), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
