"""Describes the model of a Megatron-Core checkpoint, as JSON next to the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.roberta import check_tags
from langsamp_plugin.errors import error_context
from langsamp_plugin.megatron.sizes import ModelSizes
from langsamp_plugin.megatron.stored import read_common

RECORD = "langsamp.json"
"""File next to the weights: sizes, tags, and the dictionary's hash."""
PROGRESS = "langsamp_run.json"
"""File in checkpoints of this package's loop: the same, with the run's position and data fingerprint."""


class Record(NamedTuple):
    """Description of a checkpoint.

    Args:
        sizes: the model's.
        tags: the training tags.
        dictionary: hash of the pieces in the order of the word embedding's rows.
    """

    sizes: ModelSizes
    tags: list[str]
    dictionary: Optional[str] = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**self._asdict(), "sizes": self.sizes._asdict()}

    @classmethod
    def from_json(cls, value: Any) -> Record:
        """Read the result of :meth:`to_json`.

        Raises:
            ValueError: the value is malformed.
        """
        if not isinstance(value, dict) or not isinstance(value.get("sizes"), dict):
            raise ValueError("it must be an object with sizes and tags")
        fields = value["sizes"]
        if fields.keys() != set(ModelSizes._fields):
            raise ValueError(
                f"its sizes must be {' '.join(ModelSizes._fields)}, but are {' '.join(sorted(fields))[:200]}"
            )
        sizes = ModelSizes(**fields)
        sizes.check()
        check_tags(value.get("tags"))
        digest = value.get("dictionary")
        if digest is not None and not isinstance(digest, str):
            raise ValueError(f"its dictionary must be a hash, but is {str(digest)[:60]!r}")
        return cls(sizes, list(value.get("tags") or []), digest)


def read_record(folder: Path, path: Optional[PathLike] = None) -> Record:
    """Return sizes and tags of a checkpoint, from a given file, next to the checkpoint, or inside it.

    Raises:
        FileNotFoundError: they are missing.
        ValueError: they are damaged.
    """
    places = [Path(path)] if path is not None else [folder / RECORD, folder.parent / RECORD]
    for place in places:
        if place.is_file():
            with error_context(place):
                found = Record.from_json(json.loads(place.read_text(encoding="utf-8")))
            _check_against(folder, place, found)
            return found
    if path is not None:
        raise FileNotFoundError(f"{path} is missing")
    raise FileNotFoundError(
        f"{folder.parent / RECORD} is missing, which describes the model: name the file that training started from "
        "with --record"
    )


def _check_against(folder: Path, place: Path, found: Record) -> None:
    """Raise ``ValueError`` if a checkpoint's own description, which this package stores, differs."""
    own = folder / PROGRESS
    try:
        stored = json.loads(own.read_text(encoding="utf-8")) if own.is_file() else read_common(folder)
        sizes = Record.from_json(stored["langsamp"]).sizes
    except (
        FileNotFoundError,
        KeyError,
        TypeError,
        ValueError,
    ):  # from Megatron-LM, not read here
        return
    for name, value in sizes._asdict().items():
        if getattr(found.sizes, name) != value:
            raise ValueError(
                f"{place} must belong to the checkpoint {folder}, but has {name} {getattr(found.sizes, name)} instead "
                f"of {value}: restore the langsamp.json that it started from"
            )
