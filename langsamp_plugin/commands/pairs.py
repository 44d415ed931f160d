"""The command for parallel text."""

from __future__ import annotations

from pathlib import Path

import typer

from langsamp_plugin.commands.app import LANGS, OVERWRITE, app, replaces, split_list

COUNTS_FILE = "counts.tsv"
"""Copy of the constant in corpus.pairs, which would import numpy."""


@app.command()
@replaces(COUNTS_FILE)
def pairs(
    source: Path = typer.Argument(
        ...,
        help="Parallel text: a folder of <tag>.txt with id<tab>text, or aligned by line; of x.de and x.en; of .tsv or "
        ".tmx "
        'files, or one of them; or "django", the demo\'s messages.',
    ),
    out: Path = typer.Option(
        ..., help="Folder to write: train/<tag>.txt and valid/<tag>.txt with one id<tab>text per line."
    ),
    layout: str = typer.Option("auto", help="Layout of the source: auto, ids, udhr, lines, moses, tsv or tmx."),
    tags: str = typer.Option("", help="Tags of the columns of a .tsv without a header of tags; - skips a column."),
    held_out: int = typer.Option(100, min=0, help="Hold out one in N messages, in all languages; 0 holds out none."),
    exclude: list[Path] = typer.Option(
        [], help="Test set to exclude, by id and by text, in any of these layouts; can be repeated."
    ),
    langs: str = LANGS,
    without: str = typer.Option("", help="Tags to leave out, separated by commas."),
    transliterate: bool = typer.Option(
        False, "--transliterate", help="Pair each line of a corpus of <tag>.txt with its romanization."
    ),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write parallel text as one file per language.

    The output is for `langsamp binarize --pairs`; training on pairs aligns middle layers across languages.

    Example: langsamp pairs bible-verses --out runs/pairs --exclude sr_bible
    """
    from langsamp_plugin.corpus.pairs import COUNTS, write_pairs

    found = None
    if transliterate:
        from langsamp_plugin.corpus.transliteration import romanized

        found = romanized(source, split_list(langs), split_list(without))
        langs = without = ""
    written = write_pairs(
        source,
        out,
        found=found,
        layout=layout,
        tags=split_list(tags),
        langs=split_list(langs),
        without=split_list(without),
        held_out=held_out,
        exclude=exclude,
        overwrite=overwrite,
    )
    totals = {name: sum(row[name] for row in written.rows) for name in COUNTS[1:]}
    print(
        f"{out}: {len(written.rows)} language-scripts, {totals['train']:,} sentences of {written.messages['train']:,} "
        f"training messages, {totals['valid']:,} of {written.messages['valid']:,} held out"
    )
    reasons = {"empty": "are empty", "tests": "are in a test set", "same_text": "equal a held-out one"}
    left_out = [f"{totals[name]:,} {reason}" for name, reason in reasons.items() if totals[name]]
    if left_out:
        print(f"sentences left out: {', '.join(left_out)}")
    for sentence in written.omitted:
        print(f"left out: {sentence}")
    if written.alone:
        print(f"{len(written.alone)} languages share no message with another language: {' '.join(written.alone)}")
