"""A corpus on disk: a folder with one UTF-8 text file per tag, a sentence or paragraph a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.lang_script import LangScript


def corpus_files(folder: PathLike, langs: Iterable[str] = ()) -> dict[LangScript, Path]:
    """Find the files ``<tag>.txt`` of a corpus.

    Args:
        folder: the corpus.
        langs: the tags to take; empty takes all.

    Returns:
        The file of each tag, in the order of the tags.

    Raises:
        FileNotFoundError: the folder is missing, has no text, or lacks one of ``langs``.
        ValueError: a file is empty, or its name is no tag.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"corpus folder {folder} is missing")
    files: dict[LangScript, Path] = {}
    for path in sorted(folder.glob("*.txt")):
        try:
            tag = LangScript.parse(path.stem)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; rename the file") from error
        files[tag] = path
    if not files:
        raise FileNotFoundError(
            f"{folder} has no <tag>.txt in it, such as eng_Latn.txt; `langsamp corpus {folder} --out DIR` makes them "
            "of compressed text, JSON lines, Parquet and Arrow"
        )
    wanted = [LangScript.from_spelling(lang) for lang in langs]
    missing = [str(tag) for tag in wanted if tag not in files]
    if missing:
        raise FileNotFoundError(f"{folder} has no {missing[0]}.txt; it has {' '.join(map(str, sorted(files)))}")
    if wanted:
        files = {tag: files[tag] for tag in sorted(set(wanted))}
    for path in files.values():
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty: add text or remove the file")
    return files


def read_lines(path: PathLike, start: int = 0, end: Optional[int] = None) -> Iterator[str]:
    """Yield the lines of a file that have any text, without white space at either end.

    Args:
        path: the file.
        start, end: only the lines whose first byte lies in this range. Ranges that cover the file share no line.

    Raises:
        ValueError: a line is not UTF-8; the message names file and line.
    """
    with open(path, "rb") as stream:
        if start:
            stream.seek(start - 1)
            stream.readline()  # the rest of a line that begins before, or the line end right before
        place = stream.tell()
        for raw in stream:
            if end is not None and place >= end:
                return
            try:
                line = clean(raw.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise ValueError(not_utf8(path, _line_number(path, place), raw[error.start])) from error
            place += len(raw)
            if line:
                yield line


def clean(line: str) -> str:
    """Return what is trained on: no white space or byte order mark at either end, no NUL; empty without text."""
    return line.strip().strip("\ufeff").strip().replace("\x00", "")


def not_utf8(path: PathLike, line: int, byte: int) -> str:
    """Return the message for a line that is not UTF-8."""
    return f"{path}, line {line}: not UTF-8 (byte {byte:#04x}); convert the file, e.g. with iconv"


def _line_number(path: PathLike, place: int) -> int:
    """Return the number of the line that begins at a byte."""
    number = 1
    with open(path, "rb") as stream:
        while place > 0 and (block := stream.read(min(place, 1 << 20))):
            number += block.count(b"\n")
            place -= len(block)
    return number
