"""Training updates in transformers: LangSampForMaskedLM against the stock class as run_mlm trains it, in one run.

    python scripts/benchmarks/hf_step.py                                            # two CPU cores, about 6 minutes
    python scripts/benchmarks/hf_step.py --precision bf16 --shape 32x512            # a GPU

Both sides train the same XLM-R, with the same weights, batches and AdamW, without dropout, so that losses can be
compared. The stock side does what transformers' run_mlm example does: it passes labels to the model, which computes
logits at all positions. Each side runs in a separate process. Extra memory is the peak of an update above weights,
gradients and the optimizer's state, which both have. The first update is not timed.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from measuring import RECORD_HELP, ROOT, SideFailed, Table, conditions, device_name, give_result, resident, run_side

sys.path.insert(0, str(ROOT))
SIDES = ("run_mlm", "langsamp")
MASKED = 0.15
CODES: dict[str, Any] = {"languages": ["deu", "hin", "eng", "rus"], "scripts": ["Latn", "Deva", "Cyrl"]}


def make_model(side: str, options: argparse.Namespace) -> Any:
    """Return a random XLM-R of one of the two classes."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    from langsamp_plugin.hf import LangSampConfig, LangSampForMaskedLM

    sizes: dict[str, Any] = {
        "vocab_size": int(options.words), "hidden_size": options.width, "num_hidden_layers": options.layers,
        "num_attention_heads": options.width // 64, "intermediate_size": 4 * options.width, "pad_token_id": 1,
        "max_position_embeddings": 514, "type_vocab_size": 1, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    torch.manual_seed(0)
    if side == "run_mlm":
        return XLMRobertaForMaskedLM(XLMRobertaConfig(**sizes))
    model: Any = LangSampForMaskedLM(LangSampConfig(**CODES, **sizes))
    with torch.no_grad():  # so that both sides have the same loss in the first update
        model.lang_embedding.weight.zero_()
        model.script_embedding.weight.zero_()
    return model


def make_batch(side: str, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return a batch of random ids, 15 % of them masked."""
    import torch

    rows, length = map(int, options.shape.split("x"))
    generator = torch.Generator().manual_seed(number)
    labels = torch.randint(4, int(options.words) - 1, (rows, length), generator=generator)
    masked = torch.rand(rows, length, generator=generator) < MASKED
    ids = labels.masked_fill(masked, int(options.words) - 1)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels.masked_fill(~masked, -100)}
    if side == "langsamp":
        batch["lang_ids"] = torch.arange(rows) % len(CODES["languages"])
        batch["script_ids"] = torch.arange(rows) % len(CODES["scripts"])
    return batch


def measure(side: str, options: argparse.Namespace) -> None:
    """Train for some updates and return the figures. Runs in a separate process."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(side, options).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    seconds, losses, extra = [], [], 0
    for number in range(options.updates + 1):
        batch = {name: tensor.to(device) for name, tensor in make_batch(side, number, options).items()}
        optimizer.zero_grad()
        before = _reset_peak(device)
        started = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=options.precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if number:
            seconds.append(time.perf_counter() - started)
            extra = max(extra, _peak(device) - before - weights)
    tokens = batch["input_ids"].numel()
    give_result(speed=tokens / min(seconds), extra=extra, loss=losses[0], last=losses[-1])


def _reset_peak(device: str) -> int:
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return resident()


def _peak(device: str) -> int:
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else resident("VmHWM")


def main() -> None:
    """Measure both sides with each vocabulary and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", default="250002,401145")
    parser.add_argument("--shape", default="8x128", help="sentences x tokens of a batch")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--updates", type=int, default=3, help="timed updates; the fastest counts")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--record", help=RECORD_HELP)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child, options)
        return
    print(f"{device_name()}, {options.precision}, {options.layers} layers x {options.width}, {options.shape} tokens")
    columns = {
        "side": 9,
        "words": 7,
        "tokens/s": 9,
        "extra MB": 9,
        "first loss": 11,
        "times": 6,
        "share": 6,
        "note": 30,
    }
    table = Table({**columns, "conditions": 0}, options.record)
    for words in options.words.split(","):
        stock: dict[str, Any] = {}
        for side in SIDES:
            row = {"side": side, "words": words, "conditions": conditions()}
            try:
                found = run_side(
                    __file__, "--child", side, "--words", words, "--shape", options.shape, "--layers", options.layers,
                    "--width", options.width, "--updates", options.updates, "--precision", options.precision,
                )  # fmt: skip
            except SideFailed as error:
                table.add(**row, note=f"not measured: {error}")
                continue
            if stock:
                row.update(
                    times=f"{found['speed'] / stock['speed']:.2f}", share=f"{found['extra'] / stock['extra']:.2f}"
                )
            stock = stock or found
            table.add(
                **row, **{"tokens/s": f"{found['speed']:.0f}", "extra MB": f"{found['extra'] / 2**20:.0f}"},
                **{"first loss": f"{found['loss']:.5f}"},
            )  # fmt: skip


if __name__ == "__main__":
    main()
