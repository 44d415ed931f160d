"""Makes batches for the Trainer from tokenized sentences with a language and a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Optional

import numpy as np
import torch
from transformers import TrainerCallback

from langsamp_plugin.data.hashing import key
from langsamp_plugin.data.masking import Masking, mask_batch
from langsamp_plugin.data.tagged_blocks import MASK_STREAM, drop_tags
from langsamp_plugin.hf.data_bin import PADDED_VOCABULARY
from langsamp_plugin.lang_script import LangScript, Tables
from langsamp_plugin.modules.ignored import IGNORED


class LangSampCollator:
    """Pads, masks and tags.

    A feature has ``input_ids`` and one of: ``tag`` (``deu_Latn``, in any common spelling), ``language`` and ``script``
    codes, or ``lang_ids`` and ``script_ids``. The Trainer keeps these columns because they are arguments of the model's
    ``forward``. The masks of a row are a function of (seed, epoch, its tokens and tag), independent of batch and
    process. Pass ``callbacks=[collator.callback]`` to the Trainer, or use ``LangSampTrainer``, so that masks change
    with each epoch.

    Args:
        tokenizer: a transformers tokenizer with ``<pad>`` and ``<mask>``.
        model: a model with tables; without tables, features need no tag and batches have no ids.
        seed: seed of masks and tag dropout.
        mask_prob, leave_unmasked_prob, random_token_prob: see :class:`~langsamp_plugin.data.masking.Masking`.
        tag_dropout: probability that a row's tag is replaced by the unknown one.
        pad_to_multiple_of: pad batches to a multiple of this length.

    Raises:
        ValueError: the tokenizer lacks a token, or its vocabulary differs from the model's.
    """

    def __init__(
        self,
        tokenizer: Any,
        model: Any,
        *,
        seed: int = 1,
        mask_prob: float = 0.15,
        leave_unmasked_prob: float = 0.1,
        random_token_prob: float = 0.1,
        tag_dropout: float = 0.0,
        pad_to_multiple_of: Optional[int] = None,
    ):
        for name in ("mask_token_id", "pad_token_id"):
            if getattr(tokenizer, name) is None:
                raise ValueError(f"the tokenizer must have a {name[:-3]}, but has none: masked LMs need it")
        if not 0.0 <= tag_dropout <= 1.0:
            raise ValueError(f"tag_dropout must be between 0 and 1, but is {tag_dropout}")
        size, rows = len(tokenizer), model.config.vocab_size
        if not size <= rows <= size + PADDED_VOCABULARY:
            raise ValueError(
                f"the tokenizer must have the model's vocabulary of {rows:,} ids, but has {size:,}: load both from the "
                "same folder, or call model.resize_token_embeddings"
            )
        self.tables: Optional[Tables] = getattr(model, "tables", None)
        if self.tables is not None and not any(map(len, self.tables)):
            self.tables = None
        special = np.zeros(size, dtype=bool)
        special[[number for number in tokenizer.all_special_ids if number < size]] = True
        weights = (~special).astype(np.float64)
        self.masking = Masking(
            special=special,
            mask_id=tokenizer.mask_token_id,
            pad_id=tokenizer.pad_token_id,
            replacements=np.cumsum(weights) / weights.sum(),
            mask_prob=mask_prob,
            leave_unmasked_prob=leave_unmasked_prob,
            random_token_prob=random_token_prob,
        )
        self.masking.check()
        self.seed, self.tag_dropout, self.multiple = seed, tag_dropout, pad_to_multiple_of or 1
        # Shared memory, so that persistent loader processes see the epoch change.
        self._epoch = torch.ones(1, dtype=torch.long).share_memory_()
        self._known: dict[tuple[Any, ...], tuple[int, int]] = {}

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 1, which determines the masks."""
        self._epoch.fill_(epoch)

    @property
    def callback(self) -> TrainerCallback:
        """The Trainer callback that sets the epoch of this collator."""
        return EpochCallback(self)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return ``input_ids``, ``attention_mask``, ``labels``, int64 (B, T), and ``lang_ids``, ``script_ids``, (B,).

        Raises:
            ValueError: a feature has no tag, the tables lack its code, or an id is outside the vocabulary.
        """
        rows = [np.asarray(feature["input_ids"], dtype=np.int64) for feature in features]
        longest = max(map(len, rows))
        tokens = np.full((len(rows), -(-longest // self.multiple) * self.multiple), self.masking.pad_id, dtype=np.int64)
        for target, row in zip(tokens, rows):
            target[: len(row)] = row
        if tokens.min() < 0 or tokens.max() >= len(self.masking.special):
            raise ValueError(
                f"input_ids must be < {len(self.masking.special)}, the tokenizer's size, but have {tokens.max()}: "
                "tokenize again with the model's own tokenizer"
            )
        ids = np.array([self._ids(feature) for feature in features], dtype=np.int64).reshape(-1, 2)
        names = [blake2b(row.tobytes() + pair.tobytes(), digest_size=8).digest() for row, pair in zip(rows, ids)]
        numbers = np.array([int.from_bytes(name, "little") for name in names], dtype=np.uint64)
        keys = key(self.seed, int(self._epoch), numbers)
        source, target = mask_batch(tokens, key(keys, MASK_STREAM), self.masking)
        batch = {
            "input_ids": source,
            "attention_mask": (tokens != self.masking.pad_id).astype(np.int64),
            "labels": np.where(target == self.masking.pad_id, IGNORED, target),
        }
        if self.tables is not None:
            batch["lang_ids"], batch["script_ids"] = drop_tags(ids[:, 0], ids[:, 1], keys, self.tag_dropout)
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.items()}

    def _ids(self, feature: Mapping[str, Any]) -> tuple[int, int]:
        if self.tables is None:
            return -1, -1
        if "lang_ids" in feature and "script_ids" in feature:
            return int(feature["lang_ids"]), int(feature["script_ids"])
        return tag_rows(self.tables, feature.get("tag"), feature.get("language"), feature.get("script"), self._known)


def tag_rows(tables: Tables, tag: Any, language: Any, script: Any, known: Optional[dict[Any, Any]] = None) -> Any:
    """Return ``(language id, script id)`` of a tag, or of two codes.

    Raises:
        ValueError: both are missing, or the tables lack a code.
    """
    name = (tag, language, script)
    if known is not None and name in known:
        return known[name]
    if tag is None and (language is None or script is None):
        raise ValueError(
            "each feature must have a tag (or language and script, or lang_ids and script_ids), but has none: add the "
            "column, und_Zyyy if it is unknown; with a model whose forward has no tag, set "
            "remove_unused_columns=False"
        )
    ids = tables.ids(LangScript.from_spelling(tag if tag is not None else f"{language}_{script}"))
    if known is not None:
        known[name] = ids
    return ids


class EpochCallback(TrainerCallback):
    """Sets the epoch of a collator."""

    def __init__(self, collator: LangSampCollator):
        self.collator = collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the epoch, from 1."""
        self.collator.set_epoch(int(state.epoch or 0) + 1)
