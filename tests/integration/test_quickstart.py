"""The README's first command on three languages: killed, run again, run a third time."""

import os
import signal
import subprocess
import time

import pytest
from support import ROOT, run

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv" / "installed").exists(),
    reason="quickstart.sh would install .venv first; run bash scripts/test.sh",
)


def test_quickstart(tmp_path):
    out = tmp_path / "quick"
    command = ["bash", ROOT / "scripts" / "quickstart.sh", "--langs", "deu,rus_Cyrl,hin", "--updates", 6, "--out", out]
    first = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not (out / ".binarized").exists():  # the training has begun
        assert first.poll() is None
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    log = run(*command, warm_script=True)
    assert "[3/9] binarizing: done before" in log and "[4/9] training with fairseq (6 updates)\n" in log
    report = (out / "report.md").read_text()
    for part in (
        "bits per masked token before training",
        "| both unknown |",
        "shares its script for",
        "| chance |",
        "4 language-scripts in 3 scripts",
    ):
        assert part in report, part
    assert (out / "loss.png").exists() and (out / "analysis" / "language_pca_script.png").exists()
    assert any(
        verdict in report
        for verdict in ("**The trained model retrieves worse", "from its own random", "**With pairs of translations")
    )
    assert "## What pairs did" in report and "- Pairs: in 50% of the updates, 96 sentences" in report
    again = run(*command, warm_script=True)
    assert again.count("done before") == 12
    assert "with other settings" in run(*command[:-4], "--updates", 7, "--out", out, expect=2)
    assert "--corpus" in run("bash", ROOT / "scripts" / "quickstart.sh", "--corpus", tmp_path / "none", expect=2)


def test_own_corpus(tmp_path, demo):
    """A user's own folder: lines are held out by hash, and retrieval is left out with a word of why."""
    out = tmp_path / "quick"
    command = ("bash", ROOT / "scripts" / "quickstart.sh", "--corpus", demo / "corpus" / "train", "--updates", 3)
    run(*command, "--out", out, warm_script=True)
    report = (out / "report.md").read_text()
    assert "Not measured: a corpus of your own" in report and "7 language-scripts in 4 scripts" in report
