"""Measures loss and gradients of the masked-LM head alone with every implementation, in one run.

    python scripts/benchmarks/head.py                          # two CPU cores, some minutes
    python scripts/benchmarks/head.py --precision bf16 --tokens 1200,4915 --words 250002,401145     # a GPU
    python scripts/benchmarks/head.py --ways blocks --megabytes 16,32,64,128,256                    # sizes of a block

Ways: plain computes all logits; blocks is this plugin's implementation, and fused is the same with its softmax compiled
    (--compile); torch-N is torch.nn.functional.linear_cross_entropy with N rows per chunk, torch-default with its
    defaults; cce is cut_cross_entropy, if that package and a GPU are available. Each runs in a separate process. Extra
    memory is the peak above inputs, weights and their gradients. The difference is the largest of the three gradients
    from plain's, relative to the largest entry.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import RECORD_HELP, ROOT, SideFailed, Table, conditions, device_name, give_result, resident, run_side

sys.path.insert(0, str(ROOT))
WAYS = ("plain", "blocks", "fused", "torch-256", "torch-default", "cce")
RUNS = 4


def loss_of(way: str) -> Callable[..., Any]:
    """Return ``loss(features, weight, bias, target)``, summed over the tokens."""
    import torch
    from torch.nn import functional

    from langsamp_plugin.modules.head_loss import masked_lm_loss

    if way in ("plain", "blocks"):
        return lambda x, w, b, t: masked_lm_loss(x, w, b, t, way).total
    if way == "fused":
        return lambda x, w, b, t: masked_lm_loss(x, w, b, t, "blocks", fused=True).total
    if way == "cce":
        from cut_cross_entropy import linear_cross_entropy

        return lambda x, w, b, t: linear_cross_entropy(x, w, t, bias=b, reduction="sum")
    rows = way.split("-")[1]
    chosen: dict[str, Any] = {} if rows == "default" else {"batch_chunk_size": int(rows)}
    options = torch.nn.LinearCrossEntropyOptions(**chosen)
    return lambda x, w, b, t: functional.linear_cross_entropy(x, w, t, linear_bias=b, reduction="sum", options=options)


def measure(way: str, tokens: int, words: int, options: argparse.Namespace) -> None:
    """Print JSON. Runs in a separate process."""
    import torch

    from langsamp_plugin.modules import head_loss

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.megabytes:
        head_loss.BLOCK_BYTES[device] = int(options.megabytes) * 2**20
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[options.precision]
    torch.manual_seed(0)
    parts: list[Any] = [
        torch.randn(tokens, options.width),
        torch.randn(words, options.width) * 0.02,
        torch.zeros(words),
    ]
    parts = [part.to(device, dtype).requires_grad_() for part in parts]
    target = torch.randint(words, (tokens,), device=device)
    loss, seconds = loss_of(way), []
    for _ in range(RUNS):
        for part in parts:
            part.grad = None
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")
            before = resident("VmRSS")
        started = time.perf_counter()
        value = loss(*parts, target)
        value.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        value = value.detach()  # what the graph holds is freed
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident("VmHWM")
    grads = sum(part.numel() * part.element_size() for part in parts)
    found = [float(value), *(part.grad.float().cpu() for part in parts)]
    reference = Path(options.folder) / f"plain-{tokens}-{words}.pt"
    differences = []
    if way == "plain":
        torch.save(found, reference)
    elif reference.is_file():
        right = torch.load(reference, weights_only=True)
        differences = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found[1:], right[1:])]
    give_result(seconds=min(seconds), extra=peak - before - grads, difference=max(differences, default=None))


def main() -> None:
    """Measure every way at every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", default="250002")
    parser.add_argument(
        "--tokens", default="154,1200", help="masked tokens; 8 x 128 and 16 x 512 tokens have about these"
    )
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--megabytes", default="", help="sizes of a block to try, for the way blocks")
    parser.add_argument("--record", help=RECORD_HELP)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child, int(options.tokens), int(options.words), options)
        return
    print(f"{device_name()}, {options.precision}, width {options.width}")
    columns = {"way": 16, "words": 8, "tokens": 7, "seconds": 8, "extra MB": 9, "difference": 11, "note": 30}
    table = Table({**columns, "conditions": 0}, options.record)
    with tempfile.TemporaryDirectory() as folder:
        for words in options.words.split(","):
            for tokens in options.tokens.split(","):
                for way in options.ways.split(","):
                    for size in options.megabytes.split(",") if way == "blocks" else [""]:
                        table.add(**_row(way, tokens, words, size, folder, options))


def _row(way: str, tokens: str, words: str, size: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    row = {"way": f"{way} {size} MB" if size else way, "words": words, "tokens": tokens, "conditions": conditions()}
    try:
        found = run_side(
            __file__, "--child", way, "--words", words, "--tokens", tokens, "--width", options.width,
            "--precision", options.precision, "--folder", folder, "--megabytes", size,
        )  # fmt: skip
    except SideFailed as error:
        return {**row, "note": f"not measured: {error}"}
    difference = found["difference"]
    return {
        **row, "seconds": f"{found['seconds']:.3f}", "extra MB": f"{found['extra'] / 2**20:.0f}",
        "difference": "" if difference is None else f"{difference:.1e}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
