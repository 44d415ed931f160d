"""Measures what a trimmed vocabulary saves and costs: sizes, tokens and retrieval scores at several `--min-count`.

    python scripts/trimmed_encoder.py MODEL --corpus corpus --tatoeba eval/sr_tatoeba --langs eng_Latn,deu_Latn \\
        --out runs/trim

MODEL is a Hugging Face folder with XLM-R's vocabulary, CORPUS a folder of <tag>.txt. The vocabulary is trimmed to the
corpus and the sentences that are scored. With `--corpus-alone` it is trimmed to the corpus, so the sentences may have
pieces that were removed. Results are in docs/vocabularies.md.
"""

import argparse
import json
import os
from pathlib import Path

from logged_command import call

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.checkpoint.weight_names import HEAD
from langsamp_plugin.convert.init import NewVocabulary, import_checkpoint, init_checkpoint
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.evaluation.reading.aligned import read_tatoeba
from langsamp_plugin.vocabulary.tokenizer import UNK, Tokenizer
from langsamp_plugin.vocabulary.trim import count_tokens, trim_tokenizer


def write_text(out: Path, args: argparse.Namespace) -> tuple[Path, Path]:
    """Write the text to trim to and the sentences that are scored, a file per tag; return both folders."""
    pairs = read_tatoeba(args.tatoeba).pairs
    for tag, path in corpus_files(args.corpus, args.langs.split(",")).items():
        sentences = pairs[tag].other if tag in pairs else []
        if str(tag) == "eng_Latn":
            sentences = [line for name, found in pairs.items() if str(name) in args.langs for line in found.english]
        lines = [*read_lines(path), *([] if args.corpus_alone else sentences)]
        for folder, content in (("text", lines), ("sentences", sentences)):
            (out / folder).mkdir(exist_ok=True)
            if content:
                (out / folder / f"{tag}.txt").write_text("".join(f"{line}\n" for line in content), encoding="utf-8")
    return out / "text", out / "sentences"


def unknown(tokenizer: Tokenizer, folder: Path) -> float:
    """Return the share of unknown tokens of a folder of text."""
    counts = sum(count_tokens(tokenizer, path) for path in folder.glob("*.txt"))
    return float(counts[UNK] / counts.sum())  # type: ignore[index, union-attr]


def scores(checkpoint: Path, model: Path, args: argparse.Namespace) -> dict[str, list[float]]:
    """Return top-1 and top-10 of each language."""
    name = checkpoint.parent.name
    call(
        args.out / "log.txt", "langsamp", "evaluate", checkpoint, "--spm", model, "--tasks", "sr_tatoeba",
        "--data", args.tatoeba, "--langs", args.langs, "--most-pairs", args.pairs, "--name", name,
        "--out", args.out / "results",
    )  # fmt: skip
    found = json.loads((args.out / "results" / name / "sr_tatoeba.json").read_text(encoding="utf-8"))["scores"]
    return {tag: [found[tag]["top1"][0], found[tag]["top10"][0]] for tag in found}


def main() -> None:
    """Print a row for the unchanged model, and one for each count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tatoeba", type=Path, required=True)
    parser.add_argument("--langs", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--counts", default="1,2,5,20")
    parser.add_argument("--pairs", type=int, default=200, help="of each language that are scored")
    parser.add_argument("--corpus-alone", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args.out.mkdir(parents=True, exist_ok=True)
    text, sentences = write_text(args.out, args)
    base = args.model / "sentencepiece.bpe.model"
    import_checkpoint(args.model, args.out / "full" / "model.pt")
    before = scores(args.out / "full" / "model.pt", base, args)
    print("| `--min-count` | pieces | parameters | MB | split differently | unknown | SR-T top-1 | top-10 | changed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in (0, *map(int, args.counts.split(","))):
        model, checkpoint, changed, after = base, args.out / "full" / "model.pt", 0.0, before
        if count:
            model, checkpoint = args.out / f"{count}.model", args.out / f"min{count}" / "model.pt"
            done = trim_tokenizer(base, text, model, min_count=count)
            init_checkpoint(args.model, checkpoint, vocabulary=NewVocabulary(model))
            changed, after = done.changed / done.tokens, scores(checkpoint, model, args)
        tokenizer = Tokenizer(model)
        weights = load_checkpoint(checkpoint)["model"]
        size = sum(tensor.numel() for name, tensor in weights.items() if name != f"{HEAD}weight")
        means = [sum(row[place] for row in after.values()) / len(after) for place in (0, 1)]
        print(
            f"| {count or 'as it is'} | {len(tokenizer.pieces):,} | {size:,} | {size * 4 / 1e6:,.0f} | {changed:.2%} | "
            f"{unknown(tokenizer, sentences):.3%} | {means[0]:.4f} | {means[1]:.4f} | "
            f"{sum(after[tag] != before[tag] for tag in before)} of {len(before)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
