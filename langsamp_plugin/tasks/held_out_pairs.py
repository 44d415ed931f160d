"""Measures at every validation how well a model's middle layer aligns languages on held-out pairs."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.criterions.pair_loss import align_layer
from langsamp_plugin.data.pair_data import PairSplit
from langsamp_plugin.data.tag_losses import groups_of
from langsamp_plugin.lang_script import LangScript, Tables
from langsamp_plugin.modules.contrastive_loss import mean_pooled

logger = logging.getLogger(__name__)

BATCH_TOKENS = 8192
COLLAPSED_NORM, COLLAPSED_MARGIN = 0.95, 0.05
"""A mean of unit vectors with this norm and a margin this small indicate nearly equal vectors for all sentences."""

Place = tuple[int, int]


class TagAlignment(NamedTuple):
    """Held-out pairs of one language with the reference language.

    Args:
        margin: mean cosine of pairs minus that of other sentence combinations.
        cosine: mean cosine of pairs.
        top1: share of sentences whose nearest neighbour is their translation, mean of both directions, in percent.
        pairs: number of measured pairs.
    """

    margin: float
    cosine: float
    top1: float
    pairs: int


class HeldOutPairs:
    """The held-out pairs of a run: each language with the reference language.

    Args:
        split: the sentences.
        tables: the inventories, for models that read tags at the input.
        reference: its tag; ``None`` means English, or the language with the most sentences if there is no English.
        limit: maximum number of pairs per language.
        bos_id, pad_id: of the dictionary.
        max_tokens: maximum tokens per sentence, including ``<s>``.
    """

    def __init__(
        self,
        split: PairSplit,
        *,
        tables: Tables,
        reference: Optional[LangScript],
        limit: int,
        bos_id: int,
        pad_id: int,
        max_tokens: int,
    ):
        self.split, self.limit = split, limit
        self.ids = np.array([tables.ids(tag) for tag in split.languages], dtype=np.int64).reshape(-1, 2)
        self.bos_id, self.pad_id, self.max_tokens = bos_id, pad_id, max_tokens
        wanted = reference if reference in split.languages else LangScript("eng", "Latn")
        self.reference = 0
        if split.languages:
            known = wanted in split.languages
            self.reference = split.languages.index(wanted) if known else int(split.counts.argmax())

    def pairs(self, language: int) -> list[tuple[Place, Place]]:
        """Return the locations ``(language, row)`` of the first pairs of a language with the reference."""
        found: list[tuple[Place, Place]] = []
        for row in range(int(self.split.counts[language])):
            if len(found) == self.limit:
                break
            languages, rows = self.split.sentences(self.split.message(language, row))
            for other in np.flatnonzero(languages == self.reference):
                found.append(((language, row), (self.reference, int(rows[other]))))
        return found

    def measure(self, model: Any, layer: int) -> tuple[dict[LangScript, TagAlignment], float]:
        """Encode the pairs and compare.

        Args:
            model: a LangSAMP model, not wrapped.
            layer: the flag ``--align-layer``.

        Returns:
            Results of languages with at least two pairs, and the norm of the mean of all unit vectors.
        """
        pairs = {
            language: self.pairs(language)
            for language in range(len(self.split.languages))
            if language != self.reference
        }
        pairs = {language: found for language, found in pairs.items() if len(found) > 1}
        places = sorted({place for found in pairs.values() for pair in found for place in pair})
        if not places:
            return {}, 0.0
        training = model.training
        model.eval()
        with torch.no_grad():
            vectors = torch.nn.functional.normalize(self._encode(model, places, layer), dim=-1)
        model.train(training)
        row_of = {place: row for row, place in enumerate(places)}
        results = {
            self.split.languages[language]: _compare(
                *(vectors[[row_of[place] for place in side]] for side in zip(*found))
            )
            for language, found in pairs.items()
        }
        return results, float(vectors.mean(0).norm())

    def _encode(self, model: Any, places: Sequence[Place], layer: int) -> Tensor:
        """Return the pooled states of sentences, float32 (sentences, C), on the CPU."""
        device = next(model.parameters()).device
        sentences = [self.split.tokens(*place)[: self.max_tokens - 1] for place in places]
        order = np.argsort([len(sentence) for sentence in sentences], kind="stable")
        pooled: list[Tensor] = []
        for part in _batches([len(sentences[row]) + 1 for row in order]):
            rows = order[part]
            tokens = np.full((len(rows), len(sentences[rows[-1]]) + 1), self.pad_id, dtype=np.int64)
            tokens[:, 0] = self.bos_id
            for padded, row in zip(tokens, rows):
                padded[1 : 1 + len(sentences[row])] = sentences[row]
            lang_ids, script_ids = self.ids[[places[row][0] for row in rows]].T
            src_tokens = torch.from_numpy(tokens).to(device)
            _, extra = model(
                src_tokens=src_tokens,
                lang_ids=torch.from_numpy(lang_ids.copy()).to(device),
                script_ids=torch.from_numpy(script_ids.copy()).to(device),
                features_only=True,
                return_all_hiddens=True,
            )
            states = extra["inner_states"]
            state = states[align_layer(layer, len(states) - 1)]
            pooled.append(mean_pooled(state, src_tokens.eq(self.pad_id)).cpu())
        return torch.cat(pooled)[torch.from_numpy(np.argsort(order))]


def _batches(lengths: Sequence[int]) -> Iterator[slice]:
    """Split rows, sorted by length, into batches of at most :data:`BATCH_TOKENS` padded tokens."""
    start = 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - start) * lengths[end] > BATCH_TOKENS:
            yield slice(start, end)
            start = end


def _compare(one_NC: Tensor, other_NC: Tensor) -> TagAlignment:
    cosines_NN = one_NC @ other_NC.t()
    count = len(cosines_NN)
    own_N = cosines_NN.diagonal()
    unrelated = (cosines_NN.sum() - own_N.sum()) / (count * (count - 1))
    # In a tie, the correct sentence ranks last.
    forth = (cosines_NN >= own_N[:, None]).sum(1).eq(1)
    back = (cosines_NN >= own_N[None, :]).sum(0).eq(1)
    top1 = 50.0 * float(forth.float().mean() + back.float().mean())
    return TagAlignment(float(own_N.mean() - unrelated), float(own_N.mean()), top1, count)


def group_alignment(results: Mapping[LangScript, TagAlignment]) -> dict[str, tuple[float, float]]:
    """Return macro averages of margin and top-1 over all, head, tail, Latin and non-Latin languages."""
    groups: dict[str, list[TagAlignment]] = {"macro": [], "head": [], "tail": [], "latn": [], "nonlatn": []}
    for tag, result in results.items():
        for group in ("macro", *groups_of(tag)):
            groups[group].append(result)
    return {
        group: (float(np.mean([one.margin for one in found])), float(np.mean([one.top1 for one in found])))
        for group, found in groups.items()
        if found
    }


def alignment_stats(results: Mapping[LangScript, TagAlignment], norm: float) -> dict[str, float]:
    """Return the values that fairseq logs and sends to TensorBoard; warn in one line if the space collapses."""
    if not results:
        return {}
    groups = group_alignment(results)
    margin = groups["macro"][0]
    if norm > COLLAPSED_NORM and margin < COLLAPSED_MARGIN:
        logger.warning(
            "the aligned layer maps all sentences to nearly the same vector (norm of the mean %.3f, margin of held-out "
            "pairs %.3f): raise --align-temperature or --align-pairs, or align from the start of training",
            norm, margin,
        )  # fmt: skip
    stats = {f"align_margin_{group}": values[0] for group, values in groups.items()}
    return {**stats, "align_top1_macro": groups["macro"][1], "align_mean_norm": norm}


def report_alignment(
    results: Mapping[LangScript, TagAlignment], updates: int, save_dir: PathLike, tensorboard_logdir: Optional[str]
) -> None:
    """Write ``<save_dir>/alignment/<updates>.tsv``, and ``valid_by_tag`` for TensorBoard.

    Args:
        results: results of one validation; call this in one worker.
        updates: number of updates of the model.
        save_dir: the run's folder of checkpoints.
        tensorboard_logdir: fairseq's ``--tensorboard-logdir``, or ``None``.
    """
    rows: list[list[str]] = [["kind", "name", "group", "margin", "cosine", "top1", "pairs"]]
    for tag, one in sorted(results.items()):
        figures = [f"{one.margin:.4f}", f"{one.cosine:.4f}", f"{one.top1:.2f}", str(one.pairs)]
        rows.append(["tag", str(tag), groups_of(tag)[0], *figures])
    for group, (margin, top1) in group_alignment(results).items():
        rows.append(["macro", group, "", f"{margin:.4f}", "", f"{top1:.2f}", ""])
    with atomic_write(Path(save_dir) / "alignment" / f"{updates}.tsv") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(rows)
    if not tensorboard_logdir:
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # fairseq has already logged that
        return
    with SummaryWriter(str(Path(tensorboard_logdir) / "valid_by_tag")) as writer:
        for tag, one in sorted(results.items()):
            writer.add_scalar(f"align_margin/{tag}", one.margin, updates)
