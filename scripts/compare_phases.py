"""Compares phases of training with constant settings: the same model and number of updates, held-out loss of tail and
head.

    python scripts/compare_phases.py DATA-BIN --out runs/phases                # 4 training runs of 1,000 updates
    python scripts/compare_phases.py DATA-BIN --out runs/phases --updates 20 --seeds 1

The phases mask 30 %, then 15 %, then 5 %, and sample small languages more often in each phase, as mmBERT does; the
constant run masks 15 % and samples as in the paper. Both are validated with 15 %. DATA-BIN is any binarized folder. If
run again, it skips what is done. Results are in docs/training.md.
"""

import argparse
import json
import os
from pathlib import Path

from logged_command import train

from langsamp_plugin.report.groups import Groups

PHASES = (
    {"share": 0.6, "mask_prob": 0.3, "alpha": 0.7},
    {"share": 0.3, "mask_prob": 0.15, "alpha": 0.5},
    {"share": 0.1, "mask_prob": 0.05, "alpha": 0.3},
)
GROUPS = ("tail", "head", "all")


def write_phases(path: Path, updates: int) -> None:
    """Write the file for ``--phases``; the last phase gets the updates that remain after rounding."""
    phases = [
        {"updates": int(phase["share"] * updates), **{name: phase[name] for name in ("mask_prob", "alpha")}}
        for phase in PHASES
    ]
    phases[-1]["updates"] += updates - sum(int(phase["updates"]) for phase in phases)
    path.write_text(json.dumps(phases, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Train all models and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--seeds", default="1,2")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args.out.mkdir(parents=True, exist_ok=True)
    write_phases(args.out / "phases.json", args.updates)
    ways: dict[str, tuple[object, ...]] = {
        "constant": ("--multilang-sampling-alpha", 0.3),
        "phases": ("--phases", args.out / "phases.json"),
    }
    groups, found = Groups(), {}
    for seed in args.seeds.split(","):
        for way, flags in ways.items():
            losses = train(
                args.out / f"{way}-{seed}", args.data, args.updates, int(seed), "--batch-size", 32, "--lr", "7e-4",
                "--warmup-updates", args.updates // 5, "--clip-norm", 1.0, *flags,
            )  # fmt: skip
            for group in GROUPS:
                tags = groups.members(group, sorted(losses))
                found[way, seed, group] = sum(losses[tag] for tag in tags) / max(1, len(tags))
    print(f"| settings | {' | '.join(GROUPS)} |\n| --- |{' --- |' * len(GROUPS)}")
    for way in ways:
        cells = [", ".join(f"{found[way, seed, group]:.3f}" for seed in args.seeds.split(",")) for group in GROUPS]
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
