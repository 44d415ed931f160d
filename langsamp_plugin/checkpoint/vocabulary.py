"""Maps the rows of a checkpoint to pieces, by its dictionary and never by the order of a SentencePiece model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.options import model_beside_data, training_data_folder, training_data_folders
from langsamp_plugin.checkpoint.weight_names import EMBEDDING
from langsamp_plugin.vocabulary.dictionary import dictionary_digest, read_dictionary
from langsamp_plugin.vocabulary.ordered_tokenizer import OrderedTokenizer
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

DIGEST = "dictionary"
"""Key in a checkpoint's ``task_state``: the hash of its dictionary."""
PADDING = "madeupword"
"""Prefix of fairseq's padding entries of a dictionary; such rows belong to no piece."""


def checkpoint_tokenizer(
    state: dict[str, Any],
    checkpoint: PathLike,
    *,
    spm: Optional[PathLike] = None,
    dictionary: Optional[PathLike] = None,
    flag: str = "--spm",
) -> Tokenizer:
    """Return the tokenizer that maps text to the rows of a checkpoint.

    Args:
        state: the checkpoint.
        checkpoint: its path.
        spm: its SentencePiece model; by default the one in the data folder that it was trained on.
        dictionary: its ``dict.txt``; by default the one in that folder, or next to the checkpoint.
        flag: the command line flag for the SentencePiece model.

    Raises:
        FileNotFoundError: a file is missing, or the order of the rows is unknown.
        ValueError: model, dictionary and checkpoint do not match.
    """
    tokenizer = Tokenizer(spm if spm is not None else model_beside_data(state, checkpoint, flag))
    digest = (state.get("task_state") or {}).get(DIGEST)
    rows = len(state["model"][EMBEDDING])
    path = _dictionary(state, checkpoint, dictionary, digest)
    if path is not None:
        pieces = read_dictionary(path)
        pieces = pieces[:-1] if pieces[-1:] == ["<mask>"] else pieces
        if pieces != tokenizer.pieces:
            tokenizer = _ordered(tokenizer, pieces, path, rows, flag)
    elif digest is None:
        raise FileNotFoundError(
            f"{checkpoint} does not say in which order its {rows:,} rows are, and neither its data folder "
            f"({training_data_folder(state)}) nor its own has a dict.txt: name the one that it was trained with, "
            "--dict FILE"
        )
    elif digest != dictionary_digest(tokenizer.pieces):
        raise ValueError(
            f"{checkpoint} was trained with another dictionary (hash {digest}) than {tokenizer.path} makes (hash "
            f"{dictionary_digest(tokenizer.pieces)}): name its dict.txt with --dict FILE, or its model with {flag}"
        )
    if rows != tokenizer.vocab_size:
        raise ValueError(
            f"{checkpoint} has {rows:,} word embeddings, but {path or tokenizer.path} makes {tokenizer.vocab_size:,} "
            f"tokens: name the SentencePiece model that the training data was made with, {flag} MODEL"
        )
    return tokenizer


def _dictionary(
    state: dict[str, Any], checkpoint: PathLike, named: Optional[PathLike], digest: Optional[str]
) -> Optional[Path]:
    """Return the ``dict.txt`` of a checkpoint, ``None`` if it cannot be found."""
    folders = [*training_data_folders(state), Path(checkpoint).parent]
    if named is not None and not Path(named).is_file():
        what = f"is a folder: name {Path(named) / 'dict.txt'}" if Path(named).is_dir() else "is missing"
        raise FileNotFoundError(f"--dict must be the dict.txt of {checkpoint}, but {named} {what}")
    candidates = [Path(named)] if named is not None else [folder / "dict.txt" for folder in folders]
    found = [path for path in candidates if path.is_file()]
    if digest is None:
        return found[0] if found else None
    for path in found:
        pieces = read_dictionary(path)
        if dictionary_digest(pieces) == digest:
            return path
        if named is not None:
            raise ValueError(
                f"{path} is not the dictionary that {checkpoint} was trained with: its hash is "
                f"{dictionary_digest(pieces)}, but the checkpoint has {digest}"
            )
    return None


def _ordered(tokenizer: Tokenizer, pieces: Sequence[str], path: Path, rows: int, flag: str) -> Tokenizer:
    known = set(tokenizer.pieces)
    foreign = [piece for piece in pieces if piece not in known and not piece.startswith(PADDING)]
    if foreign:
        raise ValueError(
            f"{path} has {len(foreign):,} pieces that {tokenizer.path} lacks, first {foreign[0]!r} (the checkpoint has "
            f"{rows:,} word embeddings, the model makes {tokenizer.vocab_size:,} tokens): name the SentencePiece model "
            f"that the training data was made with, {flag} MODEL"
        )
    return OrderedTokenizer(tokenizer.path, pieces)
