"""What training starts from: a Hugging Face folder or a checkpoint, with another vocabulary and inventory if wanted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.fresh_checkpoint import fresh_checkpoint, save_checkpoint
from langsamp_plugin.checkpoint.options import model_beside_data, training_data_folder
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, table_prefix
from langsamp_plugin.convert.hf_folder import read_hf_folder
from langsamp_plugin.convert.import_hf import ImportResult, import_hf
from langsamp_plugin.convert.verification import LIMIT, Verification, verify_extension, verify_folder
from langsamp_plugin.convert.vocabulary_rows import Extension, extend_vocabulary
from langsamp_plugin.corpus.text import corpus_files
from langsamp_plugin.lang_script import LanguageTable, Tables
from langsamp_plugin.modules.tag_embedding import INIT_STD, decode_codes, encode_codes, move_rows
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.dictionary import read_dictionary
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME, Tokenizer


class InitResult(NamedTuple):
    """What was made.

    Args:
        notes: what a user must know, a sentence each.
        verification: what the comparison found, ``None`` without one.
        extension: what another vocabulary changed, ``None`` without one.
    """

    notes: list[str]
    verification: Optional[Verification]
    extension: Optional[Extension] = None


def import_checkpoint(
    folder: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    allow_pickle: bool = False,
    verify: bool = False,
    text: Optional[PathLike] = None,
) -> InitResult:
    """Write a Hugging Face folder as a checkpoint of fairseq, ``dict.txt`` and the SentencePiece model beside it.

    Args:
        folder: XLM-R, Glot500-m, an exported folder, or another of that architecture.
        out: the checkpoint, for ``--restore-file`` or ``--finetune-from-model``.
        spm: the SentencePiece model; by default the one in the folder.
        allow_pickle: take weights that are only there as a pickle.
        verify: compare both sides before anything is written.
        text: a folder of ``<tag>.txt`` whose every line is tokenized on both sides then, too.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: a file is damaged, or weights and configuration do not fit.
        VerificationError: the two sides differ.
    """
    out = Path(out)
    if text is not None:
        corpus_files(text)  # a mistake in it is better said now than after minutes
    with progress(total=2 + verify, desc="import", unit="step") as bar:
        imported, tokenizer = _read_folder(folder, out, spm, allow_pickle)
        bar.update()
        found = None
        if verify:
            dtype = imported.state["model"][EMBEDDING].dtype
            # A bias that was folded in half precision is a rounded one.
            limit = torch.finfo(dtype).eps if imported.folded and dtype != torch.float32 else LIMIT
            found = verify_folder(
                imported.state, tokenizer, folder, imported.folded, text, not imported.new_head, allow_pickle, limit
            )
            found.check()
            bar.update()
        _write_beside(out.parent, tokenizer)
        save_checkpoint(imported.state, out)
        bar.update()
    return InitResult(imported.notes, found)


def init_checkpoint(
    source: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    old_spm: Optional[PathLike] = None,
    new_pieces: str = "parts",
    tables: str = "auto",
    new_rows: str = "random",
    donors: Sequence[str] = (),
    allow_pickle: bool = False,
    verify: bool = False,
    seed: int = 42,
) -> InitResult:
    """Write a checkpoint to start training from.

    Args:
        source: a Hugging Face folder, or a LangSAMP, ``roberta`` or ``xlmr`` checkpoint of fairseq.
        out: the checkpoint to write, for ``--finetune-from-model`` or ``--restore-file``.
        spm: a SentencePiece model to train with; rows follow their pieces. Without it the vocabulary stays.
        old_spm: the source's own; by default the one in the folder, or in the checkpoint's data folder.
        new_pieces: how rows of new pieces start, see :func:`~langsamp_plugin.convert.vocabulary_rows`.
        tables: the inventory that the checkpoint shall have: ``auto`` (the one it has, if any), ``data`` (that of the
            data folder it was trained on), ``glot500``, or a folder with both tables.
        new_rows: how rows start that the source lacks: ``random``, N(0, 0.02), or the ``mean`` of its rows.
        donors: ``NEW=OLD``, codes that the source lacks and whose row to copy, such as ``gsw=deu`` or ``Copt=Grek``.
        allow_pickle: take weights that are only there as a pickle.
        verify: compare features before and after on sentences without new pieces.
        seed: of new rows.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or source and vocabulary do not fit.
        VerificationError: features changed.
    """
    out, notes = Path(out), []
    extension = found = None
    old: Optional[Tokenizer]
    if Path(source).is_dir():
        imported, old = _read_folder(source, out, old_spm, allow_pickle)
        state, notes = imported.state, imported.notes
    else:
        state = load_roberta(source)
        state = fresh_checkpoint(state, state["model"])
        # Without another vocabulary nobody needs to know the pieces.
        old = Tokenizer(old_spm or model_beside_data(state, source, "--old-spm")) if spm is not None else None
    inventory = _inventory(tables, state)
    if inventory is not None:
        state["model"] = _with_tables(state["model"], inventory, new_rows, _donors(donors), seed)
    elif donors:
        raise ValueError("--donors fills rows of a new inventory: name it with --tables")
    tokenizer = old
    if spm is not None:
        assert old is not None
        tokenizer = Tokenizer(spm)
        extended, extension = extend_vocabulary(state, old, tokenizer, new_pieces, seed)
        if verify:
            found = verify_extension(state, old, extended, tokenizer)
            found.check()
        state = extended
    if Path(source).is_dir() and tokenizer is not None:
        _write_beside(out.parent, tokenizer)
    save_checkpoint(state, out)
    return InitResult(notes, found, extension)


def _read_folder(
    folder: PathLike, out: Path, spm: Optional[PathLike], allow_pickle: bool
) -> tuple[ImportResult, Tokenizer]:
    found = read_hf_folder(folder, allow_pickle)
    model = Path(spm) if spm is not None else found.path / SPM_FILENAME
    if not model.is_file():
        raise FileNotFoundError(f"{model} is missing: name the SentencePiece model of {folder} with --spm")
    imported = import_hf(found, str(out.parent.resolve()))
    tokenizer = Tokenizer(model)
    rows = len(imported.state["model"][EMBEDDING])
    if rows != tokenizer.vocab_size:
        raise ValueError(f"{folder} has {rows:,} word embeddings, but {model} makes {tokenizer.vocab_size:,} tokens")
    return imported, tokenizer


def _write_beside(folder: Path, tokenizer: Tokenizer) -> None:
    """Write ``dict.txt`` and the SentencePiece model, as XLM-R is published; others that are there are not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    dictionary, model = folder / "dict.txt", folder / SPM_FILENAME
    if dictionary.is_file():
        if read_dictionary(dictionary) != tokenizer.pieces:
            raise ValueError(f"{dictionary} is of another vocabulary: choose a folder of its own for --out")
    else:
        tokenizer.save_dictionary(dictionary)
    if not model.is_file():
        with atomic_write(model, "wb") as stream, open(tokenizer.path, "rb") as source:
            shutil.copyfileobj(source, stream)


