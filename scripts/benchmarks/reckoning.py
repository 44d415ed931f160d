"""Compares the estimate of `langsamp evaluate --dry-run` with the actual seconds and disk of each task.

    python scripts/benchmarks/reckoning.py MODEL --data eval --tasks sr_tatoeba,sib200 [--langs ...] [--limit N]

With --reckon-only nothing is run: MODEL may then be a folder that has only a configuration and a tokenizer, for sizes
whose weights are not available. --cpu-time compares processor seconds, for a busy machine; use one thread
(OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from measuring import RECORD_HELP, Table, conditions

from langsamp_plugin.evaluation import cost, run
from langsamp_plugin.evaluation.run import evaluate, prepare, reckon

COLUMNS = {
    "task": 11, "languages": 9, "reckoned_s": 10, "measured_s": 10, "ratio": 6, "reckoned_MB": 11,
    "measured_MB": 11, "disk_ratio": 10, "conditions": 0,
}  # fmt: skip


class LargestSize(threading.Thread):
    """Watches a folder and remembers the most bytes that were in it."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.folder, self.most, self.over = folder, 0, threading.Event()

    def run(self) -> None:
        """Look ten times a second."""
        while not self.over.wait(0.1):
            self.most = max(self.most, size_of(self.folder))


def size_of(folder: Path) -> int:
    """Return the bytes of the files of a folder that still exist."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def main() -> None:
    """Estimate, run, and print a row per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Hugging Face folder")
    parser.add_argument("--data", required=True, help="folder with a folder per task")
    parser.add_argument("--tasks", default="sr_tatoeba,sib200")
    parser.add_argument("--langs", default="")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", default="")
    parser.add_argument("--reckon-only", action="store_true")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--record", help=RECORD_HELP)
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    for module in (cost, run):
        module.time = SimpleNamespace(perf_counter=clock)  # type: ignore[attr-defined]
    options = {
        "langs": [lang for lang in args.langs.split(",") if lang], "limit": args.limit, "epochs": args.epochs,
        "seeds": tuple(int(seed) for seed in args.seeds.split(",")) if args.seeds else None,
    }  # fmt: skip
    table = Table(COLUMNS, args.record)
    for task in args.tasks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            (reckoned,) = reckon(prepare(args.model, args.data, folder, [task], **options))
            row = {"task": task, "languages": reckoned.languages, "reckoned_s": f"{reckoned.seconds:.0f}"}
            row["reckoned_MB"] = f"{reckoned.disk / 1e6:.1f}"
            if not args.reckon_only:
                watch = LargestSize(Path(folder))
                watch.start()
                start = clock()
                evaluate(args.model, args.data, folder, [task], **options)
                taken = clock() - start
                watch.over.set()
                watch.join()
                most = max(watch.most, size_of(Path(folder)))
                row |= {
                    "measured_s": f"{taken:.0f}", "ratio": f"{taken / reckoned.seconds:.2f}",
                    "measured_MB": f"{most / 1e6:.1f}", "disk_ratio": f"{most / reckoned.disk:.2f}",
                }  # fmt: skip
            table.add(**row, conditions=conditions())


if __name__ == "__main__":
    main()
