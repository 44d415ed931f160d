"""The application that commands register with, and the options that several share."""

from __future__ import annotations

import math
from typing import Any, Optional

import typer

APP_OPTIONS: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None}

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


def finite(value: Optional[float]) -> Optional[float]:
    """Refuse ``nan`` and ``inf``, which are no values of an option and pass its limits unseen."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number that can be used")
    return value


def numbers(flag: str, text: str, most: int = 2**32 - 1) -> tuple[int, ...]:
    """Return the whole numbers of a list that is separated by commas.

    Raises:
        ValueError: a part is something else, or larger than ``most``.
    """
    parts = split_list(text)
    if not all(part.isdecimal() and int(part) <= most for part in parts):
        raise ValueError(f"{flag} must be whole numbers up to {most:,} separated by commas, but is {text!r}")
    return tuple(map(int, parts))


def split_list(text: str) -> list[str]:
    """Return the parts of a list that is separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
