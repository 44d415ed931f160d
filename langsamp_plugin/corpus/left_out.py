"""What of a collection was not taken, and why: listed at the end, or an error where somebody wants the stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

SHOWN = 20


class LeftOut(NamedTuple):
    """Something that was not read.

    Args:
        path: the file or folder, with a line where it is one.
        reason: what is wrong with it.
        remedy: how to include it.
    """

    path: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}: {self.remedy}"


def refuse_if_strict(left_out: Sequence[LeftOut], strict: bool) -> None:
    """Raise for the first of what was left out.

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
    """Return the lines that a command prints at its end; empty where all names were taken for what they say."""
    lines = [f"put together as {tag}: {' '.join(names)}" for tag, names in merged.items()]
    lines += [f"{tag} by the letters of its text: {' '.join(names)}" for tag, names in by_text.items()]
    if left_out:
        lines.append(f"left out ({len(left_out)}):")
        lines += [f"  {entry}" for entry in left_out[:SHOWN]]
    if len(left_out) > SHOWN:
        lines.append(f"  ... and {len(left_out) - SHOWN} more")
    return "\n".join(lines)
