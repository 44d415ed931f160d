"""The parts of ``scripts/gpu_report.sh``: each in a separate process, one table at the end."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "scripts" / "benchmarks"
sys.path[:0] = [str(ROOT), str(BENCHMARKS)]
SECONDS = 480


def environment(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the conditions of the figures."""
    import torch
    from measuring import conditions

    found = {"what": "environment", "result": conditions(), "cuda": str(torch.version.cuda)}
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found["memory"] = f"{card.total_memory / 2**30:.0f} GiB"
        found["capability"] = f"{card.major}.{card.minor}"
    return [found]


def parity(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare loss and gradients of blocks and plain in each precision, relative to the largest entry."""
    import torch

    from langsamp_plugin.modules import head_loss

    device = "cuda" if torch.cuda.is_available() else "cpu"
    words, tokens, width = (999, 40, 16) if options.tiny else (250_002, 1200, 768)
    rows = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        torch.manual_seed(0)
        parts = [torch.randn(tokens, width), torch.randn(words, width) * 0.02, torch.zeros(words)]
        features, weight, bias = (part.to(device, dtype).requires_grad_() for part in parts)
        target = torch.randint(words, (tokens,), device=device)
        results = {}
        head_loss.BLOCK_BYTES[device] = 4 * words * -(-tokens // 3)
        for kind in ("plain", "blocks"):
            found = head_loss.masked_lm_loss(features, weight, bias, target, kind)
            results[kind] = (found.losses_N, *torch.autograd.grad(found.total * 1024, (features, weight, bias)))
        pairs = zip(results["blocks"], results["plain"])
        worst = max(float((one - other).float().abs().max() / other.float().abs().max()) for one, other in pairs)
        limit = 1e-4 if dtype == torch.float32 else 5e-2
        verdict = "equal" if worst < limit else "DIFFERENT"
        rows.append({"what": f"blocks against plain, {dtype}", "result": f"{verdict}: {worst:.1e}", "limit": limit})
    return rows


def head(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the head alone, each size separately."""
    sizes = ("999",) if options.tiny else ("250002", "401145", "401152")
    tokens, width = ("40", "16") if options.tiny else ("4915", "768")
    precision = "fp32" if options.tiny else "bf16"
    return [
        benchmark(
            f"head, {words} words",
            *("head.py", "--words", words, "--tokens", tokens, "--width", width, "--precision", precision),
            *("--ways", "plain,blocks"),
        )
        for words in sizes
    ]


def training(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a step of this plugin, stock fairseq and run_mlm, with their own and with equal optimizers."""
    shape, words = ("2x64", "3000") if options.tiny else ("32x512", "401145")
    precision, updates = ("fp32", "2") if options.tiny else ("bf16", "12")
    common = ["train.py", options.data, "--shapes", shape, "--words", words, "--precision", precision]
    common += ["--updates", updates]
    rows = []
    for side in ("langsamp", "fairseq", "huggingface"):
        rows.append(benchmark(f"step, {side}", *common, "--sides", side))
    rows.append(benchmark("step, langsamp with adam as fairseq", *common, "--sides", "langsamp", "--optimizer", "adam"))
    if not options.tiny:
        rows.append(benchmark("step, langsamp --compile", *common, "--sides", "langsamp", "--compile"))
    return rows


def resume(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train in fp16, kill it, resume it, and compare with an undisturbed run; the third kill comes during a save."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    command = ["--kills", "3", "--updates", "30" if options.tiny else "400", "--precision", "fp16", "--device", device]
    return [
        run(
            "fp16, three kills and resumes", ROOT / "scripts" / "soak.py", options.data, "--out", options.work, *command
        )
    ]


def encoding(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the encoding of sentences, if a model is given."""
    if not options.encoder:
        return [{"what": "encoding", "result": "left out: no --encoder"}]
    text = sorted(Path(options.corpus).rglob("*.txt"))[:4]
    return [benchmark("encoding", "encoding.py", options.encoder, *text, "--limit", "200" if options.tiny else "2000")]


PARTS = {function.__name__: function for function in (environment, parity, head, training, resume, encoding)}


def benchmark(what: str, script: str, *arguments: Any) -> dict[str, Any]:
    """Run a benchmark script and return its last lines."""
    return run(what, BENCHMARKS / script, *arguments)


def run(what: str, script: Path, *arguments: Any) -> dict[str, Any]:
    """Run a script; its failure is a result."""
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode:
        return {"what": what, "result": reason(done.stderr or done.stdout), "output": lines}
    return {"what": what, "result": " / ".join(" ".join(line.split()) for line in lines[-3:]), "output": lines}


def reason(error: str) -> str:
    """Return a short description of a failure."""
    if "out of memory" in error.lower():
        return "out of memory"
    return "FAILED: " + (error.strip().splitlines() or ["no message"])[-1][:160]


def one_part(name: str, words: list[str], seconds: float) -> list[dict[str, Any]]:
    """Run a part in a separate process with a time limit."""
    command = [sys.executable, __file__, *words, "--part", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return [{"what": name, "result": f"stopped after {seconds:.0f} s"}]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"what"')]
    return found if done.returncode == 0 else [*found, {"what": name, "result": reason(done.stderr)}]


def prepare(folder: Path) -> tuple[Path, Path]:
    """Make the demo corpus and its data folder; return both."""
    corpus, data = folder / "corpus", folder / "data-bin"
    if not (data / "dict.txt").is_file():
        from langsamp_plugin.corpus.django_catalogues import write_corpus
        from langsamp_plugin.data.binarizer import binarize
        from langsamp_plugin.vocabulary.tokenizer import train_tokenizer

        write_corpus(corpus)
        train_tokenizer(corpus / "train", folder / "spm.model", 8000)
        binarize(corpus / "train", folder / "spm.model", data, valid=corpus / "valid")
    return corpus, data


def main() -> None:
    """Run all parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", help="binarized folder")
    parser.add_argument("--corpus", help="folder of text files to encode")
    parser.add_argument("--encoder", help="Hugging Face folder whose encoding is timed")
    parser.add_argument("--tiny", action="store_true", help="reduce all sizes")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work = options.out / "resume"
    if options.part:
        for row in PARTS[options.part](options):
            print(json.dumps(row), flush=True)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.data:
        corpus, data = prepare(options.out)
        options.corpus, options.data = options.corpus or str(corpus), str(data)
    words = [str(options.out), "--data", options.data, "--corpus", options.corpus or str(Path(options.data).parent)]
    words += ["--encoder", options.encoder] if options.encoder else []
    words += ["--tiny"] if options.tiny else []
    began, rows = time.monotonic(), []
    for name in options.parts.split(","):
        started = time.monotonic()
        rows += [{"part": name, **row} for row in one_part(name, words, max(10.0, SECONDS - (started - began)))]
        write(options.out, rows)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    print((options.out / "report.md").read_text(encoding="utf-8"))


def write(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the results so far."""
    from langsamp_plugin.atomic import atomic_write

    with atomic_write(out / "report.json") as stream:
        json.dump(rows, stream, indent=1)
    with atomic_write(out / "report.md") as stream:
        stream.write("| part | what | result |\n| --- | --- | --- |\n")
        stream.writelines(f"| {row['part']} | {row['what']} | {row['result'].replace('|', '/')} |\n" for row in rows)


if __name__ == "__main__":
    main()
