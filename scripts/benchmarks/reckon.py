"""Estimate a training step on a GPU from counted bytes and FLOPs, for machines without one.

    python scripts/benchmarks/reckon.py                       # an H100, 64 x 512 tokens, 401,145 words, bf16

Nothing here is measured on a GPU. FLOPs are exact. Bytes of elementwise work in a transformer block are counted on a
CPU, operation by operation, forward and backward; passes over the logits are those of passes.py. The options are the
assumptions: the share of its peak that a matrix product reaches, how much of that remains if rows are not aligned in
memory, and how much of the elementwise traffic remains with --compile. Launches, waits and communication are ignored.
"""

import argparse
import logging
import sys
from typing import Any

import torch
from measuring import RECORD_HELP, ROOT, Table
from step_profile import BLOCKS, HEADS, INNER, WIDTH, flops
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(ROOT))
MASKED = 0.15
PRODUCTS = ("mm", "scaled_dot", "attention")
FREE = ("view", "t.default", "slice", "transpose", "detach", "empty", "expand", "alias", "unsqueeze", "select", "split")


class CountBytes(TorchDispatchMode):
    """Add up what operations other than matrix products read and write, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation."""
        made = func(*args, **(kwargs or {}))
        if not any(word in str(func) for word in (*FREE, *PRODUCTS)):
            parts = [*args, *(made if isinstance(made, (tuple, list)) else [made])]
            self.bytes += sum(part.numel() * part.element_size() for part in parts if isinstance(part, torch.Tensor))
        return made


def bytes_a_token(exact_gelu: bool) -> float:
    """Return the bytes that one block's elementwise work moves for a token in bfloat16, forward and backward."""
    from fairseq.modules.gelu import gelu
    from fairseq.modules.transformer_sentence_encoder_layer import TransformerSentenceEncoderLayer

    tokens = 256
    with torch.device("meta"):  # shapes alone
        block = TransformerSentenceEncoderLayer(WIDTH, INNER, HEADS, activation_fn="gelu").bfloat16().train()
        x_TBC = torch.randn(tokens, 1, WIDTH, dtype=torch.bfloat16, requires_grad=True)
    block.activation_fn = gelu if exact_gelu else torch.nn.functional.gelu
    with CountBytes() as counter:
        block(x_TBC)[0].sum().backward()
    weights = sum(part.numel() for part in block.parameters())
    return (counter.bytes - 2 * 3 * weights) / tokens  # gradients of weights are written once for any batch


def main() -> None:
    """Print a row for each part of the step and way of running it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=float, default=989e12, help="FLOP/s of bf16 (default: an H100 SXM's data sheet)")
    parser.add_argument("--bandwidth", type=float, default=3.35e12, help="bytes per second of its memory")
    parser.add_argument("--reached", type=float, default=0.6, help="share of the peak that aligned products reach")
    parser.add_argument("--unaligned", type=float, default=0.5, help="how much of that remains if rows are not aligned")
    parser.add_argument("--compiled", type=float, default=1 / 3, help="share of other traffic left by --compile")
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--words", type=int, default=401145)
    parser.add_argument("--record", help=RECORD_HELP)
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)  # importing fairseq enables every logger
    shape = (options.sentences, 512)
    tokens = shape[0] * shape[1]
    masked = MASKED * tokens
    work = flops(options.words, shape, masked)
    rate, products = options.bandwidth, options.peak * options.reached
    size = options.words * WIDTH
    parameters = size + BLOCKS * (4 * WIDTH**2 + 2 * WIDTH * INNER)
    logits = masked * options.words
    blocks = BLOCKS * tokens / rate
    found = {}
    # Bytes a logit as passes.py counts them.
    for way, aligned, gelu, moved in (
        ("stock gelu, odd rows", options.unaligned, True, 54),
        ("plugin", 1.0, False, 54),
        ("plugin --compile", 1.0, False, 16),
    ):
        elementwise = bytes_a_token(gelu) * blocks
        found[way] = {
            "products of the encoder": work["encoder"] / products,
            "products of the head": work["head"] / (products * aligned),
            "elementwise work of the encoder": elementwise * (options.compiled if "compile" in way else 1),
            "passes over the logits": moved * logits / rate,
            "the projection's gradient": 14 * size / rate,
            "norm and optimizer": 40 * parameters / rate,
        }
    columns = {"part": 32, **dict.fromkeys(found, 22)}
    table = Table(columns, options.record)
    for part in next(iter(found.values())):
        table.add(part=part, **{way: f"{1e3 * rows[part]:.1f} ms" for way, rows in found.items()})
    total = {way: sum(rows.values()) for way, rows in found.items()}
    table.add(part="together", **{way: f"{1e3 * value:.1f} ms" for way, value in total.items()})
    table.add(part="tokens per second", **{way: f"{tokens / value:,.0f}" for way, value in total.items()})
    share = {way: sum(work.values()) / value / options.peak for way, value in total.items()}
    table.add(part="share of the peak (MFU)", **{way: f"{100 * value:.0f} %" for way, value in share.items()})


if __name__ == "__main__":
    main()
