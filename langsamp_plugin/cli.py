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


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@app.callback()
def _options() -> None:
    """Everything around training with LangSAMP; training itself is fairseq-train.

    Every command takes --debug, which shows the traceback of an error.
    """


@app.command()
def corpus(
    source: str = typer.Argument(
        ..., help='"django": the catalogues that the Django package ships, a demo corpus in 89 language-scripts.'
    ),
    out: Path = typer.Option(..., help="Folder to write: train/, valid/ and aligned/ with a file per tag."),
    langs: str = LANGS,
) -> None:
    """Write a corpus as one text file per language-script.

    Example: langsamp corpus django --out runs/corpus
    """
    from langsamp_plugin.data.django_catalogues import write_corpus

    if source != "django":
        raise ValueError(f'the source must be "django", but is {source!r}; a folder of <tag>.txt is a corpus as it is')
    counts = write_corpus(out, _split(langs))
    print(f"{out}: {len(counts)} language-scripts, {sum(counts.values()):,} training lines")


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
    workers: int = typer.Option(1, min=1, help="Processes; the output is the same for any number."),
    tables: str = typer.Option(
        "data", help="Inventory: data, glot500, or a folder with languages.tsv and scripts.tsv to append to."
    ),
    langs: str = LANGS,
) -> None:
    """Turn text into the data folder that fairseq-train reads; run again, it goes on where it stopped.

    Example: langsamp binarize runs/corpus/train --valid runs/corpus/valid --spm runs/spm.model --out runs/data-bin
    """
    from langsamp_plugin.data.binarizer import binarize as run

    rows = run(corpus, spm, out, valid, valid_lines, workers, tables, _split(langs))
    for split in ("train", "valid"):
        part = [row for row in rows if row["split"] == split]
        tokens, unknown = sum(row["tokens"] for row in part), sum(row["unknown"] for row in part)
        print(
            f"{split}: {len(part)} languages, {sum(row['lines'] for row in part):,} lines, {tokens:,} tokens, {unknown:,} of them unknown"
        )


@app.command()
def info(path: Path = typer.Argument(..., help="Data folder, checkpoint, or exported folder.")) -> None:
    """Say what lies in a data folder, checkpoint or exported folder, and check that it is whole.

    Example: langsamp info runs/data-bin
    """
    from langsamp_plugin.info import describe

    print("\n".join(describe(path)))


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
