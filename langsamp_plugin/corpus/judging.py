"""Finds lines whose language or script differs from the tag of their text.

A model's labels are only as reliable as its knowledge of the text's own language. The first lines therefore show
whether the model recognises the tag's language. If it does, a line without any sign of that language is in another one,
even if the model cannot say which. If it does not (lid.176 labels Scots as English), only a nearly certain label
counts, or the label of most of the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional

import numpy as np

from langsamp_plugin.corpus.decisions import DROP, DROPPED, KEPT, MOVED, UNKNOWN, Decision, Rules
from langsamp_plugin.corpus.identification import Label, label_script, load_identifier, same_language
from langsamp_plugin.corpus.scripts import count_letters, main_script, script_share
from langsamp_plugin.lang_script import UNKNOWN_LANGUAGE, UNKNOWN_SCRIPT, LangScript, is_language
from langsamp_plugin.spelling import is_written_in

BATCH = 1000  # lines that are judged at a time; the first batch shows what the model knows of the language
CHARACTERS = 1_000_000  # maximum number of them
LETTERS = 12  # shorter lines are too short for a model
LABELS = 10  # number of labels among which the tag's language is searched
DOUBT = 0.1  # with less probability of the declared language, a line in another script is not in that language

# Tuned on one half of the languages of scripts/planted_errors.py, which reports figures for the other half.
QUARTER, RECOGNISED = 0.75, 0.5  # a quarter of the lines must reach this probability of the tag's language
CERTAIN = 0.95  # the minimum threshold if the tag's language is not recognised
RARE = 0.1  # share of what a threshold leaves to other labels: 0.02 at a threshold of 0.8


class TextView(NamedTuple):
    """A model's view of a complete text.

    Args:
        recognised: whether it finds the tag's language in the text.
        mostly: its label for most lines, empty if there is none.
    """

    recognised: bool
    mostly: str


def judge(lines: Iterable[str], tag: LangScript, rules: Rules) -> Iterator[tuple[str, Decision]]:
    """Yield the lines of a text, each with its decision.

    Args:
        lines: all lines of the text in order, without empty ones.
        tag: their declared tag.
        rules: rules for judging lines.
    """
    judged = _Judge(tag, rules)
    for batch in batches(lines):
        yield from zip(batch, judged.decide(batch))


def batches(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield batches of up to a thousand lines, fewer if they are long."""
    batch: list[str] = []
    characters = 0
    for line in lines:
        batch.append(line)
        characters += len(line)
        if len(batch) == BATCH or characters > CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _Judge:
    """Decides about the lines of one tag, batch by batch."""

    def __init__(self, tag: LangScript, rules: Rules):
        self.tag, self.rules = tag, rules
        self.thresholds = dict(rules.thresholds)
        self.identifier = load_identifier(rules.model) if rules.model else None
        if self.identifier is not None and tag.language != UNKNOWN_LANGUAGE and not self.identifier.knows(tag):
            self.identifier = None
        self.view: Optional[TextView] = None

    def decide(self, lines: Sequence[str]) -> list[Decision]:
        letters = count_letters(lines)
        totals = letters.sum(axis=1).tolist()
        declared = self.tag.script != UNKNOWN_SCRIPT
        shares = script_share(letters, self.tag.script).tolist() if declared else [1.0] * len(lines)
        labels = [self._identify(line) if total >= LETTERS else [] for line, total in zip(lines, totals)]
        if self.view is None:
            self.view = self._view(labels)
        decisions = []
        for number, total in enumerate(totals):
            script = self._script(main_script(letters[number], 0.5) if total else None)
            decision = self._by_language(labels[number], script) if labels[number] else None
            if decision is None and declared and shares[number] < self.rules.script_share:
                decision = self._in_other_letters(script)
            decisions.append(decision or Decision(KEPT, str(self.tag), ""))
        return decisions

    def _identify(self, line: str) -> list[Label]:
        return self.identifier.identify(line, LABELS) if self.identifier is not None else []

    def _own(self, labels: list[Label]) -> float:
        """Return the probability of the tag's language."""
        return sum(label.probability for label in labels if self._same(label))

    def _same(self, label: Label) -> bool:
        return same_language(label.language, self.tag.language, self.rules.close)

    def _view(self, labels: list[list[Label]]) -> TextView:
        judged = [line for line in labels if line]
        if not judged or self.tag.language == UNKNOWN_LANGUAGE:
            return TextView(False, "")
        recognised = float(np.quantile([self._own(line) for line in judged], QUARTER)) >= RECOGNISED
        believed = Counter(line[0].language for line in judged if line[0].probability >= self.rules.threshold)
        language, count = believed.most_common(1)[0] if believed else ("", 0)
        return TextView(recognised, language if 2 * count > len(judged) else "")

    def _threshold(self, best: Label, script: Optional[str]) -> float:
        """Return the probability above which a label is accepted."""
        for name in (f"{best.language}_{script}", best.language):
            if name in self.thresholds:
                return self.thresholds[name]
        assert self.view is not None
        sure = self.view.recognised or best.language == self.view.mostly or self.tag.language == UNKNOWN_LANGUAGE
        return self.rules.threshold if sure else max(self.rules.threshold, CERTAIN)

    def _by_language(self, labels: list[Label], script: Optional[str]) -> Optional[Decision]:
        """Return the model's decision; ``None`` if it does not contradict the tag."""
        best = labels[0]
        if script is None or self._same(best):
            return None
        limit = self._threshold(best, script)
        believed = best.probability >= limit
        named = is_language(best.language)  # models have classes for noise and non-standard labels
        # A label whose script differs from the line's letters is a guess.
        if believed and named and (best.script or label_script(best.language)) == script:
            return self._elsewhere(best.language, script, f"in {best.language}")
        own = self._own(labels)
        assert self.view is not None
        missing = self.view.recognised and own < RARE * (1 - limit)
        if missing or (believed and (not named or script != self.tag.script) and own < DOUBT):
            return self._elsewhere(UNKNOWN_LANGUAGE, script, f"not in {self.tag.language}")
        return None

    def _in_other_letters(self, script: Optional[str]) -> Decision:
        """Return the decision about a line in another script: Hindi may be in Latin letters, but English not in
        Devanagari."""
        known = script is not None and is_written_in(self.tag.language, script)
        language = self.tag.language if known else UNKNOWN_LANGUAGE
        return self._elsewhere(language, script, f"letters in {script or 'several scripts'}")

    def _elsewhere(self, language: str, script: Optional[str], why: str) -> Decision:
        if self.rules.wrong == DROP or script is None:
            return Decision(DROPPED, "", why)
        if self.rules.wrong == UNKNOWN:
            language = UNKNOWN_LANGUAGE
        return Decision(MOVED, f"{language}_{script}", why)

    def _script(self, script: Optional[str]) -> Optional[str]:
        """Return the script of a line; the tag's script if Han letters alone could be Japanese or Korean."""
        return self.tag.script if script == "Hani" and self.tag.script in ("Jpan", "Hang") else script
