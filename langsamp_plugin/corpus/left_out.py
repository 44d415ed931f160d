"""Records what was left out of a collection and why; listed at the end, or an error with ``--strict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

SHOWN = 20


class LeftOut(NamedTuple):
    """An item that was not read.

    Args:
        path: the file or folder, with the line number of a single line.
        reason: the problem.
        remedy: how to include it.
    """

    path: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}: {self.remedy}"


def refuse_if_strict(left_out: Sequence[LeftOut], strict: bool) -> None:
    """Raise for the first item that was left out.

    Raises:
        ValueError: ``strict``, and something was left out.
    """
    if strict and left_out:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise ValueError(f"{left_out[0]}{more}; without --strict the rest is taken")


def format_left_out(
    left_out: Sequence[LeftOut],
    merged: Mapping[str, Sequence[str]] = MappingProxyType({}),
    by_text: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """Return the lines that a command prints at its end; empty if nothing was merged, inferred or left out."""
    lines = [f"merged as {tag}: {' '.join(names)}" for tag, names in merged.items()]
    lines += [f"identified as {tag} by script: {' '.join(names)}" for tag, names in by_text.items()]
    if left_out:
        lines.append(f"left out ({len(left_out)}):")
        lines += [f"  {entry}" for entry in left_out[:SHOWN]]
    if len(left_out) > SHOWN:
        lines.append(f"  ... and {len(left_out) - SHOWN} more")
    return "\n".join(lines)
