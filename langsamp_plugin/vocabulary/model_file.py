"""Reads the settings of a SentencePiece model file and refuses models that Hugging Face cannot reproduce.

The file is a protobuf message. A few lines parse it here, so that every command can check a model without the protobuf
package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Optional, Union

from langsamp_plugin.atomic import PathLike

PIECES, TRAINER, NORMALIZER = 1, 2, 3  # fields of ModelProto
MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
NORMAL, CONTROL, UNKNOWN = 1, 3, 2  # types of pieces
PIECE_TYPES = {4: "user-defined symbols", 5: "unused pieces", 6: "bytes"}
WORD_START = "\u2581"
NORMALIZER_NAME = "nmt_nfkc"
RETRAIN = "train one with `langsamp tokenizer train`, which makes the kind that XLM-R has"


class ModelFile(NamedTuple):
    """A SentencePiece model file.

    Args:
        pieces: the text and the type of each piece.
        model_type: ``unigram``, ``bpe``, ``word`` or ``char``.
        byte_fallback: unknown characters become bytes.
        suffix: a space belongs to the word before it.
        dummy_prefix: a space is put before each line.
        collapse_spaces: spaces at both ends, and further ones between words, are removed.
        escape_spaces: a space becomes U+2581.
        complete: the file has a normaliser, which follows all pieces.
        normalizer: its name, empty if the model has none.
        charsmap: its rules, see :mod:`~langsamp_plugin.vocabulary.normalization_rules`.
    """

    pieces: list[tuple[str, int]]
    model_type: str
    byte_fallback: bool
    suffix: bool
    dummy_prefix: bool
    collapse_spaces: bool
    escape_spaces: bool
    complete: bool
    normalizer: str
    charsmap: bytes


def read_model_file(content: bytes) -> ModelFile:
    """Parse a model.

    Raises:
        ValueError: the content is not a SentencePiece model.
    """
    pieces: list[tuple[str, int]] = []
    parts: dict[int, dict[int, Union[int, bytes]]] = {}
    try:
        for number, value in _fields(content):
            if isinstance(value, bytes) and number == PIECES:
                piece = dict(_fields(value))
                text, kind = piece.get(1, b""), piece.get(3, NORMAL)
                assert isinstance(text, bytes) and isinstance(kind, int)
                pieces.append((text.decode("utf-8"), kind))
            elif isinstance(value, bytes) and number in (TRAINER, NORMALIZER):
                parts[number] = dict(_fields(value))
    except (IndexError, AssertionError, UnicodeDecodeError) as error:
        raise ValueError(f"not a SentencePiece model: {error}") from error
    trainer, normalizer = parts.get(TRAINER, {}), parts.get(NORMALIZER, {})
    return ModelFile(
        pieces=pieces,
        model_type=MODEL_TYPES.get(int(trainer.get(3, 1)), "unknown"),
        byte_fallback=bool(trainer.get(35, 0)),
        suffix=bool(trainer.get(24, 0)),
        dummy_prefix=bool(normalizer.get(3, 1)),
        collapse_spaces=bool(normalizer.get(4, 1)),
        escape_spaces=bool(normalizer.get(5, 1)),
        complete=NORMALIZER in parts,
        normalizer=_bytes(normalizer.get(1)).decode("utf-8", "replace"),
        charsmap=_bytes(normalizer.get(2)),
    )


def _bytes(value: Union[int, bytes, None]) -> bytes:
    return value if isinstance(value, bytes) else b""


def _fields(content: bytes) -> Iterator[tuple[int, Union[int, bytes]]]:
    """Yield number and value of each field of a protobuf message.

    Raises:
        ValueError: the message is damaged.
    """
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(content, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(content, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of type {wire}")
        if place + size > len(content):
            raise ValueError("cut off")
        yield number, content[place : place + size]
        place += size


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return a varint (seven bits per byte, lowest first) and the position after it."""
    number = shift = 0
    while True:
        byte = content[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place


def unsupported(model: ModelFile) -> Optional[str]:
    """Return why Hugging Face's XLM-R tokenizer would produce different ids than this model; ``None`` if it would not.

    That tokenizer splits at white space, puts U+2581 before each word, and takes the best pieces of a unigram model.
    """
    if model.model_type not in ("unigram", "char"):
        return f"its model_type must be unigram, but is {model.model_type}"
    if model.byte_fallback:
        return "it has byte_fallback"
    if model.suffix:
        return "it has treat_whitespace_as_suffix"
    if not model.dummy_prefix:
        return "it has add_dummy_prefix=false"
    if not model.collapse_spaces:
        return "it has remove_extra_whitespaces=false"
    if not model.escape_spaces:
        return "it has escape_whitespaces=false"
    if model.normalizer not in ("", NORMALIZER_NAME):
        return f"its normalizer must be {NORMALIZER_NAME}, but is {model.normalizer}"
    for text, kind in model.pieces[3:]:
        if kind != NORMAL:
            what = PIECE_TYPES.get(kind, "control symbols or a second <unk>")
            return f"it has {what}, first {text!r}"
        if WORD_START in text[1:].lstrip(WORD_START):
            return f"it has pieces across words (split_by_whitespace=false), first {text!r}"
    return None


def check_kind(model: ModelFile, path: PathLike) -> None:
    """Raise ``ValueError`` for a model that an exported folder could not reproduce."""
    reason = unsupported(model)
    if reason is not None:
        raise ValueError(
            f"{path} cannot be used: {reason}, and Hugging Face's XLM-R tokenizer would split text differently; "
            f"{RETRAIN}"
        )
