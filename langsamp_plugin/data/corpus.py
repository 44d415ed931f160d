"""A corpus on disk: a folder with one UTF-8 text file per tag, a sentence or paragraph a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

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
        raise FileNotFoundError(f"{folder} has no <tag>.txt in it, such as eng_Latn.txt")
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


def read_lines(path: PathLike) -> Iterator[str]:
    """Yield the lines of a file that have any text, without white space at either end.

    Raises:
        ValueError: a line is not UTF-8; the message names file and line.
    """
    with open(path, "rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                line = raw.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: not UTF-8 (byte {raw[error.start]:#04x}); convert the file, e.g. with iconv"
                ) from error
            if line:
                yield line.replace("\x00", "")
