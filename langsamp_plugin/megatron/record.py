"""What a checkpoint of Megatron-Core says of its model, as JSON beside the weights."""

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
"""Beside the weights: sizes, tags, and the dictionary's hash."""
PROGRESS = "langsamp_run.json"
"""In a checkpoint of this package's own loop: the same, and how far the run had come in which data."""


class Record(NamedTuple):
    """What a checkpoint says of itself.

    Args:
        sizes: the model's.
        tags: the tags it was trained on.
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
        """Read what :meth:`to_json` gave.

        Raises:
            ValueError: it is something else.
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
    """Return sizes and tags of a checkpoint: from a file, from beside it, or from within.

    Raises:
        FileNotFoundError: they are nowhere.
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
        f"{folder.parent / RECORD} is missing, which says how the model is built: name the one that training started "
        "from with --record"
    )


def _check_against(folder: Path, place: Path, found: Record) -> None:
    """Raise ``ValueError`` where a checkpoint says otherwise of itself, as this package's own do."""
    own = folder / PROGRESS
    try:
        stored = json.loads(own.read_text(encoding="utf-8")) if own.is_file() else read_common(folder)
        sizes = Record.from_json(stored["langsamp"]).sizes
    except (FileNotFoundError, KeyError, TypeError, ValueError):  # Megatron-LM's, with objects that are not read here
        return
    for name, value in sizes._asdict().items():
        if getattr(found.sizes, name) != value:
            raise ValueError(
                f"{place} must be of the checkpoint {folder}, but has {name} {getattr(found.sizes, name)} where "
                f"that has {value}: put the langsamp.json back that it started from"
            )
