"""The training step: this plugin, stock fairseq and Hugging Face on the same batches, in one run.

    python scripts/benchmarks/train.py DATA-BIN --shapes 8x128 --words 250002        # two CPU cores, half an hour
    python scripts/benchmarks/train.py DATA-BIN --precision bf16 --shapes 8x512,16x512,32x512,64x512   # a GPU, minutes
    python scripts/benchmarks/train.py DATA-BIN --shapes 8x128 --words 250002 --profile --sides langsamp

DATA-BIN is a binarized folder; a vocabulary of another size is padded to --words. Each side runs in a separate
process: fairseq's two through fairseq's Trainer, Hugging Face's as run_mlm.py does (logits of all positions, torch's
fused AdamW, autocast). All have XLM-R base's sizes, dropout 0.1, Adam, clipping at 1. The plugin gets all sentences
with an unknown language, so that its loss can be compared with fairseq's: the tables are looked up and add zero.

Peak memory is the peak above parameters, gradients and optimizer state (in float32; with fp16 and bf16 above what the
side itself keeps between updates). FLOPs are the minimum that the step needs, regardless of what a side computes: 6 per
weight and token, attention's 12 per layer, width and pair of tokens, the vocabulary at masked positions only.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import RECORD_HELP, ROOT, SideFailed, Table, device_name, give_result, resident, run_side
from step_profile import attach_timers, bandwidth, flops, show_profile
from steps import fairseq_arguments, fairseq_step, huggingface_step, make_batches, open_fairseq

sys.path.insert(0, str(ROOT))
SIDES = ("langsamp", "fairseq", "huggingface")
# The columns of the record, and how wide each is printed.
COLUMNS = {
    "side": 12, "words": 8, "shape": 8, "precision": 9, "tokens_per_s": 12, "extra_mb": 9, "mfu_percent": 11,
    "first_loss": 10, "last_loss": 10, "largest_difference": 18, "updates": 0, "settings": 0, "note": 30,
}  # fmt: skip
# Dense tensor-core peak of half precision, from the vendor's data sheets; any other device is measured.
PEAKS = {"A100": 312e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12}  # the first that fits


def measure(side: str, folder: str, data: str, options: argparse.Namespace) -> None:
    """Train on the batches and print JSON. Runs in a separate process."""
    import torch

    words = options.words[0]
    if side != "huggingface":  # imports the plugin as fairseq-train does, before anything is allocated
        open_fairseq(fairseq_arguments(side, data, options))
    torch.manual_seed(1)
    step, model, trainer = (
        huggingface_step(options, words) if side == "huggingface" else fairseq_step(side, data, options)
    )
    batches = torch.load(Path(folder) / "batches.pt", weights_only=True)
    count = sum(parameter.numel() for parameter in model.parameters())
    before = resident() - 4 * count
    timers = attach_timers(model, trainer, options.cuda) if options.profile and side == "langsamp" else None
    losses, seconds = [], []
    for number, batch in enumerate(batches):
        if number == options.warm_up:  # parameters and the optimizer's state are allocated now
            if options.cuda:
                torch.cuda.reset_peak_memory_stats()
                # fairseq's Trainer resets the peak after each update, to log it.
                torch.cuda.reset_peak_memory_stats = lambda *_: None
            else:
                Path("/proc/self/clear_refs").write_text("5")
            if timers is not None:
                timers.clear()
        started = time.perf_counter()
        losses.append(step(batch))
        if options.cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    if options.cuda:
        kept = torch.cuda.memory_allocated()
        peak = torch.cuda.max_memory_allocated() - kept
    else:
        peak = resident("VmHWM") - before - 16 * count
    timed = sorted(seconds[options.warm_up :])
    give_result(
        losses=losses, seconds=timed[len(timed) // 2], mean_seconds=sum(timed) / len(timed), extra=peak,
        parameters=count,
        masked=sum(int(batch["target"].ne(1).sum()) for batch in batches) / len(batches),
        peak_flops=peak_flops(options),
        parts={name: value / len(timed) for name, value in (timers or {}).items()},
        bandwidth=bandwidth() if options.profile else None,
        device=device_name(),
        torch=torch.__version__, threads=torch.get_num_threads(),
    )  # fmt: skip


def peak_flops(options: argparse.Namespace) -> float:
    """Return the device's peak: from the data sheet where known, else of the best matrix product here."""
    import torch

    device = "cuda" if options.cuda else "cpu"
    if options.cuda and options.precision != "fp32":
        name = torch.cuda.get_device_name()
        for known, value in PEAKS.items():
            if known in name:
                return value
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[options.precision]
    size = 8192 if options.cuda else 2048
    one = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        one @ one
        if options.cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def padded(data: Path, words: int, folder: Path) -> Path:
    """Return a data folder with the same text and a vocabulary of ``words``, ``<mask>`` and specials included."""
    made = folder / f"data{words}"
    made.mkdir()
    lines = (data / "dict.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    wanted = words - 5  # <s>, <pad>, </s>, <unk>, <mask>
    if len(lines) > wanted:
        raise SystemExit(
            f"scripts/benchmarks/train.py: {data / 'dict.txt'} has {len(lines):,} types, more than {words:,} words"
        )
    lines += [f"madeupword{number:07d} 0" for number in range(wanted - len(lines))]
    (made / "dict.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for language in sorted(path for path in data.iterdir() if path.is_dir()):
        (made / language.name).mkdir()
        for file in language.glob("train.*"):
            (made / language.name / file.name).symlink_to(file.resolve())
    return made


def child(step: str, folder: Path, data: Path, options: argparse.Namespace, words: int, shape: str) -> dict[str, Any]:
    """Run a step in a separate process and return what it found; see :func:`run_side`."""
    return run_side(
        __file__, data, "--child", step, "--folder", folder, "--words", words, "--shapes", shape,
        "--precision", options.precision, "--updates", options.updates, "--head-loss", options.head_loss,
        "--optimizer", options.optimizer, *(["--compile"] if options.compile else []),
        *(["--profile"] if options.profile else []),
    )  # fmt: skip


def main() -> None:
    """Measure all sides at all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="binarized folder")
    parser.add_argument("--words", default="250002,401145", help="sizes of the vocabulary")
    parser.add_argument("--shapes", default="8x512,16x512,32x512,64x512", help="sentences x tokens of an update")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--head-loss", default="auto", choices=["auto", "blocks", "plain"])
    parser.add_argument("--optimizer", default="fused_adamw", help="the plugin's")
    parser.add_argument("--compile", action="store_true", help="the plugin's layers")
    parser.add_argument("--profile", action="store_true", help="show where the plugin's time goes")
    parser.add_argument("--record", help=RECORD_HELP)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    import torch

    # On a GPU the first updates also fill the allocator and choose kernels, and with --compile they compile.
    options.warm_up = min(5 if torch.cuda.is_available() else 2, options.updates - 1)
    options.cuda = torch.cuda.is_available()
    words = [int(part) for part in options.words.split(",")]
    shapes = options.shapes.split(",")
    if options.child:
        options.words, options.shape = words, shape_of(shapes[0])
        if options.child == "batches":
            make_batches(options.folder, options.data, options)
        else:
            measure(options.child, options.folder, options.data, options)
        return
    table = Table(COLUMNS, options.record)
    for count in words:
        for shape in shapes:
            with tempfile.TemporaryDirectory() as folder:
                data = padded(Path(options.data), count, Path(folder))
                child("batches", Path(folder), data, options, count, shape)
                size = shape_of(shape)
                results: dict[str, Any] = {}
                for side in options.sides.split(","):
                    try:
                        results[side] = child(side, Path(folder), data, options, count, shape)
                    except SideFailed as error:  # out of memory is a result, and the other sides still have to run
                        note = "out of memory" if "out of memory" in str(error).lower() else f"failed: {error}"
                        table.add(side=side, words=count, shape=shape, precision=options.precision, note=note)
                        continue
                    table.add(**row_of(side, results, count, size, options))
                    if options.profile and side == "langsamp":
                        show_profile(results[side], count, size)


def shape_of(text: str) -> tuple[int, int]:
    """Read ``8x512``: sentences and tokens."""
    sentences, tokens = text.split("x")
    return int(sentences), int(tokens)


def row_of(side: str, results: dict[str, Any], words: int, shape: tuple[int, int], options: argparse.Namespace) -> dict:
    """Return a line of the CSV."""
    result = results[side]
    tokens = shape[0] * shape[1]
    work = sum(flops(words, shape, result["masked"]).values())
    difference = ""
    if side == "fairseq" and "langsamp" in results:
        pairs = zip(results["langsamp"]["losses"], result["losses"])
        difference = f"{max(abs(one - other) / other for one, other in pairs):.1e}"
    settings = f"{result['device']}, {result['threads']} threads, torch {result['torch']}"
    if side == "langsamp":
        settings += f", {options.optimizer}, head loss {options.head_loss}" + (", compiled" if options.compile else "")
    return {
        "side": side, "words": words, "shape": f"{shape[0]}x{shape[1]}", "precision": options.precision,
        "tokens_per_s": f"{tokens / result['seconds']:.1f}", "extra_mb": f"{result['extra'] / 2**20:.0f}",
        "mfu_percent": f"{100 * work / result['seconds'] / result['peak_flops']:.1f}",
        "first_loss": f"{result['losses'][0]:.5f}", "last_loss": f"{result['losses'][-1]:.5f}",
        "largest_difference": difference, "updates": options.updates, "settings": settings,
    }  # fmt: skip


if __name__ == "__main__":
    main()
