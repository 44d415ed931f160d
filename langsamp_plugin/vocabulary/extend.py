"""Appends pieces to a SentencePiece model and keeps the existing ids, as Glot500 did with XLM-R."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.vocabulary.tokenizer import Tokenizer, train_tokenizer

NORMAL = 1  #  of SentencePiece's piece types: a piece of text, neither control nor byte nor unknown


def extend_tokenizer(
    base: PathLike,
    corpus: PathLike,
    out: PathLike,
    vocab_size: int = 250_000,
    *,
    alpha: float = 0.3,
    coverage: float = 0.9995,
    max_lines: int = 5_000_000,
    langs: Iterable[str] = (),
    strict: bool = False,
) -> tuple[Tokenizer, int]:
    """Train a model on a corpus and append the pieces that the old one lacks, with their log probabilities.

    Normalisation and all other settings come from the old model. Text is split with old and new pieces alike.

    Args:
        base: the model to extend, such as XLM-R's.
        corpus: folder of ``<tag>.txt``.
        out: the ``.model`` file to write.
        vocab_size: pieces to train on the corpus; pieces that the old model already has do not count as new.
        alpha, coverage, max_lines, langs, strict: see :func:`~langsamp_plugin.vocabulary.tokenizer.train_tokenizer`.

    Returns:
        The extended tokenizer, and how many pieces are new.

    Raises:
        ValueError: the old model is not a unigram model, or there is too little text.
    """
    old = Tokenizer(base)
    options: dict[str, Any] = {"alpha": alpha, "coverage": coverage, "max_lines": max_lines}
    options.update(langs=langs, strict=strict)
    with tempfile.TemporaryDirectory() as folder:
        trained = train_tokenizer(corpus, Path(folder, "new.model"), vocab_size, **options)
        merged, source = read_model_proto(old), read_model_proto(trained)
        if merged.trainer_spec.model_type != source.trainer_spec.model_type:
            raise ValueError(f"{base} must be a unigram model: only unigram scores can be merged")
        known = {piece.piece for piece in merged.pieces}
        new = [piece for piece in source.pieces if piece.type == NORMAL and piece.piece not in known]
        merged.pieces.extend(new)
        merged.trainer_spec.vocab_size = len(merged.pieces)
        with atomic_write(out, "wb") as stream:
            stream.write(merged.SerializeToString())
    return Tokenizer(out), len(new)


def read_model_proto(tokenizer: Tokenizer) -> Any:
    """Return the protobuf message of a model, to derive a changed model from.

    Raises:
        ModuleNotFoundError: protobuf is missing or too old.
    """
    try:
        from sentencepiece import sentencepiece_model_pb2
    except (ModuleNotFoundError, TypeError) as error:  # TypeError: protobuf too old for the generated code
        raise ModuleNotFoundError(
            f"changing or exporting a tokenizer needs protobuf >= 3.20: pip install 'langsamp-plugin[hf]' ({error})"
        ) from error
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined] # made when it is imported
    model.ParseFromString(tokenizer.path.read_bytes())
    return model
