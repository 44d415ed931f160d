"""The units of binarizing: languages and the pieces of their text."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Optional

from langsamp_plugin.atomic import read_record
from langsamp_plugin.data.data_folder import LANGUAGE_STATS
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.source_files import are_unedited, change_times
from langsamp_plugin.vocabulary.folder_tokenizer import AnyTokenizer

PIECE = 64 << 20  # bytes of text: about ten seconds of work
HELD_OUT_RULE = 2  # version of the rule in held_out.py: pieces made under another one are not reused
STATS_FIELDS = ("fingerprint", "types", "rows")


class Piece(NamedTuple):
    """The lines of a file that begin in a range of bytes.

    Args:
        number: its index in the language, from 0.
        path: the text.
        start, end: the range.
        held_out: whether all of it is validation text.
    """

    number: int
    path: Path
    start: int
    end: int
    held_out: bool


class Language(NamedTuple):
    """One language to binarize.

    Args:
        tag: its tag.
        train: its text.
        valid: its separate held-out text, or ``None`` to hold out lines of ``train``.
        valid_lines: number of lines to hold out in that case.
        model: the SentencePiece model.
        folder: folder for its data.
        fingerprint: a hash of everything that the result depends on.
        touched: a hash of the change times of its files, which identifies the source of unfinished pieces.
    """

    tag: LangScript
    train: Path
    valid: Optional[Path]
    valid_lines: int
    model: Path
    folder: Path
    fingerprint: str
    touched: str

    @classmethod
    def of(
        cls, tag: LangScript, train: Path, valid: Optional[Path], valid_lines: int, out: Path, tokenizer: AnyTokenizer
    ) -> Language:
        """Create a language with the fingerprint of its files and of the model."""
        parts: list[Any] = [valid_lines, HELD_OUT_RULE if valid_lines else 0, tokenizer.digest, PIECE]
        for path in (train, valid):
            parts.append(None if path is None else [path.name, path.stat().st_size, path.stat().st_mtime_ns])
        fingerprint = blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
        times = change_times([path for path in (train, valid) if path is not None])
        touched = blake2b(repr(times).encode(), digest_size=4).hexdigest()
        return cls(tag, train, valid, valid_lines, tokenizer.path, out / str(tag), fingerprint, touched)

    @property
    def work(self) -> Path:
        """The folder with its finished pieces."""
        return self.folder / f".pieces-{self.fingerprint}{self.touched}"

    def pieces(self) -> list[Piece]:
        """Return its pieces: those of the training text, then those of its separate held-out text."""
        found: list[Piece] = []
        for path in filter(None, (self.train, self.valid)):
            size = path.stat().st_size
            for start in range(0, size, PIECE):
                found.append(Piece(len(found), path, start, min(start + PIECE, size), path == self.valid))
        return found

    def rows(self) -> Optional[list[dict[str, Any]]]:
        """Return its statistics if it is finished, else ``None``."""
        record = read_record(self.folder / LANGUAGE_STATS, STATS_FIELDS)
        if record is None or record["fingerprint"] != self.fingerprint or not are_unedited(record, self.sources):
            return None
        return list(record["rows"])

    @property
    def sources(self) -> list[Path]:
        """Its text files."""
        return [path for path in (self.train, self.valid) if path is not None]


def piece_prefix(language: Language, piece: Piece, split: str) -> Path:
    """Return the path of a piece's tokens of a split, without ``.bin`` and ``.sizes``."""
    return language.work / f"{piece.number:05}.{split}"


def is_finished(language: Language, piece: Piece) -> bool:
    """Return whether a piece was completely written, even if the machine crashed since."""
    record = read_record(language.work / f"{piece.number:05}.json", ("rows",))
    return record is not None and all(
        _size(Path(f"{piece_prefix(language, piece, row['split'])}.{kind}")) == row[kind]
        for row in record["rows"]
        for kind in ("bin", "sizes")
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
