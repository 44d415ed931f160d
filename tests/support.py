"""What several test files share."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from fairseq.data import Dictionary
from warm_commands import can_run, run_warm
from warm_scripts import for_programs, for_scripts

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.lang_script import LanguageTable, ScriptTable, Tables

ROOT = Path(__file__).resolve().parent.parent
LANGS = ("eng_Latn", "deu_Latn", "srp_Cyrl", "srp_Latn", "rus_Cyrl", "hin_Deva", "zho_Hani")
TABLES = Tables(LanguageTable(["eng", "deu", "zul", "rus"]), ScriptTable(["Latn", "Cyrl", "Deva"]))
VOCAB, MASK, PAD = 1000, 999, 1
QUICK = {"epochs": 3, "lr": 3e-3, "batch_size": 8, "seeds": (42,), "max_length": 40}
WITHOUT_FAIRSEQ = f"""
import sys, types
package = types.ModuleType("langsamp_plugin")
package.__path__ = [{str(ROOT / "langsamp_plugin")!r}]
sys.modules["langsamp_plugin"] = package
"""
"""Code of a process that needs parts of the package that need no fairseq: importing this takes seconds."""


def run(*command, expect=0, warm_script=False, warm_programs=False, **kwargs):
    """Run a command of the environment and return its output; fail with it where the status is another one.

    With ``warm_script`` the command is a bash script whose own commands are forks of a warm process. With
    ``warm_programs`` they are where it starts Python, and so are the programs that these start.
    """
    command = [str(part) for part in command]
    environment = for_programs() if warm_programs else for_scripts() if warm_script else dict(os.environ)
    if not warm_programs:
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if can_run(command) and not kwargs:
        status, output = run_warm(command, ROOT, environment)
    else:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment, **kwargs
        )
        status, output = done.returncode, done.stdout
    assert status == expect, f"{command} ended with {status}:\n{output[-4000:]}"
    return output


def train_command(data, save_dir, updates, *more, arch="langsamp_roberta_tiny", task="langsamp_masked_lm"):
    """The command line of a tiny training run on the CPU."""
    return [
        "fairseq-train", data, "--user-dir", ROOT / "langsamp_plugin", "--task", task, "--arch", arch, "--cpu",
        "--criterion", "langsamp_masked_lm" if task == "langsamp_masked_lm" else "masked_lm",
        "--encoder-layers", 2, "--encoder-embed-dim", 32, "--encoder-ffn-embed-dim", 64, "--encoder-attention-heads", 2,
        "--tokens-per-sample", 32, "--batch-size", 16, "--optimizer", "adam", "--adam-betas", "(0.9,0.999)", "--lr",
        "2e-3",
        "--lr-scheduler", "fixed", "--max-update", updates, "--save-dir", save_dir, "--seed", 3, "--num-workers", 0,
        "--log-format", "simple", "--log-interval", 5, "--no-epoch-checkpoints", "--validate-interval", 100,
        "--save-interval", 100,
        *more,
    ]  # fmt: skip


def make_masking(**changes):
    special = np.zeros(VOCAB, dtype=bool)
    special[[0, 1, 2, 3, MASK]] = True
    weights = (~special).astype(float)
    return Masking(special, MASK, PAD, np.cumsum(weights) / weights.sum(), **changes)


class Task:
    """What a model and a criterion need of a task."""

    def __init__(self, tables=TABLES, words=50):
        self.dictionary = Dictionary()
        for number in range(words):
            self.dictionary.add_symbol(f"w{number}")
        self.dictionary.add_symbol("<mask>")
        self.tables = tables
        self.tags = ["eng_Latn", "rus_Cyrl"]

    source_dictionary = target_dictionary = property(lambda self: self.dictionary)


def run_elsewhere(code, folder):
    """Run Python code in a process that can import neither fairseq nor this package, and return what it prints."""
    refuse = """
import sys
class Refuse:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("fairseq", "langsamp_plugin", "hydra", "omegaconf"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
"""
    done = subprocess.run([sys.executable, "-c", refuse + code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


class Evil:
    """What a pickle can carry: it would call something when it is loaded."""

    def __reduce__(self):
        return (print, ("code ran",))


def weights(path):
    """Return the tensors of a checkpoint."""
    return load_checkpoint(path)["model"]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def assert_same_weights(one, other):
    """Compare two checkpoints by their paths: names, dtypes and values."""
    one, other = weights(one), weights(other)
    assert_same(one, other)
    assert all(one[name].dtype == other[name].dtype for name in one)
