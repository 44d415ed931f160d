"""Data for Megatron's trainers: a sample is a pure function of its number, so a run resumes by counting.

Megatron counts the samples that all ranks have consumed and restores that number on resume. Sample n is position
``n % E`` of epoch ``n // E + 1``, E blocks per epoch, in the order of
:class:`~langsamp_plugin.data.sampling.BlockSampler` and with the masks of the fairseq side: the same seed gives the
same batches. With another number of ranks or another batch size, each remaining sample is still used exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.data_folder import data_languages
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.data.sampling import BlockSampler, draws_per_epoch
from langsamp_plugin.data.splits import read_languages
from langsamp_plugin.data.tagged_blocks import TaggedBlocks
from langsamp_plugin.lang_script import Tables, head_tags
from langsamp_plugin.vocabulary.dictionary import SPECIAL, read_dictionary

BOS, PAD = 0, 1
IGNORED = -100


class LangSampDataset(torch.utils.data.Dataset):
    """Masked and tagged samples of one split.

    Args:
        data: a data folder of ``langsamp binarize``.
        tables: the inventories that ids refer to.
        split: ``train``, ``valid``, ...
        seq_length: tokens per sample, including ``<s>``; shorter samples are padded.
        num_samples: length of the data set; epochs repeat until it is reached. ``None`` is one epoch.
        seed: the run's seed.
        alpha, sampling, scale: how languages are sampled, see :func:`~langsamp_plugin.data.sampling.draws_per_epoch`.
        sampled: sample languages in mixed order; ``False`` uses every block once, language by language.
        tag_dropout: probability that a sample's tag is replaced by the unknown one. It is drawn here instead of in the
            model, so that tensor-parallel ranks agree and resumed runs draw the same.
        mask_prob: share of tokens that are predicted.
        tag_map: file of lines ``FOLDER<tab>TAG``.

    Raises:
        FileNotFoundError: the data are missing.
        ValueError: a file is damaged, or the tables lack a code of the data.
    """

    def __init__(
        self,
        data: PathLike,
        *,
        tables: Tables,
        split: str = "train",
        seq_length: int = 512,
        num_samples: Optional[int] = None,
        seed: int = 1,
        alpha: float = 1.0,
        sampling: str = "alpha",
        scale: float = 30.0,
        sampled: bool = True,
        tag_dropout: float = 0.0,
        mask_prob: float = 0.15,
        tag_map: Optional[PathLike] = None,
    ):
        if not 0.0 <= tag_dropout <= 1.0:
            raise ValueError(f"tag_dropout must be between 0 and 1, but is {tag_dropout}")
        if seq_length < 2:
            raise ValueError(f"seq_length must be at least 2, but is {seq_length}")
        self.masking, symbols = masking_of(Path(data) / "dict.txt", mask_prob)
        self.num_words = len(self.masking.special)
        self.seq_length = seq_length
        languages, _ = read_languages(
            data_languages(data, tag_map),
            split,
            combine=False,
            tokens_per_sample=seq_length,
            vocab_size=self.num_words,
        )
        if not languages:
            raise FileNotFoundError(
                f"no language of {data} has a {split} split: binarize with --valid or more text, or train with "
                "--eval-iters 0"
            )
        self.tags = [blocks.tag for blocks in languages]
        ids = np.array([tables.ids(tag) for tag in self.tags], dtype=np.int64)
        draws = counts = np.array([len(blocks) for blocks in languages], dtype=np.int64)
        sampler = None
        if sampled:
            head = np.array([str(tag) in head_tags() for tag in self.tags])
            draws = draws_per_epoch(counts, scheme=sampling, alpha=alpha, head=head, scale=scale)
            keys = np.array([blocks.key for blocks in languages], dtype=np.uint64)
            sampler = BlockSampler(counts, draws, keys, seed)
        self.blocks = TaggedBlocks(
            languages,
            tag_ids=np.arange(len(languages)),
            lang_ids=ids[:, 0],
            script_ids=ids[:, 1],
            masking=self.masking,
            bos_id=BOS,
            seed=seed,
            sampler=sampler,
            tag_dropout=tag_dropout,
        )
        self.epoch_length = len(self.blocks)
        self.num_samples = self.epoch_length if num_samples is None else num_samples
        self.fingerprint = {
            "the data": _short([(str(blocks.tag), blocks.num_tokens) for blocks in languages], seq_length),
            "the dictionary": _short(symbols),
            "the sampling": _short(draws.tolist(), seed, tag_dropout, mask_prob),
            "the tables": _short(list(tables.languages), list(tables.scripts)),
        }

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.num_samples

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Return a sample.

        Args:
            number: from 0, over all epochs.

        Returns:
            int64 ``tokens`` (T,), ``labels`` (T,) with -100 at positions that are not predicted, ``attention_mask``
            (T,), 1 for tokens, and scalars ``lang_ids``, ``script_ids`` and ``number``.
        """
        if not 0 <= number < self.num_samples:
            raise IndexError(f"the data set has {self.num_samples:,} samples, but number {number:,} was requested")
        epoch, position = divmod(number, self.epoch_length)
        batch = self.blocks.batch(self.blocks.read([position], epoch + 1))
        length = int(batch.lengths[0])
        tokens = np.full(self.seq_length, PAD, dtype=np.int64)
        labels = np.full(self.seq_length, IGNORED, dtype=np.int64)
        tokens[:length] = batch.source[0]
        labels[:length] = np.where(batch.target[0] != PAD, batch.target[0], IGNORED)
        return {
            "tokens": torch.from_numpy(tokens),
            "labels": torch.from_numpy(labels),
            "attention_mask": torch.arange(self.seq_length).lt(length).long(),
            "lang_ids": torch.tensor(int(batch.lang_ids[0])),
            "script_ids": torch.tensor(int(batch.script_ids[0])),
            "number": torch.tensor(number),
        }


