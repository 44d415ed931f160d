"""Locates the files of labelled sentences and words of each language."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from langsamp_plugin.evaluation.reading.aligned import evenly_spaced
from langsamp_plugin.evaluation.reading.names import tag_of
from langsamp_plugin.lang_script import LangScript

SPLITS = ("train", "dev", "test")
ENDINGS = (".txt", ".tsv", ".csv", ".conllu", ".conll", "")
OTHER_NAMES = {"valid": "dev", "validation": "dev", "devtest": "test"}

Files = dict[LangScript, dict[str, Path]]
"""tag -> split -> file."""


class Labelled(NamedTuple):
    """Labelled sentences, or sentences of labelled words.

    Args:
        texts: the sentences, each a ``str`` or a list of words.
        labels: one label per sentence, or a list with one per word.
    """

    texts: list[Any]
    labels: list[Any]

    def evenly(self, limit: int) -> Labelled:
        """Return at most ``limit`` sentences, evenly spaced, because files are often sorted by label; 0 returns all."""
        rows = evenly_spaced(len(self.texts), limit)
        return self if rows is None else Labelled([self.texts[row] for row in rows], [self.labels[row] for row in rows])


def find_labelled(folder: Path, wikipedia: bool = False) -> tuple[Files, dict[str, str]]:
    """Find ``<tag>/{train,dev,test}``, ``<split>-<tag>`` and ``<tag>_<split>``, with or without an extension.

    Args:
        folder: folder of the task.
        wikipedia: names are codes of Wikipedias, as in WikiANN.

    Returns:
        The files of each language, and those left out, with the reason.

    Raises:
        FileNotFoundError: no file was found.
    """
    found: Files = {}
    left_out: dict[str, str] = {}
    origin: dict[LangScript, str] = {}
    for path in sorted(folder.iterdir()):
        for name, split, file in _named_files(path):
            try:
                tag = tag_of(name, wikipedia)
            except ValueError as error:
                left_out[path.name] = f"{path}: {error}; rename it"
                continue
            if origin.setdefault(tag, name) == name:
                found.setdefault(tag, {}).setdefault(split, file)
            elif name.startswith(tag.language) and not origin[tag].startswith(tag.language):
                left_out[origin[tag]] = (
                    f"{origin[tag]} means {tag}, as {path} does, which is used instead: rename one of them"
                )
                origin[tag] = name
                found[tag] = {split: file}
            else:
                left_out[name] = f"{path} means {tag}, as {origin[tag]} does, which is used instead: rename one of them"
    if not found:
        reasons = "; ".join(list(left_out.values())[:3])
        raise FileNotFoundError(
            f"{folder} has no <tag>/test.tsv, <tag>/test.txt, test-<tag>.tsv or <tag>_test.tsv in it"
            + (f": {reasons}" if reasons else "")
        )
    return found, left_out


def _named_files(path: Path) -> list[tuple[str, str, Path]]:
    """Return ``(name of the language, split, file)`` of an entry of the folder."""
    if path.is_dir():
        named = []
        for split in (*SPLITS, *OTHER_NAMES):
            files = [path / f"{split}{ending}" for ending in ENDINGS if (path / f"{split}{ending}").is_file()]
            if files:
                named.append((path.name, OTHER_NAMES.get(split, split), files[0]))
        return named
    stem = path.name if path.suffix not in ENDINGS else path.stem
    for split in (*SPLITS, *OTHER_NAMES):
        if stem.startswith(f"{split}-"):
            return [(stem.removeprefix(f"{split}-"), OTHER_NAMES.get(split, split), path)]
        if stem.endswith(f"_{split}"):
            return [(stem.removesuffix(f"_{split}"), OTHER_NAMES.get(split, split), path)]
    return []


def labels_of(data: Labelled) -> set[str]:
    """Return the labels that occur."""
    return {label for row in data.labels for label in ([row] if isinstance(row, str) else row)}
