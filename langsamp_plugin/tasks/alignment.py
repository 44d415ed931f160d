"""Builds the parallel text of updates and validations from flags and a folder of pairs."""

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
        train: training pairs.
        valid: held-out pairs; without languages if there are none.
    """

    train: PairSplit
    valid: PairSplit

    @property
    def tags(self) -> list[LangScript]:
        """The languages of both parts."""
        return sorted({*self.train.languages, *self.valid.languages})


def open_pairs(cfg: LangSampMaskedLMConfig, data: Path, types: int, dictionary: str) -> Optional[AlignmentData]:
    """Open the pairs of a run; ``None`` for a run without pairs.

    Args:
        cfg: the flags.
        data: the first data folder.
        types: token ids of the dictionary.
        dictionary: its digest.

    Raises:
        FileNotFoundError: the run needs pairs, but the folder is missing.
        ValueError: the folder is damaged, was made with another dictionary, or has no training pair or no sentence of
            the pivot.
    """
    if cfg.align_share == 0:
        return None
    folder = Path(cfg.align_data) if cfg.align_data else data / PAIRS_FOLDER
    found = AlignmentData(*(PairSplit(folder, split, types, dictionary) for split in ("train", "valid")))
    if not len(found.train):
        raise ValueError(
            f"{folder} must have training pairs, but has none: make them with `langsamp pairs` and `langsamp binarize "
            "--pairs`"
        )
    _pivot(found.train, cfg)
    return found


def _pivot(split: PairSplit, cfg: LangSampMaskedLMConfig) -> Optional[int]:
    """Return the index of the pivot among the languages of a split; ``None`` without one."""
    if not cfg.align_pivot:
        return None
    tag = LangScript.from_spelling(cfg.align_pivot)
    if tag not in split.languages:
        raise ValueError(f"--align-pivot must be a language of {split.folder}, but is {tag}: name another or none")
    return split.languages.index(tag)


def pair_batches(
    split: PairSplit, cfg: LangSampMaskedLMConfig, tables: Tables, masking: Masking, dictionary: Dictionary
) -> PairBatches:
    """Return the maker of a run's batches of pairs.

    Raises:
        ValueError: a code is missing in the tables.
    """
    sampler = PairSampler(
        counts=split.counts,
        keys=np.array([language_key(tag) for tag in split.languages], dtype=np.uint64),
        alpha=cfg.align_alpha,
        seed=cfg.seed,
        message=split.message,
        sentences=split.sentences,
        pivot=_pivot(split, cfg),
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
    """Return the held-out pairs that a validation measures; ``None`` if there are none."""
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
    """Return a short hash of everything that determines the order of pairs, named for errors."""
    parts: Sequence[Any] = (
        [str(tag) for tag in pairs.split.languages],
        pairs.split.counts.tolist(),
        pairs.split.num_messages,
        *(cfg.align_share, cfg.align_pairs, cfg.align_alpha, cfg.align_pivot, pairs.objective, cfg.seed),
    )
    return {"the parallel text": blake2b(repr(parts).encode(), digest_size=6).hexdigest()}


def alignment_weight(cfg: LangSampMaskedLMConfig, updates: int) -> float:
    """Return the weight of the contrastive loss after a number of updates."""
    return cfg.align_weight * min(1.0, (updates + 1) / cfg.align_warmup if cfg.align_warmup else 1.0)
