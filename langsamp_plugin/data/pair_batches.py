"""Makes a masked and tagged batch of pairs, in addition to the blocks of an update."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from langsamp_plugin.data.block_dataset import Block, BlockDataset
from langsamp_plugin.data.hashing import key
from langsamp_plugin.data.masking import Masking, mask_batch
from langsamp_plugin.data.pair_data import PairSplit
from langsamp_plugin.data.pair_sampling import PairSampler, PairSchedule

CONTRAST, TLM = "contrast", "tlm"
OBJECTIVES = (CONTRAST, TLM)
PARTS = 6
"""Maximum number of batches that group sentences by length; a single batch would be at least two thirds padding."""


class Request(NamedTuple):
    """The items that a worker reads for one batch.

    Args:
        positions: positions of the blocks.
        places: first and last place of the pairs, the last one excluded; empty without pairs.
    """

    positions: Sequence[int]
    places: tuple[int, ...]


class PairBatches:
    """Makes batches of pairs.

    Args:
        split: the sentences.
        sampler: their order.
        schedule: determines which rounds have pairs.
        lang_ids, script_ids: row in the tables of each language of the split.
        masking: parameters of the corruption.
        bos_id, eos_id: ids of ``<s>`` and ``</s>``.
        max_tokens: maximum tokens per row; longer sentences are truncated.
        objective: ``contrast`` puts each sentence into a separate row, first sides first; ``tlm`` puts both into one
            row.
    """

    def __init__(
        self,
        split: PairSplit,
        sampler: PairSampler,
        schedule: PairSchedule,
        *,
        lang_ids: ArrayLike,
        script_ids: ArrayLike,
        masking: Masking,
        bos_id: int,
        eos_id: int,
        max_tokens: int,
        objective: str = CONTRAST,
    ):
        assert objective in OBJECTIVES
        self.split, self.sampler, self.schedule = split, sampler, schedule
        self.ids = np.stack([np.asarray(lang_ids, np.int64), np.asarray(script_ids, np.int64)])
        self.masking = masking
        self.bos_id, self.eos_id = bos_id, eos_id
        self.max_tokens = max_tokens
        self.objective = objective

    def batch(self, start: int, stop: int) -> dict[str, Any]:
        """Read the pairs of a range of places and make their batch.

        Returns:
            ``parts``: batches of rows of similar length, each with ``net_input`` (``src_tokens`` (B, T),
            ``src_lengths`` (B,), ``lang_ids`` and ``script_ids`` (B,) or, for ``tlm``, (B, T)) and ``target`` (B, T),
            the number of ``masked`` tokens, and for ``contrast`` their ``index``, ``rows`` and ``words``; ``order``:
            the index of each row within all parts, in the order of the pairs, for ``contrast`` first sides before
            second sides; ``related`` (pairs, 3): a number for the message and for each text, equal for equal ones. All
            int64.
        """
        places = self.sampler.pairs(start, stop)
        sides = [[self.split.tokens(place.languages[side], place.rows[side]) for place in places] for side in (0, 1)]
        related = [(place.message, _text_number(one), _text_number(other)) for place, one, other in zip(places, *sides)]
        pair_keys = np.array([place.key for place in places], dtype=np.uint64)
        languages = np.array([place.languages for place in places], dtype=np.int64).reshape(-1, 2)
        if self.objective == TLM:
            rows, of_token = self._joined(sides, languages)
            keys = key(pair_keys, 0)
        else:
            rows = [self._cut(sentence, self.max_tokens - 1) for sentence in (*sides[0], *sides[1])]
            of_token = list(languages.T.reshape(-1, 1))
            keys = np.concatenate([key(pair_keys, side) for side in (0, 1)])
        lengths = np.array([len(row) for row in rows])
        by_length = np.argsort(lengths, kind="stable")
        return {
            "parts": [
                self._part([rows[row] for row in part], [of_token[row] for row in part], keys[part])
                for part in np.split(by_length, length_cuts(lengths[by_length], PARTS))
            ],
            "order": torch.from_numpy(np.argsort(by_length)),
            "related": torch.tensor(related, dtype=torch.long).reshape(-1, 3),
        }

    def _joined(
        self, sides: Sequence[Sequence[np.ndarray]], languages: np.ndarray
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return both sentences of each pair in one row without ``<s>``, and the language of each token."""
        rows, of_token = [], []
        half = (self.max_tokens - 1) // 2
        for one, other, (first, second) in zip(*sides, languages.tolist()):
            one, other = self._cut(one, half), self._cut(other, half)
            rows.append(np.concatenate([one, other]))
            of_token.append(np.repeat([first, second], [1 + len(one), len(other)]))
        return rows, of_token

    def _part(self, rows: Sequence[np.ndarray], of_token: Sequence[np.ndarray], keys: np.ndarray) -> dict[str, Any]:
        """Pad, mask and tag rows."""
        lengths = np.array([1 + len(row) for row in rows], dtype=np.int64)
        tokens = np.full((len(rows), int(lengths.max())), self.masking.pad_id, dtype=np.int64)
        tokens[:, 0] = self.bos_id
        for padded, row in zip(tokens, rows):
            padded[1 : 1 + len(row)] = row
        languages = np.concatenate(of_token)
        if self.objective == TLM:
            languages = np.zeros(tokens.shape, dtype=np.int64)
            for padded, known in zip(languages, of_token):
                padded[: len(known)] = known
        source, target = mask_batch(tokens, keys, self.masking)
        positions: dict[str, Any] = {}
        if self.objective == CONTRAST:  # one language per row: the model gets positions without a synchronisation
            index = np.flatnonzero(target != self.masking.pad_id)
            positions = {
                "index": torch.from_numpy(index),
                "rows": torch.from_numpy(index // target.shape[1]),
                "words": torch.from_numpy(target.reshape(-1)[index]),
            }
        return {
            **positions,
            "masked": int((target != self.masking.pad_id).sum()),
            "net_input": {
                "src_tokens": torch.from_numpy(source),
                "src_lengths": torch.from_numpy(lengths),
                "lang_ids": torch.from_numpy(self.ids[0, languages]),
                "script_ids": torch.from_numpy(self.ids[1, languages]),
            },
            "target": torch.from_numpy(target),
        }

    def _cut(self, tokens: np.ndarray, most: int) -> np.ndarray:
        """Truncate to a number of tokens, the last of which is ``</s>``."""
        return tokens if len(tokens) <= most else np.append(tokens[: most - 1], self.eos_id)


class BlocksWithPairs(torch.utils.data.Dataset):
    """Data set of blocks, with pairs in some batches, for torch's loader.

    Args:
        blocks: the blocks of the current epoch.
        pairs: makes the batches of pairs.
    """

    def __init__(self, blocks: BlockDataset, pairs: PairBatches):
        self.blocks, self.pairs = blocks, pairs

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, position: int) -> Block:
        return self.blocks[position]

    def __getitems__(self, request: Request) -> tuple[list[Block], tuple[int, ...]]:
        """Read the blocks; pairs are read by the collater."""
        return self.blocks.__getitems__(request.positions), request.places

    def collater(self, samples: tuple[list[Block], tuple[int, ...]]) -> dict[str, Any]:
        """Return the batch of blocks, with ``pairs`` if it has any."""
        blocks, places = samples
        batch = self.blocks.collater(blocks)
        if places:
            batch["pairs"] = self.pairs.batch(*places)
        return batch


