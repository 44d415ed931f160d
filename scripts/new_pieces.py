"""Compares the five initializations of new pieces by `langsamp init --new-pieces` in training.

    python scripts/new_pieces.py --out runs/new_pieces                                     # Django's messages
    python scripts/new_pieces.py --out runs/new_pieces --corpus corpus --new tur_Latn,kat_Geor --old eng_Latn,rus_Cyrl

A small model is trained on some languages, its vocabulary is extended on others, and it is then trained on those: the
    same batches and masks for each initialization. A seed determines the drawn rows, the vectors of `neighbours`, and
    the batches and masks. If run again, it skips what is done. Results: docs/vocabularies.md.
"""

import argparse
import json
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from logged_command import call

import langsamp_plugin
from langsamp_plugin.convert.init import NewVocabulary, init_checkpoint
from langsamp_plugin.convert.vocabulary_rows import INITS

ROOT = Path(__file__).resolve().parent.parent
NEW = "tur_Latn,fin_Latn,hun_Latn,sqi_Latn,ukr_Cyrl,kaz_Cyrl,mar_Deva,ckb_Arab,kat_Geor,ell_Grek"
"""Django's languages with and without relatives among the old ones, in scripts of the old ones and in two new
scripts."""
MODEL = ("--arch", "langsamp_roberta_tiny", "--encoder-layers", 3, "--encoder-embed-dim", 128,
         "--encoder-ffn-embed-dim", 512)  # fmt: skip
BATCH, LENGTH = 16, 64
LR, WARMUP = 5e-4, 20


def prepare(out: Path, args: argparse.Namespace) -> None:
    """Make both vocabularies, both data folders and the model of the old languages."""
    log = out / "log.txt"
    text: Path = args.corpus
    held_out: tuple[object, ...] = ()
    if text is None:
        text = out / "django" / "train"
        held_out = ("--valid", out / "django" / "valid")
        if not text.is_dir():
            call(log, "langsamp", "corpus", "django", "--out", out / "django")
    old = args.old or ",".join(sorted({path.stem for path in text.glob("*.txt")} - set(args.new.split(","))))
    spm, longer = out / "spm.model", out / "longer.model"
    if not spm.is_file():
        call(log, "langsamp", "tokenizer", "train", text, "--langs", old, "--vocab-size", args.pieces, "--out", spm)
    if not longer.is_file():
        call(log, "langsamp", "tokenizer", "extend", spm, text, "--langs", args.new, "--vocab-size", args.pieces // 2,
             "--out", longer)  # fmt: skip
    for name, model, langs in (("old", spm, old), ("new", longer, args.new)):
        call(log, "langsamp", "binarize", text, *held_out, "--spm", model, "--langs", langs, "--tables", "glot500",
             "--out", out / name)  # fmt: skip
    call(
        log, "fairseq-train", out / "old", "--user-dir", ROOT / "langsamp_plugin", "--cpu", *MODEL,
        "--task", "langsamp_masked_lm", "--criterion", "langsamp_masked_lm", "--tokens-per-sample", LENGTH,
        "--batch-size", BATCH, "--num-workers", 0, "--optimizer", "adam", "--adam-betas", "(0.9,0.98)", "--lr", "2e-3",
        "--lr-scheduler", "polynomial_decay", "--warmup-updates", args.base_updates // 10, "--total-num-update",
        args.base_updates, "--max-update", args.base_updates, "--save-interval-updates", 500, "--keep-interval-updates",
        1, "--no-epoch-checkpoints", "--disable-validation", "--log-format", "simple", "--log-interval", 100,
        "--save-dir", out / "base",
    )  # fmt: skip


def batches(task: Any, split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the batches of one pass after the other."""
    task.cfg.seed = seed
    task.load_dataset(split)
    iterator = task.get_batch_iterator(task.dataset(split), max_sentences=BATCH)
    while True:
        yield from iterator.next_epoch_itr(shuffle=True)
        if split != "train":
            return


def held_out_bits(model: Any, criterion: Any, task: Any) -> float:
    """Return the loss of the held-out text, bits per masked token."""
    model.eval()
    loss = count = 0.0
    with torch.no_grad():
        for sample in batches(task, "valid", 1):
            total, size, _ = criterion(model, sample)
            loss, count = loss + float(total), count + size
    model.train()
    return loss / count / math.log(2)


def train(checkpoint: Path, data: Path, seed: int, updates: int) -> dict[str, float]:
    """Train a starting checkpoint; return the held-out loss before and after, and the mean loss of the updates."""
    from fairseq import checkpoint_utils

    (model,), config, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides={"data": str(data)}
    )
    criterion = task.build_criterion(config.criterion)
    torch.manual_seed(seed)  # of dropout
    found = {"before": held_out_bits(model, criterion, task)}
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: min(1.0, (update + 1) / WARMUP))
    losses = []
    for _, sample in zip(range(updates), batches(task, "train", seed)):
        loss, size, _ = criterion(model, sample)
        optimizer.zero_grad()
        (loss / size).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item() / size / math.log(2))
    return {**found, "mean": sum(losses) / len(losses), "after": held_out_bits(model, criterion, task)}


def measure(out: Path, args: argparse.Namespace, way: str, seed: int) -> dict[str, float]:
    """Make a starting checkpoint and train it, unless the result exists."""
    result = out / "results" / f"{way}-{seed}.json"
    if result.is_file():
        return dict(json.loads(result.read_text(encoding="utf-8")))
    start = out / "start.pt"
    text = args.corpus or out / "django" / "train"
    (out / "text").mkdir(exist_ok=True)
    for tag in args.new.split(","):
        if not (out / "text" / f"{tag}.txt").is_file():
            (out / "text" / f"{tag}.txt").symlink_to((text / f"{tag}.txt").resolve())
    vocabulary = NewVocabulary(out / "longer.model", out / "spm.model", new_pieces=way, corpus=out / "text")
    init_checkpoint(out / "base" / "checkpoint_last.pt", start, vocabulary=vocabulary, overwrite=True, seed=seed)
    found = train(start, out / "new", seed, args.updates)
    result.parent.mkdir(exist_ok=True)
    result.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def main() -> None:
    """Measure all initializations and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, help="folder of <tag>.txt; Django's messages by default")
    parser.add_argument("--new", default=NEW, help="languages to extend the vocabulary for")
    parser.add_argument("--old", default="", help="languages of the model that is extended; by default all others")
    parser.add_argument("--pieces", type=int, default=6000, help="pieces of the old vocabulary; half as many are new")
    parser.add_argument("--base-updates", type=int, default=1500)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--seeds", default="1,2,3")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    langsamp_plugin.register()
    logging.disable(logging.INFO)
    args.out.mkdir(parents=True, exist_ok=True)
    prepare(args.out, args)
    print("| start | held out, update 0 | mean of the updates | held out, after | of each seed, mean of the updates |")
    print("| --- | ---: | ---: | ---: | --- |")
    for way in INITS:
        found = [measure(args.out, args, way, int(seed)) for seed in args.seeds.split(",")]
        before, mean, after = (sum(row[name] for row in found) / len(found) for name in ("before", "mean", "after"))
        each = ", ".join(f"{row['mean']:.3f}" for row in found)
        print(f"| `{way}` | {before:.3f} | {mean:.3f} | {after:.3f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
