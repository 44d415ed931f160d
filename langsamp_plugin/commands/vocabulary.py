"""Commands for SentencePiece models."""

from __future__ import annotations

from pathlib import Path

import typer

from langsamp_plugin.commands.app import LANGS, STRICT, finite, split_list, tokenizer_app, writes_file

ALPHA = typer.Option(0.3, min=0, callback=finite, help="Languages are sampled by p ~ lines ** alpha; XLM-R used 0.3.")
COVERAGE = typer.Option(
    0.9995, min=0.98, max=1.0, callback=finite, help="Share of characters that get their own piece."
)
MOST_PIECES = 10_000_000
MAX_LINES = typer.Option(5_000_000, min=1, help="Maximum number of training lines over all languages.")

OVERWRITE = typer.Option(False, "--overwrite", help="Replace an existing model.")
BYTES_PER_PIECE = 250  # bytes of text per piece; with less, pieces are too rare to be useful


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise ValueError(f"--out {out} exists: choose another name, or replace it with --overwrite")


@tokenizer_app.command("train")
@writes_file
def tokenizer_train(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    out: Path = typer.Option(..., help="The .model file to write."),
    vocab_size: int = typer.Option(
        250000, min=100, max=MOST_PIECES, help="Number of pieces; a small corpus yields fewer."
    ),
    alpha: float = ALPHA,
    coverage: float = COVERAGE,
    max_lines: int = MAX_LINES,
    langs: str = LANGS,
    strict: bool = STRICT,
    overwrite: bool = OVERWRITE,
) -> None:
    """Train a SentencePiece model with XLM-R's numbering.

    Example: langsamp tokenizer train runs/corpus/train --vocab-size 8000 --out runs/spm.model
    """
    from langsamp_plugin.corpus.text import find_corpus
    from langsamp_plugin.vocabulary.tokenizer import train_tokenizer

    _check_out(out, overwrite)
    options = {"alpha": alpha, "coverage": coverage, "max_lines": max_lines, "langs": split_list(langs)}
    tokenizer = train_tokenizer(corpus, out, vocab_size, strict=strict, **options)  # type: ignore[arg-type]
    size = sum(path.stat().st_size for path in find_corpus(corpus, split_list(langs)).files.values())
    fewer = max(1000, size // BYTES_PER_PIECE // 1000 * 1000)
    if len(tokenizer.pieces) > fewer:
        print(
            f"{len(tokenizer.pieces):,} pieces are many for {size / 1e6:.1f} MB of text: --vocab-size {fewer} gives "
            "more text per piece"
        )
    print(f"{out}: {len(tokenizer.pieces):,} pieces, {tokenizer.vocab_size:,} tokens including special ones")


@tokenizer_app.command("extend")
@writes_file
def tokenizer_extend(
    base: Path = typer.Argument(..., help="SentencePiece model to extend, such as XLM-R's sentencepiece.bpe.model."),
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    out: Path = typer.Option(..., help="The .model file to write."),
    vocab_size: int = typer.Option(
        250000, min=100, max=MOST_PIECES, help="Pieces to train on the corpus; those not in BASE are appended."
    ),
    alpha: float = ALPHA,
    coverage: float = COVERAGE,
    max_lines: int = MAX_LINES,
    langs: str = LANGS,
    strict: bool = STRICT,
    overwrite: bool = OVERWRITE,
) -> None:
    """Append pieces trained on a corpus to a model.

    The ids of existing pieces do not change.

    Example: langsamp tokenizer extend xlmr/sentencepiece.bpe.model runs/corpus --out extended.model
    """
    from langsamp_plugin.vocabulary.extend import extend_tokenizer

    _check_out(out, overwrite)
    options = {"alpha": alpha, "coverage": coverage, "max_lines": max_lines, "langs": split_list(langs)}
    tokenizer, new = extend_tokenizer(base, corpus, out, vocab_size, strict=strict, **options)  # type: ignore[arg-type]
    print(f"{out}: {new:,} new pieces, {tokenizer.vocab_size:,} tokens including special ones")


@tokenizer_app.command("trim")
@writes_file
def tokenizer_trim(
    base: Path = typer.Argument(..., help="SentencePiece model to trim, such as XLM-R's sentencepiece.bpe.model."),
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    out: Path = typer.Option(..., help="The .model file to write."),
    min_count: int = typer.Option(
        1, min=1, help="Keep pieces that occur at least N times in the corpus; 1 keeps its splits unchanged."
    ),
    langs: str = LANGS,
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing file."),
) -> None:
    """Keep only the pieces that a corpus needs.

    `langsamp init ... --spm OUT` makes a model with the rows of these pieces.

    Example: langsamp tokenizer trim xlmr/sentencepiece.bpe.model runs/corpus --out small.model
    """
    from langsamp_plugin.vocabulary.trim import trim_tokenizer

    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists and is not replaced: choose another --out, or add --overwrite")
    done = trim_tokenizer(base, corpus, out, min_count=min_count, langs=split_list(langs))
    left = len(done.tokenizer.pieces)
    print(f"{out}: {left:,} of {done.before:,} pieces kept ({left / done.before:.1%})")
    for width, name in ((768, "XLM-R base"), (1024, "XLM-R large")):
        rows = done.before - left
        print(
            f"{name}: {rows * width:,} fewer parameters in its embedding, {rows * width * 4 / 1e6:,.0f} MB in float32"
        )
    share = done.changed / max(done.tokens, 1)
    print(f"split differently than before: {done.changed:,} of {done.tokens:,} tokens ({share:.3%})")
    for tag, count in done.unknown.items():
        print(f"{tag}: {count:,} unknown tokens")