def length_cuts(lengths: np.ndarray, parts: int) -> list[int]:
    """Return where to cut sorted rows so that their batches, each as wide as its longest row, have the least padding.

    Args:
        lengths: ascending, not empty.
        parts: maximum number of batches.
    """
    values, first = np.unique(lengths, return_index=True)
    stop = np.append(first[1:], len(lengths))
    # Tokens of a batch from the i-th to the j-th length; an impossible batch is larger than all others.
    sizes = np.where(
        np.tri(len(values), dtype=bool).T, (stop - first[:, None]) * (values + 1), np.iinfo(np.int64).max // 4
    )
    least, starts = sizes[0], []
    for _ in range(min(parts, len(values)) - 1):
        totals = np.append(0, least[:-1])[:, None] + sizes
        starts.append(totals.argmin(0))
        least = totals.min(0)
    cuts, last = [], len(values) - 1
    for start in reversed(starts):
        begin = int(start[last])
        if begin == 0:
            break
        cuts.append(int(first[begin]))
        last = begin - 1
    return cuts[::-1]


def _text_number(tokens: np.ndarray) -> int:
    """Return a number that is equal for equal token sequences, negative to differ from message numbers."""
    return -1 - (int.from_bytes(blake2b(tokens.tobytes(), digest_size=8).digest(), "little") >> 1)
