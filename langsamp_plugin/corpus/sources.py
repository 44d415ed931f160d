"""Finds the languages of a downloaded collection: the files of each, and files that belong to none."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.corpus.left_out import LeftOut
from langsamp_plugin.corpus.names import language_name, looks_like_text, stem
from langsamp_plugin.corpus.readers import COMPRESSED, KINDS, kind, read_texts
from langsamp_plugin.corpus.scripts import count_letters, main_script
from langsamp_plugin.corpus.splits import SPLITS, TRAIN, files_of_split
from langsamp_plugin.lang_script import SCRIPT_ALIASES, LangScript, NoScriptError
from langsamp_plugin.spelling import is_written_in, read_spelling

SAMPLE = 1000  # number of lines read to determine a script that the name does not state
LEAST = 0.6  # minimum share of their letters in it
CONTRADICTED = 0.8  # minimum share of letters in an unusual script for the text to override the usual script


class Sources(NamedTuple):
    """Contents of a folder.

    Args:
        found: the files of each tag, tags sorted.
        left_out: names that were not understood.
        merged: for tags with several names, these names.
        by_text: per tag, names without a script whose text is in this script instead of the usual one.
    """

    found: dict[LangScript, list[Path]]
    left_out: list[LeftOut]
    merged: dict[str, list[str]]
    by_text: dict[str, list[str]]


def find_sources(folder: PathLike, langs: Iterable[str] = (), split: str = TRAIN, *, column: str = "text") -> Sources:
    """Find the files of each language in a folder of files or of folders named by tag.

    Args:
        folder: has ``<tag>.txt``, ``<tag>.jsonl``, ``<tag>.parquet``, ``<tag>.arrow`` (the first two also with ``.gz``,
            ``.xz``, ``.bz2``, ``.zst``), optionally with names of shards and splits, or folders ``<tag>/`` with such
            files at any depth, as the ``datasets`` library saves them. Tags can have any spelling that
            :meth:`LangScript.from_spelling` reads; if the name does not state the script, the text decides: ``sr`` is
            srp_Latn if its text is in Latin letters.
        langs: the tags to use; empty means all.
        split: the split to read. ``train`` also reads files without splits.
        column: the field or column with the text, needed if a name does not state a script.

    Returns:
        The files of each tag in the order of their names, what was left out, and which names were merged.

    Raises:
        FileNotFoundError: the folder is missing, has no text, or lacks one of ``langs``.
        ValueError: there is text, but all of it was left out.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"corpus folder {folder} is missing")
    found: dict[LangScript, list[Path]] = {}
    names: dict[LangScript, list[str]] = {}
    by_text: dict[LangScript, list[str]] = {}
    left_out: list[LeftOut] = []
    for path in sorted(folder.iterdir()):
        name = language_name(path)
        try:
            chosen = _chosen(path, name, split)
            if not chosen:
                continue
            tag = _tag(name, chosen, column)
        except _NotTaken as reason:
            left_out.append(reason.entry)
            continue
        except ValueError as error:
            left_out.append(LeftOut(str(path), str(error), "rename it to a tag such as eng_Latn to include it"))
            continue
        found.setdefault(tag, []).extend(chosen)
        names.setdefault(tag, []).append(name)
        usual = read_spelling(name).script
        if usual is not None and SCRIPT_ALIASES.get(usual, usual) != tag.script:
            by_text.setdefault(tag, []).append(name)
    if not found:
        raise _nothing(folder, left_out)
    tags = select_tags(found, langs, folder, left_out)
    merged = {str(tag): sorted(set(names[tag])) for tag in tags if len(set(names[tag])) > 1}
    others = {str(tag): by_text[tag] for tag in tags if tag in by_text}
    return Sources({tag: found[tag] for tag in tags}, [] if langs else left_out, merged, others)


class _NotTaken(Exception):
    """Raised for a file or folder that is left out."""

    def __init__(self, path: Path, reason: str, remedy: str):
        self.entry = LeftOut(str(path), reason, remedy)


