"""Sentences encoded per second by this package and by the authors' method, on the same sentences, in one run.

    python scripts/benchmarks/encoding.py MODEL SENTENCES.txt [--limit N]

The authors' script (Glot500, evaluation/retrieval) takes batches of 128 in the order of the file, padded to the
longest, gets the states of all layers from the model, and writes the mean vectors of every layer to files. Ours sorts
by length, fills batches by tokens, stops at the highest requested layer, and keeps only that one.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RECORD_HELP, Table, conditions

from langsamp_plugin.corpus.text import read_lines
from langsamp_plugin.evaluation.encoding import depth, keep_blocks, load_encoder, longest_input, mean_pooled

BATCH = 128


def authors_way(sentences: list[str], model: Any, tokenizer: Any, limit: int, folder: Path) -> np.ndarray:
    """Return (layers, sentences, C), every layer also written to disk."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(sentences), BATCH):
            batch = tokenizer(
                sentences[start : start + BATCH], padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(model.device)
            states = model(**batch, output_hidden_states=True).hidden_states
            mask = batch["attention_mask"].unsqueeze(-1)
            parts.append(torch.stack([(layer * mask).sum(1) / mask.sum(1) for layer in states]).float().cpu().numpy())
    vectors = np.concatenate(parts, axis=1)
    for number, layer in enumerate(vectors):
        np.save(folder / f"layer{number}.npy", layer)
    return vectors


def main() -> None:
    """Time both, check that the vectors agree, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="Hugging Face folder")
    parser.add_argument("sentences", type=Path, nargs="+", help="text files, one sentence per line")
    parser.add_argument("--limit", type=int, default=2000, help="sentences")
    parser.add_argument("--rounds", type=int, default=2, help="number of rounds; the fastest counts")
    parser.add_argument("--record", help=RECORD_HELP)
    args = parser.parse_args()
    sentences = [line.partition("\t")[2] or line for path in args.sentences for line in read_lines(path)][: args.limit]
    model, tokenizer = load_encoder(args.model)
    layer = round(depth(model) * 8 / 12)
    limit = longest_input(model, tokenizer, 512)
    part, _ = load_encoder(args.model)
    keep_blocks(part, layer)
    seconds: dict[str, list[float]] = {"ours": [], "authors": []}
    for _ in range(args.rounds):
        start = time.perf_counter()
        ours, _ = mean_pooled(sentences, part, tokenizer, [layer], limit)
        seconds["ours"].append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            theirs = authors_way(sentences, model, tokenizer, limit, Path(folder))
            seconds["authors"].append(time.perf_counter() - start)
    tokens = sum(map(len, tokenizer(sentences, truncation=True, max_length=limit)["input_ids"]))
    print(f"{len(sentences):,} sentences, {tokens:,} tokens, block {layer} of {depth(model)}")
    print(f"{torch.get_num_threads()} threads")
    table = Table({"side": 8, "seconds": 8, "sentences/s": 11, "tokens/s": 9, "ratio": 6, "conditions": 0}, args.record)
    for side, found in seconds.items():
        best = min(found)
        table.add(**{
            "side": side, "seconds": f"{best:.1f}", "sentences/s": f"{len(sentences) / best:.1f}",
            "tokens/s": f"{tokens / best:.0f}", "ratio": f"{min(seconds['authors']) / best:.2f}",
            "conditions": conditions(),
        })  # fmt: skip
    difference = np.abs(ours[0] - theirs[layer]).max()
    print(f"largest difference of a vector's component: {difference:.1e}")
    if difference > 1e-4:
        sys.exit("the two sides do not compute the same")


if __name__ == "__main__":
    main()
