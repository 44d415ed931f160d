"""Measures what both tables gain in small masked LMs of five architectures, from random weights, on the quickstart's
corpus.

    python scripts/benchmarks/architectures.py quickstart/data-bin                  # two CPU cores, some minutes
    python scripts/benchmarks/architectures.py quickstart/data-bin --updates 1000 --width 128

Each architecture is trained with and without the tables, from the same weights, on the same batches. Losses are bits
per masked token of held-out text; with the tables, also when each sentence has the tag of another language.
"""

import argparse
import copy
import math
import sys
import time
from typing import Any

from measuring import RECORD_HELP, ROOT, Table, conditions, device_name

sys.path.insert(0, str(ROOT))
KINDS: dict[str, dict[str, Any]] = {
    "XLMRoberta": {},
    "Bert": {},
    "ModernBert": {"cls_token_id": 0, "sep_token_id": 2, "local_attention": 32},
    "DebertaV2": {"relative_attention": True, "position_buckets": 32, "pos_att_type": ["p2c", "c2p"]},
    "EuroBert": {"num_key_value_heads": 2, "mask_token_id": None},
}


def make_stock(kind: str, words: int, options: argparse.Namespace, seed: int) -> Any:
    """Return a stock masked LM with random weights."""
    import torch
    import transformers

    own = {name: words - 1 if value is None else value for name, value in KINDS[kind].items()}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=words, hidden_size=options.width, num_hidden_layers=options.layers, num_attention_heads=4,
        intermediate_size=4 * options.width, max_position_embeddings=options.length + 4, pad_token_id=1, bos_token_id=0,
        eos_token_id=2, **own,
    )  # fmt: skip
    torch.manual_seed(seed)
    return getattr(transformers, f"{kind}ForMaskedLM")(config)


def train(model: Any, data: Any, options: argparse.Namespace, seed: int) -> None:
    """Train on the first batches of a data folder's order."""
    import torch

    from langsamp_plugin.hf.trainer import scale_updates
    from langsamp_plugin.modules.tag_embedding import TagEmbedding

    torch.manual_seed(seed)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.0)
    tables = [module.weight for module in model.modules() if isinstance(module, TagEmbedding)]
    scale_updates(optimizer, tables, options.tables_lr_scale)
    warm_up = max(1, options.updates // 10)
    for update in range(options.updates):
        left = (options.updates - update) / max(1, options.updates - warm_up)
        for group in optimizer.param_groups:
            group["lr"] = options.lr * min((update + 1) / warm_up, left)
        batch = data.collate(data.__getitems__(range(update * options.batch, (update + 1) * options.batch)))
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()


def held_out_loss(model: Any, data: Any, other_tags: bool = False) -> float:
    """Return bits per masked token; with ``other_tags`` each sentence has the tag of the next language of the
    tables."""
    import torch

    model.eval()
    total, count, rows = 0.0, 0, 32
    with torch.no_grad():
        for first in range(0, len(data.blocks), rows):
            positions = range(first, min(first + rows, len(data.blocks)))
            batch = data.collate(data.blocks.read(positions, 1))
            if other_tags:
                for name, codes in zip(("lang_ids", "script_ids"), model.tables):
                    batch[name] = (batch[name] + 1) % len(codes)
            labels = batch.pop("labels")
            logits = model(**batch).logits
            total += torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), reduction="sum"
            ).item()  # fmt: skip
            count += int((labels != -100).sum())
    return total / count / math.log(2)


def measure(kind: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train one architecture with and without tables."""
    from langsamp_plugin.hf import DataBin, add_tags

    shared: dict[str, Any] = {"tokens_per_sample": options.length, "seed": seed}
    train_data, valid = DataBin(options.data, **shared), DataBin(options.data, "valid", **shared)
    plain, plain_valid = (DataBin(options.data, split, with_ids=False, **shared) for split in ("train", "valid"))
    stock = make_stock(kind, train_data.vocab_size, options, seed)
    model = add_tags(copy.deepcopy(stock), train_data.tables)
    train(stock, plain, options, seed)
    train(model, train_data, options, seed)
    return {
        "without": held_out_loss(stock, plain_valid),
        "with": held_out_loss(model, valid),
        "other tag": held_out_loss(model, valid, other_tags=True),
    }


def main() -> None:
    """Train all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of `langsamp binarize`")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32, help="sentences of an update")
    parser.add_argument("--length", type=int, default=64, help="tokens of a sentence")
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--tables-lr-scale", type=float, default=1.0, help="learning rate of the tables, times --lr")
    parser.add_argument("--record", help=RECORD_HELP)
    options = parser.parse_args()
    print(
        f"{device_name()}, {options.layers} layers x {options.width}, {options.updates} updates of "
        f"{options.batch} x {options.length}, tables at {options.tables_lr_scale:g} times the learning rate"
    )
    columns = {"architecture": 12, "seed": 4, "without": 7, "with": 6, "gain": 6, "other tag": 9, "seconds": 7}
    table = Table({**columns, "conditions": 0}, options.record)
    for kind in options.kinds.split(","):
        for seed in map(int, options.seeds.split(",")):
            started = time.perf_counter()
            found = measure(kind, seed, options)
            row = {name: f"{value:.3f}" for name, value in found.items()}
            gain = f"{found['without'] - found['with']:+.3f}"
            seconds = f"{time.perf_counter() - started:.0f}"
            table.add(architecture=kind, seed=seed, gain=gain, seconds=seconds, conditions=conditions(), **row)


if __name__ == "__main__":
    main()
