"""A corpus on disk: a folder with one UTF-8 text file per tag, one sentence or paragraph per line."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.corpus.left_out import LeftOut, refuse_if_strict
from langsamp_plugin.corpus.lines import LONGEST_LINE, bounded_lines, not_utf8
from langsamp_plugin.lang_script import LangScript

logger = logging.getLogger(__name__)


class Corpus(NamedTuple):
    """The text files of a corpus.

    Args:
        files: the file of each tag, in the order of the tags.
        left_out: files that were not understood.
    """

    files: dict[LangScript, Path]
    left_out: list[LeftOut]


def find_corpus(folder: PathLike, langs: Iterable[str] = (), *, strict: bool = False) -> Corpus:
    """Find the files ``<tag>.txt`` of a corpus.

    Args:
        folder: the corpus.
        langs: the tags to use; empty means all.
        strict: raise for a file that is empty or whose name is not a tag.

    Raises:
        FileNotFoundError: the folder is missing, has no text, or lacks one of ``langs``.
        ValueError: nothing is left, or ``strict`` and something was left out.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"corpus folder {folder} is missing")
    files: dict[LangScript, Path] = {}
    left_out: list[LeftOut] = []
    for path in sorted(folder.glob("*.txt")):
        try:
            LangScript.parse(path.stem)  # other spellings are not accepted here
            tag = LangScript.from_spelling(path.stem)
        except ValueError as error:
            left_out.append(LeftOut(str(path), str(error), "rename the file"))
            continue
        if tag in files:
            reason = f"it means {tag}, as {files[tag].name} does"
            left_out.append(LeftOut(str(path), reason, "`langsamp corpus` merges them"))
        elif path.stat().st_size == 0:
            left_out.append(LeftOut(str(path), "it is empty", "add text or remove the file"))
        else:
            files[tag] = path
    if not files and not left_out:
        raise FileNotFoundError(
            f"{folder} has no <tag>.txt in it, such as eng_Latn.txt; `langsamp corpus {folder} --out DIR` makes them "
            "from compressed text, JSON lines, Parquet and Arrow"
        )
    wanted = [LangScript.from_spelling(lang) for lang in langs]
    refuse_if_strict(left_out, strict and not wanted)
    missing = [str(tag) for tag in wanted if tag not in files]
    if missing:
        hints = [str(entry) for entry in left_out if Path(entry.path).stem == missing[0]]
        there = f"it has {' '.join(map(str, sorted(files)))}"
        raise FileNotFoundError(f"{folder} has no {missing[0]}.txt; {hints[0] if hints else there}")
    if not files:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise ValueError(f"nothing is left of {folder}: {left_out[0]}{more}")
    chosen = sorted(set(wanted) if wanted else files)
    return Corpus({tag: files[tag] for tag in chosen}, [] if wanted else left_out)


def corpus_files(folder: PathLike, langs: Iterable[str] = (), *, strict: bool = False) -> dict[LangScript, Path]:
    """Return the files of :func:`find_corpus`, and log what was left out."""
    corpus = find_corpus(folder, langs, strict=strict)
    for entry in corpus.left_out:
        logger.warning("left out %s", entry)
    return corpus.files


def read_lines(
    path: PathLike, start: int = 0, end: Optional[int] = None, longest: int = 16 * LONGEST_LINE
) -> Iterator[str]:
    """Yield the stripped lines of a file, without empty ones.

    Args:
        path: the file.
        start, end: only lines whose first byte is in this range. Adjacent ranges share no line.

        longest: maximum length of a line in bytes; longer lines are skipped, and the log names file and line.

    Raises:
        ValueError: a line is not UTF-8; the message names file and line.
    """
    with open(path, "rb") as stream:
        if start:
            stream.seek(start - 1)
            stream.readline()  # the rest of a line that begins earlier, or the preceding line end
        place = stream.tell()
        for raw, size in bounded_lines(stream, longest):
            if end is not None and place >= end:
                return
            if raw is None:
                where = f"{path}, line {_line_number(path, place)}"
                logger.warning("left out %s: is longer than %s bytes", where, f"{longest:,}")
                place = stream.tell()
                continue
            try:
                line = clean(raw.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise ValueError(not_utf8(path, _line_number(path, place), raw[error.start])) from error
            place += size
            if line:
                yield line


def clean(line: str) -> str:
    """Normalise a line for training: strip white space, byte order marks and NUL; empty if no text remains."""
    return line.strip().strip("\ufeff").strip().replace("\x00", "")


def _line_number(path: PathLike, place: int) -> int:
    """Return the number of the line that begins at a byte."""
    number = 1
    with open(path, "rb") as stream:
        while place > 0 and (block := stream.read(min(place, 1 << 20))):
            number += block.count(b"\n")
            place -= len(block)
    return number
