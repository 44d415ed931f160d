"""Phases of a run: masking and sampling change at given updates, as in mmBERT (Marone et al. 2025).

A phase is one epoch with exactly the blocks of its updates, distributed over its languages. Every update is full,
counts per language are exact, and a boundary between phases is an epoch boundary, at which a run is saved and resumed
as usual.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.lang_script import LangScript, head_tags


class Phase(NamedTuple):
    """One phase; fields that are ``None`` follow the flags.

    Args:
        updates: number of updates; ``None`` is one epoch as determined by ``alpha`` and ``scale``, in complete updates.
        mask_prob: share of tokens that are predicted.
        alpha, scale: parameters of the sampling.
        languages: tags of the phase; ``None`` means all.
        data: data folders, whose text is combined.
    """

    updates: Optional[int] = None
    mask_prob: Optional[float] = None
    alpha: Optional[float] = None
    scale: Optional[float] = None
    languages: Optional[tuple[str, ...]] = None
    data: Optional[tuple[str, ...]] = None


def read_phases(path: PathLike) -> list[Phase]:
    """Read a JSON list of objects with the fields of :class:`Phase`, such as ``{"updates": 1000, "mask_prob": 0.3}``.

    ``languages`` is a list of tags, or ``"head"`` or ``"tail"``, ``data`` a list of folders.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the content is malformed.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing: --phases names a JSON list of phases")
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be a JSON list of phases, but is not JSON: {error}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f'{path} must be a JSON list of phases such as [{{"updates": 1000, "mask_prob": 0.3}}]')
    return [_phase(row, f"{path}: phase {number}") for number, row in enumerate(rows, 1)]


def _phase(row: Mapping[str, Any], where: str) -> Phase:
    unknown = sorted(row.keys() - set(Phase._fields))
    if unknown:
        raise ValueError(f"{where} must have fields of {', '.join(Phase._fields)}, but has {unknown[0]!r}")
    for name, limits in (("updates", (1, 2**40)), ("mask_prob", (0, 1)), ("alpha", (0, 1e3)), ("scale", (0, 1e9))):
        value, kinds = row.get(name), (int,) if name == "updates" else (int, float)
        if value is not None and (type(value) not in kinds or not limits[0] <= value <= limits[1]):
            raise ValueError(f"{where}: {name} must be a number from {limits[0]} to {limits[1]:g}, but is {value!r}")
    found: dict[str, Any] = dict(row)
    for name in ("languages", "data"):
        value = row.get(name)
        if name == "languages" and value in ("head", "tail"):
            found[name] = (value,)
        elif value is not None:
            if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
                raise ValueError(f"{where}: {name} must be a list of words, but is {value!r}")
            found[name] = tuple(value)
    return Phase(**found)


def languages_of(phase: Phase, folders_of: Mapping[LangScript, Sequence[Path]]) -> Mapping[LangScript, Sequence[Path]]:
    """Return the languages of a data folder in a phase.

    Raises:
        ValueError: a language of the phase is missing, or none remains.
    """
    if phase.languages is None:
        return folders_of
    if phase.languages in (("head",), ("tail",)):
        wanted = {tag for tag in folders_of if (str(tag) in head_tags()) == (phase.languages == ("head",))}
    else:
        wanted = {LangScript.parse(name) for name in phase.languages}
    missing = sorted(str(tag) for tag in wanted - folders_of.keys())
    if missing or not wanted:
        raise ValueError(
            f"--phases names languages that the data does not have: {' '.join(missing) or phase.languages[0]}"
        )
    return {tag: folders for tag, folders in folders_of.items() if tag in wanted}


def exact_draws(draws: np.ndarray, total: int) -> np.ndarray:
    """Distribute exactly ``total`` blocks in proportion to ``draws``, with at least one for each language that has any.

    Args:
        draws: int64 ``(languages,)``.
        total: number of blocks of the phase.

    Returns:
        int64 ``(languages,)``; the rest after rounding down goes to the largest remainders, in order.

    Raises:
        ValueError: the phase has more languages than blocks.
    """
    there = draws > 0
    if there.sum() > total:
        raise ValueError(
            f"a phase of --phases has {total:,} blocks for {there.sum():,} languages: give it more updates"
        )
    exact = draws / draws.sum() * (total - there.sum())
    shared = np.floor(exact).astype(np.int64) + there
    order = np.lexsort((np.arange(len(draws)), -(exact - np.floor(exact))))
    shared[order[: total - int(shared.sum())]] += 1
    return shared
