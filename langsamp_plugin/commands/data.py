"""From text to a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.commands.app import COLUMN, LANGS, SPLIT, WORKERS, app, finite, split_list, tokenizer_app

ALPHA = typer.Option(0.3, min=0, callback=finite, help="Languages are drawn by p ~ lines ** alpha; XLM-R used 0.3.")
COVERAGE = typer.Option(0.9995, min=0.98, max=1.0, callback=finite, help="Share of characters that get a piece.")
MOST_PIECES = 10_000_000
MAX_LINES = typer.Option(5_000_000, min=1, help="Lines to train on, over all languages.")


@app.command()
def corpus(
    source: Path = typer.Argument(
        ...,
        help='Folder with a file or folder per tag: .txt, .jsonl (also .gz, .xz, .bz2, .zst), .parquet, .arrow; or "django", '
        "a demo corpus in 89 language-scripts.",
    ),
    out: Path = typer.Option(..., help="Folder to write: a file per tag; of the demo train/, valid/ and aligned/."),
    column: str = COLUMN,
    split: str = SPLIT,
    dedup: bool = typer.Option(False, "--dedup", help="Leave out lines equal to an earlier one of their language."),
    workers: int = WORKERS,
    langs: str = LANGS,
) -> None:
    """Write a corpus as one text file per language-script; run again, it goes on where it stopped.

    Example: langsamp corpus Glot500 --out runs/corpus --dedup --workers 8
    """
    if str(source) == "django":
        from langsamp_plugin.corpus import django_catalogues

        counts = django_catalogues.write_corpus(out, split_list(langs))
        print(f"{out}: {len(counts)} language-scripts, {sum(counts.values()):,} training lines")
        return
    from langsamp_plugin.corpus.writer import write_corpus

    rows = write_corpus(source, out, column, split, dedup, workers, split_list(langs))
    lines, characters, size, duplicates = (
        sum(row[name] for row in rows) for name in ("lines", "characters", "bytes", "duplicates")
    )
    print(
        f"{out}: {len(rows)} language-scripts, {lines:,} lines, {characters:,} characters, {size:,} bytes"
        + (f"; {duplicates:,} duplicates left out" if dedup else "")
    )


@app.command()
def check(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt, or any other that `langsamp corpus` reads."),
    out: Optional[Path] = typer.Option(None, help="TSV to write; by default check.tsv in the current folder."),
    lid: Optional[Path] = typer.Option(
        None, help="Language identification model in fastText's format, such as GlotLID."
    ),
    strict: bool = typer.Option(False, "--strict", help="Exit with status 1 if any language has a problem."),
    min_script: float = typer.Option(
        0.8, min=0, max=1, callback=finite, help="Least share of letters in the declared script."
    ),
    min_language: float = typer.Option(
        0.5, min=0, max=1, callback=finite, help="Least share of lines in the declared language."
    ),
    max_bad: float = typer.Option(
        0.1,
        min=0,
        max=1,
        callback=finite,
        help="Largest share of empty, over-long, damaged or repeated lines, each for itself.",
    ),
    max_characters: int = typer.Option(10_000, min=1, help="A longer line is over-long."),
    max_lines: int = typer.Option(0, min=0, help="Look at so many lines of each language; 0 looks at all."),
    column: str = COLUMN,
    split: str = SPLIT,
    workers: int = WORKERS,
    langs: str = LANGS,
) -> None:
    """Check that the text of each tag is in its script and language, and look for lines without use.

    Example: langsamp check runs/corpus --lid glotlid.bin --strict
    """
    from langsamp_plugin.corpus.check import Limits, check_corpus, format_table

    limits = Limits(min_script, min_language, max_bad, max_characters)
    path = out or Path("check.tsv")
    reports = check_corpus(corpus, path, lid, limits, max_lines, column, split, workers, split_list(langs))
    print(format_table(reports))
    wrong = sum(bool(report.problems) for report in reports)
    print(f"{path}: {len(reports)} language-scripts, {wrong} with problems")
    if strict and wrong:
        raise typer.Exit(1)


@tokenizer_app.command("train")
def tokenizer_train(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    out: Path = typer.Option(..., help="The .model file to write."),
    vocab_size: int = typer.Option(250000, min=100, max=MOST_PIECES, help="Pieces; fewer come out of a small corpus."),
    alpha: float = ALPHA,
    coverage: float = COVERAGE,
    max_lines: int = MAX_LINES,
    langs: str = LANGS,
) -> None:
    """Train a SentencePiece model with XLM-R's numbering.

    Example: langsamp tokenizer train runs/corpus/train --vocab-size 8000 --out runs/spm.model
    """
    from langsamp_plugin.vocabulary.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(corpus, out, vocab_size, alpha, coverage, max_lines, split_list(langs))
    print(f"{out}: {len(tokenizer.pieces):,} pieces, {tokenizer.vocab_size:,} tokens with the special ones")


@tokenizer_app.command("extend")
def tokenizer_extend(
    base: Path = typer.Argument(..., help="SentencePiece model to extend, such as XLM-R's sentencepiece.bpe.model."),
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    out: Path = typer.Option(..., help="The .model file to write."),
    vocab_size: int = typer.Option(
        250000, min=100, max=MOST_PIECES, help="Pieces to train on the corpus; those not in BASE are appended."
    ),
    alpha: float = ALPHA,
    coverage: float = COVERAGE,
    max_lines: int = MAX_LINES,
    langs: str = LANGS,
) -> None:
    """Append pieces trained on a corpus to a SentencePiece model; the ids of its own pieces stay.

    Example: langsamp tokenizer extend xlmr/sentencepiece.bpe.model runs/corpus --out extended.model
    """
    from langsamp_plugin.vocabulary.extend import extend_tokenizer

    tokenizer, new = extend_tokenizer(base, corpus, out, vocab_size, alpha, coverage, max_lines, split_list(langs))
    print(f"{out}: {new:,} new pieces, {tokenizer.vocab_size:,} tokens with the special ones")


@app.command()
def binarize(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    spm: Path = typer.Option(..., help="SentencePiece model."),
    out: Path = typer.Option(..., help="Data folder to write."),
    valid: Optional[Path] = typer.Option(
        None, help="Folder of <tag>.txt with held-out text; by default lines of the corpus are held out."
    ),
    valid_lines: int = typer.Option(100, min=0, help="Lines to hold out per language, at most a tenth of them."),
    workers: int = WORKERS,
    tables: str = typer.Option(
        "data", help="Inventory: data, glot500, or a folder with languages.tsv and scripts.tsv to append to."
    ),
    shard: str = typer.Option(
        "1/1",
        help="I/N does the I-th of N shares, for the jobs of an array; the one that ends last finishes the folder.",
    ),
    langs: str = LANGS,
) -> None:
    """Turn text into the data folder that fairseq-train reads; run again, it goes on where it stopped.

    Example: langsamp binarize runs/corpus/train --valid runs/corpus/valid --spm runs/spm.model --out runs/data-bin
    """
    from langsamp_plugin.data.binarizer import binarize as run

    rows = run(corpus, spm, out, valid, valid_lines, workers, tables, split_list(langs), _shard(shard))
    if not rows:
        print(f"{out}: share {shard} is done; the job that ends last will finish the folder")
    for split in ("train", "valid") if rows else ():
        part = [row for row in rows if row["split"] == split]
        tokens, unknown = sum(row["tokens"] for row in part), sum(row["unknown"] for row in part)
        print(
            f"{split}: {len(part)} languages, {sum(row['lines'] for row in part):,} lines, {tokens:,} tokens, {unknown:,} of them unknown"
        )


@app.command()
def info(
    path: Path = typer.Argument(..., help="Data folder, checkpoint, or exported folder."),
    sampling: str = typer.Option("alpha", help="Of a data folder's preview: alpha or glot500."),
    alpha: float = typer.Option(0.3, min=0, callback=finite, help="Languages are drawn by p ~ count ** alpha."),
    scale: float = typer.Option(
        30.0, callback=finite, help="For glot500: how often the smallest language comes in an epoch."
    ),
    counts: str = typer.Option("blocks", help="What the sampling counts: blocks or lines."),
    tokens_per_sample: int = typer.Option(512, min=2, help="Length of a block, <s> included."),
) -> None:
    """Say what lies in a data folder, checkpoint or exported folder, and check that it is whole.

    Example: langsamp info runs/data-bin --sampling glot500
    """
    from langsamp_plugin.info import Sampling, describe

    if counts not in ("blocks", "lines"):
        raise ValueError(f"--counts must be blocks or lines, but is {counts!r}")
    print("\n".join(describe(path, Sampling(sampling, alpha, scale, counts, tokens_per_sample))))


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"--shard must be I/N with I from 1 to N, such as 1/4, but is {text!r}")
    return int(number), int(count)
