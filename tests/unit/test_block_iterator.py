import gc
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from fairseq.data.iterators import BufferedIterator
from fake_blocks import make_dataset, make_iterator
from support import VOCAB

from langsamp_plugin.data.batches import PositionBatches, blocks_per_batch
from langsamp_plugin.data.block_iterator import BlockIterator
from langsamp_plugin.data.prefetching import PrefetchedBatches


def originals(batch):
    """Return (language, block) of each row: the token that was neither masked nor special."""
    target, source = batch["target"], batch["net_input"]["src_tokens"]
    rows = []
    for row in range(len(source)):
        seen = [int(t) for t in target[row] if t != 1] + [int(t) for t in source[row] if 10 <= t < VOCAB - 1]
        rows.append((int(batch["net_input"]["lang_ids"][row]) - 5, seen[0] - 10))
    return rows


def positions(iterator):
    return [batch["id"].tolist() for batch in iterator]


def test_workers_share_the_epoch():
    whole = sum(positions(make_iterator().next_epoch_itr()), [])
    assert whole == list(range(65))
    parts = [
        [batch.get("id", np.empty(0)).tolist() for batch in make_iterator(shards=3, shard=r).next_epoch_itr()]
        for r in range(3)
    ]
    assert len({len(part) for part in parts}) == 1, "workers must take the same number of rounds"
    assert sum((batch for round_ in zip(*parts) for batch in round_), []) == whole


def test_stopped_and_resumed_with_other_workers_and_batches():
    for stop_after, shards_then, batch_then, shards_now, batch_now in [
        (3, 1, 4, 1, 4),
        (2, 3, 4, 2, 5),
        (4, 2, 4, 5, 3),
        (1, 1, 7, 4, 2),
    ]:
        seen, states = [], []
        for shard in range(shards_then):
            iterator = make_iterator(batch=batch_then, shards=shards_then, shard=shard)
            running = iterator.next_epoch_itr()
            seen += sum((next(running)["id"].tolist() for _ in range(stop_after)), [])
            states.append(iterator.state_dict())
        assert all(state == states[0] for state in states)
        for shard in range(shards_now):
            iterator = make_iterator(batch=batch_now, shards=shards_now, shard=shard)
            iterator.load_state_dict(states[0])
            assert iterator.next_epoch_idx == 1
            seen += sum((batch.get("id", np.empty(0)).tolist() for batch in iterator.next_epoch_itr()), [])
            assert iterator.next_epoch_idx == 2
        assert sorted(seen) == list(range(65)), "each block exactly once"


def test_state_right_after_resume_is_the_state():
    iterator = make_iterator()
    running = iterator.next_epoch_itr()
    next(running), next(running)
    state = iterator.state_dict()
    again = make_iterator()
    again.load_state_dict(state)
    assert again.state_dict() == state
    again.next_epoch_itr()
    assert again.state_dict() == state


def test_epochs_follow_each_other():
    iterator = make_iterator()
    first = [originals(batch) for batch in iterator.next_epoch_itr()]
    assert iterator.state_dict()["epoch"] == 2
    second = [originals(batch) for batch in iterator.next_epoch_itr()]
    assert iterator.epoch == 2 and first != second
    resumed = make_iterator()
    resumed.load_state_dict({**iterator.state_dict(), "epoch": 2, "iterations_in_epoch": 0, "consumed": 0})
    assert [originals(batch) for batch in resumed.next_epoch_itr()] == second


def test_resume_on_other_data_is_refused():
    iterator = make_iterator()
    next(iterator.next_epoch_itr())
    with pytest.raises(ValueError, match="data was a, is now b.*--reset-dataloader"):
        make_iterator(fingerprint={"data": "b"}).load_state_dict(iterator.state_dict())
    with pytest.raises(ValueError, match="--reset-dataloader"):
        make_iterator().load_state_dict({"epoch": 3, "iterations_in_epoch": 7, "version": 2})


