"""Makes starting checkpoints from a Hugging Face folder or a checkpoint, optionally with another vocabulary or
inventory."""

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
from langsamp_plugin.convert.authors import published_inventory
from langsamp_plugin.convert.import_hf import ImportResult
from langsamp_plugin.convert.source_folder import check_beside, find_folder, read_folder, write_beside
from langsamp_plugin.convert.table_rows import chosen_inventory, parse_donors, with_tables
from langsamp_plugin.convert.tokenizer_comparison import check_text
from langsamp_plugin.convert.verification import verify_extension, verify_folder
from langsamp_plugin.convert.verification_table import LIMIT, Verification
from langsamp_plugin.convert.vocabulary_rows import DEFAULT_INIT, Extension, check_init, extend_vocabulary
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.dictionary import dictionary_digest
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


class NewVocabulary(NamedTuple):
    """Another vocabulary for a checkpoint.

    Args:
        spm: the SentencePiece model to train with; rows are matched by piece. Without it the vocabulary does not
            change.
        old_spm: the source's SentencePiece model; by default the one in the folder, or in the checkpoint's data folder.
        dictionary: the ``dict.txt`` of a checkpoint; by default the one in its data folder, or next to it.
        new_pieces: initial values of rows of new pieces, see :mod:`~langsamp_plugin.convert.vocabulary_rows`.
        corpus: folder of ``<tag>.txt`` from which ``neighbours`` learns the similarity of pieces.
    """

    spm: Optional[PathLike] = None
    old_spm: Optional[PathLike] = None
    dictionary: Optional[PathLike] = None
    new_pieces: str = DEFAULT_INIT
    corpus: Optional[PathLike] = None


class NewInventory(NamedTuple):
    """Another inventory of languages and scripts for a checkpoint.

    Args:
        tables: the inventory of the new checkpoint: ``auto`` (unchanged), ``data`` (that of the data folder it was
            trained on), ``glot500``, or a folder with both tables.
        new_rows: initial values of rows that the source lacks: ``random``, N(0, 0.02), or the ``mean`` of its rows.
        donors: pairs ``NEW=OLD``: a code that the source lacks and the code whose row it copies, such as ``gsw=deu`` or
            ``Copt=Grek``.
    """

    tables: str = "auto"
    new_rows: str = "random"
    donors: Sequence[str] = ()


class InitResult(NamedTuple):
    """Result of making a starting checkpoint.

    Args:
        notes: notes for the user, one sentence each.
        verification: result of the comparison, ``None`` without one.
        extension: changes due to another vocabulary, ``None`` without one.
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
        folder: XLM-R, Glot500-m, the published LangSAMP, an exported folder, or any other folder of that architecture;
            or the name of a model in the local Hugging Face cache.
        out: the checkpoint, for ``--restore-file`` or ``--finetune-from-model``.
        spm: the SentencePiece model; by default the one in the folder.
        tables: a folder with the codes of the rows, for a model in the authors' layout whose inventory is not the
            published one.
        allow_pickle: read weights that exist only as a pickle.
        drop_added: drop tokens that were added to the vocabulary.
        overwrite: also replace a checkpoint of a training run, or a file of another kind.
        verify: compare both models before anything is written.
        text: with ``verify``, a folder of ``<tag>.txt``; every line is also tokenized by both tokenizers and compared.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: a file is damaged, weights and configuration do not match, or ``out`` must not be replaced.
        VerificationError: the two models differ.
    """
    out = Path(out)
    check_out(out, overwrite)
    inventory = published_inventory(tables) if tables is not None else None
    check_text(text, verify)
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
    # Folding in half precision rounds the bias.
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
        source: a Hugging Face folder, the name of a model in the local cache, or a LangSAMP, ``roberta`` or ``xlmr``
            checkpoint of fairseq.
        out: the checkpoint to write, for ``--finetune-from-model`` or ``--restore-file``.
        vocabulary: the new vocabulary.
        inventory: the new languages and scripts.
        allow_pickle: read weights that exist only as a pickle.
        drop_added: drop tokens that were added to a folder's vocabulary.
        overwrite: also replace a checkpoint of a training run, or a file of another kind.
        verify: compare features before and after on sentences without new pieces.
        seed: seed of new rows, and of the vectors of ``neighbours``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or source and vocabulary do not match.
        VerificationError: features changed.
    """
    out, notes = Path(out), []
    check_out(out, overwrite)
    _check_flags(vocabulary, inventory)
    donors = parse_donors(inventory.donors)
    new = Tokenizer(vocabulary.spm) if vocabulary.spm is not None else None
    source = find_folder(source)
    old: Optional[Tokenizer]
    to_write: Optional[Tokenizer] = None
    found: Optional[Verification] = None
    if source.is_dir():
        if vocabulary.dictionary is not None:
            raise ValueError(
                f"--dict is for a checkpoint of fairseq, but {source} is a Hugging Face folder: leave it out"
            )
        imported, old = read_folder(
            source, out, spm=vocabulary.old_spm, allow_pickle=allow_pickle, drop_added=drop_added, seed=seed
        )
        state, notes, to_write = imported.state, imported.notes, new or old
        check_beside(out.parent, to_write)
        if verify and new is None:
            found = _verify_import(imported, old, source, text=None, allow_pickle=allow_pickle)
    else:
        state, old = _read_checkpoint(source, vocabulary)
        if verify and new is None:
            notes = ["nothing to verify: no weight of the backbone changes"]
    tables = chosen_inventory(inventory.tables, state)
    if tables is not None:
        state["model"] = with_tables(state["model"], tables, new_rows=inventory.new_rows, donors=donors, seed=seed)
    extension = None
    if new is not None and old is not None:
        state, extension, found = _with_vocabulary(state, old, new, vocabulary, verify=verify, seed=seed)
    if to_write is not None:
        write_beside(out.parent, to_write)
    save_checkpoint(state, out)
    return InitResult(notes, found, extension)


def _check_flags(vocabulary: NewVocabulary, inventory: NewInventory) -> None:
    """Raise ``ValueError`` for options that would have no effect."""
    if inventory.donors and inventory.tables == "auto":
        raise ValueError("--donors fills rows of a new inventory: name it with --tables")
    if vocabulary.spm is None and (vocabulary.corpus is not None or vocabulary.new_pieces != DEFAULT_INIT):
        raise ValueError("--corpus and --new-pieces are for the pieces of a new vocabulary: name it with --spm")
    check_init(vocabulary.new_pieces, vocabulary.corpus)


def _read_checkpoint(path: Path, vocabulary: NewVocabulary) -> tuple[dict[str, Any], Optional[Tokenizer]]:
    """Return a checkpoint without its training, and what turns text into its rows; ``None`` if no row moves."""
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
