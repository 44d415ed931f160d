"""Kill a training run repeatedly, and compare the result with an undisturbed run.

    python scripts/soak.py DATA-BIN --out runs/soak                 # 20 kills
    python scripts/soak.py DATA-BIN --out runs/soak --kills 100 --updates 2000
    python scripts/soak.py DATA-BIN --out runs/soak --precision fp16   # float32 master weights, on a CPU

Every third kill comes while a checkpoint is being written, every fourth is SIGTERM (save and stop), and the others are
SIGKILL at a random moment, including the start of the run. The weights, the optimizer's state and the position in the
data must be the same, bit for bit. DATA-BIN is any binarized folder; the model is small.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


PRECISIONS = {
    "fp32": [],
    "fp16": ["--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale", "16", "--fp16-scale-window", "60"],
    "fp16-memory-efficient": ["--fp16", "--memory-efficient-fp16", "--fp16-init-scale", "16", "--optimizer", "adam"],
}
"""Flags of each precision; the loss scale grows every 60 updates, so that its value after a restart matters."""


def command(data: str, folder: Path, updates: int, precision: str, device: str, alpha: str) -> list[str]:
    """Return the training command."""
    return [
        sys.executable, "-m", "fairseq_cli.train", data, "--user-dir", str(ROOT / "langsamp_plugin"),
        "--multilang-sampling-alpha", alpha, "--task", "langsamp_masked_lm", "--criterion", "langsamp_masked_lm",
        "--arch", "langsamp_roberta_tiny",
        "--encoder-layers", "2", "--encoder-embed-dim", "64", "--encoder-ffn-embed-dim", "128", "--tokens-per-sample",
        "64",
        "--batch-size", "8", "--optimizer", "fused_adamw", "--lr", "1e-3", "--lr-scheduler", "polynomial_decay",
        "--total-num-update", str(updates), "--max-update", str(updates), "--seed", "1", "--num-workers", "1",
        "--save-interval-updates", "5", "--keep-interval-updates", "2", "--no-epoch-checkpoints",
        "--disable-validation",
        "--log-format", "simple", "--log-interval", "1", "--save-dir", str(folder), *PRECISIONS[precision],
        *(["--cpu"] if device == "cpu" else []),
    ]  # fmt: skip


def kill_once(command: list[str], folder: Path, how: str, chance: random.Random, usual: float) -> tuple[str, float]:
    """Start the run and kill it; return what happened, and after how many seconds."""
    with open(folder.parent / "log.txt", "a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    started, wait = time.monotonic(), chance.uniform(0.3, usual)
    while process.poll() is None:
        saving = how == "while it saves" and time.monotonic() - started > 0.2 and any(folder.glob(".checkpoint*.tmp"))
        if saving or (how != "while it saves" and time.monotonic() - started > wait):
            process.send_signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
            break
    else:
        how = "no kill, it had ended"
    status = process.wait()
    lived = time.monotonic() - started
    return f"{how} after {lived:.1f} s, status {status}", lived


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Return the names of the values in which two checkpoints differ."""
    import torch

    if isinstance(one, torch.Tensor):
        return [] if isinstance(other, torch.Tensor) and torch.equal(one, other) else [name]
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [name]
        return [part for key in one for part in differences(one[key], other[key], f"{name}.{key}")]
    return [] if one == other else [name]


def main() -> None:
    """Run both, compare, print figures; exit status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="binarized folder")
    parser.add_argument("--out", required=True, help="empty folder")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--alpha", default="1.0", help="of the sampling; 0 upsamples small languages most")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    import torch

    sys.path.insert(0, str(ROOT))
    from langsamp_plugin.checkpoint.loading import load_checkpoint

    out = Path(options.out)
    whole, parts = out / "whole", out / "parts"
    if out.exists() and any(out.iterdir()):
        parser.error(f"{out} is not empty")
    parts.mkdir(parents=True)
    began = time.monotonic()
    subprocess.run(
        command(options.data, whole, options.updates, options.precision, options.device, options.alpha),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    seconds = time.monotonic() - began
    print(f"uninterrupted: {options.updates} updates in {seconds:.0f} s", flush=True)
    chance = random.Random(options.seed)
    # A start takes seconds; a run lives long enough to make progress between two kills.
    usual = min(max(12.0, 2 * seconds / options.kills), 0.9 * seconds)
    hits = 0  # a run may end before it is killed
    for number in range(options.kills):
        how = "while it saves" if number % 3 == 2 else "SIGTERM" if number % 4 == 3 else "SIGKILL"
        words = command(options.data, parts, options.updates, options.precision, options.device, options.alpha)
        happened, lived = kill_once(words, parts, how, chance, usual)
        hits += happened.startswith(how)
        print(f"{number + 1:>3}: {happened}", flush=True)
        if not hits:  # the uninterrupted run was slower: start again and kill earlier
            usual = min(usual, max(0.5, 0.8 * lived))
            shutil.rmtree(parts)
            parts.mkdir()
    subprocess.run(
        command(options.data, parts, options.updates, options.precision, options.device, options.alpha),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    one, other = (load_checkpoint(folder / "checkpoint_last.pt") for folder in (whole, parts))
    found = [name for part in ("model", "last_optimizer_state") for name in differences(one[part], other[part], part)]
    found += differences(one["extra_state"]["train_iterator"], other["extra_state"]["train_iterator"], "train_iterator")
    left = [
        path.name for path in parts.iterdir() if path.name.startswith(".") or (path.suffix != ".pt" and path.is_file())
    ]
    left = [name for name in left if name != "sampling.tsv"]
    print(
        f"{hits} kills, {len(found)} differences, {len(left)} files left behind, torch {torch.__version__}, "
        f"{os.cpu_count()} cores"
    )
    if found or left:
        print("\n".join([*found[:20], *left]))
        sys.exit(1)


if __name__ == "__main__":
    main()
