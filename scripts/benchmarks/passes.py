"""Count the passes over a block's logits, and the bytes that they move, in each implementation of the masked-LM loss.

    python scripts/benchmarks/passes.py                 # half a minute on a CPU; counts do not depend on the device

An operation makes a pass for each tensor of a block's size that it reads or writes. The three matrix products are
included: they write the logits once and read their gradient twice. For compiled code, the loads and stores in the loops
that torch generates for a CPU are counted.
"""

import argparse
import logging
import re
import sys
from typing import Any

import torch
from measuring import RECORD_HELP, ROOT, Table, conditions
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(ROOT))
from langsamp_plugin.modules import fused_softmax, head_loss, logit_blocks

ROWS, WORDS, WIDTH = 64, 30_016, 16
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WAYS = ("plain", "blocks", "fused")
# A view moves nothing; an empty tensor is written later by another operation.
FREE = (
    "view", "t.default", "slice", "transpose", "detach", "empty", "expand", "alias", "unsqueeze", "select",
    "as_strided",
)  # fmt: skip


class CountPasses(TorchDispatchMode):
    """Add up passes and bytes over tensors of a block's size."""

    def __init__(self) -> None:
        super().__init__()
        self.passes, self.bytes = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the tensors that an operation reads and those that it writes."""
        made = func(*args, **(kwargs or {}))
        if any(word in str(func) for word in FREE):
            return made
        outputs = made if isinstance(made, (tuple, list)) else [made]
        given = [*args, *(value for name, value in (kwargs or {}).items() if name != "out")]
        read = [part for part in given if isinstance(part, torch.Tensor)]
        for part in (*read, *(part for part in outputs if isinstance(part, torch.Tensor))):
            if part.shape == (ROWS, WORDS) or part.shape == (WORDS, ROWS):
                self.passes += 1
                self.bytes += part.element_size()
        return made


def count(way: str, dtype: torch.dtype) -> tuple[int, int]:
    """Return the passes over the logits of one block, and the bytes moved for each logit."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(shape, generator=generator).to(dtype) for shape in ((ROWS, WIDTH), (WORDS, WIDTH), (WORDS,))]
    for part in parts:
        part.requires_grad_()
    target = torch.randint(WORDS, (ROWS,), generator=generator)
    head_loss.BLOCK_BYTES["cpu"] = 4 * ROWS * WORDS
    logit_blocks.CPU_SLICE = WORDS  # one product, as on a GPU
    compiled = fused_softmax.compiled
    counter = CountPasses()
    if way == "fused":
        fused_softmax.compiled = _count_kernels(counter, dtype.itemsize)
    with counter:
        kind = "plain" if way == "plain" else "blocks"
        head_loss.masked_lm_loss(parts[0], parts[1], parts[2], target, kind, fused=way == "fused").total.backward()
    fused_softmax.compiled = compiled
    return counter.passes, counter.bytes


def _count_kernels(counter: CountPasses, itemsize: int) -> Any:
    """Return a stand-in for ``compiled`` that counts loads and stores of a block in the code that torch generates."""
    from torch._inductor.utils import run_and_get_code
    from torch.utils._python_dispatch import _disable_current_modes

    def compiled(function: Any) -> Any:
        def run(*arguments: Any) -> Any:
            with _disable_current_modes():
                made, code = run_and_get_code(torch.compile(function), *arguments)
            passes = len(
                re.findall(rf"(?:loadu|store)\(\w+ \+ static_cast<int64_t>\(x1 \+ {WORDS}L\*x0\)", "".join(code))
            )
            assert passes, "the form of the generated code changed"
            counter.passes += passes
            counter.bytes += passes * itemsize
            return made

        return run

    return compiled


def main() -> None:
    """Print a row for each way and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precisions", default=",".join(DTYPES))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--record", help=RECORD_HELP)
    logging.getLogger().setLevel(logging.WARNING)  # importing fairseq enables every logger
    options = parser.parse_args()
    columns = {"precision": 9, "way": 7, "passes": 7, "bytes per logit": 15, "conditions": 0}
    table = Table(columns, options.record)
    for name in options.precisions.split(","):
        for way in options.ways.split(","):
            passes, moved = count(way, DTYPES[name])
            table.add(precision=name, way=way, passes=passes, **{"bytes per logit": moved, "conditions": conditions()})


if __name__ == "__main__":
    main()
