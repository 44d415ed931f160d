"""Export, evaluate and analyse the models of an ablation; run again, it goes on where it stopped.

    python examples/ablation/measure.py runs/ablation-small --limit 200

In one process, as each of these takes seconds on a small model. What `langsamp export`, `evaluate`, `analyze tags`,
`analyze neutrality` and `analyze embeddings` would leave lies in hf/, results/, tags/, neutrality/ and embeddings/; frozen/
is of frozen.py.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frozen import frozen_scores
from report import name_parts

from langsamp_plugin.analysis.embeddings import analyze_embeddings
from langsamp_plugin.analysis.neutrality import analyze_neutrality
from langsamp_plugin.analysis.tag_swap import tag_swap
from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.convert.export import export
from langsamp_plugin.evaluation.run import evaluate


def unless_there(path: Path, what: str, make: Callable[[], Any]) -> None:
    """Make something that is not there; a value that comes back is written as JSON."""
    if path.exists():
        return
    print(f"== {what}", flush=True)
    value = make()
    if not path.exists():
        with atomic_write(path) as stream:
            json.dump(value, stream, indent=1)


def measure(out: Path, name: str, tasks: list[str], limit: int, langs: list[str]) -> None:
    """Measure one model; vanilla of the same seed is there already."""
    checkpoint, folder = out / "models" / name / "checkpoint_last.pt", out / "hf" / name
    model, seed = name_parts(name)
    unless_there(folder, f"export of {name}", lambda: export(checkpoint, folder))
    for task in tasks:
        unless_there(
            out / "results" / name / f"{task}.json",
            f"{task} with {name}",
            lambda task=task: evaluate(folder, out / "eval", out / "results", [task], name, limit=limit),  # type: ignore[misc]
        )
    baseline = None
    if model in ("lang", "script", "both"):
        unless_there(out / "tags" / f"{name}.json", f"tag swaps of {name}", lambda: tag_swap(checkpoint))
        baseline = out / "hf" / f"vanilla-{seed}"
    parallel = out / "eval" / ("sib200" if (out / "eval" / "sib200").is_dir() else "sr_bible")
    unless_there(
        out / "neutrality" / name / "neutrality.json",
        f"neutrality of {name}",
        lambda: analyze_neutrality(folder, parallel, out / "neutrality" / name, baseline, langs),
    )
    unless_there(
        out / "frozen" / f"{name}.json",
        f"frozen features of {name}",
        lambda: frozen_scores(folder, out / "eval", limit, langs),
    )


def main() -> None:
    """Measure all models, vanilla ones first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the --out of run.sh, with models/ and eval/ in it")
    parser.add_argument("--limit", type=int, default=0, help="sentences of each evaluation file; 0 takes all")
    parser.add_argument("--finetune", action="store_true", help="fine-tune on Taxi1500 and SIB-200, too")
    parser.add_argument(
        "--langs",
        default="",
        help="only these languages, in what takes long; by default all, and the paper's ten for neutrality",
    )
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)  # importing fairseq opens every logger
    out: Path = options.run
    tasks = ["sr_bible", "sr_tatoeba", *(["taxi1500", "sib200"] if options.finetune else [])]
    tasks = [task for task in tasks if (out / "eval" / task).is_dir()]
    names = sorted(path.parent.name for path in (out / "models").glob("*/done"))
    for name in sorted(names, key=lambda name: (not name.startswith("vanilla"), name)):
        measure(out, name, tasks, options.limit, [lang for lang in options.langs.split(",") if lang])
    first = min(name for name in names if name.startswith("both"))
    unless_there(
        out / "embeddings" / "map.html",
        f"maps of {first}",
        lambda: analyze_embeddings(out / "hf" / first, out / "embeddings"),
    )


if __name__ == "__main__":
    main()
