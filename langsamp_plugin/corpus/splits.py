"""Which files of a language belong to which split, by what their names say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

TRAIN = "train"
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **{name: name for name in ("dev", "devtest", "test", "eval", "clean", "noisy", "removed", "heldout")},
}
"""Words in names of folders and files that say which split they are, and the usual one of several spellings."""


def split_of(path: Path, folder: Path) -> frozenset[str]:
    """Return the splits that a file's name and the folders below a language's folder name."""
    parts = path.relative_to(folder).parts
    # en_Latn_clean_0000.jsonl.gz, train-00000-of-00001.parquet, validation/a.txt
    words = [word for part in parts for word in re.split(r"[^a-z]+", part.lower())]
    return frozenset(SPLITS[word] for word in words if word in SPLITS)


def files_of_split(files: Sequence[Path], folder: Path, split: str) -> tuple[list[Path], str]:
    """Choose the files of a split.

    Args:
        files: all files with text below the folder.
        folder: of the language.
        split: ``train`` also takes files that name no split, where none does.

    Returns:
        The files, and why there is none; a name that is no known split is looked for as it stands.
    """
    wanted = SPLITS.get(split.lower(), split.lower())
    named = {path: split_of(path, folder) for path in files}
    chosen = [
        path
        for path in files
        if wanted in named[path]
        or (wanted not in SPLITS.values() and wanted in re.split(r"[^\w]|_", str(path.relative_to(folder)).lower()))
    ]
    there = sorted(frozenset().union(*named.values()))
    if chosen:
        return chosen, ""
    if not there and wanted == TRAIN:
        return list(files), ""
    return [], f"it has no split {split}, " + (f"but {' '.join(there)}" if there else "and its files name none")
