"""SentencePiece models."""

from __future__ import annotations

from pathlib import Path

import typer

from langsamp_plugin.commands.app import LANGS, finite, split_list, tokenizer_app

ALPHA = typer.Option(0.3, min=0, callback=finite, help="Languages are drawn by p ~ lines ** alpha; XLM-R used 0.3.")
COVERAGE = typer.Option(0.9995, min=0.98, max=1.0, callback=finite, help="Share of characters that get a piece.")
MOST_PIECES = 10_000_000
MAX_LINES = typer.Option(5_000_000, min=1, help="Lines to train on, over all languages.")


@tokenizer_app.command("train")
def tokenizer_train(
    corpus: Path = typer.Argument(..., help="Folder of <tag>.txt."),
    out: Path = typer.Option(..., help="The .model file to write."),
    vocab_size: int = typer.Option(250000, min=100, max=MOST_PIECES, help="Pieces; fewer come out of a small corpus."),
    alpha: float = ALPHA,
    coverage: float = COVERAGE,
    max_lines: int = MAX_LINES,
    langs: str = LANGS,
) -> None:
    """Train a SentencePiece model with XLM-R's numbering.

    Example: langsamp tokenizer train runs/corpus/train --vocab-size 8000 --out runs/spm.model
    """
    from langsamp_plugin.vocabulary.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(corpus, out, vocab_size, alpha, coverage, max_lines, split_list(langs))
    print(f"{out}: {len(tokenizer.pieces):,} pieces, {tokenizer.vocab_size:,} tokens with the special ones")


@tokenizer_app.command("extend")
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
) -> None:
    """Append pieces trained on a corpus to a model.

    The ids of the model's own pieces stay.

    Example: langsamp tokenizer extend xlmr/sentencepiece.bpe.model runs/corpus --out extended.model
    """
    from langsamp_plugin.vocabulary.extend import extend_tokenizer

    tokenizer, new = extend_tokenizer(base, corpus, out, vocab_size, alpha, coverage, max_lines, split_list(langs))
    print(f"{out}: {new:,} new pieces, {tokenizer.vocab_size:,} tokens with the special ones")
