"""Exports a Megatron-Core checkpoint as a fairseq checkpoint or a Hugging Face folder, bit for bit."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Optional

from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_folder, replaceable_folder
from langsamp_plugin.checkpoint.fresh_checkpoint import check_out, fresh_checkpoint, save_checkpoint
from langsamp_plugin.checkpoint.tables import checkpoint_tables
from langsamp_plugin.checkpoint.vocabulary import DIGEST, checkpoint_tokenizer
from langsamp_plugin.checkpoint.weight_names import POSITIONS
from langsamp_plugin.convert.export import MARKER, export
from langsamp_plugin.convert.verification_table import Verification
from langsamp_plugin.errors import error_context
from langsamp_plugin.megatron.import_model import HF_POSITIONS, HF_TOKEN_TYPES, PREFIX
from langsamp_plugin.megatron.layout import from_stored
from langsamp_plugin.megatron.parallel import require_megatron
from langsamp_plugin.megatron.record import Record, read_record
from langsamp_plugin.megatron.stored import open_stored
from langsamp_plugin.megatron.weights import FAIRSEQ_TOKEN_TYPES, folded_positions, to_fairseq
from langsamp_plugin.place import resolve
from langsamp_plugin.temporary import scratch_folder
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME


def export_from_megatron(
    source: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    dictionary: Optional[PathLike] = None,
    record: Optional[PathLike] = None,
    overwrite: bool = False,
    verify: bool = False,
) -> Optional[Verification]:
    """Write a Megatron-Core checkpoint as a fairseq checkpoint or as a Hugging Face folder.

    Args:
        source: a run's folder (the newest iteration is used), or the folder of an iteration.
        out: a file that ends in ``.pt`` (fairseq), else a folder (Hugging Face).
        spm: the SentencePiece model; by default the one next to the checkpoint.
        dictionary: the ``dict.txt`` that defines the order of rows; by default the one next to the SentencePiece model.
        record: the ``langsamp.json`` that training started from, if the checkpoint has none.
        overwrite: replace existing output.
        verify: before anything is replaced, compare every layer with Megatron's model, and for a Hugging Face folder
            also with fairseq's.

    Raises:
        FileNotFoundError: a file is missing.
        ModuleNotFoundError: a package is not installed.
        ValueError: the checkpoint is damaged, contains code, or has another format.
        VerificationError: the two models differ.
    """
    out = Path(out)
    if out.suffix == ".pt":
        check_out(out, overwrite)
    else:
        with replaceable_folder(out, MARKER, overwrite):
            pass  # fail before anything heavy is read
    if verify:
        require_megatron()
    stored = open_stored(source)
    about = read_record(stored.path, record)
    found_weights = from_stored(stored, about.sizes)
    with error_context(stored.path):
        weights = to_fairseq(found_weights, about.sizes)
        row = weights.pop(FAIRSEQ_TOKEN_TYPES, None)
        positions = weights[POSITIONS]
        if row is not None:
            weights[POSITIONS] = folded_positions(positions, row)
    model = Path(spm) if spm is not None else _find_beside(stored.path, SPM_FILENAME)
    state = _checkpoint_state(weights, about, model.parent)
    tokenizer = checkpoint_tokenizer(state, stored.path, spm=model, dictionary=dictionary)
    found = None
    if verify:
        from langsamp_plugin.megatron.verification import verify_stored

        found = verify_stored(state, tokenizer, stored.path, about, None)
        found.check()
    if out.suffix == ".pt":
        save_checkpoint(state, out)
        return found
    between = resolve(out).with_name(f"{resolve(out).name}.fairseq")
    with atomic_folder(out, MARKER, overwrite) as ready, scratch_folder(between) as folder:
        save_checkpoint(state, folder / "model.pt")
        written = export(folder / "model.pt", ready, spm=model, dictionary=dictionary, verify=verify)
        if row is not None:
            _write_token_type(ready, positions, row)
    other = written.verification
    if found is not None and other is not None:
        found = Verification([*found.rows, *other.rows], [*found.notes, *other.notes])
    return found


def _checkpoint_state(weights: dict[str, Tensor], about: Record, data: Path) -> dict[str, Any]:
    """Return a fairseq checkpoint for starting training."""
    sizes = about.sizes
    args = Namespace(
        arch="langsamp_roberta", task="langsamp_masked_lm", criterion="langsamp_masked_lm", data=str(data),
        encoder_layers=sizes.layers, encoder_embed_dim=sizes.width, encoder_ffn_embed_dim=sizes.inner,
        encoder_attention_heads=sizes.heads, max_positions=sizes.positions, tokens_per_sample=sizes.positions,
        activation_fn="gelu", dropout=0.1, attention_dropout=0.1, layer_norm_eps=sizes.eps,
        encoder_normalize_before=not sizes.post_norm, layernorm_embedding=sizes.post_norm,
        embed_tags=sizes.embed_tags if sizes.embed_tags != "none" else "both",
    )  # fmt: skip
    state: dict[str, Any] = {"args": args, "model": weights, "task_state": {"tags": about.tags}}
    if about.dictionary is not None:
        state["task_state"][DIGEST] = about.dictionary
    tables = checkpoint_tables(state)
    if tables is not None:
        state["task_state"].update(languages=list(tables.languages), scripts=list(tables.scripts))
    return fresh_checkpoint(state, weights)


def _write_token_type(folder: Path, positions: Tensor, row: Tensor) -> None:
    """Restore the token-type row, and the positions without it, in an exported folder, as before the import."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors[f"{PREFIX}{HF_POSITIONS}"], tensors[f"{PREFIX}{HF_TOKEN_TYPES}"] = positions, row
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _find_beside(folder: Path, name: str) -> Path:
    for place in (folder / name, folder.parent / name):
        if place.is_file():
            return place
    raise FileNotFoundError(f"{folder.parent / name} is missing: name the SentencePiece model with --spm")
