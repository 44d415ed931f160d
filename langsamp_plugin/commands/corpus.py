"""Raw text."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.commands.app import COLUMN, LANGS, SPLIT, WORKERS, app, finite, split_list


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
    """Write one text file per language-script.

    Run again, it resumes where it stopped.

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
    """Check that each text is in its declared script and language.

    Also counts empty, over-long, damaged and repeated lines.

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
