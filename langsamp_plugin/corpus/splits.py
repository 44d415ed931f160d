"""Assigns the files of a language to splits by their names."""

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
"""Words in names of folders and files that indicate a split, with the canonical name of each."""


def split_of(path: Path, folder: Path) -> frozenset[str]:
    """Return the splits named by a file and by the folders below a language's folder."""
    parts = path.relative_to(folder).parts
    # en_Latn_clean_0000.jsonl.gz, train-00000-of-00001.parquet, validation/a.txt
    words = [word for part in parts for word in re.split(r"[^a-z]+", part.lower())]
    return frozenset(SPLITS[word] for word in words if word in SPLITS)


def files_of_split(files: Sequence[Path], folder: Path, split: str) -> tuple[list[Path], str]:
    """Choose the files of a split.

    Args:
        files: all text files below the folder.
        folder: folder of the language.
        split: ``train`` also takes files without a split, if no file names one.

    Returns:
        The files, and the reason if there are none; an unknown split is matched literally.
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
