"""Result of a comparison of two models, as a table."""

from __future__ import annotations

from typing import NamedTuple

from langsamp_plugin.errors import VerificationError

LIMIT = 1e-5
"""Tolerance for a different order of summation in float32, relative to the largest value if that is above 1."""

LINE_SHARE = 1e-3
"""Share of lines that the two tokenizers may split differently: the ``tokenizers`` library breaks ties between equally
good splits differently and normalises grapheme by grapheme. With XLM-R, 6 of the 47,543 lines of UDHR differ."""


class Comparison(NamedTuple):
    """One comparison.

    Args:
        what: what was compared.
        difference: the largest absolute difference; for tokenizers the share of lines that differ.
        limit: the maximum allowed difference.
        detail: for tokenizers, the numbers behind the share.
    """

    what: str
    difference: float
    limit: float
    detail: str = ""


class Verification(NamedTuple):
    """Result of a comparison."""

    rows: list[Comparison]
    notes: list[str]

    def format(self) -> str:
        """Return a table."""
        width = max((len(row.what) for row in self.rows), default=8)
        lines = [f"{'compared':<{width}}  {'difference':>10}  {'limit':>7}"]
        for row in self.rows:
            mark = "" if row.difference <= row.limit else "  DIFFERENT"
            lines.append(
                f"{row.what:<{width}}  {row.difference:>10.1e}  {row.limit:>7.0e}  {row.detail}{mark}".rstrip()
            )
        return "\n".join([*lines, *self.notes])

    def check(self) -> None:
        """Raise ``VerificationError`` if anything differs by more than its limit."""
        # Not "greater": NaN must not pass.
        wrong = [row for row in self.rows if not row.difference <= row.limit]
        if wrong:
            raise VerificationError(
                f"the converted model differs from its source, nothing was written: {len(wrong)} of "
                f"{len(self.rows)} comparisons differ, first {wrong[0].what} by {wrong[0].difference:.1e} (limit "
                f"{wrong[0].limit:.0e})"
            )
