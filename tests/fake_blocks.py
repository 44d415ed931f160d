"""Languages of made blocks, a data set of them, and its iterator."""

import numpy as np
from support import make_masking

from langsamp_plugin.data.block_dataset import BlockDataset
from langsamp_plugin.data.block_iterator import BlockIterator
from langsamp_plugin.data.hashing import key
from langsamp_plugin.data.sampling import BlockSampler


class FakeLanguage:
    """A language whose block i is the tokens 10 + i, so that a batch shows what it is made of."""

    def __init__(self, count, number):
        self.count, self.key = count, number

    def __len__(self):
        return self.count

    def block(self, block):
        return np.full(3 + block % 3, 10 + block, dtype=np.int64)


def make_dataset(counts=(20, 7, 33), draws=(20, 15, 30), train=True, tag_dropout=0.0, seed=1, shuffle_tags=False):
    sampler = BlockSampler(np.array(counts), np.array(draws), key(np.arange(len(counts))), seed) if train else None
    ids = list(range(len(counts)))
    return BlockDataset(
        [FakeLanguage(count, number + 1) for number, count in enumerate(counts)],
        tag_ids=ids,
        lang_ids=[5 + i for i in ids],
        script_ids=[8 + i for i in ids],
        masking=make_masking(),
        bos_id=0,
        seed=seed,
        sampler=sampler,
        tag_dropout=tag_dropout,
        shuffle_tags=shuffle_tags,
    )


def make_iterator(dataset=None, batch=4, shards=1, shard=0, epoch=1, fingerprint=None):
    return BlockIterator(
        dataset or make_dataset(),
        batch_size=batch,
        num_shards=shards,
        shard_id=shard,
        epoch=epoch,
        fingerprints={0: fingerprint or {"data": "a"}},
    )


class LongLanguage(FakeLanguage):
    """Blocks long enough that two masks are never equal by chance."""

    def block(self, block):
        return np.full(200, 10 + block, dtype=np.int64)
