"""Binarized data for the Trainer, without fairseq, in the same order and with the same masks and tags.

An item is a block; ``DataBin.collate`` makes the batch. Item indices run through all epochs, so that a single number is
the progress of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch.utils.data import Dataset

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.data_folder import data_languages
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.data.sampling import BlockSampler, draws_per_epoch
from langsamp_plugin.data.splits import read_languages
from langsamp_plugin.data.tagged_blocks import Block, TaggedBlocks
from langsamp_plugin.lang_script import LanguageTable, Tables, head_tags
from langsamp_plugin.modules.ignored import IGNORED
from langsamp_plugin.vocabulary.dictionary import SPECIAL, read_dictionary
from langsamp_plugin.vocabulary.folder_tokenizer import IDS_FILENAME, read_token_ids

PADDED_VOCABULARY = 1024
"""How many more rows than token ids a model may have, because vocabularies are padded to round sizes."""


class DataBin(Dataset[Block]):
    """A split of a folder of ``langsamp binarize``.

    Arguments that are not listed are flags of ``fairseq-train`` with the same names.

    Args:
        folder: the data folder.
        split: ``train`` is sampled; any other split is used once, language by language.
        tables: the inventories; by default the folder's, or the published ones.
        with_ids: whether batches have ``lang_ids`` and ``script_ids``; false for a model without tables.

    Attributes:
        tags: sorted tags of all languages in the folder.
        vocab_size: number of ids, ``<mask>`` included.
        length: number of items over all epochs; the Trainer sets it.
        start: item at index 0 in a resumed run.
    """

    def __init__(
        self,
        folder: PathLike,
        split: str = "train",
        *,
        tables: Optional[Tables] = None,
        tokens_per_sample: int = 512,
        seed: int = 1,
        multilang_sampling: str = "alpha",
        multilang_sampling_alpha: float = 1.0,
        multilang_sampling_scale: float = 30.0,
        multilang_sampling_counts: str = "blocks",
        mask_prob: float = 0.15,
        leave_unmasked_prob: float = 0.1,
        random_token_prob: float = 0.1,
        tag_dropout: float = 0.0,
        tag_map: Optional[PathLike] = None,
        with_ids: bool = True,
    ):
        folder = Path(folder)
        folders = data_languages(folder, tag_map)
        self.tags, self.split = sorted(folders), split
        if tables is None:
            tables = Tables.load(folder) if (folder / LanguageTable.filename).is_file() else Tables.glot500()
        rows = np.array([tables.ids(tag) for tag in self.tags], dtype=np.int64).reshape(-1, 2)
        masking, bos = _masking(folder, mask_prob, leave_unmasked_prob, random_token_prob)
        self.spare = PADDED_VOCABULARY if (folder / IDS_FILENAME).is_file() else 0
        self.vocab_size, self.with_ids, self.tables = len(masking.special), with_ids, tables
        languages, _ = read_languages(
            folders, split, combine=split == "train", tokens_per_sample=tokens_per_sample, vocab_size=self.vocab_size
        )
        if not languages:
            raise FileNotFoundError(
                f"no language of {folder} has a {split} split: binarize with --valid or more text, or evaluate on "
                "another split"
            )
        sampler, draws = None, np.empty(0)
        if split == "train":
            counts = np.array([len(blocks) for blocks in languages], dtype=np.int64)
            by_lines = multilang_sampling_counts == "lines"
            draws = draws_per_epoch(
                counts,
                scheme=multilang_sampling,
                alpha=multilang_sampling_alpha,
                head=np.array([str(blocks.tag) in head_tags() for blocks in languages]),
                scale=multilang_sampling_scale,
                lines=np.array([blocks.num_sentences for blocks in languages]) if by_lines else None,
            )
            sampler = BlockSampler(counts, draws, np.array([blocks.key for blocks in languages], np.uint64), seed)
        at = np.array([self.tags.index(blocks.tag) for blocks in languages], dtype=np.int64)
        self.blocks = TaggedBlocks(
            languages,
            tag_ids=at,
            lang_ids=rows[at, 0],
            script_ids=rows[at, 1],
            masking=masking,
            bos_id=bos,
            seed=seed,
            sampler=sampler,
            tag_dropout=tag_dropout if split == "train" else 0.0,
        )
        self.length, self.start = len(self.blocks), 0
        meaning = [(str(blocks.tag), blocks.num_tokens, len(blocks)) for blocks in languages]
        self.fingerprint = {
            "the data": _short(meaning, tokens_per_sample),
            "the vocabulary": _short(self.vocab_size),
            "the sampling": _short(draws.tolist(), seed),
            "the masking": _short(mask_prob, leave_unmasked_prob, random_token_prob, tag_dropout),
            "the tables": _short(tables.languages.codes, tables.scripts.codes),
        }

    def __len__(self) -> int:
        """Return the number of items over all epochs."""
        return self.length

    def __getitem__(self, index: int) -> Block:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Block]:
        """Read items; torch's DataLoader calls this with a batch."""
        found: list[Block] = []
        items = [max(0, index + self.start) for index in indices]
        for epoch in dict.fromkeys(item // len(self.blocks) for item in items):
            positions = [item % len(self.blocks) for item in items if item // len(self.blocks) == epoch]
            found += self.blocks.read(positions, epoch + 1)
        return found

    def collate(self, blocks: Sequence[Block], with_tags: bool = False) -> dict[str, torch.Tensor]:
        """Return ``input_ids``, ``attention_mask``, ``labels``, int64 (B, T), and ``lang_ids``, ``script_ids``, (B,).

        Args:
            blocks: items.
            with_tags: also return ``tag_ids``, indices into ``tags``.
        """
        pad = self.blocks.masking.pad_id
        made = self.blocks.batch(blocks)
        lengths = np.arange(made.source.shape[1]) < made.lengths[:, None]
        batch = {
            "input_ids": made.source,
            "attention_mask": lengths.astype(np.int64),
            "labels": np.where(made.target == pad, IGNORED, made.target),
        }
        if self.with_ids:
            batch.update(lang_ids=made.lang_ids, script_ids=made.script_ids)
        if with_tags:
            batch["tag_ids"] = made.tag_ids
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def check_model(self, model: Any) -> None:
        """Raise ``ValueError`` if a model has another vocabulary, no tables, or other tables."""
        rows = model.config.vocab_size
        if not self.vocab_size <= rows <= self.vocab_size + self.spare:
            what = "the tokenizer" if self.spare else "dict.txt"
            raise ValueError(
                f"the model must have the vocabulary of {what}, {self.vocab_size:,} ids, but has {rows:,}: "
                "binarize the data with the model's tokenizer"
            )
        if not self.with_ids:
            return
        own = getattr(model, "tables", None)
        if own is None or not any(map(len, own)):
            raise ValueError("the model must have tables, but has none: add them with add_tags, or use with_ids=False")
        for ours, theirs in zip(self.tables, own):
            if len(theirs) and ours != theirs:
                raise ValueError(
                    f"the data must be tagged with the model's {len(theirs)} {theirs.noun} codes in their order, but "
                    f"have {len(ours)} others: pass tables=model.tables to DataBin"
                )


def _masking(
    folder: Path, mask_prob: float, leave_unmasked_prob: float, random_token_prob: float
) -> tuple[Masking, int]:
    """Return the parameters of the corruption, and the id that begins a sample.

    With a ``dict.txt``, they equal :func:`langsamp_plugin.tasks.datasets.build_masking` for the same dictionary.
    """
    numbering = folder / IDS_FILENAME
    if numbering.is_file():
        ids = read_token_ids(numbering)
        special = np.zeros(ids.size, dtype=bool)
        special[[*ids.special, ids.bos, ids.eos, ids.pad, ids.mask]] = True
        weights, mask_id, pad_id, bos_id = (~special).astype(np.float64), ids.mask, ids.pad, ids.bos
    else:
        symbols = _symbols(folder / "dict.txt")
        mask_id, pad_id, bos_id = (symbols.index(name) for name in ("<mask>", "<pad>", "<s>"))
        special = np.zeros(len(symbols), dtype=bool)
        special[[*range(len(SPECIAL)), mask_id]] = True
        weights = np.array([not symbol.startswith("madeupword") for symbol in symbols], dtype=np.float64)
        weights[special] = 0.0
    if weights.sum() <= 0:
        raise ValueError(f"the dictionary of {folder} must have pieces to draw random tokens from, but has none")
    cumulative = np.cumsum(weights)
    masking = Masking(
        special=special,
        mask_id=mask_id,
        pad_id=pad_id,
        replacements=cumulative / cumulative[-1],
        mask_prob=mask_prob,
        leave_unmasked_prob=leave_unmasked_prob,
        random_token_prob=random_token_prob,
    )
    masking.check()
    return masking, bos_id


def _symbols(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the data folder needs the dictionary it was binarized with")
    symbols = [*SPECIAL, *read_dictionary(path)]
    return symbols if "<mask>" in symbols else [*symbols, "<mask>"]


def _short(*parts: Any) -> str:
    return blake2b(repr(parts).encode(), digest_size=6).hexdigest()
