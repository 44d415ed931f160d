"""InfoNCE against a plain loop in float64, with and without gathering over workers."""

import math
import socket
import subprocess
from pathlib import Path

import pytest
import torch
from warm_commands import client

from langsamp_plugin.modules.contrastive_loss import contrastive_loss, mean_pooled

TEMPERATURE = 0.1
WORKER = """
import sys
sys.path[:0] = sys.argv[1:3]
from test_contrastive_loss import worker
worker(int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
"""


def make_pairs(count=7, width=5, seed=0):
    """Pairs of which 0 and 1 share the message, 2 and 3 the first text; 4's second text is 5's first."""
    generator = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in range(2))
    keys = torch.stack([torch.arange(count), -1 - torch.arange(count), -101 - torch.arange(count)], dim=1)
    keys[1, 0] = keys[0, 0]
    keys[3, 1] = keys[2, 1]
    keys[4, 2] = keys[5, 1]
    return one, other, keys


def plain_loop(one, other, keys, exclude=True):
    """The summed loss, a sentence and a candidate at a time."""
    unit = [[row / row.norm() for row in side] for side in (one, other)]
    total = torch.zeros((), dtype=torch.float64)
    for queries, candidates in (unit, unit[::-1]):
        for i, query in enumerate(queries):
            below = []
            for j, candidate in enumerate(candidates):
                related = bool(set(keys[i].tolist()) & set(keys[j].tolist()))
                if i == j or not (related and exclude):
                    below.append(math.e**0 * torch.exp(query @ candidate / TEMPERATURE))
            total = total - (query @ candidates[i] / TEMPERATURE - torch.stack(below).sum().log())
    return total / 2


def gradients(function, *sides):
    sides = [side.clone().requires_grad_() for side in sides]
    total = function(*sides)
    return total.detach(), *torch.autograd.grad(total, sides)


def test_value_and_gradient_are_the_plain_loops():
    one, other, keys = make_pairs()
    expected = gradients(lambda a, b: plain_loop(a, b, keys), one, other)
    found = gradients(lambda a, b: contrastive_loss(a, b, keys, TEMPERATURE).total.double(), one, other)
    for a, b in zip(expected, found):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)
    # The control: related pairs as negatives are another loss with other gradients.
    control = gradients(lambda a, b: plain_loop(a, b, keys, exclude=False), one, other)
    assert not any(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(control, found))


def test_accuracy_and_margin_count_what_they_say():
    one = torch.eye(4)
    keys = torch.arange(12).reshape(3, 4).t()
    found = contrastive_loss(one, one, keys, TEMPERATURE)
    assert (found.pairs, found.correct.item(), found.margin.item()) == (4, 4.0, 4.0)
    swapped = contrastive_loss(one, one[[1, 0, 2, 3]], keys, TEMPERATURE)
    assert swapped.correct.item() == 2.0
    assert swapped.margin.item() == pytest.approx(2 * (0 - 1 / 3) + 2)


def test_pairs_of_one_message_have_no_negatives_and_no_loss():
    one, other, keys = make_pairs()
    keys[:, 0] = 1
    found = contrastive_loss(one, other, keys, TEMPERATURE)
    assert found.total.item() == pytest.approx(0, abs=1e-6) and found.correct.item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    one, other, keys = make_pairs()
    one, other = one.to(dtype), other.to(dtype)
    found = contrastive_loss(one, other, keys, TEMPERATURE).total
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(plain_loop(one.double(), other.double(), keys).item(), rel=1e-5)


def test_padding_is_not_pooled():
    states_TBC = torch.randn(4, 2, 3)
    padding_BT = torch.tensor([[False, False, False, False], [False, False, True, True]])
    found = mean_pooled(states_TBC, padding_BT)
    assert torch.allclose(found[0], states_TBC[:, 0].mean(0)) and torch.allclose(found[1], states_TBC[:2, 1].mean(0))
    assert not torch.allclose(found[1], states_TBC[:, 1].mean(0))


def worker(rank, port, out):
    """Save value and gradients of one of two workers."""
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    one, other, keys = make_pairs(count=8)
    mine = slice(4 * rank, 4 * rank + 4)

    def total(a, b):
        found = contrastive_loss(a, b, keys[mine], TEMPERATURE)
        assert found.pairs == 8
        return found.total.double()

    torch.save(gradients(total, one[mine], other[mine]), out)
    torch.distributed.destroy_process_group()


def test_two_workers_are_one_with_all_pairs(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [tmp_path / f"{rank}.pt" for rank in range(2)]
    here = Path(__file__).parent
    workers = [
        subprocess.Popen(client("python", "-c", WORKER, here, here.parent, rank, port, file))
        for rank, file in enumerate(files)
    ]
    assert [process.wait(timeout=120) for process in workers] == [0, 0]
    found = [torch.load(file, weights_only=True) for file in files]
    one, other, keys = make_pairs(count=8)
    value, *sides = gradients(lambda a, b: plain_loop(a, b, keys), one, other)
    assert found[0][0] + found[1][0] == pytest.approx(value.item(), rel=1e-5)
    for number, expected in enumerate(sides, 1):
        together = torch.cat([found[rank][number] for rank in range(2)])
        assert torch.allclose(together, expected, rtol=1e-5, atol=1e-5)
        # The control: negatives of the own worker alone give other gradients.
        alone = torch.cat([
            gradients(lambda a, b, part=part: plain_loop(a, b, keys[part]), one[part], other[part])[number]
            for part in (slice(0, 4), slice(4, 8))
        ])  # fmt: skip
        assert not torch.allclose(alone, expected, rtol=1e-3, atol=1e-3)