def test_validation_takes_every_block_once_and_always_alike():
    iterator = make_iterator(make_dataset(train=False))
    first = [batch for batch in iterator.next_epoch_itr(set_dataset_epoch=False)]
    assert sorted(sum(map(originals, first), [])) == [
        (n, b) for n, count in enumerate((20, 7, 33)) for b in range(count)
    ]
    second = [batch for batch in make_iterator(make_dataset(train=False)).next_epoch_itr(set_dataset_epoch=False)]
    assert all((a["target"] == b["target"]).all() for a, b in zip(first, second))


def test_batch_contents():
    dataset = make_dataset()
    batch = dataset.collater([dataset[i] for i in range(6)])
    tokens = batch["net_input"]["src_tokens"]
    assert (tokens[:, 0] == 0).all(), "<s> comes first"
    assert batch["ntokens"] == int((tokens != 1).sum()) == int(batch["net_input"]["src_lengths"].sum())
    assert (batch["net_input"]["script_ids"] - batch["net_input"]["lang_ids"] == 3).all()
    assert dataset.collater([]) == {}


def test_tag_dropout_is_a_function_of_the_block():
    plain, half, always = (make_dataset((500,), (500,), tag_dropout=p) for p in (0.0, 0.5, 1.0))
    ids = [d.collater(d.__getitems__(range(500)))["net_input"]["lang_ids"] for d in (plain, half, half, always)]
    assert (ids[0] == 5).all() and (ids[3] == -1).all() and (ids[1] == ids[2]).all()
    assert 0.4 < (ids[1] == -1).float().mean() < 0.6
    scripts = half.collater(half.__getitems__(range(500)))["net_input"]["script_ids"]
    assert ((scripts == -1) == (ids[1] == -1)).all()
    again = half.collater(half.__getitems__([7]))["net_input"]["lang_ids"]
    assert again == ids[1][7]


def test_shuffled_tags_say_nothing_about_the_text():
    """Each language's blocks have every language's rows alike; text, masks and the tags of the report do not change."""
    plain, shuffled = (make_dataset((300, 300, 300), (300, 300, 300), shuffle_tags=on) for on in (False, True))
    one, other = (d.collater(d.__getitems__(range(900))) for d in (plain, shuffled))
    for name in ("target", "tag_ids"):
        assert torch.equal(one[name], other[name])
    assert torch.equal(one["net_input"]["src_tokens"], other["net_input"]["src_tokens"])
    assert torch.equal(one["tag_ids"] + 5, one["net_input"]["lang_ids"]), "the control: they are told apart"
    ids = other["net_input"]["lang_ids"]
    assert torch.equal(other["net_input"]["script_ids"] - ids, torch.full((900,), 3)), "rows of one language"
    shares = torch.stack([(ids[other["tag_ids"] == own] - 5).bincount(minlength=3) for own in range(3)]) / 300
    assert ((shares - 1 / 3).abs() < 0.1).all()
    assert shuffled.collater(shuffled.__getitems__([7]))["net_input"]["lang_ids"] == ids[7], "a function of the block"


def test_batch_sizes():
    for max_tokens, max_sentences, multiple, expected in [
        (None, 12, 8, 8),
        (None, 5, 8, 5),
        (64, None, 1, 8),
        (64, 3, 1, 3),
        (100, None, 8, 8),
        (None, 16, 8, 16),
    ]:
        assert blocks_per_batch(8, max_tokens, max_sentences, multiple) == expected
    for limits, message in [
        ((None, None), "--batch-size or --max-tokens"),
        ((7, None), "must be >= --tokens-per-sample"),
    ]:
        with pytest.raises(ValueError, match=message):
            blocks_per_batch(8, *limits)


def test_batches_of_a_huge_epoch_cost_nothing():
    batches = PositionBatches(0, 10**12, 32)
    assert len(batches) == 10**12 // 32 and batches[10**9] == list(range(32 * 10**9, 32 * 10**9 + 32))


