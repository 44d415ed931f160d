"""The application that commands register with, and the options that several share."""

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
"""Of the commands in ``--help``: the order of work."""


class OrderOfWork(TyperGroup):
    """Lists commands in :data:`ORDER`; typer would list all groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, those of :data:`ORDER` first."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


# Without rich, --help is plain text of at most 80 columns.
app = typer.Typer(name="langsamp", cls=OrderOfWork, rich_markup_mode=None)
tokenizer_app = typer.Typer(help="Train, extend or trim SentencePiece models.", rich_markup_mode=None)
analyze_app = typer.Typer(help="Look at what a trained model's tables know.", rich_markup_mode=None)
megatron_app = typer.Typer(help="Checkpoints and data of Megatron-Core.", rich_markup_mode=None)
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(megatron_app, name="megatron")
app.add_typer(analyze_app, name="analyze")

LANGS = typer.Option("", help="Tags to take, separated by commas; all by default.")
STRICT = typer.Option(False, "--strict", help="End with an error where a file or line would be left out.")
COLUMN = typer.Option("text", help="Field or column with the text, of JSON lines, Parquet and Arrow.")
SPLIT = typer.Option("train", help="Split to take; train also takes files that name no split.")
TABLES = typer.Option(
    "auto",
    help="Inventory of languages and scripts: auto (what is there already, else data), data (the codes of the data), "
    "glot500 (the published 610 and 30), or a folder with languages.tsv and scripts.tsv.",
)
OVERWRITE = typer.Option(
    False, "--overwrite", help="Replace a folder that this command wrote, also where files were added or changed."
)
OVERWRITE_FILES = typer.Option(
    False, "--overwrite", help="Replace files of these names, also where something else wrote them."
)
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


def writes(
    claim: Callable[[dict[str, Any]], AbstractContextManager[Any]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator of commands: ``--out`` is tried and held from before the work until its end.

    Args:
        claim: gets the command's options and returns what to enter, of :mod:`langsamp_plugin.place`.
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
    """Hold a corpus; the demo is written as a whole."""
    if str(options["source"]) == "django":
        return replaceable_folder(options["out"], "aligned", options["overwrite"])
    return claim_folder(options["out"])


def _of_part(options: dict[str, Any]) -> AbstractContextManager[Any]:
    """Hold a folder that runs may share which differ in anything but the number of workers."""
    told = sorted((name, str(value)) for name, value in options.items() if name != "workers")
    return claim_folder(options["out"], part=blake2b(repr(told).encode(), digest_size=4).hexdigest())


writes_file = writes(lambda options: claim_file(options["out"]))
"""Of a command whose ``--out`` is a file."""
joins_folder = writes(_of_part)
"""Of a command that may run several times in one folder, each time with other options."""
writes_share = writes(_of_share)
"""Of ``binarize``."""
writes_corpus = writes(_of_corpus)
"""Of ``corpus``."""


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
    """Return the decorator of a command with ``--overwrite`` that replaces a folder which has ``marker`` in it."""
    return writes(lambda options: replaceable_folder(options["out"], marker, options["overwrite"]))


def writes_either(marker: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator of a command that writes a checkpoint, ``.pt``, or replaces a folder."""

    def claim(options: dict[str, Any]) -> AbstractContextManager[Any]:
        if str(options["out"]).endswith(".pt"):
            return claim_file(options["out"])
        return replaceable_folder(options["out"], marker, options["overwrite"])

    return writes(claim)
