"""The command that turns text into a data folder for training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import typer

from langsamp_plugin.commands.app import LANGS, STRICT, TABLES, WORKERS, app, split_list, writes_share


@app.command()
@writes_share
def binarize(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    out: Path = typer.Option(..., help="Data folder to write."),
    spm: Optional[Path] = typer.Option(None, help="SentencePiece model."),
    tokenizer: Optional[Path] = typer.Option(
        None,
        help="Alternative to --spm: folder of a transformers model, for its tokenizer; such data is for the Trainer.",
    ),
    valid: Optional[Path] = typer.Option(
        None, help="Folder of <tag>.txt with held-out text; by default, lines of the corpus are held out."
    ),
    pairs: Optional[Path] = typer.Option(
        None, help="Folder written by `langsamp pairs`: parallel text to align layers across languages."
    ),
    valid_lines: int = typer.Option(100, min=0, help="Lines to hold out per language, at most a tenth."),
    workers: int = WORKERS,
    tables: str = TABLES,
    shard: str = typer.Option(
        "1/1",
        help="Process the I-th of N shares (I/N), for job arrays; the last job to end finishes the folder.",
    ),
    prune: bool = typer.Option(False, "--prune", help="Remove languages in OUT that are no longer in the corpus."),
    langs: str = LANGS,
    strict: bool = STRICT,
) -> None:
    """Turn text into the data folder that fairseq-train reads.

    If run again, it resumes where it stopped.

    Example: langsamp binarize runs/corpus/train --valid runs/corpus/valid --spm runs/spm.model --out runs/data-bin
    """
    from langsamp_plugin.data.binarizer import binarize as run

    model, share, tags = _one_of(spm, tokenizer, pairs), _shard(shard), split_list(langs)
    if share == (1, 1):  # of several jobs, only the last one compares, so that they need not all read all text
        _check_held_out(pairs, out, corpus, tags)
    rows = run(
        corpus,
        model,
        out,
        valid=valid,
        valid_lines=valid_lines,
        workers=workers,
        tables=tables,
        langs=tags,
        shard=share,
        strict=strict,
        prune=prune,
    )
    if not rows:
        print(f"{out}: share {shard} is done; the last job to end finishes the folder")
    for split in ("train", "valid") if rows else ():
        part = [row for row in rows if row["split"] == split]
        tokens, unknown = sum(row["tokens"] for row in part), sum(row["unknown"] for row in part)
        print(
            f"{split}: {len(part)} languages, {sum(row['lines'] for row in part):,} lines, {tokens:,} tokens, "
            f"{unknown:,} of them unknown"
        )
    if rows:
        if share != (1, 1):
            _check_held_out(pairs, out, corpus, tags)
        if pairs is not None:
            _binarize_pairs(pairs, model, out)
    _print_notes(out, rows)


def _check_held_out(pairs: Optional[Path], out: Path, corpus: Path, tags: list[str]) -> None:
    """Raise ``ValueError`` if the text has held-out sentences of the pairs that are given, or else of those in OUT."""
    from langsamp_plugin.data.pair_leaks import TRAIN, VALID, check_leaks, check_text, pair_files

    if pairs is None:
        check_text(out, corpus, tags)
    else:
        files = pair_files(pairs)
        check_leaks(files[TRAIN], files[VALID], corpus, tags)


def _binarize_pairs(pairs: Path, model: Path, out: Path) -> None:
    from langsamp_plugin.data.pair_binarizer import binarize_pairs

    for split, found in binarize_pairs(pairs, model, out)["splits"].items():
        print(
            f"pairs, {split}: {len(found['languages'])} languages, {found['sentences']:,} sentences of "
            f"{found['messages']:,} messages"
        )


def _one_of(spm: Optional[Path], tokenizer: Optional[Path], pairs: Optional[Path]) -> Path:
    """Return the file or folder of the tokenizer."""
    if spm is not None and tokenizer is None:
        if spm.is_dir():
            from langsamp_plugin.vocabulary.tokenizer import Tokenizer

            Tokenizer(spm)  # the error says which file to name
        return spm
    if tokenizer is None or spm is not None:
        raise ValueError("either --spm MODEL or --tokenizer FOLDER must be given, but not both")
    if pairs is not None:
        raise ValueError("--pairs needs --spm, because only training in fairseq reads pairs")
    if not tokenizer.is_dir():
        raise FileNotFoundError(
            f"{tokenizer} must be a folder with tokenizer.json: for a SentencePiece model use --spm"
        )
    return tokenizer


def _print_notes(out: Path, rows: list[dict[str, Any]]) -> None:
    """Print warnings that would otherwise only appear in training."""
    from langsamp_plugin.data.earlier_languages import earlier_languages, some, without_held_out
    from langsamp_plugin.data.pair_leaks import leaked_sentences
    from langsamp_plugin.lang_script import LangScript

    if not rows:
        return
    bare = without_held_out(rows)
    if bare:
        print(
            f"no held-out text: {len(bare)} of {len({row['tag'] for row in rows})} languages, {some(bare)}: add text "
            "or name held-out text with --valid; if no language has any, train with --disable-validation"
        )
    earlier = earlier_languages(out, {LangScript.parse(row["tag"]) for row in rows})
    if earlier:
        print(
            f"from earlier runs, not in this corpus: {len(earlier)} languages, {some(earlier)}: training uses them, "
            "--prune removes them"
        )
    leaked = leaked_sentences(out)
    if leaked:
        print(
            f"held-out pairs: {sum(leaked.values()):,} training sentences of {len(leaked)} languages, "
            f"{some(sorted(leaked))}, have the same tokens as a held-out sentence: the scores of held-out pairs are "
            "too high by what these are worth"
        )


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"--shard must be I/N with I from 1 to N, such as 1/4, but is {text!r}")
    return int(number), int(count)
