"""What training starts from: a Hugging Face folder or a checkpoint, with another vocabulary and inventory if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.fresh_checkpoint import check_out, fresh_checkpoint, save_checkpoint
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.checkpoint.vocabulary import DIGEST, checkpoint_tokenizer
from langsamp_plugin.checkpoint.weight_names import EMBEDDING
from langsamp_plugin.convert.import_hf import ImportResult
from langsamp_plugin.convert.source_folder import check_beside, find_folder, read_folder, write_beside
from langsamp_plugin.convert.table_rows import chosen_inventory, parse_donors, with_tables
from langsamp_plugin.convert.verification import verify_extension, verify_folder
from langsamp_plugin.convert.verification_table import LIMIT, Verification
from langsamp_plugin.convert.vocabulary_rows import DEFAULT_INIT, Extension, check_init, extend_vocabulary
from langsamp_plugin.corpus.text import corpus_files
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.dictionary import dictionary_digest
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


class NewVocabulary(NamedTuple):
    """Another vocabulary for a checkpoint.

    Args:
        spm: a SentencePiece model to train with; rows follow their pieces. Without it the vocabulary stays.
        old_spm: the source's own; by default the one in the folder, or in the checkpoint's data folder.
        dictionary: the ``dict.txt`` of a checkpoint; by default the one in its data folder, or next to it.
        new_pieces: how rows of new pieces start, see :mod:`~langsamp_plugin.convert.vocabulary_rows`.
        corpus: folder of ``<tag>.txt`` from which ``neighbours`` learns which pieces are alike.
    """

    spm: Optional[PathLike] = None
    old_spm: Optional[PathLike] = None
    dictionary: Optional[PathLike] = None
    new_pieces: str = DEFAULT_INIT
    corpus: Optional[PathLike] = None


class NewInventory(NamedTuple):
    """Another inventory of languages and scripts for a checkpoint.

    Args:
        tables: the inventory that the checkpoint shall have: ``auto`` (the one it has, if any), ``data`` (that of the
            data folder it was trained on), ``glot500``, or a folder with both tables.
        new_rows: how rows start that the source lacks: ``random``, N(0, 0.02), or the ``mean`` of its rows.
        donors: ``NEW=OLD``, codes that the source lacks and whose row to copy, such as ``gsw=deu`` or ``Copt=Grek``.
    """

    tables: str = "auto"
    new_rows: str = "random"
    donors: Sequence[str] = ()


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
    tables: Optional[PathLike] = None,
    allow_pickle: bool = False,
    drop_added: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    text: Optional[PathLike] = None,
) -> InitResult:
    """Write a Hugging Face folder as a checkpoint of fairseq, ``dict.txt`` and the SentencePiece model next to it.

    Args:
        folder: XLM-R, Glot500-m, the published LangSAMP, an exported folder, or another of that architecture; or the
            name of one in the local Hugging Face cache.
        out: the checkpoint, for ``--restore-file`` or ``--finetune-from-model``.
        spm: the SentencePiece model; by default the one in the folder.
        tables: a folder with the codes of the rows, for a model in the authors' layout with another inventory than the
            published one.
        allow_pickle: take weights that are only there as a pickle.
        drop_added: leave out tokens that were added to the vocabulary.
        overwrite: replace a checkpoint of a training, or another file.
        verify: compare both sides before anything is written.
        text: a folder of ``<tag>.txt`` whose every line is tokenized on both sides then, too.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: a file is damaged, weights and configuration do not fit, or ``out`` is somebody else's.
        VerificationError: the two sides differ.
    """
    out = Path(out)
    check_out(out, overwrite)
    inventory = Tables.load(tables) if tables is not None else None
    if text is not None:
        corpus_files(text)  # fail early: what comes next takes minutes
    folder = find_folder(folder)
    with progress(total=2 + verify, desc="import", unit="step") as bar:
        imported, tokenizer = read_folder(
            folder, out, spm=spm, allow_pickle=allow_pickle, inventory=inventory, drop_added=drop_added
        )
        check_beside(out.parent, tokenizer)
        bar.update()
        found = None
        if verify:
            found = _verify_import(imported, tokenizer, folder, text=text, allow_pickle=allow_pickle)
            bar.update()
        write_beside(out.parent, tokenizer)
        save_checkpoint(imported.state, out)
        bar.update()
    return InitResult(imported.notes, found)


def _verify_import(
    imported: ImportResult, tokenizer: Tokenizer, folder: Path, *, text: Optional[PathLike], allow_pickle: bool
) -> Verification:
    """Compare what was read with its folder, and raise ``VerificationError`` where they differ."""
    dtype = imported.state["model"][EMBEDDING].dtype
    # A bias that was folded in half precision is a rounded one.
    limit = torch.finfo(dtype).eps if imported.folded and dtype != torch.float32 else LIMIT
    found = verify_folder(
        imported.state,
        tokenizer,
        folder,
        fold=imported.folded,
        text=text,
        compare_logits=not imported.new_head,
        with_pickle=allow_pickle,
        logits_limit=limit,
    )
    found.check()
    return found


def init_checkpoint(
    source: PathLike,
    out: PathLike,
    *,
    vocabulary: NewVocabulary = NewVocabulary(),
    inventory: NewInventory = NewInventory(),
    allow_pickle: bool = False,
    drop_added: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    seed: int = 42,
) -> InitResult:
    """Write a checkpoint to start training from.

    Args:
        source: a Hugging Face folder or the name of one in the local cache, or a LangSAMP, ``roberta`` or ``xlmr``
            checkpoint of fairseq.
        out: the checkpoint to write, for ``--finetune-from-model`` or ``--restore-file``.
        vocabulary: the one it shall have.
        inventory: the languages and scripts it shall have.
        allow_pickle: take weights that are only there as a pickle.
        drop_added: leave out tokens that were added to a folder's vocabulary.
        overwrite: replace a checkpoint of a training, or another file.
        verify: compare features before and after on sentences without new pieces.
        seed: of new rows, and of the vectors of ``neighbours``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or source and vocabulary do not fit.
        VerificationError: features changed.
    """
    out, notes = Path(out), []
    check_out(out, overwrite)
    if inventory.donors and inventory.tables == "auto":
        raise ValueError("--donors fills rows of a new inventory: name it with --tables")
    donors = parse_donors(inventory.donors)
    check_init(vocabulary.new_pieces, vocabulary.corpus)
    new = Tokenizer(vocabulary.spm) if vocabulary.spm is not None else None
    source = find_folder(source)
    old: Optional[Tokenizer]
    beside: Optional[Tokenizer] = None
    if source.is_dir():
        imported, old = read_folder(
            source, out, spm=vocabulary.old_spm, allow_pickle=allow_pickle, drop_added=drop_added, seed=seed
        )
        state, notes, beside = imported.state, imported.notes, new or old
        check_beside(out.parent, beside)
    else:
        state, old = _read_checkpoint(source, vocabulary)
    tables = chosen_inventory(inventory.tables, state)
    if tables is not None:
        state["model"] = with_tables(state["model"], tables, new_rows=inventory.new_rows, donors=donors, seed=seed)
    extension = found = None
    if new is not None and old is not None:
        state, extension, found = _with_vocabulary(state, old, new, vocabulary, verify=verify, seed=seed)
    if beside is not None:
        write_beside(out.parent, beside)
    save_checkpoint(state, out)
    return InitResult(notes, found, extension)


def _read_checkpoint(path: Path, vocabulary: NewVocabulary) -> tuple[dict[str, Any], Optional[Tokenizer]]:
    """Return a checkpoint without its training, and what turns text into its rows; ``None`` if no row shall move."""
    state = load_roberta(path)
    tokenizer = None
    if vocabulary.spm is not None:
        tokenizer = checkpoint_tokenizer(
            state, path, spm=vocabulary.old_spm, dictionary=vocabulary.dictionary, flag="--old-spm"
        )
    return fresh_checkpoint(state, state["model"]), tokenizer


def _with_vocabulary(
    state: dict[str, Any], old: Tokenizer, new: Tokenizer, options: NewVocabulary, *, verify: bool, seed: int
) -> tuple[dict[str, Any], Extension, Optional[Verification]]:
    """Return the checkpoint with rows for another tokenizer, what that changed, and the comparison with the old one."""
    extended, extension = extend_vocabulary(state, old, new, init=options.new_pieces, corpus=options.corpus, seed=seed)
    extended["task_state"][DIGEST] = dictionary_digest(new.pieces)
    found = None
    if verify:
        found = verify_extension(state, old, extended, new)
        found.check()
    return extended, extension, found
