"""Transformers tokenizers that are not SentencePiece models; their ids and special tokens stay unchanged.

Data made with one has no ``dict.txt``, since that implies fairseq's numbering. It has ``tokenizer_ids.json`` with the
special ids, and the tokenizer in ``tokenizer/``. Training in transformers reads both.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

IDS_FILENAME = "tokenizer_ids.json"
FOLDER = "tokenizer"
"""Name of the tokenizer's folder in a data folder."""
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt")
ROLES = {"bos": ("cls", "bos"), "eos": ("sep", "eos"), "pad": ("pad",), "mask": ("mask",)}
"""The special tokens that training needs, and transformers' names for each, in order of preference."""


class TokenIds(NamedTuple):
    """The numbering of a data folder.

    Args:
        size: number of ids.
        bos, eos, pad, mask: ids of the tokens that begin a sentence, end it, pad a batch and mark masked positions.
        special: all ids that are never masked and never drawn.
        digest: hash of the tokenizer.
    """

    size: int
    bos: int
    eos: int
    pad: int
    mask: int
    special: list[int]
    digest: str


class FolderTokenizer:
    """A tokenizer of transformers, from a folder.

    Args:
        folder: with ``tokenizer.json``.

    Attributes:
        path: the folder.
        ids: its numbering.
        unk_id: id of the unknown token, -1 if there is none.

    Raises:
        FileNotFoundError: the folder has no ``tokenizer.json``.
        ModuleNotFoundError: transformers is not installed.
        ValueError: the file is damaged, or a special token is missing.
    """

    def __init__(self, folder: PathLike):
        self.path = Path(folder)
        if not (self.path / FILES[0]).is_file():
            raise FileNotFoundError(
                f"{self.path / FILES[0]} is missing: --tokenizer takes the folder of a model of transformers; for a "
                "SentencePiece model use --spm"
            )
        try:
            from transformers import AutoTokenizer
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "--tokenizer needs transformers: pip install 'langsamp-plugin[hf]'", name="transformers"
            ) from error
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(self.path, use_fast=True, trust_remote_code=False)
        except Exception as error:  # the Rust reader raises a bare Exception
            raise ValueError(f"{self.path} must hold a tokenizer, but does not load: {str(error)[:200]!r}") from error
        found = {role: self._role(names) for role, names in ROLES.items()}
        missing = [ROLES[role][0] for role, number in found.items() if number is None]
        if missing:
            raise ValueError(
                f"{self.path} must have tokens for {' '.join(missing)}, but has none: masked LMs need them, so use the "
                "tokenizer of a masked LM"
            )
        unknown = self._tokenizer.unk_token_id
        self.unk_id = -1 if unknown is None else int(unknown)
        special = sorted({*map(int, self._tokenizer.all_special_ids), *map(int, found.values())})  # type: ignore[arg-type]
        self.ids = TokenIds(len(self._tokenizer), **found, special=special, digest=self.digest)  # type: ignore[arg-type]

    def _role(self, names: Sequence[str]) -> Optional[int]:
        return next(
            (number for name in names if (number := getattr(self._tokenizer, f"{name}_token_id", None)) is not None),
            None,
        )

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return self.ids.size

    @cached_property
    def digest(self) -> str:
        """A hash of the tokenizer's file."""
        return blake2b((self.path / FILES[0]).read_bytes(), digest_size=8).hexdigest()

    def encode(self, lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode lines, each followed by the separator.

        Returns:
            ``(tokens, sizes)``: the concatenated tokens, and the number of tokens of each line, both int64.
        """
        if not lines:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        encoded = self._tokenizer(list(lines), add_special_tokens=False)["input_ids"]
        sizes = np.array([len(row) + 1 for row in encoded], dtype=np.int64)
        tokens = np.fromiter((token for row in encoded for token in (*row, self.ids.eos)), dtype=np.int64)
        return tokens, sizes

    def save_beside(self, out: PathLike) -> None:
        """Write the numbering and the tokenizer's files into a data folder."""
        target = Path(out) / FOLDER
        target.mkdir(exist_ok=True)
        for name in FILES:
            if (self.path / name).is_file():
                shutil.copyfile(self.path / name, target / name)
        with atomic_write(Path(out) / IDS_FILENAME) as stream:
            json.dump(self.ids._asdict(), stream, indent=2)


AnyTokenizer = Union[Tokenizer, FolderTokenizer]


def read_token_ids(path: PathLike) -> TokenIds:
    """Read what :meth:`FolderTokenizer.save_beside` wrote.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        found = TokenIds(**json.loads(Path(path).read_text(encoding="utf-8")))
        numbers = [found.bos, found.eos, found.pad, found.mask, *found.special]
        if type(found.size) is not int or any(type(number) is not int for number in numbers):
            raise ValueError("an id is not a whole number")
        if not all(0 <= number < found.size for number in numbers):
            raise ValueError(f"an id is not below the vocabulary size {found.size:,}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({str(error)[:100]}): binarize again") from error
    return found
