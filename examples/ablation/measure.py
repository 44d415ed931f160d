"""Export, evaluate and analyse the models of an ablation; run again, it resumes where it stopped.

    python examples/ablation/measure.py runs/ablation-small --limit 200

Everything runs in one process, because each step takes only seconds on a small model. The folders hf/, results/, tags/,
neutrality/ and embeddings/ get the output of `langsamp export`, `evaluate`, `analyze tags`, `analyze neutrality` and
`analyze embeddings`; frozen.py writes frozen/.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from frozen import Features, frozen_scores
from outcome import name_parts

from langsamp_plugin.analysis.embeddings import analyze_embeddings
from langsamp_plugin.analysis.neutrality import analyze_neutrality
from langsamp_plugin.analysis.tag_swap import tag_swap
from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.convert.export import export
from langsamp_plugin.evaluation.run import evaluate


def unless_there(path: Path, what: str, settings: dict[str, Any], make: Callable[[], Any]) -> None:
    """Make a result that is missing, or that was made from another model or with other settings.

    Args:
        path: the result; a value that ``make`` returns is written there as JSON.
        what: its name in the printed line.
        settings: everything that the result depends on, stored with it.
        make: makes it.
    """
    record = path.with_name(f".{path.name}.made")
    wanted = json.dumps(settings, sort_keys=True, default=str)
    if path.exists() and record.is_file() and record.read_text(encoding="utf-8") == wanted:
        return
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    print(f"== {what}", flush=True)
    value = make()
    if not path.exists():
        with atomic_write(path) as stream:
            json.dump(value, stream, indent=1)
    with atomic_write(record) as stream:
        stream.write(wanted)


def file_state(path: Path) -> list[int]:
    """Return size and time of a file, or their sums over the files of a folder, to detect changed weights."""
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    return [
        len(files),
        sum(file.stat().st_size for file in files),
        max((file.stat().st_mtime_ns for file in files), default=0),
    ]


def content_digest(folder: Path) -> str:
    """Return a hash of the names and bytes below a folder: evaluation data that is copied again is still the same."""
    digest = blake2b(digest_size=8)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            digest.update(f"{file.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def measure(out: Path, name: str, tasks: list[str], limit: int, langs: list[str]) -> None:
    """Measure one model; vanilla of the same seed must exist."""
    checkpoint, folder = out / "models" / name / "checkpoint_last.pt", out / "hf" / name
    model, seed = name_parts(name)
    weights = {"checkpoint": file_state(checkpoint)}
    data = {task: content_digest((out / "eval" / task).resolve()) for task in tasks}
    unless_there(folder, f"export of {name}", weights, lambda: export(checkpoint, folder))
    for task in tasks:
        unless_there(
            out / "results" / name / f"{task}.json",
            f"{task} with {name}",
            {**weights, "limit": limit, "data": data[task]},
            lambda task=task: (
                evaluate(  # type: ignore[misc]
                    folder, out / "eval", out / "results", [task], name=name, limit=limit
                )
                and None
            ),
        )
    baseline = None
    if model in ("lang", "script", "both"):
        unless_there(out / "tags" / f"{name}.json", f"tag swaps of {name}", weights, lambda: tag_swap(checkpoint))
        baseline = out / "hf" / f"vanilla-{seed}"
    parallel = out / "eval" / ("sib200" if (out / "eval" / "sib200").is_dir() else "sr_bible")
    settings = {**weights, "limit": limit, "langs": langs, "data": content_digest(parallel.resolve())}
    compared = {} if baseline is None else {"baseline": file_state(baseline)}
    unless_there(
        out / "neutrality" / name / "neutrality.json",
        f"neutrality of {name}",
        {**settings, **compared},
        lambda: (
            analyze_neutrality(
                folder, parallel, out / "neutrality" / name, baseline=baseline, langs=langs, cache_folder=out / ".cache"
            )
            and None
        ),
    )
    unless_there(
        out / "frozen" / f"{name}.json",
        f"frozen features of {name}",
        settings,
        lambda: frozen_scores(Features(folder), out / "eval", limit, langs),
    )


def main() -> None:
    """Measure all models, vanilla ones first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the --out of run.sh, with models/ and eval/ in it")
    parser.add_argument("--limit", type=int, default=0, help="sentences of each evaluation file; 0 means all")
    parser.add_argument(
        "--langs",
        default="",
        help="only these languages, in what takes long; by default all, and the paper's ten for neutrality",
    )
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)  # importing fairseq enables every logger
    out: Path = options.run
    tasks = [task for task in ("sr_bible", "sr_tatoeba") if (out / "eval" / task).is_dir()]
    names = sorted(path.parent.name for path in (out / "models").glob("*/done"))
    for name in sorted(names, key=lambda name: (not name.startswith("vanilla"), name)):
        measure(out, name, tasks, options.limit, [lang for lang in options.langs.split(",") if lang])
    first = min(name for name in names if name.startswith("both"))
    unless_there(
        out / "embeddings" / "map.html",
        f"maps of {first}",
        {"checkpoint": file_state(out / "models" / first / "checkpoint_last.pt")},
        lambda: analyze_embeddings(out / "hf" / first, out / "embeddings"),
    )


if __name__ == "__main__":
    main()
