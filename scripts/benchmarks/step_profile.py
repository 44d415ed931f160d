"""Measures where the time of a training step goes, and the least that it needs; used by scripts/benchmarks/train.py."""

import time
from typing import Any

BLOCKS, WIDTH, HEADS, INNER = 12, 768, 12, 3072
"""XLM-R base."""


def bandwidth() -> float:
    """Return bytes per second of reading and writing large tensors on the device that is measured."""
    import torch

    cuda = torch.cuda.is_available()
    one, other = (torch.ones(2**27, device="cuda" if cuda else "cpu") for _ in range(2))
    best = float("inf")
    for _ in range(4):
        if cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        one.add_(other)
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 3 * 4 * 2**27 / best


def attach_timers(model: Any, trainer: Any, cuda: bool) -> dict[str, float]:
    """Time parts of the plugin's step; on a GPU, the synchronization that this needs makes the step slightly slower."""
    import torch

    from langsamp_plugin.models import encoder

    spent: dict[str, float] = {}

    def timed(name: str, function: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = function(*args, **kwargs)
            if cuda:
                torch.cuda.synchronize()
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
            return result

        return run

    model.encoder._encode = timed("encoder, forward", model.encoder._encode)
    encoder.masked_lm_loss = timed("head, loss and its gradients", encoder.masked_lm_loss)
    optimizer = trainer.optimizer
    optimizer.backward = timed("encoder, backward", optimizer.backward)
    optimizer.clip_grad_norm = timed("norm of the gradients", optimizer.clip_grad_norm)
    optimizer.step = timed("optimizer", optimizer.step)
    return spent


def flops(words: int, shape: tuple[int, int], masked: float) -> dict[str, float]:
    """Return the least FLOPs of an update: encoder (forward and backward) and head."""
    tokens = shape[0] * shape[1]
    weights = BLOCKS * (4 * WIDTH**2 + 2 * WIDTH * INNER)
    return {
        "encoder": tokens * (6 * weights + 12 * BLOCKS * WIDTH * shape[1]),
        "head": masked * 6 * (words * WIDTH + WIDTH**2),
    }


def show_profile(result: dict[str, Any], words: int, shape: tuple[int, int]) -> None:
    """Print where the time goes, next to the minimum for arithmetic or memory."""
    work = flops(words, shape, result["masked"])
    peak, rate, count = result["peak_flops"], result["bandwidth"], result["parameters"]
    floors = {
        "encoder, forward": work["encoder"] / 3 / peak,
        "encoder, backward": work["encoder"] * 2 / 3 / peak,
        "head, loss and its gradients": work["head"] / peak,
        "norm of the gradients": 4 * count / rate,
        "optimizer": 4 * 8 * count / rate,  # reads weight, gradient and two moments, writes them
    }
    total = result["mean_seconds"]
    print(f"\n{peak / 1e9:,.0f} GFLOP/s of a matrix product, {rate / 1e9:.1f} GB/s of memory, measured here")
    print(f"{'part':<30} {'seconds':>8} {'share':>6} {'floor':>8} {'times the floor':>16}")
    for name, floor in floors.items():
        spent = result["parts"].get(name, 0.0)
        print(f"{name:<30} {spent:>8.3f} {spent / total:>6.0%} {floor:>8.3f} {spent / floor:>16.2f}")
    rest = total - sum(result["parts"].values())
    print(f"{'everything else':<30} {rest:>8.3f} {rest / total:>6.0%}")
