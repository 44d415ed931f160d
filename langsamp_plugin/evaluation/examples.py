"""Converts labelled sentences and words to model inputs with numeric labels."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from langsamp_plugin.evaluation.reading.labelled import Labelled
from langsamp_plugin.evaluation.tasks import TAGGING, Recipe
from langsamp_plugin.modules.ignored import IGNORED

POOL = 50  # number of batches whose sentences are sorted by length together
POOLS = 10  # in smaller sets, sorting by length would group the same sentences in every epoch


class Example(NamedTuple):
    """One input.

    Args:
        ids: token ids with ``<s>`` and ``</s>``.
        targets: the label number of the sentence, or one per token with -100 for tokens without a label.
        sentence: index of its sentence; a sentence longer than the model's limit becomes several examples.
    """

    ids: list[int]
    targets: list[int]
    sentence: int


class Encoded(NamedTuple):
    """A split as inputs.

    Args:
        examples: the inputs.
        long: number of sentences longer than the model's limit; these are truncated (classification) or split
            (tagging).
        unknown: labels that do not occur in training, with counts.
    """

    examples: list[Example]
    long: int
    unknown: dict[str, int]


class LabelNumbers:
    """Maps labels to numbers; labels that do not occur in training become -100 and are counted.

    Args:
        labels: the labels of the training data, in the order of their numbers.
    """

    def __init__(self, labels: Sequence[str]):
        self.numbers = {label: place for place, label in enumerate(labels)}
        self.unknown: dict[str, int] = {}

    def __call__(self, label: str) -> int:
        """Return the number of a label."""
        if label not in self.numbers:
            self.unknown[label] = self.unknown.get(label, 0) + 1
        return self.numbers.get(label, IGNORED)


def encode(
    data: Labelled, tokenizer: Any, labels: Sequence[str], kind: str, limit: int, recipe: Recipe = Recipe()
) -> Encoded:
    """Turn texts into inputs.

    Args:
        data: sentences with a label, or words with labels.
        tokenizer: of the model.
        labels: the labels of the training data, in the order of their numbers; others become -100 and are listed.
        kind: ``classification`` or ``tagging``.
        limit: maximum tokens per input.
        recipe: decides whether long tagged sentences are truncated, and whether inputs end in two ``</s>``.
    """
    number = LabelNumbers(labels)
    begin, end = special_tokens(tokenizer)
    if kind == TAGGING:
        ends = [end, end] if recipe.second_end else [end]
        examples, long = _encode_words(data, tokenizer, number, limit, begin, ends, recipe.cut_long)
    else:
        rows = tokenizer(list(data.texts), truncation=False, verbose=False)["input_ids"] if data.texts else []
        long = sum(len(row) > limit for row in rows)
        rows = [row if len(row) <= limit else [*row[: limit - 1], end] for row in rows]
        examples = [Example(ids, [number(label)], place) for place, (ids, label) in enumerate(zip(rows, data.labels))]
    return Encoded(examples, long, number.unknown)


def _encode_words(
    data: Labelled, tokenizer: Any, number: LabelNumbers, limit: int, begin: int, ends: list[int], cut: bool
) -> tuple[list[Example], int]:
    """Label the first piece of each word; a sentence longer than the model's limit is split between words or
    truncated."""
    pieces = word_pieces({word for text in data.texts for word in text}, tokenizer)
    room = limit - 1 - len(ends)
    after = [IGNORED] * len(ends)
    examples: list[Example] = []
    long = 0
    for place, (text, tags) in enumerate(zip(data.texts, data.labels)):
        ids, targets, parts = [begin], [IGNORED], 1
        for word, label in zip(text, tags):
            # A word that the tokenizer drops completely still has a label, and must not shift the other labels.
            own = (pieces[word] or [tokenizer.unk_token_id])[:room]
            if len(ids) - 1 + len(own) > room:
                examples.append(Example([*ids, *ends], [*targets, *after], place))
                ids, targets, parts = [begin], [IGNORED], parts + 1
                if cut:
                    break
            ids += own
            # A word with an unknown label must still be predicted: -1 marks it, and training skips it.
            known = number(label)
            targets += [known if known != IGNORED else -1, *[IGNORED] * (len(own) - 1)]
        if not (cut and parts > 1):
            examples.append(Example([*ids, *ends], [*targets, *after], place))
        long += parts > 1
    return examples, long


def word_pieces(words: set[str], tokenizer: Any) -> dict[str, list[int]]:
    """Return the pieces of each word as within a sentence; byte-level BPE needs the preceding space for that."""
    if not words:
        return {}
    space = " " if tokenizer.tokenize("x") != tokenizer.tokenize(" x") else ""
    ordered = sorted(words)
    ids = tokenizer([space + word for word in ordered], add_special_tokens=False, verbose=False)["input_ids"]
    return dict(zip(ordered, ids))


def special_tokens(tokenizer: Any) -> tuple[int, int]:
    """Return the ids that begin and end an input."""
    begin = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    return begin, end


def training_batches(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int, random_order: bool = False
) -> list[list[int]]:
    """Return an epoch's batches in shuffled order; only large sets are grouped by length.

    Args:
        lengths: number of tokens of each example.
        batch_size: examples per batch.
        seed, epoch: determine the order.
        random_order: never group by length.
    """
    shuffle = random.Random(seed * 1000 + epoch)
    order = list(range(len(lengths)))
    shuffle.shuffle(order)
    pool_size = batch_size * POOL
    if random_order or len(order) < POOLS * pool_size:
        return [order[place : place + batch_size] for place in range(0, len(order), batch_size)]
    batches = []
    for start in range(0, len(order), pool_size):
        pool = sorted(order[start : start + pool_size], key=lambda row: lengths[row])
        batches += [pool[place : place + batch_size] for place in range(0, len(pool), batch_size)]
    shuffle.shuffle(batches)
    return batches
