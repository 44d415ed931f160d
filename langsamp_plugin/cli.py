"""The ``langsamp`` command: a function's signature is its command line, its docstring the help.

Heavy imports stay inside the functions, so that ``--help`` answers at once. Exit status: 0 done, 1 failed,
2 wrong use or bad input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin import __version__

APP_OPTIONS = {"add_completion": False, "rich_markup_mode": None}

app = typer.Typer(
    name="langsamp", help="Everything around training with LangSAMP; training itself is fairseq-train.", **APP_OPTIONS
)
tokenizer_app = typer.Typer(help="SentencePiece models.", **APP_OPTIONS)
analyze_app = typer.Typer(help="What a trained model's tables know.", **APP_OPTIONS)
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(analyze_app, name="analyze")

LANGS = typer.Option("", help="Tags to take, separated by commas; all by default.")
COLUMN = typer.Option("text", help="Field or column with the text, of JSON lines, Parquet and Arrow.")
SPLIT = typer.Option("train", help="Split to take where a language's folder has several.")
WORKERS = typer.Option(1, min=1, help="Processes; the output is the same for any number.")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ValueError(f"--shard must be I/N with I from 1 to N, such as 1/4, but is {text!r}")
    return int(number), int(count)


@app.callback()
def _options() -> None:
    """Everything around training with LangSAMP; training itself is fairseq-train.

    Every command takes --debug, which shows the traceback of an error.
    """


@app.command()
def corpus(
    source: Path = typer.Argument(
        ...,
        help='Folder with a file or folder per tag: .txt, .jsonl (also .gz, .xz, .bz2, .zst), .parquet, .arrow; or "django", '
        "a demo corpus in 89 language-scripts.",
    ),
    out: Path = typer.Option(..., help="Folder to write: a file per tag; of the demo train/, valid/ and aligned/."),
    column: str = COLUMN,
    split: str = SPLIT,
    dedup: bool = typer.Option(False, "--dedup", help="Leave out lines equal to an earlier one of their language."),
    workers: int = WORKERS,
    langs: str = LANGS,
) -> None:
    """Write a corpus as one text file per language-script; run again, it goes on where it stopped.

    Example: langsamp corpus Glot500 --out runs/corpus --dedup --workers 8
    """
    if str(source) == "django":
        from langsamp_plugin.data import django_catalogues

        counts = django_catalogues.write_corpus(out, _split(langs))
        print(f"{out}: {len(counts)} language-scripts, {sum(counts.values()):,} training lines")
        return
    from langsamp_plugin.data.corpus_writer import write_corpus

    rows = write_corpus(source, out, column, split, dedup, workers, _split(langs))
    lines, characters, size, duplicates = (
        sum(row[name] for row in rows) for name in ("lines", "characters", "bytes", "duplicates")
    )
    print(
        f"{out}: {len(rows)} language-scripts, {lines:,} lines, {characters:,} characters, {size:,} bytes"
        + (f"; {duplicates:,} duplicates left out" if dedup else "")
    )


@app.command()
def check(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt, or any other that `langsamp corpus` reads."),
    out: Optional[Path] = typer.Option(None, help="TSV to write; by default check.tsv in the current folder."),
    lid: Optional[Path] = typer.Option(
        None, help="Language identification model in fastText's format, such as GlotLID."
    ),
    strict: bool = typer.Option(False, "--strict", help="Exit with status 1 if any language has a problem."),
    min_script: float = typer.Option(0.8, min=0, max=1, help="Least share of letters in the declared script."),
    min_language: float = typer.Option(0.5, min=0, max=1, help="Least share of lines in the declared language."),
    max_bad: float = typer.Option(
        0.1, min=0, max=1, help="Largest share of empty, over-long, damaged or repeated lines, each for itself."
    ),
    max_characters: int = typer.Option(10_000, min=1, help="A longer line is over-long."),
    max_lines: int = typer.Option(0, min=0, help="Look at so many lines of each language; 0 looks at all."),
    column: str = COLUMN,
    split: str = SPLIT,
    workers: int = WORKERS,
    langs: str = LANGS,
) -> None:
    """Check that the text of each tag is in its script and language, and look for lines without use.

    Example: langsamp check runs/corpus --lid glotlid.bin --strict
    """
    from langsamp_plugin.data.corpus_check import Limits, check_corpus, format_table

    limits = Limits(min_script, min_language, max_bad, max_characters)
    path = out or Path("check.tsv")
    reports = check_corpus(corpus, path, lid, limits, max_lines, column, split, workers, _split(langs))
    print(format_table(reports))
    wrong = sum(bool(report.problems) for report in reports)
    print(f"{path}: {len(reports)} language-scripts, {wrong} with problems")
    if strict and wrong:
        raise typer.Exit(1)


@tokenizer_app.command("train")
def tokenizer_train(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    out: Path = typer.Option(..., help="The .model file to write."),
    vocab_size: int = typer.Option(250000, min=100, help="Pieces; fewer come out of a small corpus."),
    alpha: float = typer.Option(0.3, min=0, help="Languages are drawn by p ~ lines ** alpha; XLM-R used 0.3."),
    coverage: float = typer.Option(0.9995, min=0.98, max=1.0, help="Share of characters that get a piece."),
    max_lines: int = typer.Option(5_000_000, min=1, help="Lines to train on, over all languages."),
    langs: str = LANGS,
) -> None:
    """Train a SentencePiece model with XLM-R's numbering.

    Example: langsamp tokenizer train runs/corpus/train --vocab-size 8000 --out runs/spm.model
    """
    from langsamp_plugin.data.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(corpus, out, vocab_size, alpha, coverage, max_lines, _split(langs))
    print(f"{out}: {len(tokenizer.pieces):,} pieces, {tokenizer.vocab_size:,} tokens with the special ones")


@app.command()
def binarize(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    spm: Path = typer.Option(..., help="SentencePiece model."),
    out: Path = typer.Option(..., help="Data folder to write."),
    valid: Optional[Path] = typer.Option(
        None, help="Folder of <tag>.txt with held-out text; by default lines of the corpus are held out."
    ),
    valid_lines: int = typer.Option(100, min=0, help="Lines to hold out per language, at most a tenth of them."),
    workers: int = WORKERS,
    tables: str = typer.Option(
        "data", help="Inventory: data, glot500, or a folder with languages.tsv and scripts.tsv to append to."
    ),
    shard: str = typer.Option(
        "1/1",
        help="I/N does the I-th of N shares, for the jobs of an array; the one that ends last finishes the folder.",
    ),
    langs: str = LANGS,
) -> None:
    """Turn text into the data folder that fairseq-train reads; run again, it goes on where it stopped.

    Example: langsamp binarize runs/corpus/train --valid runs/corpus/valid --spm runs/spm.model --out runs/data-bin
    """
    from langsamp_plugin.data.binarizer import binarize as run

    rows = run(corpus, spm, out, valid, valid_lines, workers, tables, _split(langs), _shard(shard))
    if not rows:
        print(f"{out}: share {shard} is done; the job that ends last will finish the folder")
    for split in ("train", "valid") if rows else ():
        part = [row for row in rows if row["split"] == split]
        tokens, unknown = sum(row["tokens"] for row in part), sum(row["unknown"] for row in part)
        print(
            f"{split}: {len(part)} languages, {sum(row['lines'] for row in part):,} lines, {tokens:,} tokens, {unknown:,} of them unknown"
        )


@app.command()
def info(
    path: Path = typer.Argument(..., help="Data folder, checkpoint, or exported folder."),
    sampling: str = typer.Option("alpha", help="Of a data folder's preview: alpha or glot500."),
    alpha: float = typer.Option(0.3, min=0, help="Languages are drawn by p ~ count ** alpha."),
    scale: float = typer.Option(30.0, help="For glot500: how often the smallest language comes in an epoch."),
    counts: str = typer.Option("blocks", help="What the sampling counts: blocks or lines."),
    tokens_per_sample: int = typer.Option(512, min=2, help="Length of a block, <s> included."),
) -> None:
    """Say what lies in a data folder, checkpoint or exported folder, and check that it is whole.

    Example: langsamp info runs/data-bin --sampling glot500
    """
    from langsamp_plugin.info import Sampling, describe

    if counts not in ("blocks", "lines"):
        raise ValueError(f"--counts must be blocks or lines, but is {counts!r}")
    print("\n".join(describe(path, Sampling(sampling, alpha, scale, counts, tokens_per_sample))))


@app.command()
def init(
    checkpoint: Path = typer.Argument(..., help="Checkpoint of fairseq: LangSAMP, roberta or xlmr."),
    spm: Path = typer.Option(..., help="SentencePiece model to train with."),
    out: Path = typer.Option(..., help="Checkpoint to write, for --finetune-from-model."),
    old_spm: Optional[Path] = typer.Option(
        None, help="The checkpoint's own SentencePiece model; by default the one in its data folder."
    ),
    new_pieces: str = typer.Option(
        "parts", help="How rows of new pieces start: parts (mean of the old pieces it splits into), mean, random."
    ),
) -> None:
    """Make a starting checkpoint with another vocabulary: old rows kept by piece, <mask> moved, new rows made.

    Example: langsamp init xlmr.base/model.pt --old-spm xlmr.base/sentencepiece.bpe.model --spm new.model --out start.pt
    """
    from langsamp_plugin.checkpoint.export import model_beside_data
    from langsamp_plugin.checkpoint.extend_vocabulary import extend_vocabulary
    from langsamp_plugin.checkpoint.loading import load_checkpoint

    old = old_spm or model_beside_data(load_checkpoint(checkpoint), checkpoint, "--old-spm")
    done = extend_vocabulary(checkpoint, old, spm, out, new_pieces)
    print(f"{out}: {done.kept:,} pieces kept, {done.new:,} new, {done.dropped:,} of the old vocabulary dropped")


@app.command()
def export(
    checkpoint: Path = typer.Argument(..., help="Checkpoint of fairseq: LangSAMP, roberta or xlmr."),
    out: Path = typer.Option(..., help="Hugging Face folder to write."),
    spm: Optional[Path] = typer.Option(
        None, help="SentencePiece model; by default the one in the checkpoint's data folder."
    ),
    fold: Optional[str] = typer.Option(None, help="Tag whose embeddings are folded into the masked-LM head."),
) -> None:
    """Write a Hugging Face folder that loads without this package.

    Example: langsamp export runs/checkpoints/checkpoint_last.pt --out runs/hf
    """
    from langsamp_plugin.checkpoint.export import export as run

    run(checkpoint, out, spm, fold)
    print(f"{out}: exported from {checkpoint}" + (f", head folded for {fold}" if fold else ""))


@app.command()
def evaluate(
    model: Path = typer.Argument(..., help="Hugging Face folder."),
    data: Path = typer.Option(..., help="Folder of <tag>.txt with lines id<tab>text, the same id in every language."),
    out: Path = typer.Option(..., help="Folder for the results: OUT/<model>/<task>.json."),
    tasks: str = typer.Option("sr_bible", help="sr_bible: sentence retrieval against English."),
    layer: Optional[int] = typer.Option(
        None, help="Transformer block whose output is pooled; by default two thirds up (8 of 12)."
    ),
    min_pairs: int = typer.Option(20, min=1, help="Languages with fewer sentences are not scored."),
    langs: str = LANGS,
) -> None:
    """Score a model without fine-tuning it.

    Example: langsamp evaluate runs/hf --tasks sr_bible --data runs/corpus/aligned --out runs/results
    """
    from langsamp_plugin.atomic import atomic_write
    from langsamp_plugin.evaluation.retrieval import retrieval

    if tasks != "sr_bible":
        raise ValueError(f"--tasks must be sr_bible, but is {tasks!r}")
    result = retrieval(model, data, layer, _split(langs), min_pairs)
    path = out / model.name / "sr_bible.json"
    with atomic_write(path) as stream:
        json.dump({"model": str(model), "data": str(data), **result}, stream, indent=1)
    mean = result["mean"]
    print(
        f"{path}: {len(result['by_tag'])} languages, block {result['layer']}, "
        f"top-1 {mean['top1']:.1f} %, top-10 {mean['top10']:.1f} % (chance {mean['chance10']:.1f} %)"
    )


@analyze_app.command("embeddings")
def analyze_embeddings(
    model: Path = typer.Argument(..., help="Checkpoint or exported folder."),
    out: Path = typer.Option(..., help="Folder for the picture and the tables."),
    neighbours: int = typer.Option(3, min=1, help="Neighbours per language."),
) -> None:
    """Draw the language embeddings and list each language's nearest neighbours.

    Example: langsamp analyze embeddings runs/hf --out runs/analysis
    """
    from langsamp_plugin.analysis.embeddings import analyze_embeddings as run

    agreement = run(model, out, neighbours)["agreement"]
    print(
        f"{out}: the nearest neighbour shares the script for {agreement['same_script']:.0f} % (chance {agreement['chance']:.0f} %)"
    )


@analyze_app.command("tags")
def analyze_tags(
    checkpoint: Path = typer.Argument(..., help="LangSAMP checkpoint of fairseq."),
    out: Path = typer.Option(..., help="JSON file to write."),
    data: Optional[Path] = typer.Option(None, help="Data folder; by default the one it was trained on."),
    split: str = typer.Option("valid", help="Split of the data."),
) -> None:
    """Measure the held-out loss with the right tag and with others in its place.

    Example: langsamp analyze tags runs/checkpoints/checkpoint_last.pt --out runs/tags.json
    """
    from langsamp_plugin.atomic import atomic_write
    from langsamp_plugin.evaluation.tag_swap import tag_swap

    result = tag_swap(checkpoint, data, split)
    with atomic_write(out) as stream:
        json.dump({"checkpoint": str(checkpoint), **result}, stream, indent=1)
    right = result["loss"]["right"]
    for name, loss in result["loss"].items():
        print(f"{name:<18} {loss:6.2f} bits  {loss - right:+.2f}")


@app.command("user-dir")
def user_dir() -> None:
    """Print the path for fairseq's --user-dir.

    Example: fairseq-train DATA-BIN --user-dir $(langsamp user-dir) --task langsamp_masked_lm ...
    """
    print(Path(__file__).resolve().parent)


@app.command()
def version() -> None:
    """Print the version.

    Example: langsamp version
    """
    print(__version__)


def main() -> None:
    """Run a command; an error is one line, ``--debug`` shows where it came from."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        status = app(
            args=[part for part in arguments if part != "--debug"], prog_name="langsamp", standalone_mode=False
        )
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        status, message = _explain(error)
        print(f"langsamp: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status or 0)


def _explain(error: BaseException) -> tuple[int, str]:
    """Return exit status and message for an error."""
    # By what it can do and not by its class: typer carries its own copy of click in some versions.
    if hasattr(error, "format_message"):
        return 2, f"{error.format_message().rstrip('.')}; see `langsamp --help`"
    if isinstance(error, (typer.Abort, KeyboardInterrupt)):
        return 1, "interrupted; run the same command again to go on"
    if isinstance(error, (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError)):
        return 2, str(error)
    if isinstance(error, OSError):
        return 1, str(error.strerror or error) + (f": {error.filename}" if error.filename else "")
    if isinstance(error, ModuleNotFoundError):
        return 1, str(error)
    return 1, f"unexpected {type(error).__name__}: {error} (run again with --debug and report it)"


if __name__ == "__main__":
    main()
