"""Measures what pairs of translations do for a small model, against the same updates and the same time without them.

    python scripts/parallel_text.py runs/parallel                       # about an hour on one CPU core
    python scripts/parallel_text.py runs/parallel --parts main --updates 20 --langs deu_Latn,rus_Cyrl,hin_Deva

The text is the quickstart's: the Django catalogues, with a fifth of the messages held out by id in all languages. The
model is the quickstart's, from random weights. Parts:

main      two seeds of vanilla, both tables, pairs alone, both tables with pairs, and the same model untrained
seconds   both tables without pairs, with as many updates as take the processor time of both tables with pairs
tried     other temperatures, layers, weights, batches and schedules, with fewer updates

Ten languages have no pairs in training, only their own text, and are reported separately. The rule was written down
before the first run: every eighth of all tags except English, in alphabetical order, starting with the fourth.

Each model is measured once: held-out masked-LM loss (mean over language-scripts), retrieval of held-out messages
against English, margin of cosines and accuracy of a linear probe for the language on the paper's ten languages, and
what wrong tags cost. If run again, the script skips what is done and resumes where it was killed; results.json and
results.md are written after each model.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

from logged_command import call

from langsamp_plugin.analysis.neutrality import analyze_neutrality
from langsamp_plugin.analysis.tag_swap import tag_swap
from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.corpus.text import corpus_files
from langsamp_plugin.evaluation.run import evaluate

ROOT = Path(__file__).resolve().parent.parent
PAIRS = {"--align-share": 0.5, "--align-pairs": 96, "--align-pivot": "eng_Latn", "--align-validate": 0}
VANILLA = {"--embed-tags": "none"}
MAIN: dict[str, dict[str, Any]] = {
    "vanilla": VANILLA,
    "tables": {},
    "pairs": {**VANILLA, **PAIRS},
    "tables+pairs": PAIRS,
}
TRIED: dict[str, dict[str, Any]] = {
    "as above": {},
    "block 4 of 4": {"--align-layer": 4},
    "block 4, any two languages": {"--align-layer": 4, "--align-pivot": ""},
    "any two languages": {"--align-pivot": ""},
    "share 0.15": {"--align-share": 0.15},
    "temperature 0.05": {"--align-temperature": 0.05},
    "weight 3": {"--align-weight": 3},
    "24 pairs": {"--align-pairs": 24},
    "block 2 of 4": {"--align-layer": 2},
    "temperature 0.2": {"--align-temperature": 0.2},
    "weight 0.3": {"--align-weight": 0.3},
    "tlm": {"--align-objective": "tlm"},
}
COLUMNS = {
    "model": "model", "seed": "seed", "updates": "updates", "seconds": "CPU s", "loss": "loss (bits)",
    "top1": "top-1", "top10": "top-10", "top10_pairs": "of those with pairs", "top10_none": "of the ten without",
    "margin": "margin", "probe": "probe %", "language_replaced": "wrong language", "both_replaced": "wrong tag",
}  # fmt: skip


class Training(NamedTuple):
    """One model.

    Args:
        part: the part that it belongs to.
        name: what is compared.
        seed: of weights, order and masks.
        updates: number of updates; 0 keeps the random weights.
        flags: in addition to those of all models.
    """

    part: str
    name: str
    seed: int
    updates: int
    flags: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.part}-{self.name}-{self.seed}".replace(" ", "_")


def without_pairs(tags: list[str]) -> list[str]:
    """Return the languages that get no pairs."""
    return sorted(set(tags) - {"eng_Latn"})[3::8][:10]


def prepare(out: Path, langs: str) -> None:
    """Make text, vocabulary, pairs and data folder."""
    log, corpus = out / "log.txt", out / "corpus"
    if not corpus.is_dir():
        call(log, "langsamp", "corpus", "django", "--out", corpus, "--langs", langs)
    if not (out / "spm.model").is_file():
        call(
            log, "langsamp", "tokenizer", "train", corpus / "train", "--vocab-size", 8000, "--out", out / "spm.model"
        )  # fmt: skip
    tags = [str(tag) for tag in corpus_files(corpus / "train")]
    if not (out / "pairs").is_dir():
        call(
            log, "langsamp", "pairs", "django", "--out", out / "pairs", "--langs", ",".join(tags), "--without",
            ",".join(without_pairs(tags)),
        )  # fmt: skip
    if not (out / "data-bin" / "pairs").is_dir():
        call(
            log, "langsamp", "binarize", corpus / "train", "--valid", corpus / "valid", "--spm", out / "spm.model",
            "--out", out / "data-bin", "--pairs", out / "pairs",
        )  # fmt: skip


def train(out: Path, training: Training) -> Optional[float]:
    """Train a model unless it exists; return the processor seconds, or ``None`` if it was resumed."""
    folder = out / "models" / training.folder
    done = folder / "seconds.json"
    if done.is_file():
        return None if (seconds := json.loads(done.read_text(encoding="utf-8"))) is None else float(seconds)
    resumed = (folder / "checkpoint_last.pt").is_file()
    folder.mkdir(parents=True, exist_ok=True)
    updates = max(1, training.updates)
    schedule = {
        "--lr": "2e-3", "--lr-scheduler": "polynomial_decay", "--warmup-updates": min(100, updates // 2),
        "--total-num-update": updates,
    }  # fmt: skip
    flags: dict[str, Any] = {
        "--user-dir": ROOT / "langsamp_plugin", "--task": "langsamp_masked_lm", "--arch": "langsamp_roberta_tiny",
        "--criterion": "langsamp_masked_lm", "--tokens-per-sample": 64, "--batch-size": 16,
        "--multilang-sampling-alpha": 0.7, "--num-workers": 0, "--optimizer": "adam", "--adam-betas": "(0.9,0.98)",
        "--seed": training.seed, "--max-update": updates, "--save-interval-updates": 300, "--keep-interval-updates": 1,
        "--save-interval": 100000, "--validate-interval": 100000, "--validate-interval-updates": updates,
        "--log-format": "simple", "--log-interval": 50, "--save-dir": folder,
        **(schedule if training.updates else {"--lr": 0, "--lr-scheduler": "fixed"}), **training.flags,
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call(
        folder / "train.log", "fairseq-train", out / "data-bin", "--cpu", "--no-epoch-checkpoints",
        *(part for flag, value in flags.items() if value != "" for part in (flag, value)),
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with atomic_write(done) as stream:
        json.dump(None if resumed else used, stream)
    return None if resumed else used


def measure(out: Path, training: Training) -> dict[str, Any]:
    """Train and measure a model unless that is done."""
    result = out / "results" / f"{training.folder}.json"
    if result.is_file():
        return dict(json.loads(result.read_text(encoding="utf-8")))
    seconds = train(out, training)
    checkpoint = out / "models" / training.folder / "checkpoint_last.pt"
    last = max((checkpoint.parent / "validation").glob("*.tsv"), key=lambda path: int(path.stem))
    with open(last, encoding="utf-8") as stream:
        losses = [float(row["loss_bits"]) for row in csv.DictReader(stream, delimiter="\t") if row["kind"] == "tag"]
    aligned = out / "corpus" / "aligned"
    scores = evaluate(checkpoint, aligned, out / "retrieval", ["sr_bible"], name=training.folder)[0].scores
    bare = set(without_pairs([str(tag) for tag in corpus_files(out / "corpus" / "train")]))
    neutral = analyze_neutrality(
        checkpoint, aligned, out / "neutrality" / training.folder, cache_folder=out / ".cache"
    )  # fmt: skip
    swaps: dict[str, float] = {}
    if training.flags.get("--embed-tags") != "none":
        swaps = tag_swap(checkpoint, blocks=4)["macro"]

    def mean(metric: str, tags: set[str]) -> float:
        values = [scores[tag][metric][0] for tag in scores if tag in tags]
        return sum(values) / len(values) if values else float("nan")

    found = {
        "part": training.part, "model": training.name, "seed": training.seed, "updates": training.updates,
        "flags": {flag: str(value) for flag, value in training.flags.items()}, "seconds": seconds,
        "loss": sum(losses) / len(losses), "top1": mean("top1", set(scores)), "top10": mean("top10", set(scores)),
        "top10_pairs": mean("top10", set(scores) - bare), "top10_none": mean("top10", bare),
        "languages": len(scores), "languages_none": len(bare & set(scores)),
        "margin": neutral["model"]["margin"], "probe": neutral["model"]["probe"],
        **{name.replace(" ", "_"): swaps[name] - swaps["right"] for name in swaps if name != "right"},
        "top10_by_tag": {tag: scores[tag]["top10"][0] for tag in scores},
    }  # fmt: skip
    with atomic_write(result) as written:
        json.dump(found, written, indent=1)
    return found


def trainings(parts: list[str], seeds: list[int], updates: int, short: int) -> Iterator[Training]:
    """Yield the models of the parts main and tried."""
    for seed in seeds if "main" in parts else ():
        yield Training("main", "untrained", seed, 0, {})
        for name, flags in MAIN.items():
            yield Training("main", name, seed, updates, flags)
    for name, flags in TRIED.items() if "tried" in parts else ():
        yield Training("tried", name, seeds[0], short, {**PAIRS, **flags})


def as_long(rows: list[dict[str, Any]], seed: int) -> int:
    """Return the updates without pairs that take as long as the run with pairs of the same seed."""
    of = {row["model"]: row for row in rows if row["part"] == "main" and row["seed"] == seed}
    resumed = [name for name in ("untrained", "tables", "tables+pairs") if of[name]["seconds"] is None]
    if resumed:
        raise SystemExit(
            f"main-{resumed[0]}-{seed} was killed and resumed, so its time is unknown: remove it, run again"
        )
    start = of["untrained"]["seconds"]  # imports, loading and the validation
    each = (of["tables"]["seconds"] - start) / of["tables"]["updates"]
    return round((of["tables+pairs"]["seconds"] - start) / each)


def write_tables(out: Path, rows: list[dict[str, Any]]) -> str:
    """Write results.json, and results.md with a table of each part."""
    text = []
    for part in dict.fromkeys(row["part"] for row in rows):
        text += [
            f"## {part}",
            "",
            "| " + " | ".join(COLUMNS.values()) + " |",
            "| --- |" + " ---: |" * (len(COLUMNS) - 1),
        ]
        for row in (row for row in rows if row["part"] == part):
            cells = [_cell(name, row.get(name, "")) for name in COLUMNS]
            text.append("| " + " | ".join(cells) + " |")
        text.append("")
    for name, content in (("results.json", json.dumps(rows, indent=1)), ("results.md", "\n".join(text))):
        with atomic_write(out / name) as stream:
            stream.write(content)
    return "\n".join(text)


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.{0 if name == 'seconds' else 1 if name.startswith(('top', 'probe')) else 2}f}"


def main() -> None:
    """Train and measure all models and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", default="main,seconds,tried", help="the parts to run, separated by commas")
    parser.add_argument("--updates", type=int, default=300, help="of the part main")
    parser.add_argument("--short", type=int, default=150, help="updates of the part tried")
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--langs", default="", help="only these languages")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # then processor time is a measure of the work alone
    args.out.mkdir(parents=True, exist_ok=True)
    prepare(args.out, args.langs)
    parts, seeds = args.parts.split(","), [int(seed) for seed in args.seeds.split(",")]
    rows: list[dict[str, Any]] = []
    for training in trainings(parts, seeds, args.updates, args.short):
        rows.append(measure(args.out, training))
        write_tables(args.out, rows)
    for seed in seeds if "seconds" in parts else ():
        rows.append(measure(args.out, Training("seconds", "tables", seed, as_long(rows, seed), {})))
    print(write_tables(args.out, rows))


if __name__ == "__main__":
    main()
