"""Reads a Hugging Face folder as a source of weights; matches its rows with its own tokenizer."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, Optional

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.convert.hf_folder import HFFolder, read_hf_folder
from langsamp_plugin.convert.import_hf import ImportResult, import_hf
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.vocabulary.dictionary import read_dictionary
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME, Tokenizer

ROWS = ("embeddings.word_embeddings.weight", "lm_head.bias", "lm_head.decoder.weight", "lm_head.decoder.bias")
"""Suffixes of the names of all weights with one row per token."""
FILES = (".pt", ".pth", ".bin", ".safetensors", ".json", ".model")
"""File suffixes; a missing path that ends in one is not the name of a model on the hub."""
_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)


def find_folder(source: PathLike) -> Path:
    """Return the path itself, or the folder of the model of that name in the local Hugging Face cache.

    Raises:
        FileNotFoundError: neither exists; the message says how to get the model.
    """
    path = Path(source)
    if path.exists():
        return path
    name = str(source)
    cached = _cached(name)
    if cached is not None:
        return cached
    looks_like_name = _NAME.fullmatch(name) is not None and path.suffix not in FILES
    hint = f", and the local Hugging Face cache has no model of that name: `hf download {name}` gets it"
    raise FileNotFoundError(f"{source} is missing{hint if looks_like_name else ''}")


def _cached(name: str) -> Optional[Path]:
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def read_folder(
    folder: PathLike,
    out: Path,
    *,
    spm: Optional[PathLike] = None,
    allow_pickle: bool = False,
    inventory: Optional[Tables] = None,
    drop_added: bool = False,
    seed: int = 42,
) -> tuple[ImportResult, Tokenizer]:
    """Read a Hugging Face folder as a starting checkpoint.

    Args:
        folder: the Hugging Face folder.
        out: the checkpoint that will be written later; only its parent folder is used here.
        spm: its SentencePiece model; by default the one in the folder.
        allow_pickle: read weights that exist only as a pickle.
        inventory: codes of the rows of tables in the authors' layout; by default the published inventory.
        drop_added: drop tokens that were added to the vocabulary.
        seed: seed of a new masked-LM head, used if the folder has none.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the files do not match each other.
    """
    found = read_hf_folder(folder, allow_pickle)
    model = Path(spm) if spm is not None else found.path / SPM_FILENAME
    if not model.exists():
        raise FileNotFoundError(f"{model} is missing: name the SentencePiece model of {folder} with --spm")
    tokenizer = Tokenizer(model)
    _check_order(found.path / "tokenizer.json", tokenizer)
    found, notes = _without_extra_rows(found, tokenizer, drop_added)
    imported = import_hf(found, str(out.parent.resolve()), tokenizer.pieces, inventory=inventory, seed=seed)
    return imported._replace(notes=[*notes, *imported.notes]), tokenizer


def _check_order(path: Path, tokenizer: Tokenizer) -> None:
    """Raise ``ValueError`` if a folder's tokenizer and its SentencePiece model number pieces differently."""
    if not path.is_file():
        return
    try:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        vocabulary = [entry[0] for entry in model["vocab"]] if model.get("type") == "Unigram" else None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error!r:.80}") from error
    if vocabulary is not None and vocabulary[4 : 4 + len(tokenizer.pieces)] != tokenizer.pieces:
        raise ValueError(
            f"{path} does not number pieces as {tokenizer.path} does: name the SentencePiece model of this folder, "
            "--spm"
        )


def _without_extra_rows(folder: HFFolder, tokenizer: Tokenizer, drop_added: bool) -> tuple[HFFolder, list[str]]:
    """Drop the rows after ``<mask>``: padding, and with ``drop_added`` also added tokens."""
    rows, wanted = folder.config["vocab_size"], tokenizer.vocab_size
    if rows < wanted:
        raise ValueError(
            f"{folder.path} has {rows:,} word embeddings, but {tokenizer.path} makes {wanted:,} tokens: name the "
            "SentencePiece model of this folder, --spm"
        )
    if rows == wanted:
        return folder, []
    added = [token for token, number in sorted(_added_tokens(folder.path).items()) if number >= wanted]
    if added and not drop_added:
        raise ValueError(
            f"{folder.path} has {rows:,} word embeddings, but {tokenizer.path} makes {wanted:,} tokens; the rest are "
            f"added tokens ({' '.join(added[:5])}{' ...' if len(added) > 5 else ''}), which fairseq cannot number: "
            "drop them with --drop-added-tokens, or name another SentencePiece model, --spm"
        )
    if not added and rows - wanted >= 1024:
        raise ValueError(
            f"{folder.path} has {rows:,} word embeddings, but {tokenizer.path} makes {wanted:,} tokens, and "
            f"{rows - wanted:,} more are too many for padding: name the SentencePiece model of this folder, --spm"
        )
    weights = {
        name: tensor[:wanted] if name.endswith(ROWS) and len(tensor) == rows else tensor
        for name, tensor in folder.weights.items()
    }
    what = f"added tokens ({' '.join(added[:5])}) and padding" if added else "padding"
    note = f"{rows - wanted:,} rows after <mask> are dropped: {what}"
    return HFFolder(folder.path, {**folder.config, "vocab_size": wanted}, weights), [note]


def _added_tokens(folder: Path) -> dict[str, int]:
    """Return the tokens that a folder's tokenizer files add to the vocabulary, and their ids."""
    found: dict[str, int] = {}
    for name in ("added_tokens.json", "tokenizer.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            if name == "tokenizer.json":
                content = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
            found.update({str(token): int(number) for token, number in content.items()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error!r:.80}") from error
    return found


def check_beside(folder: Path, tokenizer: Tokenizer) -> None:
    """Raise ``ValueError`` if a folder has a different ``dict.txt`` or SentencePiece model."""
    dictionary, model = folder / "dict.txt", folder / SPM_FILENAME
    if dictionary.is_file() and read_dictionary(dictionary) != tokenizer.pieces:
        raise ValueError(f"{dictionary} has another vocabulary: choose a different folder for --out")
    if model.is_file() and model.read_bytes() != tokenizer.path.read_bytes():
        raise ValueError(f"{model} is another SentencePiece model: choose a different folder for --out")


def write_beside(folder: Path, tokenizer: Tokenizer) -> None:
    """Write ``dict.txt`` and the SentencePiece model, as in the published XLM-R; existing files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    dictionary, model = folder / "dict.txt", folder / SPM_FILENAME
    check_beside(folder, tokenizer)
    if not dictionary.is_file():
        tokenizer.save_dictionary(dictionary)
    if not model.is_file():
        with atomic_write(model, "wb") as stream, open(tokenizer.path, "rb") as source:
            shutil.copyfileobj(source, stream)