def _inventory(tables: str, state: dict[str, Any]) -> Optional[Tables]:
    if tables == "auto":
        return None
    if tables == "glot500":
        return Tables.glot500()
    if tables != "data":
        return Tables.load(tables)
    folder = training_data_folder(state)
    if folder is None or not (folder / LanguageTable.filename).is_file():
        raise FileNotFoundError(
            f"--tables data: the source's data folder ({folder}) has no {LanguageTable.filename}; name a folder that has it"
        )
    return Tables.load(folder)


def _donors(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        new, _, old = pair.partition("=")
        if len(new) != len(old) or len(new) not in (3, 4):
            raise ValueError(f"--donors must be NEW=OLD,... with two codes of one kind, but is {pair!r}")
        found[new] = old
    return found


def _with_tables(
    weights: dict[str, Any], tables: Tables, new_rows: str, donors: dict[str, str], seed: int
) -> dict[str, Any]:
    """Return the weights with tables of this inventory, existing rows carried over by code."""
    weights = dict(weights)
    embedding = weights[EMBEDDING]
    for codes in tables:
        name = table_prefix(type(codes))
        generator = torch.Generator().manual_seed(seed + len(codes.short))
        rows = torch.randn(len(codes), embedding.shape[1], generator=generator) * INIT_STD
        old = weights.get(f"{name}weight")
        if old is not None:
            own_donors = {
                new: donor for new, donor in donors.items() if (len(new) == 3) == (type(codes) is LanguageTable)
            }
            old_codes = decode_codes(weights[f"{name}codes"])
            rows, moved = move_rows(old, old_codes, rows, list(codes), new_rows, own_donors)
            if moved.dropped:
                raise ValueError(f"--tables lacks codes that the checkpoint has rows for: {' '.join(moved.dropped)}")
        weights[f"{name}weight"], weights[f"{name}codes"] = rows.to(embedding.dtype), encode_codes(codes)
    return weights
