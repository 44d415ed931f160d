"""Builds the data set of a split from flags and data folders."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from fairseq.data import Dictionary

from langsamp_plugin.data.batches import blocks_per_batch
from langsamp_plugin.data.block_dataset import BlockDataset
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.data.sampling import draws_per_epoch
from langsamp_plugin.data.tag_losses import groups_of
from langsamp_plugin.lang_script import Tables, head_tags
from langsamp_plugin.tasks.config import LangSampMaskedLMConfig
from langsamp_plugin.tasks.phases import Phase

WORD_MARKER = "\u2581"
NO_PHASE = Phase()


def build_masking(dictionary: Dictionary, cfg: LangSampMaskedLMConfig) -> Masking:
    """Return the parameters of the corruption; ``<mask>`` is the dictionary's last type.

    Raises:
        ValueError: a probability is out of range, or the dictionary lacks something that the flags need.
    """
    size, mask_id = len(dictionary), dictionary.index("<mask>")
    special = np.zeros(size, dtype=bool)
    special[: dictionary.nspecial] = True
    special[mask_id] = True
    weights = np.array(dictionary.count, dtype=np.float64) if cfg.freq_weighted_replacement else np.ones(size)
    padding = np.array([symbol.startswith("madeupword") for symbol in dictionary.symbols])
    weights[special | padding] = 0.0
    if weights.sum() <= 0:
        raise ValueError("dict.txt must have a piece with a count above 0 to draw random tokens from, but has none")
    begins = None
    if cfg.mask_whole_words:
        begins = np.array([symbol.startswith(WORD_MARKER) for symbol in dictionary.symbols])
        if not begins.any():
            raise ValueError(
                f"--mask-whole-words needs SentencePiece pieces, but no symbol of dict.txt begins with {WORD_MARKER}"
            )
    cumulative = np.cumsum(weights)
    masking = Masking(
        special=special,
        mask_id=mask_id,
        pad_id=dictionary.pad(),
        replacements=cumulative / cumulative[-1],
        word_begins=begins,
        mask_prob=cfg.mask_prob,
        leave_unmasked_prob=cfg.leave_unmasked_prob,
        random_token_prob=cfg.random_token_prob,
    )
    masking.check()
    return masking


def training_draws(
    languages: Sequence[LanguageBlocks], cfg: LangSampMaskedLMConfig, phase: Phase = NO_PHASE
) -> np.ndarray:
    """Return the number of blocks of each language per epoch, int64 ``(languages,)``."""
    lines = None
    if str(cfg.multilang_sampling_counts) == "lines":
        lines = np.array([blocks.num_sentences for blocks in languages], dtype=np.int64)
    return draws_per_epoch(
        np.array([len(blocks) for blocks in languages], dtype=np.int64),
        scheme=str(cfg.multilang_sampling),
        alpha=cfg.multilang_sampling_alpha if phase.alpha is None else phase.alpha,
        head=np.array([str(blocks.tag) in head_tags() for blocks in languages]),
        scale=cfg.multilang_sampling_scale if phase.scale is None else phase.scale,
        lines=lines,
    )


def check_metric(name: str, languages: Sequence[LanguageBlocks], split: str) -> None:
    """Raise ``ValueError`` if ``--best-checkpoint-metric`` is an average over a group that the validation lacks.

    fairseq would notice it only at the first validation.
    """
    groups = {"macro", *(group for blocks in languages for group in groups_of(blocks.tag))}
    if name.startswith("loss_") and name[5:] not in groups:
        raise ValueError(
            f"--best-checkpoint-metric must be loss, ppl, accuracy, or one of loss_{', loss_'.join(sorted(groups))}, "
            f"which the languages of {split} have, but is {name}"
        )


def sequences_per_update(cfg: LangSampMaskedLMConfig) -> int:
    """Return the number of blocks per update over all workers.

    Raises:
        ValueError: ``--update-freq`` changes from epoch to epoch.
    """
    if len(cfg.update_freq) != 1:
        raise ValueError(f"--update-freq must be one number with --phases, but is {list(cfg.update_freq)}")
    batch = blocks_per_batch(cfg.tokens_per_sample, cfg.max_tokens, cfg.batch_size, cfg.required_batch_size_multiple)
    return batch * cfg.update_freq[0] * cfg.distributed_world_size


def digest(*parts: Any) -> str:
    """Return a short hash of the printed form of some values."""
    return blake2b(repr(parts).encode(), digest_size=6).hexdigest()


def fingerprint(
    dataset: BlockDataset, dictionary: Dictionary, tables: Tables, cfg: LangSampMaskedLMConfig, num_folders: int
) -> dict[str, str]:
    """Return short hashes of everything that determines the meaning of a position, named for errors."""
    draws = dataset.sampler.draws if dataset.sampler is not None else np.empty(0)

    return {
        "the data": digest(
            [(str(blocks.tag), blocks.num_tokens, len(blocks)) for blocks in dataset.languages], cfg.tokens_per_sample
        ),
        "the dictionary": digest(dictionary.symbols),
        "the sampling": digest(draws.tolist(), cfg.seed),
        "the language table": digest(tables.languages.codes),
        "the script table": digest(tables.scripts.codes),
        "the number of data folders": str(num_folders),
    }
