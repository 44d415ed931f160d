"""Caches computed values under a hash of everything they depend on: inputs, settings, precision, code version."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write

VERSION = 3
"""Increment it when pooling, encoding, fine-tuning or metrics change their result; older values are then ignored."""

MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.txt", "*.vocab")


def hash_model(folder: Path) -> str:
    """Return a hash of the weights, configuration and tokenizer of a Hugging Face folder."""
    digest = blake2b(digest_size=12)
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with open(path, "rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def hash_of(*parts: Any) -> str:
    """Return a hash of plain values: numbers, strings, lists of them."""
    return blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()


def software_key() -> list[Any]:
    """Return what every cached value depends on in addition to its inputs: this package's methods and the tokenizers'
    code."""
    import transformers

    return [VERSION, transformers.__version__.split(".")[0]]


def hash_texts(*columns: Sequence[Any]) -> str:
    """Return a hash of texts and labels."""
    return hash_of(*(list(column) for column in columns))


class Cache:
    """A folder of results by hash.

    Args:
        folder: created when a value is first stored.
    """

    def __init__(self, folder: PathLike):
        self.folder = Path(folder)

    def json(self, kind: str, name: str, compute: Callable[[], Any]) -> Any:
        """Return a stored value, or compute and store it.

        Args:
            kind: a folder for values of one kind.
            name: the hash of everything that the value depends on.
            compute: called if nothing is stored.
        """
        path = self.folder / kind / f"{name}.json"
        if path.is_file():
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} is damaged: remove it to compute it again ({error})") from error
        value = compute()
        with atomic_write(path) as stream:
            json.dump(value, stream)
        return value

    def has(self, kind: str, name: str, ending: str = "json") -> bool:
        """Return whether a value is stored."""
        return (self.folder / kind / f"{name}.{ending}").is_file()

    def array(self, kind: str, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return a stored array, or compute and store it; arguments as for :meth:`json`."""
        path = self.folder / kind / f"{name}.npy"
        if path.is_file():
            try:
                return np.load(path, allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise ValueError(f"{path} is damaged: remove it to compute it again ({error})") from error
        value = compute()
        with atomic_write(path, "wb") as stream:
            np.save(stream, value, allow_pickle=False)
        return value