def test_loader_processes_outlive_a_signal_to_all_of_a_job(tmp_path):
    """A SIGTERM from elsewhere is not theirs; one from the process that reads from them, at its end, is."""
    iterator = BlockIterator(make_dataset(), batch_size=4, num_workers=2)
    running = iterator.next_epoch_itr()
    seen = [next(running)["id"].tolist()]
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    assert len(workers) == 2
    for worker in workers:
        subprocess.run([sys.executable, "-c", f"import os, signal; os.kill({worker.pid}, signal.SIGTERM)"], check=True)
    seen += positions(running)
    assert sum(seen, []) == list(range(65))
    iterator = BlockIterator(make_dataset(), batch_size=4, num_workers=1)
    next(iterator.next_epoch_itr())
    for worker in multiprocessing.active_children():
        worker.terminate()
        worker.join(30)
        assert not worker.is_alive()


@pytest.mark.parametrize("stock", [False, True])
def test_the_thread_that_reads_ahead_ends_before_the_interpreter(stock):
    """Otherwise it may be inside torch when the interpreter ends, which aborts a finished training."""
    made = []

    class Loader(list):
        def __iter__(self):
            for batch in super().__iter__():
                made.append(batch)
                yield batch

    batches = (BufferedIterator if stock else PrefetchedBatches)(2, Loader(range(100)))
    assert [next(batches), next(batches)] == [0, 1]
    thread = batches._consumer
    assert thread.is_alive() and thread.daemon
    if not stock:
        assert batches.close.atexit
    del batches
    gc.collect()
    thread.join(0.2)
    assert thread.is_alive() == stock, "the control: fairseq's own thread waits for ever"
    assert len(made) <= 8


def test_an_epoch_can_end_early():
    seen = []
    iterator = BlockIterator(make_dataset(train=False), batch_size=4, ended=lambda: len(seen) >= 3)
    for batch in iterator.next_epoch_itr(set_dataset_epoch=False):
        seen.append(batch)
    assert len(seen) == 3
    again = BlockIterator(make_dataset(train=False), batch_size=4, ended=lambda: True)
    assert len(list(again.next_epoch_itr(set_dataset_epoch=False))) == 1, "there is always a first one"


def test_a_place_in_one_of_several_folders():
    """Each folder has its fingerprint; one that was not visited yet shares the rest with the others."""
    shared = {"the dictionary": "x", "the number of data folders": "2"}
    one, two = ({"the data": name, "the sampling": name, **shared} for name in "ab")

    def turns(epoch):
        return (epoch - 1) % 2

    def make(epoch, fingerprints):
        return BlockIterator(make_dataset(), batch_size=4, epoch=epoch, fingerprints=fingerprints, part_of=turns)

    first = make(1, {0: one})
    list(first.next_epoch_itr())
    state = first.state_dict()
    second = make(2, {1: two})
    second.load_state_dict(state)
    assert second.fingerprints == {0: one, 1: two}
    third = make(3, {0: {**one, "the data": "c"}})
    list(second.next_epoch_itr())
    with pytest.raises(ValueError, match="the data was a, is now c"):
        third.load_state_dict(second.state_dict())
    with pytest.raises(ValueError, match="the dictionary was x, is now y"):
        make(2, {1: {**two, "the dictionary": "y"}}).load_state_dict(state)
    # What the first version wrote: the fingerprint of the last epoch with an update in it.
    old = {"version": 2, "epoch": 2, "iterations_in_epoch": 0, "consumed": 0, "fingerprint": one, "break_mode": "none"}
    make(2, {1: two}).load_state_dict(old)
    with pytest.raises(ValueError, match="--sample-break-mode was eos, is now none"):
        make(2, {1: two}).load_state_dict({**old, "break_mode": "eos"})


def test_what_is_masked_is_shipped():
    dataset = make_dataset()
    batch = dataset.collater([dataset[i] for i in range(6)])
    target, masked = batch["target"], batch["masked"]
    assert masked["index"].tolist() == target.flatten().ne(1).nonzero()[:, 0].tolist()
    assert torch.equal(masked["target"], target[target.ne(1)])
    assert torch.equal(masked["rows"], target.ne(1).nonzero()[:, 0])
    assert batch["net_input"]["padded"] == bool((batch["net_input"]["src_tokens"] == 1).any())
