"""Time of `langsamp binarize` against SentencePiece to text plus fairseq-preprocess, on the same corpus, in one run.

    python scripts/benchmarks/binarize.py CORPUS --spm sentencepiece.bpe.model

Both sides are timed as complete processes with the same number of workers. The stock side encodes all languages to text
in one process and then calls fairseq-preprocess once per language, which is how a multilingual data folder is made.
Afterwards every .bin and .idx of both sides is compared byte for byte.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import RECORD_HELP, Table, conditions
from tqdm import tqdm

BIN = Path(sys.executable).parent

ENCODE = """
import sys
from pathlib import Path
import sentencepiece
model, out, *files = sys.argv[1:]
processor = sentencepiece.SentencePieceProcessor(model_file=model)
for path in map(Path, files):
    with open(path, encoding="utf-8") as lines, open(Path(out, path.stem), "w", encoding="utf-8") as stream:
        for line in filter(None, map(str.strip, lines)):
            stream.write(" ".join(processor.encode(line, out_type=str)) + "\\n")
"""


def call(*command: object) -> float:
    """Run a command and return its seconds."""
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))[:300]} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def main() -> None:
    """Run both sides and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of <tag>.txt")
    parser.add_argument("--spm", type=Path, required=True, help="SentencePiece model")
    parser.add_argument("--workers", type=int, default=1, help="processes on either side")
    parser.add_argument("--limit", type=int, help="at most N languages, spread over the list")
    parser.add_argument("--record", help=RECORD_HELP)
    args = parser.parse_args()
    files = sorted(args.corpus.glob("*.txt"))
    if args.limit:
        files = files[:: max(1, len(files) // args.limit)][: args.limit]
    size = sum(path.stat().st_size for path in files)
    with tempfile.TemporaryDirectory() as folder:
        ours, text, stock = (Path(folder, name) for name in ("ours", "text", "stock"))
        ours_time = call(
            BIN / "langsamp", "binarize", args.corpus, "--spm", args.spm, "--out", ours, "--valid-lines", 0,
            "--workers", args.workers, "--langs", ",".join(path.stem for path in files),
        )  # fmt: skip
        text.mkdir()
        encode_time = call(sys.executable, "-c", ENCODE, args.spm, text, *files)
        preprocess_time = 0.0
        for path in tqdm(files, desc="fairseq-preprocess", unit="language"):
            preprocess_time += call(
                BIN / "fairseq-preprocess", "--only-source", "--srcdict", ours / "dict.txt", "--dataset-impl", "mmap",
                "--trainpref", text / path.stem, "--destdir", stock / path.stem, "--workers", args.workers,
            )  # fmt: skip
        different = [
            f"{path.stem}/{name}"
            for path in files
            for name in ("train.bin", "train.idx")
            if (ours / path.stem / name).read_bytes() != (stock / path.stem / name).read_bytes()
        ]
        tokens = sum(int(line.split("\t")[3]) for line in (ours / "stats.tsv").read_text().splitlines()[1:])
        shutil.rmtree(stock)
    stock_time = encode_time + preprocess_time
    print(f"{len(files)} languages, {size / 1e6:.1f} MB, {tokens:,} tokens, {args.workers} worker(s)")
    table = Table({"step": 33, "seconds": 8, "MB/s": 7, "ratio": 6, "conditions": 0}, args.record)
    for step, seconds in (
        ("langsamp binarize", ours_time),
        ("SentencePiece to text", encode_time),
        ("fairseq-preprocess, per language", preprocess_time),
        ("the two stock steps", stock_time),
    ):
        table.add(**{
            "step": step, "seconds": f"{seconds:.1f}", "MB/s": f"{size / 1e6 / seconds:.2f}",
            "ratio": f"{seconds / ours_time:.1f}", "conditions": conditions(),
        })  # fmt: skip
    print(f"files that differ: {len(different)} {' '.join(different[:5])}")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
