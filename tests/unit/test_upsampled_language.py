"""120 languages, one of them drawn 110 times in an epoch: other masks each time, and the same ones after any kill."""

import copy
import random

import pytest
import torch
from fake_blocks import LongLanguage, make_dataset, make_iterator
from support import VOCAB

from langsamp_plugin.data.block_dataset import BlockDataset

LANGUAGES, PASSES, BLOCKS = 120, 110, 3


def many_languages():
    counts, draws = (BLOCKS, *[4] * (LANGUAGES - 1)), (BLOCKS * PASSES, *[4] * (LANGUAGES - 1))
    dataset = make_dataset(counts, draws, tag_dropout=0.3)
    dataset.languages = [LongLanguage(len(language), language.key) for language in dataset.languages]
    return dataset


def masks_of_the_first(dataset):
    """Per pass over each block of the upsampled language: the block and where it is masked, and whether a tag is."""
    batch = dataset.collater(dataset.__getitems__(range(len(dataset))))
    hidden = (batch["net_input"]["lang_ids"] == -1).tolist()
    tag_of = dataset.sampler.locate(0, batch["id"])[0].tolist()
    rows = zip(tag_of, batch["target"], hidden)
    return [(int(row.max()), tuple((row != 1).tolist()), dropped) for tag, row, dropped in rows if tag == 0]


def test_masks_of_all_passes_are_distinct(monkeypatch):
    dataset = many_languages()
    rows = masks_of_the_first(dataset)
    assert len(rows) == BLOCKS * PASSES and len({(block, mask) for block, mask, _ in rows}) == len(rows)
    assert 0.2 < sum(dropped for *_, dropped in rows) / len(rows) < 0.4
    assert masks_of_the_first(many_languages()) == rows, "all of it is a function of the position"
    # The control: the key without the pass gives a block one mask and one fate of its tag.
    locate = BlockDataset.locate
    monkeypatch.setattr(BlockDataset, "locate", lambda *args: (*locate(*args)[:2], 0 * locate(*args)[2]))
    assert len(set(masks_of_the_first(dataset))) == BLOCKS


class Run:
    """A training of a few weights, as a process would hold it."""

    def __init__(self, saved=None):
        torch.manual_seed(0)
        self.weights = torch.nn.Parameter(torch.randn(VOCAB, 4))
        self.optimizer = torch.optim.Adam([self.weights], lr=0.1)
        self.iterator = make_iterator(many_languages(), batch=8)
        if saved is not None:
            weights, optimizer, iterator = copy.deepcopy(saved)
            self.weights.data = weights
            self.optimizer.load_state_dict(optimizer)
            self.iterator.load_state_dict(iterator)
        self.batches = self.iterator.next_epoch_itr()

    def update(self):
        batch = next(self.batches)
        there = batch["target"] != 1
        scores = self.weights[batch["net_input"]["src_tokens"][there]].sum(1)
        loss = (scores * (batch["target"][there] + batch["net_input"]["lang_ids"].sum())).mean().tanh()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def state(self):
        return copy.deepcopy((self.weights.data, self.optimizer.state_dict(), self.iterator.state_dict()))


@pytest.mark.parametrize("seed", [0, 1])
def test_twenty_kills_are_the_uninterrupted_run(seed):
    whole, updates = Run(), len(many_languages()) // 8
    for _ in range(updates):
        whole.update()
    chance = random.Random(seed)
    run, saved, done, at_save, kills = Run(), None, 0, 0, 0
    while done < updates:
        run.update()
        done += 1
        if done % 4 == 0:
            saved, at_save = run.state(), done
        if kills < 20 and chance.random() < 0.3:
            run, done, kills = Run(saved), at_save, kills + 1
    assert kills == 20 and torch.equal(run.weights, whole.weights)
    assert run.iterator.state_dict() == whole.iterator.state_dict()
    # The control: an update that is left out shows.
    other = Run()
    next(other.batches)
    for _ in range(updates - 1):
        other.update()
    assert not torch.equal(other.weights, whole.weights)
