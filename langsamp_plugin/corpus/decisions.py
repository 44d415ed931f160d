"""Decisions about lines with doubtful tags (keep, move to another tag, drop), and a table of them.

:mod:`langsamp_plugin.corpus.judging` makes the decisions.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.corpus.identification import home_tag
from langsamp_plugin.lang_script import LangScript

KEPT, MOVED, DROPPED = "kept", "moved", "dropped"
MOVE, UNKNOWN, DROP = "move", "und", "drop"
WRONG = (MOVE, UNKNOWN, DROP)
SAMPLES, SAMPLE_CHARACTERS = 3, 120


class Rules(NamedTuple):
    """Rules for judging lines.

    Args:
        model: a language identification model in fastText's format; ``None`` judges only scripts.
        threshold: probability above which a label of another language is accepted.
        thresholds: thresholds of individual languages, by tag or ISO 639-3 code of the label.
        script_share: minimum share of a line's letters in the tag's script; 0 ignores scripts.
        wrong: ``move`` a line to its actual tag, to ``und`` with its script, or ``drop`` it.
        close: members of a macrolanguage and close pairs (Bosnian and Croatian) count as correct.
    """

    model: Optional[Path] = None
    threshold: float = 0.8
    thresholds: tuple[tuple[str, float], ...] = ()
    script_share: float = 0.0
    wrong: str = MOVE
    close: bool = True

    @property
    def active(self) -> bool:
        """Whether any line is judged at all."""
        return self.model is not None or self.script_share > 0

    def fingerprint(self) -> str:
        """Return a hash of everything that the decisions depend on."""
        stat = self.model.stat() if self.model else None
        parts = (*self._replace(model=None), stat and (stat.st_size, stat.st_mtime_ns))
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


class Decision(NamedTuple):
    """Decision about a line.

    Args:
        what: ``kept``, ``moved`` or ``dropped``.
        to: the tag that the line goes to; empty if it is dropped.
        why: the reason, with equal words for equal reasons, so that lines can be counted.
    """

    what: str
    to: str
    why: str


class DecisionCounts:
    """Counts decisions about the lines of a tag and keeps the first few lines of each kind.

    Args:
        tag: tag of the text.
    """

    def __init__(self, tag: LangScript):
        self.tag = tag
        self.counts: Counter[Decision] = Counter()
        self.samples: dict[Decision, list[str]] = {}

    def add(self, decision: Decision, line: str) -> None:
        """Count a line."""
        self.counts[decision] += 1
        samples = self.samples.setdefault(decision, [])
        if len(samples) < SAMPLES and decision.what != KEPT:
            samples.append(line[:SAMPLE_CHARACTERS])

    def rows(self) -> list[list[str]]:
        """Return ``[tag, what, to, why, lines, samples...]`` for each kind of decision, most lines first."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return [[str(self.tag), *decision, str(count), *self.samples.get(decision, [])] for decision, count in ordered]


def read_thresholds(path: PathLike) -> tuple[tuple[str, float], ...]:
    """Read lines ``LANGUAGE<tab>PROBABILITY``.

    Raises:
        ValueError: a line is malformed; the message names file and line.
    """
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, text = line.partition("\t")
        try:
            value = float(text)
            code = name if len(name) == 3 and name.isalpha() else str(LangScript.from_spelling(name))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: must be LANGUAGE<tab>PROBABILITY: {error}") from error
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{path}, line {number}: the probability must be between 0 and 1, but is {text}")
        found.append((code, value))
    return tuple(found)


def at_home(rows: Iterable[list[str]], tags: Collection[str]) -> list[list[str]]:
    """Return rows of decisions with the model's tags replaced by those of the corpus."""
    return [[tag, what, home_tag(to, tags) if to else to, *rest] for tag, what, to, *rest in rows]


def save_decisions(path: PathLike, rows: Iterable[list[str]]) -> None:
    """Write a table of decisions with sample lines."""
    with atomic_write(path) as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(("tag", "decision", "to", "why", "lines", *(f"sample_{i + 1}" for i in range(SAMPLES))))
        writer.writerows(rows)


def format_decisions(rows: Sequence[list[str]], shown: int = 40) -> str:
    """Return a table of the decisions for the terminal: lines per tag and decision, most frequent first."""
    changed = sorted((row for row in rows if row[1] != KEPT), key=lambda row: (-int(row[4]), row))
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row[1]] += int(row[4])
    lines = [", ".join(f"{totals[what]:,} {what}" for what in (KEPT, MOVED, DROPPED))]
    for tag, what, to, why, count, *samples in changed[:shown]:
        sample = f"  e.g. {samples[0][:60]!r}" if samples else ""
        lines.append(f"  {tag:<9} {what:<7} {to or '-':<9} {int(count):>9,}  {why}{sample}")
    if len(changed) > shown:
        lines.append(f"  ... and {len(changed) - shown} more kinds")
    return "\n".join(lines)