def _chosen(path: Path, name: str, split: str) -> list[Path]:
    """Return the files of a split; none if there is no text.

    Raises:
        _NotTaken: there is text, but not of this split; or the name is a language, but no reader supports the file.
    """
    files = _files_below(path) if path.is_dir() else [path] if kind(path) else []
    if path.name.startswith("."):
        return []
    if not files:
        if looks_like_text(path):
            known = f"{' '.join(KINDS)}, of text and JSON lines also {' '.join(COMPRESSED)}"
            what = "it has no text" if path.is_dir() else "its name does not indicate its format"
            raise _NotTaken(path, f"{what}, as {known} do", "convert or rename it to include it")
        return []
    if path.is_dir() and name.lower() in SPLITS:
        raise _NotTaken(path, "it is a split, not a language", f"give {path} itself as the source")
    chosen, reason = files_of_split(files, path if path.is_dir() else path.parent, split)
    if reason and not (path.is_file() and split == TRAIN and name == stem(path)):
        raise _NotTaken(path, reason, "choose one by --split")
    return chosen or files


def _nothing(folder: Path, left_out: list[LeftOut]) -> Exception:
    if left_out:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        return ValueError(f"nothing is left of {folder}: {left_out[0]}{more}")
    return FileNotFoundError(
        f"{folder} has no text in it: expected files such as eng_Latn.txt or folders such as eng_Latn/ with "
        f"{', '.join(KINDS)} (text and JSON lines also {', '.join(COMPRESSED)})"
    )


def select_tags(
    found: Iterable[LangScript], langs: Iterable[str], folder: Path, left_out: Iterable[LeftOut] = ()
) -> list[LangScript]:
    """Return the sorted tags to use; a language without a script selects all of its scripts.

    Raises:
        FileNotFoundError: one of ``langs`` is missing; the message says if it was left out.
    """
    there = sorted(found)
    wanted: set[LangScript] = set()
    for lang in langs:
        try:
            match = {LangScript.from_spelling(lang)} & set(there)
        except NoScriptError:
            match = set()
        spelled = read_spelling(lang)
        if not match and not spelled.stated:
            match = {tag for tag in there if tag.language == spelled.language}
        if not match:
            hints = [str(entry) for entry in left_out if Path(entry.path).name.partition(".")[0] == lang]
            raise FileNotFoundError(f"{folder} has no {_name(lang)}; " + (hints[0] if hints else _listing(there)))
        wanted |= match
    return sorted(wanted) if wanted else there


def _name(lang: str) -> str:
    try:
        return str(LangScript.from_spelling(lang))
    except NoScriptError:
        return lang


def _listing(tags: list[LangScript]) -> str:
    return f"it has {' '.join(map(str, tags))}"


def _tag(name: str, files: list[Path], column: str) -> LangScript:
    """Return the tag of a name; if it does not state a script, the text determines it.

    Raises:
        ValueError: it is not a language, or neither name nor text determines the script.
    """
    spelled = read_spelling(name)
    if spelled.stated:
        return LangScript.from_spelling(name)
    text = _main_script(files, column, LEAST if spelled.script is None else CONTRADICTED)
    if text is not None and (spelled.script is None or is_written_in(spelled.language, text)):
        return LangScript.from_spelling(f"{spelled.language}_{text}")
    return LangScript.from_spelling(name)


def _main_script(files: list[Path], column: str, least: float) -> Optional[str]:
    """Return the script of the first lines; ``None`` if they are mixed or cannot be read."""
    try:
        lines = list(islice((line for path in files for line in read_texts(path, column, left_out=[])), SAMPLE))
    except (OSError, ValueError):
        return None
    return main_script(count_letters(lines).sum(axis=0), least) if lines else None


def _files_below(folder: Path) -> list[Path]:
    """Return the text files below a folder."""
    return sorted(
        path
        for path in folder.rglob("*")
        # The datasets library caches results of map and filter next to the data.
        if path.is_file() and kind(path) and not path.name.startswith((".", "cache-"))
    )
