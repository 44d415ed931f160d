"""Runs commands of the environment with their output in a file; for scripts that compare training runs."""

import csv
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent


def call(log: Path, *command: object) -> None:
    """Run a command of the environment, its output going to a file."""
    with open(log, "a", encoding="utf-8") as stream:
        done = subprocess.run(
            [str(BIN / str(command[0])), *map(str, command[1:])], stdout=stream, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: see the end of {log}; the same command resumes")


def train(folder: Path, data: Path, updates: int, seed: int, *flags: object) -> dict[str, float]:
    """Train a tiny model unless it exists.

    Args:
        folder: gets the checkpoint, ``train.log`` and the validation.
        data: data folder.
        updates: number of updates; validation and save are after the last one.
        seed: of weights, batches and masks.
        *flags: batch size, learning rate, and what differs between the runs that are compared.

    Returns:
        The held-out loss of each tag, bits per masked token.
    """
    result = folder / "validation" / f"{updates}.tsv"
    folder.mkdir(parents=True, exist_ok=True)
    if not result.is_file():
        call(
            folder / "train.log", "fairseq-train", data, "--user-dir", ROOT / "langsamp_plugin", "--cpu",
            "--task", "langsamp_masked_lm", "--arch", "langsamp_roberta_tiny", "--criterion", "langsamp_masked_lm",
            "--tokens-per-sample", 64, "--num-workers", 0, "--optimizer", "adam", "--adam-betas", "(0.9,0.98)",
            "--lr-scheduler", "polynomial_decay", "--total-num-update", updates, "--max-update", updates,
            "--seed", seed, "--save-interval-updates", updates, "--validate-interval", 100000,
            "--save-interval", 100000, "--no-epoch-checkpoints", "--log-format", "simple", "--log-interval", 50,
            "--save-dir", folder, *flags,
        )  # fmt: skip
    with open(result, encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["kind"] == "tag"]
    return {row["name"]: float(row["loss_bits"]) for row in rows}
