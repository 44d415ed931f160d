"""Signals end a command with one line, and with what is half-written removed."""

import os
import signal
import subprocess
import sys

import pytest
from support import ROOT

SLOW = """
import sys, time
from pathlib import Path
sys.argv = ["langsamp", "user-dir"]
import langsamp_plugin.cli as cli
from langsamp_plugin.atomic import atomic_folder
from langsamp_plugin.commands import app

def work(**options):
    with atomic_folder(OUT, "config.json", False) as folder:
        (folder / "half").write_text("half")
        print("working", flush=True)
        time.sleep(30)

OUT = Path(OUT)
cli.app = work
cli.main()
"""


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_nothing_is_left(tmp_path, name, status):
    out = tmp_path / "out"
    code = f"OUT = {str(out)!r}\n{SLOW}"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "working\n"
    for _ in range(2):  # as a terminal and a wrapper send it
        process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status
    how = "interrupted" if name == "SIGINT" else f"ended by {name}"
    assert errors == f"langsamp: {how}; run the same command again to resume\n"
    assert not os.listdir(tmp_path)


def test_while_modules_are_imported(tmp_path):
    code = """
import sys, os, signal
sys.argv = ["langsamp"]
import langsamp_plugin
os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 130 and done.stderr == "langsamp: interrupted; run the same command again to resume\n"
