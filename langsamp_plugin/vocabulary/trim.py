"""Trims a SentencePiece model to the pieces that a corpus needs, because a few languages do not need XLM-R's 250,000.

Text is split as before: a unigram model takes the best split, so removing pieces that occur in no best split changes
nothing. The trimmed model keeps the pieces of the corpus, all single characters of its scripts, and the special pieces.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Union

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.corpus.scripts import unicode_scripts
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.extend import read_model_proto
from langsamp_plugin.vocabulary.tokenizer import UNK, Tokenizer

BATCH = 10_000
SPECIAL = 3  # <unk>, <s>, </s> come first


class Trimmed(NamedTuple):
    """Result of :func:`trim_tokenizer`.

    Args:
        tokenizer: the trimmed tokenizer.
        before: number of pieces of the original model.
        tokens: tokens of the corpus under the original model.
        changed: how many of them have a removed piece, so that their text is split differently.
        unknown: unknown tokens of the corpus under the trimmed model, by tag; tags without any are omitted.
    """

    tokenizer: Tokenizer
    before: int
    tokens: int
    changed: int
    unknown: dict[str, int]


def trim_tokenizer(
    base: PathLike, corpus: PathLike, out: PathLike, *, min_count: int = 1, langs: Iterable[str] = ()
) -> Trimmed:
    """Write a model with the pieces that occur at least ``min_count`` times in a corpus, in the original order.

    Args:
        base: the model to trim, such as XLM-R's.
        corpus: folder of ``<tag>.txt``.
        out: the ``.model`` file to write.
        min_count: with 1 the corpus is split exactly as before.
        langs: the tags to use; empty means all.

    Raises:
        FileNotFoundError: the model or the corpus is missing.
        ValueError: models of this kind are not supported, or ``out`` is the model itself.
    """
    old = Tokenizer(base)
    if Path(out).exists() and Path(out).samefile(base):
        raise ValueError(f"--out must differ from the model to trim, but is {out}: choose another name")
    files = corpus_files(corpus, langs)
    counts = np.zeros(old.vocab_size, dtype=np.int64)
    unknown_before = {}
    for tag, path in progress(files.items(), desc="counting", unit="language"):
        found = count_tokens(old, path)
        unknown_before[tag] = int(found[UNK])
        counts += found
    scripts = {script_of(tag) for tag in files}
    kept = [
        number
        for number, piece in enumerate(old.pieces, 4)
        if counts[number] >= min_count or (len(piece) == 1 and (not piece.isalpha() or _in_scripts(piece, scripts)))
    ]
    write_pieces(old, [old.pieces[number - 4] for number in kept], out)
    new = Tokenizer(out)
    pieces = counts[4:-1]
    unknown: dict[str, int] = {}
    if min_count > 1:
        for tag, path in progress(files.items(), desc="comparing", unit="language"):
            more = int(count_tokens(new, path)[UNK])
            if more:
                unknown[tag] = more
    else:
        unknown = {tag: count for tag, count in unknown_before.items() if count}
    changed = int(pieces.sum() - counts[kept].sum())
    return Trimmed(new, len(old.pieces), int(pieces.sum() + counts[UNK]), changed, unknown)


def count_tokens(tokenizer: Tokenizer, path: Union[str, Path]) -> np.ndarray:
    """Return the number of occurrences of each token id in a file, int64 ``(vocab_size,)``."""
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    batch: list[str] = []
    for line in read_lines(Path(path)):
        batch.append(line)
        if len(batch) == BATCH:
            counts += np.bincount(tokenizer.encode(batch)[0], minlength=len(counts))
            batch = []
    if batch:
        counts += np.bincount(tokenizer.encode(batch)[0], minlength=len(counts))
    return counts


def script_of(tag: Any) -> str:
    """Return the script of a tag."""
    return LangScript.parse(str(tag)).script


def _in_scripts(character: str, scripts: set[str]) -> bool:
    """Return whether a letter belongs to one of these scripts, or to all."""
    from fontTools import unicodedata

    own = set(unicodedata.script_extension(character))
    parts = {part for script in scripts for part in unicode_scripts(script)}
    return bool(own & (parts | {"Zyyy", "Zinh"}))


def write_pieces(old: Tokenizer, pieces: Iterable[str], out: PathLike) -> None:
    """Write a model with a subset of another model's pieces and all of its settings."""
    model = read_model_proto(old)
    wanted = set(pieces)
    kept = [piece for number, piece in enumerate(model.pieces) if number < SPECIAL or piece.piece in wanted]
    del model.pieces[:]
    model.pieces.extend(kept)
    model.trainer_spec.vocab_size = len(kept)
    for field, _ in model.ListFields():
        if field.name == "self_test_data":  # examples of splits, which SentencePiece tries when it loads a model
            model.ClearField(field.name)
    with atomic_write(out, "wb") as stream:
        stream.write(model.SerializeToString())
