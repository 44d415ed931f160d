"""From flags and a folder of pairs to what an update and a validation read."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
from fairseq.data import Dictionary

from langsamp_plugin.data.language_blocks import language_key
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.data.pair_batches import PairBatches
from langsamp_plugin.data.pair_data import PAIRS_FOLDER, PairSplit
from langsamp_plugin.data.pair_sampling import PairSampler, PairSchedule
from langsamp_plugin.lang_script import LangScript, Tables
from langsamp_plugin.tasks.config import LangSampMaskedLMConfig
from langsamp_plugin.tasks.held_out_pairs import HeldOutPairs


class AlignmentData(NamedTuple):
    """The parallel text of a run.

    Args:
        train: what is trained on.
        valid: held-out pairs; without languages where there are none.
    """

    train: PairSplit
    valid: PairSplit

    @property
    def tags(self) -> list[LangScript]:
        """The languages of both parts."""
        return sorted({*self.train.languages, *self.valid.languages})


def open_pairs(cfg: LangSampMaskedLMConfig, data: Path, types: int) -> Optional[AlignmentData]:
    """Open the pairs of a run, or return ``None`` for one without.

    Args:
        cfg: the flags.
        data: the first data folder.
        types: token ids of the dictionary.

    Raises:
        FileNotFoundError: the run needs pairs and there are none.
        ValueError: the folder is damaged or of another dictionary, or has no pair to train on.
    """
    if cfg.align_share == 0:
        return None
    folder = Path(cfg.align_data) if cfg.align_data else data / PAIRS_FOLDER
    found = AlignmentData(PairSplit(folder, "train", types), PairSplit(folder, "valid", types))
    if not len(found.train):
        raise ValueError(
            f"{folder} has no pair to train on: make it with `langsamp pairs` and `langsamp binarize --pairs`"
        )
    return found


def pair_batches(
    split: PairSplit, cfg: LangSampMaskedLMConfig, tables: Tables, masking: Masking, dictionary: Dictionary
) -> PairBatches:
    """Return what makes the batches of pairs of a run.

    Raises:
        ValueError: the pivot has no sentence among the pairs, or the tables lack a code.
    """
    pivot = None
    if cfg.align_pivot:
        tag = LangScript.from_spelling(cfg.align_pivot)
        if tag not in split.languages:
            raise ValueError(f"--align-pivot must be a language of {split.folder}, but is {tag}: name another or none")
        pivot = split.languages.index(tag)
    sampler = PairSampler(
        counts=split.counts,
        keys=np.array([language_key(tag) for tag in split.languages], dtype=np.uint64),
        alpha=cfg.align_alpha,
        seed=cfg.seed,
        message=split.message,
        sentences=split.sentences,
        pivot=pivot,
    )
    rows = np.array([tables.ids(tag) for tag in split.languages], dtype=np.int64).reshape(-1, 2)
    return PairBatches(
        split,
        sampler,
        PairSchedule(cfg.align_share, cfg.align_pairs),
        lang_ids=rows[:, 0],
        script_ids=rows[:, 1],
        masking=masking,
        bos_id=dictionary.bos(),
        eos_id=dictionary.eos(),
        max_tokens=cfg.tokens_per_sample,
        objective=str(cfg.align_objective),
    )


def held_out_pairs(
    split: PairSplit, cfg: LangSampMaskedLMConfig, tables: Tables, dictionary: Dictionary
) -> Optional[HeldOutPairs]:
    """Return what a validation measures, or ``None`` where nothing is to be measured."""
    if not len(split) or cfg.align_validate == 0:
        return None
    return HeldOutPairs(
        split,
        tables=tables,
        reference=LangScript.from_spelling(cfg.align_pivot) if cfg.align_pivot else None,
        limit=cfg.align_validate,
        bos_id=dictionary.bos(),
        pad_id=dictionary.pad(),
        max_tokens=cfg.tokens_per_sample,
    )


def pairs_fingerprint(pairs: PairBatches, cfg: LangSampMaskedLMConfig) -> dict[str, str]:
    """Return a short hash of everything that the meaning of a pair's place depends on, named for an error."""
    parts: Sequence[Any] = (
        [str(tag) for tag in pairs.split.languages],
        pairs.split.counts.tolist(),
        pairs.split.num_messages,
        *(cfg.align_share, cfg.align_pairs, cfg.align_alpha, cfg.align_pivot, pairs.objective, cfg.seed),
    )
    return {"the parallel text": blake2b(repr(parts).encode(), digest_size=6).hexdigest()}


def alignment_weight(cfg: LangSampMaskedLMConfig, updates: int) -> float:
    """Return the weight of the contrastive loss in the update after so many others."""
    return cfg.align_weight * min(1.0, (updates + 1) / cfg.align_warmup if cfg.align_warmup else 1.0)
