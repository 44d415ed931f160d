"""Imports a fairseq checkpoint or a Hugging Face folder as a starting checkpoint of Megatron-Core, bit for bit."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_folder
from langsamp_plugin.checkpoint.options import architecture
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.checkpoint.tables import checkpoint_tables
from langsamp_plugin.checkpoint.vocabulary import checkpoint_tokenizer
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, POSITIONS, is_xl
from langsamp_plugin.convert.hf_folder import read_hf_folder
from langsamp_plugin.convert.source_folder import find_folder, read_folder, write_beside
from langsamp_plugin.convert.verification_table import Verification
from langsamp_plugin.errors import error_context
from langsamp_plugin.megatron.layout import to_stored
from langsamp_plugin.megatron.parallel import require_megatron
from langsamp_plugin.megatron.record import RECORD, Record
from langsamp_plugin.megatron.run_folder import RELEASE, mark_latest
from langsamp_plugin.megatron.sizes import ModelSizes
from langsamp_plugin.megatron.stored import write_stored
from langsamp_plugin.megatron.weights import FAIRSEQ_TOKEN_TYPES, to_megatron
from langsamp_plugin.vocabulary.dictionary import dictionary_digest
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

MULTIPLE = 128
"""Megatron pads a vocabulary to a multiple of this times the tensor-parallel size (--make-vocab-size-divisible-by)."""
MEGATRON_ARGS = Namespace(
    tensor_model_parallel_size=1, pipeline_model_parallel_size=1, world_size=1, data_parallel_size=1,
    no_save_optim=True, no_save_rng=True,
)  # fmt: skip
"""Fields that Megatron-LM's own loop reads: the number of ranks, and the absence of optimizer state."""
HF_TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
HF_POSITIONS = "embeddings.position_embeddings.weight"
PREFIX = "roberta."


class _Source(NamedTuple):
    """A model as a fairseq checkpoint, its tokenizer, and notes for the user."""

    state: dict[str, Any]
    tokenizer: Tokenizer
    notes: list[str]


def import_to_megatron(
    source: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    dictionary: Optional[PathLike] = None,
    multiple: int = MULTIPLE,
    ranks: int = 1,
    allow_pickle: bool = False,
    overwrite: bool = False,
    verify: bool = False,
) -> tuple[list[str], Optional[Verification]]:
    """Write a checkpoint that Megatron-Core can start from with any number of ranks.

    Args:
        source: a Hugging Face folder, or a fairseq checkpoint.
        out: the folder to write; an unchanged folder written by this function is replaced once the new one is complete.
        spm: the SentencePiece model; by default the one in the folder, or in the checkpoint's data folder.
        dictionary: the ``dict.txt`` of a checkpoint; by default the one in its data folder, or next to it.
        multiple, ranks: the vocabulary is padded to a multiple of their product.
        allow_pickle: also read Hugging Face weights that exist only as a pickle.
        overwrite: replace any earlier folder of this kind.
        verify: compare every layer of Megatron's model with fairseq's before anything is replaced.

    Returns:
        Notes for the user, one sentence each, and the result of the comparison.

    Raises:
        FileNotFoundError: the source, its SentencePiece model or its dictionary is missing.
        ModuleNotFoundError: a package needed for verification is not installed.
        ValueError: the source is damaged, or sizes are not divisible by the ranks.
        VerificationError: the two sides differ.
    """
    if multiple < 1 or ranks < 1:
        raise ValueError(f"--pad-to and --tensor-parallel must be at least 1, but are {multiple} and {ranks}")
    if verify:
        require_megatron()
    with atomic_folder(Path(out), marker=RECORD, overwrite=overwrite) as folder:
        state, tokenizer, notes = _read_source(source, folder, spm, dictionary, allow_pickle)
        with error_context(source):
            sizes = _sizes(state)
            if sizes.heads % ranks:
                raise ValueError(f"its {sizes.heads} heads must be divisible by the {ranks} ranks of --tensor-parallel")
            _check_tied(state["model"])
            padded = sizes.words + -sizes.words % (multiple * ranks)
            tensors = to_stored(to_megatron(state["model"], sizes, padded), sizes)
        tags = list((state.get("task_state") or {}).get("tags") or [])
        record = Record(sizes, tags, dictionary_digest(tokenizer.pieces))
        _write(folder, tensors, record)
        write_beside(folder, tokenizer)
        notes.append(f"vocabulary padded from {sizes.words:,} to {padded:,} rows")
        found = None
        if verify:
            from langsamp_plugin.megatron.verification import verify_stored

            found = verify_stored(state, tokenizer, folder, record, padded)
            found.check()
    return notes, found


