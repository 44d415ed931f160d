"""Shared fixtures: real text from the Django package, binarized once per session, and a tiny trained run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
LANGS = ("eng_Latn", "deu_Latn", "srp_Cyrl", "srp_Latn", "rus_Cyrl", "hin_Deva", "zho_Hani")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Models this small are fastest on one thread, and two processes with two threads each stall one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def run(*command, expect=0, **kwargs):
    """Run a command of the environment and return its output; fail with it where the status is another one."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment,
        **kwargs,
    )
    assert done.returncode == expect, f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def shared():
    """The folder with evaluation data that lies beside the project in its authors' workplace."""
    if not SHARED.is_dir():
        pytest.skip("needs the data collection in ../shared, which is not part of the project")
    return SHARED


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A folder with corpus/{train,valid,aligned}, spm.model and data-bin of seven language-scripts."""
    from langsamp_plugin.data.binarizer import binarize
    from langsamp_plugin.data.django_catalogues import write_corpus
    from langsamp_plugin.data.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("demo")
    write_corpus(folder / "corpus", LANGS, progress=False)
    train_tokenizer(folder / "corpus" / "train", folder / "spm.model", 2000)
    binarize(folder / "corpus" / "train", folder / "spm.model", folder / "data-bin", valid=folder / "corpus" / "valid")
    return folder


def train_command(data, save_dir, updates, *more, arch="langsamp_roberta_tiny", task="langsamp_masked_lm"):
    """The command line of a tiny training run on the CPU."""
    return [
        "fairseq-train", data, "--user-dir", ROOT / "langsamp_plugin", "--task", task, "--arch", arch, "--cpu",
        "--criterion", "langsamp_masked_lm" if task == "langsamp_masked_lm" else "masked_lm",
        "--encoder-layers", 2, "--encoder-embed-dim", 32, "--encoder-ffn-embed-dim", 64, "--encoder-attention-heads", 2,
        "--tokens-per-sample", 32, "--batch-size", 16, "--optimizer", "adam", "--adam-betas", "(0.9,0.999)", "--lr", "2e-3",
        "--lr-scheduler", "fixed", "--max-update", updates, "--save-dir", save_dir, "--seed", 3, "--num-workers", 0,
        "--log-format", "simple", "--log-interval", 5, "--no-epoch-checkpoints", "--validate-interval", 100, "--save-interval", 100,
        *more,
    ]  # fmt: skip


@pytest.fixture(scope="session")
def trained(demo, tmp_path_factory):
    """The checkpoint of 20 updates on the demo data."""
    folder = tmp_path_factory.mktemp("trained")
    run(*train_command(demo / "data-bin", folder, 20))
    return folder / "checkpoint_last.pt"
