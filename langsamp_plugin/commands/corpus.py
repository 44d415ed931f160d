"""Commands for raw text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from langsamp_plugin.commands.app import (
    COLUMN,
    LANGS,
    OVERWRITE_FILES,
    SPLIT,
    STRICT,
    WORKERS,
    app,
    finite,
    split_list,
    writes_corpus,
    writes_own,
)

if TYPE_CHECKING:
    from langsamp_plugin.corpus.decisions import Rules

LID = typer.Option(
    None,
    help="Language identification model in fastText's format for judging lines: GlotLID, OpenLID, lid.176.",
)
THRESHOLD = typer.Option(
    0.8, min=0, max=1, callback=finite, help="Minimum probability for a label of another language to count."
)
THRESHOLDS = typer.Option(None, help="TSV of LANGUAGE and its threshold.")
SCRIPT_SHARE = typer.Option(
    0.0,
    min=0,
    max=1,
    callback=finite,
    help="Minimum share of a line's letters in the tag's script; 0 disables the check.",
)
WRONG = typer.Option(
    "move", help="How to treat a line in another language or script: move (to its tag), und (to und_<Script>), drop."
)
CLOSE = typer.Option(
    False, "--judge-close", help="Also distinguish members of a macrolanguage and close pairs, such as hrv and bos."
)
LONGEST = typer.Option(1_000_000, min=1000, help="Maximum length of a line in bytes.")


def _rules(
    lid: Optional[Path], threshold: float, thresholds: Optional[Path], script_share: float, wrong: str, close: bool
) -> Rules:
    from langsamp_plugin.corpus.decisions import WRONG, Rules, read_thresholds

    if wrong not in WRONG:
        raise ValueError(f"--wrong must be one of {', '.join(WRONG)}, but is {wrong!r}")
    single = read_thresholds(thresholds) if thresholds else ()
    return Rules(lid, threshold, single, script_share, wrong, not close)


@app.command()
@writes_corpus
def corpus(
    source: Path = typer.Argument(
        ...,
        help="Folder with a file or folder per tag: .txt, .jsonl (also .gz, .xz, .bz2, .zst), .parquet, .arrow; or "
        '"django", a demo corpus in 89 language-scripts.',
    ),
    out: Path = typer.Option(
        ..., help="Folder to write: one file per tag; for the demo corpus train/, valid/ and aligned/."
    ),
    column: str = COLUMN,
    split: str = SPLIT,
    dedup: bool = typer.Option(False, "--dedup", help="Drop lines equal to an earlier one of their language."),
    lid: Optional[Path] = LID,
    threshold: float = THRESHOLD,
    thresholds: Optional[Path] = THRESHOLDS,
    script_share: float = SCRIPT_SHARE,
    wrong: str = WRONG,
    judge_close: bool = CLOSE,
    longest_line: int = LONGEST,
    prune: bool = typer.Option(False, "--prune", help="Remove languages in OUT that are no longer in the source."),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace files, and of django a folder, that something else wrote or added to."
    ),
    strict: bool = STRICT,
    workers: int = WORKERS,
    langs: str = LANGS,
) -> None:
    """Write one text file per language-script.

    With --lid or --script-share, lines in another language or script move to their tag: `langsamp check` with the same
    options shows this in advance. Names and lines that are not understood are left out and listed. If run again, it
    resumes where it stopped.

    Example: langsamp corpus Glot500 --out runs/corpus --lid glotlid.bin --script-share 0.5 --dedup --workers 8
    """
    if str(source) == "django":
        from langsamp_plugin.corpus import django_catalogues

        counts = django_catalogues.write_corpus(out, split_list(langs), overwrite)
        print(f"{out}: {len(counts)} language-scripts, {sum(counts.values()):,} training lines")
        return
    from langsamp_plugin.corpus.decisions import format_decisions
    from langsamp_plugin.corpus.left_out import format_left_out
    from langsamp_plugin.corpus.writer import write_corpus

    written = write_corpus(
        source,
        out,
        column=column,
        split=split,
        dedup=dedup,
        workers=workers,
        langs=split_list(langs),
        rules=_rules(lid, threshold, thresholds, script_share, wrong, judge_close),
        longest=longest_line,
        strict=strict,
        prune=prune,
        overwrite=overwrite,
    )
    lines, characters, size, duplicates = (
        sum(row[name] for row in written.rows) for name in ("lines", "characters", "bytes", "duplicates")
    )
    if written.decisions:
        print(f"{format_decisions(written.decisions)}\ncomplete table with samples: {out / 'decisions.tsv'}")
    if notes := format_left_out(written.left_out, written.merged, written.by_text):
        print(notes)
    print(
        f"{out}: {len(written.rows)} language-scripts, {lines:,} lines, {characters:,} characters, {size:,} bytes"
        + (f"; {duplicates:,} duplicates left out" if dedup else "")
    )
    if written.earlier:
        shown = " ".join(written.earlier[:10]) + (" ..." if len(written.earlier) > 10 else "")
        print(
            f"from earlier runs, no longer in the source: {len(written.earlier)} languages, {shown}: they are not "
            "counted, but binarize uses their files; --prune removes them"
        )


@app.command()
@writes_own(begin="tag\tlines\tempty\t")
def check(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt, or any other that `langsamp corpus` reads."),
    out: Optional[Path] = typer.Option(None, help="TSV to write the results to."),
    lid: Optional[Path] = LID,
    threshold: float = THRESHOLD,
    thresholds: Optional[Path] = THRESHOLDS,
    script_share: float = SCRIPT_SHARE,
    wrong: str = WRONG,
    judge_close: bool = CLOSE,
    strict: bool = typer.Option(
        False, "--strict", help="Exit with status 1 if any language has a problem or anything was left out."
    ),
    min_script: float = typer.Option(
        0.8, min=0, max=1, callback=finite, help="Minimum share of letters in the declared script."
    ),
    min_language: float = typer.Option(
        0.5, min=0, max=1, callback=finite, help="Minimum share of lines in the declared language."
    ),
    max_bad: float = typer.Option(
        0.1,
        min=0,
        max=1,
        callback=finite,
        help="Maximum share of empty, over-long, damaged or repeated lines, applied to each kind separately.",
    ),
    max_characters: int = typer.Option(10_000, min=1, help="Length beyond which a line is over-long."),
    max_lines: int = typer.Option(0, min=0, help="Maximum number of lines per language; 0 checks all."),
    longest_line: int = LONGEST,
    column: str = COLUMN,
    split: str = SPLIT,
    workers: int = WORKERS,
    langs: str = LANGS,
    overwrite: bool = OVERWRITE_FILES,
) -> None:
    """Check that each text is in its declared script and language.

    Also counts empty, over-long, damaged and repeated lines, and with --lid or --script-share shows what `langsamp
    corpus` would do with these options. Nothing is written without --out.

    Example: langsamp check runs/corpus --lid glotlid.bin --strict
    """
    from langsamp_plugin.corpus.check import Limits, check_corpus, format_table
    from langsamp_plugin.corpus.decisions import format_decisions
    from langsamp_plugin.corpus.left_out import format_left_out

    checked = check_corpus(
        corpus,
        out=out,
        rules=_rules(lid, threshold, thresholds, script_share, wrong, judge_close),
        limits=Limits(min_script, min_language, max_bad, max_characters),
        max_lines=max_lines,
        column=column,
        split=split,
        workers=workers,
        langs=split_list(langs),
        longest=longest_line,
    )
    print(format_table(checked.reports))
    if checked.decisions:
        print(f"langsamp corpus with these options: {format_decisions(checked.decisions)}")
    if notes := format_left_out(checked.left_out, checked.merged, checked.by_text):
        print(notes)
    wrong_tags = sum(bool(report.problems) for report in checked.reports)
    print(f"{out or corpus}: {len(checked.reports)} language-scripts, {wrong_tags} with problems")
    if strict and (wrong_tags or checked.left_out):
        raise typer.Exit(1)
