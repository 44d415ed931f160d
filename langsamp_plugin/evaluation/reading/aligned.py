"""Reads parallel sentences: verses joined by id, and pairs of files aligned by line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.corpus.text import clean
from langsamp_plugin.errors import error_context
from langsamp_plugin.evaluation.reading.lines import all_lines, read_columns, unquoted
from langsamp_plugin.evaluation.reading.names import ENGLISH, keep_one, tag_of, tagged_files, task_tag
from langsamp_plugin.lang_script import LangScript


class Pairs(NamedTuple):
    """Parallel sentences: row i of one is the translation of row i of the other."""

    english: list[str]
    other: list[str]

    def evenly(self, most: int) -> Pairs:
        """Return at most ``most`` pairs, evenly spaced; 0 returns all."""
        rows = evenly_spaced(len(self.other), most)
        return self if rows is None else Pairs([self.english[row] for row in rows], [self.other[row] for row in rows])


class PairData(NamedTuple):
    """Result of a reader.

    Args:
        pairs: the pairs of each language.
        left_out: languages or files that cannot be used, and why.
        notes: notes for readers of the scores.
    """

    pairs: dict[LangScript, Pairs]
    left_out: dict[str, str]
    notes: list[str]


def evenly_spaced(count: int, most: int) -> Optional[list[int]]:
    """Return ``most`` row numbers evenly spaced over ``count``, or ``None`` if all rows are kept."""
    if not most or most >= count:
        return None
    return [number * count // most for number in range(most)]


def read_aligned(path: PathLike) -> tuple[dict[str, str], int]:
    """Read lines ``id<tab>text``; comments (``# language_name:<tab>German``) and verses without text are skipped.

    Returns:
        The text of each id, and how many lines without text were skipped.

    Raises:
        ValueError: a line has no tab or an id occurs twice; the message names file and line.
    """
    sentences: dict[str, str] = {}
    empty = 0
    for number, line in enumerate(all_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, text = line.partition("\t")
        name, text = clean(name), clean(text)
        if not tab or name in sentences:
            raise ValueError(f"{path}, line {number}: must be id<tab>text with a unique id, but is {line[:60]!r}")
        if text:
            sentences[name] = text
        else:
            empty += 1
    return sentences, empty


def read_verses(folder: Path) -> PairData:
    """Read SR-B's layouts: ``<tag>.txt`` joined with English by id, or ``bible.<tag>-eng_Latn.{<tag>,eng_Latn}``.

    Raises:
        FileNotFoundError: the English file is missing.
        ValueError: the English file is malformed.
    """
    prefix = "bible."
    if any(folder.glob(f"{prefix}*-eng*")):
        return read_parallel_files(folder, prefix)
    files, left_out = tagged_files(folder, "*.txt")
    if ENGLISH not in files:
        raise FileNotFoundError(f"{folder} has no eng_Latn.txt, whose sentences are the queries")
    english, _ = read_aligned(files.pop(ENGLISH))
    pairs: dict[LangScript, Pairs] = {}
    notes = []
    for tag, path in files.items():
        try:
            sentences, empty = read_aligned(path)
        except ValueError as error:
            left_out[str(tag)] = str(error)
            continue
        if empty:
            notes.append(f"{empty} verses of {tag} have no text and were skipped")
        shared = [name for name in sorted(sentences) if name in english]
        if shared:
            pairs[tag] = Pairs([english[name] for name in shared], [sentences[name] for name in shared])
        else:
            left_out[str(tag)] = "the file is empty" if not sentences else "no sentence has an id that English has"
    return PairData(pairs, left_out, notes)


def read_tatoeba(folder: Path) -> PairData:
    """Read SR-T's layout; the script of a code is the language's usual one, unless ``index.tsv`` names another.

    Raises:
        FileNotFoundError: the folder has no such files.
        ValueError: ``index.tsv`` is malformed.
    """
    return read_parallel_files(folder, "tatoeba.")


def read_flores(folder: Path) -> PairData:
    """Read FLORES' layout: a file per language, ``<tag>.dev`` and ``<tag>.devtest``, also below ``devtest/``.

    Raises:
        FileNotFoundError: the English file is missing.
    """
    folder = folder / "devtest" if (folder / "devtest").is_dir() else folder
    pattern = next((f"*.{part}" for part in ("devtest", "dev") if any(folder.glob(f"*.{part}"))), "*.txt")
    files, left_out = tagged_files(folder, pattern)
    if ENGLISH not in files:
        raise FileNotFoundError(
            f"{folder} has no {pattern.replace('*', str(ENGLISH))}, whose sentences are the queries"
        )
    english = files.pop(ENGLISH)
    pairs: dict[LangScript, Pairs] = {}
    for tag, path in files.items():
        _add_parallel(pairs, left_out, tag, english, path)
    return PairData(pairs, left_out, [])


def read_parallel_files(folder: Path, prefix: str) -> PairData:
    """Read pairs of files, ``<prefix><code>-<eng>.<code>`` and ``<prefix><code>-<eng>.<eng>``, line by line.

    Args:
        folder: folder of the files; its ``index.tsv`` may map codes to tags.
        prefix: ``tatoeba.`` or ``bible.``.
    """
    index = _read_index(folder / "index.tsv")
    files: dict[LangScript, Path] = {}
    left_out: dict[str, str] = {}
    english_side: dict[Path, Path] = {}
    for path in sorted(folder.glob(f"{prefix}*-eng*")):
        code, _, target = path.name.removeprefix(prefix).partition("-")
        english, _, side = target.partition(".")
        if side != english or english not in ("eng", "eng_Latn"):
            continue
        other = path.with_name(f"{prefix}{code}-{english}.{code}")
        if not other.is_file():
            left_out[code] = f"{other.name} is missing"
            continue
        try:
            tag = index.get(code) or tag_of(code)
        except ValueError as error:
            left_out[code] = f"{path}: {error}"
            continue
        english_side[other] = path
        keep_one(files, left_out, tag, other, code)
    pairs: dict[LangScript, Pairs] = {}
    for tag, other in files.items():
        _add_parallel(pairs, left_out, tag, english_side[other], other)
    if not pairs:
        reasons = "; ".join(list(left_out.values())[:3])
        raise FileNotFoundError(
            f"{folder} has no {prefix}<code>-eng.eng with sentences in it" + (f": {reasons}" if reasons else "")
        )
    return PairData(pairs, left_out, [])


def _add_parallel(
    pairs: dict[LangScript, Pairs], left_out: dict[str, str], tag: LangScript, english: Path, other: Path
) -> None:
    """Read two files aligned by line and list their problems."""
    try:
        # Files are aligned by line number, so empty lines must stay until both sides are read.
        sides = [[clean(line) for line in all_lines(path)] for path in (english, other)]
    except ValueError as error:
        left_out[str(tag)] = str(error)
        return
    if len(sides[0]) != len(sides[1]):
        left_out[str(tag)] = (
            f"{other} must have as many lines as {english.name} ({len(sides[0])}), but has {len(sides[1])}"
        )
    elif not any(sides[0]):
        left_out[str(tag)] = f"{english} is empty"
    else:
        pairs[tag] = Pairs(*sides)


def _read_index(path: Path) -> dict[str, LangScript]:
    scripts: dict[str, LangScript] = {}
    if path.is_file():
        for number, line in enumerate(all_lines(path)[1:], 2):
            columns = line.split("\t")
            if len(columns) < 2:
                raise ValueError(f"{path}, line {number}: must be code<tab>tag, but is {line[:60]!r}")
            with error_context(f"{path}, line {number}"):
                scripts[columns[0]] = task_tag(columns[1])
    return scripts


def texts_by_id(path: Path, id_columns: Iterable[str]) -> dict[str, str]:
    """Read a TSV with an id column and a column ``text``.

    Raises:
        ValueError: a column is missing or an id occurs twice.
    """
    rows = read_columns(path, ("text",))
    column = next((name for name in id_columns if name in rows[0]), None)
    if column is None:
        raise ValueError(f"{path} must have a column {' or '.join(id_columns)} and a column text")
    sentences = {row[column]: unquoted(row["text"]) for row in rows}
    if len(sentences) < len(rows):
        raise ValueError(f"{path} must have unique ids, but has {len(rows)} sentences and only {len(sentences)} ids")
    return sentences
