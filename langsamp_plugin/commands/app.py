"""The application that commands register with, and shared options."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from hashlib import blake2b
from pathlib import Path
from typing import Any, Optional

import typer
from typer.core import TyperGroup

from langsamp_plugin.atomic import replaceable_folder
from langsamp_plugin.own_files import begins_with, refuse_foreign
from langsamp_plugin.place import claim_file, claim_folder

ORDER = (
    *("corpus", "check", "pairs", "tokenizer", "binarize", "init", "import", "export", "megatron", "evaluate"),
    *("report", "analyze", "info", "doctor", "user-dir"),
)
"""Order of the commands in ``--help``: the order of work."""


class OrderOfWork(TyperGroup):
    """Lists commands in :data:`ORDER`; typer would list all groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, starting with :data:`ORDER`."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


# Without rich, --help is plain text of at most 80 columns.
app = typer.Typer(name="langsamp", cls=OrderOfWork, rich_markup_mode=None)
tokenizer_app = typer.Typer(help="Train, extend or trim SentencePiece models.", rich_markup_mode=None)
analyze_app = typer.Typer(help="Analyse a trained model's tables and layers.", rich_markup_mode=None)
megatron_app = typer.Typer(help="Checkpoints and data of Megatron-Core.", rich_markup_mode=None)
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(megatron_app, name="megatron")
app.add_typer(analyze_app, name="analyze")

LANGS = typer.Option("", help="Tags to use, separated by commas; by default all.")
STRICT = typer.Option(False, "--strict", help="Stop with an error instead of leaving out a file or line.")
COLUMN = typer.Option("text", help="Field or column with the text in JSON lines, Parquet and Arrow.")
SPLIT = typer.Option("train", help="Split to read; train includes files without a split in their name.")
TABLES = typer.Option(
    "auto",
    help="Inventory of languages and scripts: auto (the existing one, else data), data (the codes of the data), "
    "glot500 (the published 610 and 30), or a folder with languages.tsv and scripts.tsv.",
)
OVERWRITE = typer.Option(
    False, "--overwrite", help="Replace a folder that this command wrote, even if files were added or changed."
)
OVERWRITE_FILES = typer.Option(
    False, "--overwrite", help="Replace files of these names, also where something else wrote them."
)
WORKERS = typer.Option(1, min=1, help="Number of processes; it does not affect the output.")


def finite(value: Optional[float]) -> Optional[float]:
    """Refuse ``nan`` and ``inf``, which would pass range checks unnoticed."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def numbers(flag: str, text: str, most: int = 2**32 - 1) -> tuple[int, ...]:
    """Parse a comma-separated list of whole numbers.

    Raises:
        ValueError: a part is not a whole number, or larger than ``most``.
    """
    parts = split_list(text)
    if not all(part.isdecimal() and int(part) <= most for part in parts):
        raise ValueError(f"{flag} must be whole numbers up to {most:,} separated by commas, but is {text!r}")
    return tuple(map(int, parts))


def split_list(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def writes(
    claim: Callable[[dict[str, Any]], AbstractContextManager[Any]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a command decorator that checks ``--out`` before the work and holds it until the end.

    Args:
        claim: receives the command's options and returns a context manager of :mod:`langsamp_plugin.place`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**options: Any) -> None:
            with claim(options) if options.get("out") is not None else nullcontext():
                command(**options)

        return run

    return decorate


def _of_share(options: dict[str, Any]) -> AbstractContextManager[Any]:
    """Hold a share of a data folder, ``--shard``."""
    shard = str(options["shard"])
    return claim_folder(options["out"], part="" if shard == "1/1" else shard.replace("/", "-of-"))


def _of_corpus(options: dict[str, Any]) -> AbstractContextManager[Any]:
    """Hold a corpus; the demo corpus is replaced in one step."""
    if str(options["source"]) == "django":
        return replaceable_folder(options["out"], "aligned", options["overwrite"])
    return claim_folder(options["out"])


def _of_part(options: dict[str, Any]) -> AbstractContextManager[Any]:
    """Hold a folder that runs with different options (except the number of workers) may share."""
    told = sorted((name, str(value)) for name, value in options.items() if name != "workers")
    return claim_folder(options["out"], part=blake2b(repr(told).encode(), digest_size=4).hexdigest())


writes_file = writes(lambda options: claim_file(options["out"]))
"""For a command whose ``--out`` is a file."""
joins_folder = writes(_of_part)
"""For a command that may run several times in one folder with different options."""
writes_share = writes(_of_share)
"""For ``binarize``."""
writes_corpus = writes(_of_corpus)
"""For ``corpus``."""


def writes_own(*names: str, begin: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator of a command with ``--overwrite`` that replaces its own files alone.

    Args:
        names: of files in the folder that ``--out`` is; without any ``--out`` is a file itself.
        begin: what the first of them begins with.
    """

    def claim(options: dict[str, Any]) -> AbstractContextManager[Any]:
        paths = [Path(options["out"]) / name for name in names] or [Path(options["out"])]
        refuse_foreign(paths, options["overwrite"], own=begins_with(paths[0], begin))
        return (claim_folder if names else claim_file)(options["out"])

    return writes(claim)


def replaces(marker: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator for a command with ``--overwrite`` that replaces a folder containing ``marker``."""
    return writes(lambda options: replaceable_folder(options["out"], marker, options["overwrite"]))


def writes_either(marker: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator of a command that writes a checkpoint, ``.pt``, or replaces a folder."""

    def claim(options: dict[str, Any]) -> AbstractContextManager[Any]:
        if str(options["out"]).endswith(".pt"):
            return claim_file(options["out"])
        return replaceable_folder(options["out"], marker, options["overwrite"])

    return writes(claim)