def consumed_batches(
    total: int, consumed: int, *, micro_batch: int, rank: int = 0, ranks: int = 1
) -> Iterator[list[int]]:
    """Yield the sample numbers of one data-parallel rank's micro-batches, like Megatron's own sampler.

    Args:
        total: samples of the data set; an incomplete last round is dropped.
        consumed: samples that all ranks have already consumed.
        micro_batch: samples per micro-batch of a rank.
        rank, ranks: the data-parallel rank, and the number of ranks.
    """
    step = micro_batch * ranks
    for first in range(consumed, total - step + 1, step):
        yield list(range(first + rank * micro_batch, first + (rank + 1) * micro_batch))


def check_same_data(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ``ValueError`` if a run resumes on data other than those that it began with."""
    changed = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    if changed:
        raise ValueError(
            f"a run must resume on the data it began with, but changed: {', '.join(changed)}; start a new one from its "
            "weights instead (another --save, its folder as --load)"
        )


def masking_of(path: PathLike, mask_prob: float = 0.15) -> tuple[Masking, list[str]]:
    """Return the parameters of the corruption for a data folder, and the symbols of its dictionary in id order.

    Raises:
        FileNotFoundError: ``dict.txt`` is missing.
        ValueError: it is damaged, or the share is out of range.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing: the data folder needs the dictionary it was binarized with")
    symbols = [*SPECIAL, *read_dictionary(path)]
    if "<mask>" not in symbols:
        symbols.append("<mask>")
    special = np.zeros(len(symbols), dtype=bool)
    special[: len(SPECIAL)] = True
    special[symbols.index("<mask>")] = True
    drawn = ~special & ~np.array([symbol.startswith("madeupword") for symbol in symbols])
    if not drawn.any():
        raise ValueError(f"{path} must have pieces to draw random tokens from, but has none")
    cumulative = np.cumsum(drawn.astype(np.float64))
    masking = Masking(
        special=special, mask_id=symbols.index("<mask>"), pad_id=PAD, replacements=cumulative / cumulative[-1],
        mask_prob=mask_prob,
    )  # fmt: skip
    masking.check()
    return masking, symbols


def _short(*parts: Any) -> str:
    return blake2b(repr(parts).encode(), digest_size=6).hexdigest()
