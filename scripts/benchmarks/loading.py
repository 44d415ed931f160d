"""Start-up, memory and throughput of the training data, ours against fairseq's multilingual_masked_lm, in one run.

    python scripts/benchmarks/loading.py                       # 610 languages, 61 and 6.1 million sentences
    python scripts/benchmarks/loading.py --sentences 6100000   # smaller

Each side runs in a separate process, on the same data folder: the time and resident memory from the finished imports
and dictionary to the first batch; then tokens per second of padded and masked batches, on one core. The text is random
ids in sentences of 5 to 15 tokens, because loading and masking do not depend on their meaning.
"""

import argparse
import os
import sys
import tempfile
import time
from argparse import Namespace
from itertools import islice
from pathlib import Path
from typing import Any

from measuring import RECORD_HELP, ROOT, SideFailed, Table, conditions, give_result, resident, run_side

LANGUAGES = 610
TYPES = 250_000
TOKENS_PER_SAMPLE = 512
BATCH = 32


def generate(folder: Path, sentences: int) -> None:
    """Write a data folder; the languages have sizes from a tenth of the mean to ten times as much."""
    import numpy as np

    from langsamp_plugin.data.token_buffer import best_dtype, buffer_path, index_path, write_index
    from langsamp_plugin.lang_script import Tables

    generator = np.random.default_rng(0)
    dtype = best_dtype(TYPES + 5)
    shares = 10.0 ** generator.uniform(-1, 1, LANGUAGES)
    for code, share in zip(Tables.glot500().languages, shares / shares.sum()):
        sizes = generator.integers(5, 16, max(1, round(share * sentences)))
        tokens = generator.integers(4, TYPES, int(sizes.sum()), dtype=dtype)
        tokens[np.cumsum(sizes) - 1] = 2
        path = folder / f"{code}_Latn"
        path.mkdir(parents=True)
        tokens.tofile(buffer_path(path / "train"))
        write_index(index_path(path / "train"), [sizes], dtype)
    (folder / "dict.txt").write_text("".join(f"w{number} 1\n" for number in range(TYPES)))


def measure(side: str, folder: str, batches: int) -> None:
    """Load, take batches, print JSON. Runs in a separate process."""
    import torch

    torch.set_num_threads(1)
    from fairseq import utils  # noqa: F401
    from fairseq.data import data_utils  # noqa: F401
    from fairseq.tasks import TASK_REGISTRY

    import langsamp_plugin  # noqa: F401

    if side == "ours":
        from langsamp_plugin.tasks.langsamp_masked_lm import LangSampMaskedLMConfig

        config: Any = LangSampMaskedLMConfig(
            data=folder, tokens_per_sample=TOKENS_PER_SAMPLE, multilang_sampling_alpha=0.3, seed=1, no_save=True,
            train_subset="train", save_dir=".", tensorboard_logdir=None,
        )  # fmt: skip
        task = TASK_REGISTRY["langsamp_masked_lm"].setup_task(config)
    else:
        config = Namespace(
            data=folder, tokens_per_sample=TOKENS_PER_SAMPLE, sample_break_mode="none", multilang_sampling_alpha=0.3,
            seed=1, mask_prob=0.15, leave_unmasked_prob=0.1, random_token_prob=0.1, freq_weighted_replacement=False,
            mask_whole_words=False, shorten_method="none", shorten_data_split_list="", dataset_impl="mmap", bpe=None,
            train_subset="train", mask_multiple_length=1, mask_stdev=0.0,
        )  # fmt: skip
        task = TASK_REGISTRY["multilingual_masked_lm"].setup_task(config)
    before, start = resident() / 2**20, time.perf_counter()
    task.load_dataset("train", epoch=1)
    iterator = task.get_batch_iterator(
        task.dataset("train"), max_sentences=BATCH, max_positions=TOKENS_PER_SAMPLE, seed=1, num_workers=0, epoch=1
    ).next_epoch_itr(shuffle=True)
    first = next(iterator)
    seconds, memory = time.perf_counter() - start, resident() / 2**20 - before
    tokens, start = 0, time.perf_counter()
    for batch in islice(iterator, batches):
        tokens += int(batch["ntokens"])
    rate = tokens / (time.perf_counter() - start)
    shape = list(first["net_input"]["src_tokens"].shape)
    give_result(seconds=seconds, memory=memory, rate=rate, shape=shape)


def main() -> None:
    """Generate the data, run both sides, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=61_000_000, help="of the larger data folder")
    parser.add_argument("--batches", type=int, default=300, help="batches to time")
    parser.add_argument("--folder", type=Path, help="where to write the data; a temporary folder by default")
    parser.add_argument("--record", help=RECORD_HELP)
    parser.add_argument("--measure", nargs=2, metavar=("SIDE", "DATA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], args.measure[1], args.batches)
        return
    print(f"{LANGUAGES} languages, batches of {BATCH} x {TOKENS_PER_SAMPLE}, vocabulary {TYPES + 5:,}, one core")
    table = Table(
        {"sentences": 11, "side": 6, "first batch s": 13, "memory MB": 9, "tokens/s": 11, "conditions": 0}, args.record
    )
    results = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for sentences in (args.sentences // 10, args.sentences):
            data = Path(folder, str(sentences))
            generate(data, sentences)
            for side in ("ours", "stock"):
                try:
                    found = run_side(
                        __file__, "--measure", side, data, "--batches", args.batches,
                        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
                    )  # fmt: skip
                except SideFailed as error:
                    sys.exit(f"{side} failed: {error}")
                results[sentences, side] = found
                table.add(**{
                    "sentences": sentences, "side": side, "first batch s": f"{found['seconds']:.2f}",
                    "memory MB": f"{found['memory']:+.0f}", "tokens/s": f"{found['rate']:.0f}",
                    "conditions": conditions(),
                })  # fmt: skip
    ours, stock = (results[args.sentences, side] for side in ("ours", "stock"))
    print(
        f"ratio at {args.sentences:,}: first batch {stock['seconds'] / ours['seconds']:.1f}, memory "
        f"{stock['memory'] / ours['memory']:.1f}, throughput {ours['rate'] / stock['rate']:.1f}"
    )


if __name__ == "__main__":
    main()