def _write(folder: Path, tensors: dict[str, Any], record: Record) -> None:
    (folder / RELEASE).mkdir()
    common = {"iteration": 0, "checkpoint_version": 3.0, "args": MEGATRON_ARGS, "langsamp": record.to_json()}
    write_stored(folder / RELEASE, tensors, common)
    mark_latest(folder, RELEASE)
    (folder / RECORD).write_text(json.dumps(record.to_json(), indent=2) + "\n", encoding="utf-8")


def _read_source(
    source: PathLike, folder: Path, spm: Optional[PathLike], dictionary: Optional[PathLike], allow_pickle: bool
) -> _Source:
    """Read the source of ``folder``."""
    if Path(source).is_file():
        state = load_roberta(source)
        return _Source(state, checkpoint_tokenizer(state, source, spm=spm, dictionary=dictionary), [])
    if dictionary is not None:
        raise ValueError(f"--dict must be left out, because {source} is not a fairseq checkpoint")
    found = find_folder(source)
    imported, tokenizer = read_folder(found, folder / "model.pt", spm=spm, allow_pickle=allow_pickle, inventory=None)
    state = imported.state
    notes = [note for note in imported.notes if "token-type" not in note and "train with" not in note]
    theirs = {name.removeprefix(PREFIX): tensor for name, tensor in read_hf_folder(found, allow_pickle).weights.items()}
    row = theirs.get(HF_TOKEN_TYPES)
    if row is not None and row[:1].any():
        # Kept separate as in Hugging Face, so that the reverse conversion gives the same numbers.
        state["model"][POSITIONS], state["model"][FAIRSEQ_TOKEN_TYPES] = theirs[HF_POSITIONS], row[:1].clone()
        notes.append("the token-type row is kept as a token type of Megatron")
    return _Source(state, tokenizer, notes)


def _sizes(state: dict[str, Any]) -> ModelSizes:
    weights = state["model"]
    options = architecture(state)
    xl = is_xl(weights)
    if bool(options.get("encoder_normalize_before")) != xl:
        raise ValueError("its LayerNorms must be where XLM-R or XLM-R XL has them, but are in other places")
    if options.get("embed_tags_at", "output") == "input":
        raise ValueError(
            "its tables must be at the output, but are at the input: Megatron's model does not support this"
        )
    if options.get("activation_fn", "gelu") != "gelu":
        raise ValueError(f"its activation must be gelu, but is {options['activation_fn']}")
    tables = checkpoint_tables(state)
    return ModelSizes(
        layers=options["encoder_layers"], width=options["encoder_embed_dim"], inner=options["encoder_ffn_embed_dim"],
        heads=options["encoder_attention_heads"], words=len(weights[EMBEDDING]), positions=options["max_positions"],
        eps=float(options.get("layer_norm_eps") or 1e-5), post_norm=not xl,
        token_types=int(FAIRSEQ_TOKEN_TYPES in weights), embed_tags="none" if tables is None else tables.embed_tags,
    )  # fmt: skip


def _check_tied(weights: dict[str, Tensor]) -> None:
    head = weights.get(f"{HEAD}weight")
    if head is not None and not torch.equal(head, weights[EMBEDDING]):
        raise ValueError("the head must be tied to the word embedding, but is not (--untie-weights-roberta)")
