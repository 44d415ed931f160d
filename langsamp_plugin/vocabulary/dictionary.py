"""fairseq's ``dict.txt``: one ``piece count`` per line, in the order of ids from 4."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from langsamp_plugin.atomic import PathLike

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
OVERWRITE = " #fairseq:overwrite"


def read_dictionary(path: PathLike) -> list[str]:
    """Return the pieces of a dictionary as fairseq would read them.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not UTF-8, empty, or has a line that is malformed or a piece that occurs twice; the
            message names file and line.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            lines = stream.readlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8, so it cannot be a fairseq dictionary: {error}") from error
    if not lines:
        raise ValueError(f"{path} is empty: put the right dictionary back, or binarize again")
    pieces: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        text = line.rstrip()
        again = text.endswith(OVERWRITE)
        piece, space, count = text.removesuffix(OVERWRITE).rpartition(" ")
        if not space or not count.isdecimal():
            raise ValueError(f"{path}, line {number}: must be a piece and its count, but is {text[:60]!r}")
        if (piece in pieces or piece in SPECIAL) and not again:
            raise ValueError(
                f"{path}, line {number}: {piece!r} occurs twice: the file is damaged or was not written by fairseq"
            )
        pieces[piece] = None
    return list(pieces)


def dictionary_digest(pieces: Iterable[str]) -> str:
    """Return a hash of the pieces in order; a checkpoint stores it to identify its rows."""
    return blake2b("\n".join(pieces).encode(), digest_size=8).hexdigest()
