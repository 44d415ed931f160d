"""From flags and data folders to the data set of a split."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from fairseq.data import Dictionary

from langsamp_plugin.data.block_dataset import BlockDataset
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.data.sampling import draws_per_epoch
from langsamp_plugin.lang_script import Tables, head_tags
from langsamp_plugin.tasks.config import LangSampMaskedLMConfig

WORD_MARKER = "\u2581"


def build_masking(dictionary: Dictionary, cfg: LangSampMaskedLMConfig) -> Masking:
    """Return how a batch is corrupted; ``<mask>`` is the dictionary's last type.

    Raises:
        ValueError: a probability is out of range, or the dictionary lacks what the flags need.
    """
    size, mask_id = len(dictionary), dictionary.index("<mask>")
    special = np.zeros(size, dtype=bool)
    special[: dictionary.nspecial] = True
    special[mask_id] = True
    weights = np.array(dictionary.count, dtype=np.float64) if cfg.freq_weighted_replacement else np.ones(size)
    padding = np.array([symbol.startswith("madeupword") for symbol in dictionary.symbols])
    weights[special | padding] = 0.0
    if weights.sum() <= 0:
        raise ValueError("no token can be drawn as a random one: dict.txt has no pieces, or counts of 0 throughout")
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


def training_draws(languages: Sequence[LanguageBlocks], cfg: LangSampMaskedLMConfig) -> np.ndarray:
    """Return how many blocks of each language an epoch has, int64 ``(languages,)``, by the sampling flags."""
    lines = None
    if str(cfg.multilang_sampling_counts) == "lines":
        lines = np.array([blocks.num_sentences for blocks in languages], dtype=np.int64)
    return draws_per_epoch(
        np.array([len(blocks) for blocks in languages], dtype=np.int64),
        scheme=str(cfg.multilang_sampling),
        alpha=cfg.multilang_sampling_alpha,
        head=np.array([str(blocks.tag) in head_tags() for blocks in languages]),
        scale=cfg.multilang_sampling_scale,
        lines=lines,
    )


def fingerprint(
    dataset: BlockDataset, dictionary: Dictionary, tables: Tables, cfg: LangSampMaskedLMConfig
) -> dict[str, str]:
    """Return short hashes of everything that the meaning of a position depends on, each named for an error."""
    draws = dataset.sampler.draws if dataset.sampler is not None else np.empty(0)

    def short(*parts: Any) -> str:
        return blake2b(repr(parts).encode(), digest_size=6).hexdigest()

    return {
        "the data": short(
            [(str(blocks.tag), blocks.num_tokens, len(blocks)) for blocks in dataset.languages], cfg.tokens_per_sample
        ),
        "the dictionary": short(dictionary.symbols),
        "the sampling": short(draws.tolist(), cfg.seed),
        "the language table": short(tables.languages.codes),
        "the script table": short(tables.scripts.codes),
    }
