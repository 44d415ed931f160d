"""Exports a fairseq checkpoint to a Hugging Face folder that loads without this package."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_folder, replaceable_folder
from langsamp_plugin.convert.authors import to_authors_layout
from langsamp_plugin.convert.card_fields import CardFields
from langsamp_plugin.convert.model_card import model_card
from langsamp_plugin.convert.outgoing_model import DENSE_BIAS, OutgoingModel, folded_bias, half_dtype, read_model
from langsamp_plugin.convert.tables_file import save_tables
from langsamp_plugin.convert.tokenizer_comparison import check_text
from langsamp_plugin.convert.tokenizer_files import save_tokenizer
from langsamp_plugin.convert.verification import verify_folder
from langsamp_plugin.convert.verification_table import LIMIT, Verification
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.place import check_room
from langsamp_plugin.progress import progress

LAYOUTS = ("stock", "authors")
MARKER = "config.json"
"""A file that every Hugging Face folder contains; a folder without it is never replaced."""


class ExportResult(NamedTuple):
    """Result of an export.

    Args:
        verification: the comparison of both models, ``None`` without one.
        notes: notes for the user, one sentence each.
    """

    verification: Optional[Verification]
    notes: list[str]


class _Heads(NamedTuple):
    """Result of folding: the bias of each tag, the tag that was folded into the model, and the bias before folding."""

    folded: dict[LangScript, Tensor]
    into_model: Optional[str]
    unfolded: Tensor


def export(
    checkpoint: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    dictionary: Optional[PathLike] = None,
    fold: Sequence[str] = (),
    half: Optional[str] = None,
    layout: str = "stock",
    card: CardFields = CardFields(),
    overwrite: bool = False,
    verify: bool = False,
    text: Optional[PathLike] = None,
) -> ExportResult:
    """Write ``config.json``, ``model.safetensors``, the tokenizer, a model card, and the two tables.

    Args:
        checkpoint: a LangSAMP, ``roberta`` or ``xlmr`` checkpoint of fairseq.
        out: the folder to write; see ``overwrite``.
        spm: the SentencePiece model; by default the one in the data folder that the checkpoint was trained on.
        dictionary: the ``dict.txt`` that defines the order of rows; by default the one in that folder, or next to the
            checkpoint.
        fold: tags whose embeddings are folded into the bias of the head's first layer, so that a stock masked LM
            predicts as LangSAMP does for that tag: ``dense(h + e) = W h + (b + W e)``. A single tag is folded into the
            model itself; each of several tags gets a bias file ``heads/<tag>.safetensors``.
        half: store all weights as ``float16`` or ``bfloat16``.
        layout: ``stock``, or ``authors``: the tables are stored as weights of the model, as the published model's class
            reads them.
        card: fields of the model card that the checkpoint does not contain.
        overwrite: also replace a Hugging Face folder that another program wrote or changed; by default only unchanged
            output of this command is replaced.
        verify: compare the folder with fairseq's model before it replaces ``out``.
        text: with ``verify``, a folder of ``<tag>.txt``; every line is also tokenized by both tokenizers and compared.

    Raises:
        ModuleNotFoundError: transformers or safetensors is not installed.
        FileNotFoundError: the checkpoint, the SentencePiece model or the dictionary is missing.
        ValueError: ``out`` was not written by this command; or the checkpoint is damaged, has weights with no
            counterpart, or does not match the tokenizer's vocabulary.
        VerificationError: the two models differ.
    """
    # Fail before anything heavy is read.
    dtype = _check_arguments(fold=fold, half=half, layout=layout, card=card, verify=verify, text=text)
    with replaceable_folder(out, MARKER, overwrite):
        model = read_model(checkpoint, spm=spm, dictionary=dictionary, dtype=dtype)
        heads = _fold(model, fold, checkpoint)
        if layout == "authors":
            tensors, config, notes = to_authors_layout(model.tensors, model.config, model.tables)
            model = model._replace(tensors=tensors, config=config, notes=[*model.notes, *notes])
        with atomic_folder(out, MARKER, overwrite) as folder:
            check_room(folder, out, sum(tensor.nbytes for tensor in model.tensors.values()))
            _write(model, heads, folder, layout=layout, card=card)
            found = _verify(model, heads, folder, dtype=dtype, text=text) if verify else None
    return ExportResult(found, model.notes)


def _check_arguments(
    *, fold: Sequence[str], half: Optional[str], layout: str, card: CardFields, verify: bool, text: Optional[PathLike]
) -> Optional[torch.dtype]:
    """Fail early; return the dtype of ``half``."""
    for package in ("safetensors", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"export needs {package}: pip install 'langsamp-plugin[hf]'")
    if layout not in LAYOUTS:
        raise ValueError(f"--layout must be {' or '.join(LAYOUTS)}, but is {layout!r}")
    if layout == "authors" and fold:
        raise ValueError("--fold and --layout authors exclude each other: their class adds the tables itself")
    card.check()
    check_text(text, verify)
    return half_dtype(half) if half is not None else None


def _fold(model: OutgoingModel, fold: Sequence[str], checkpoint: PathLike) -> _Heads:
    """Fold tags into biases, and a single tag into the model."""
    unfolded = model.tensors[DENSE_BIAS]
    folded = {tag: folded_bias(model, tag, checkpoint) for tag in map(LangScript.from_spelling, fold)}
    into_model = None
    if len(folded) == 1:
        ((tag, model.tensors[DENSE_BIAS]),) = folded.items()
        into_model = model.config["langsamp_folded"] = str(tag)
    return _Heads(folded, into_model, unfolded)


def _write(model: OutgoingModel, heads: _Heads, folder: Path, *, layout: str, card: CardFields) -> None:
    from safetensors.torch import save_file

    with progress(total=3, desc="export", unit="step") as bar:
        save_file(model.tensors, folder / "model.safetensors", metadata={"format": "pt"})
        config = json.dumps(model.config, indent=2, sort_keys=True)
        (folder / "config.json").write_text(config + "\n", encoding="utf-8")
        bar.update()
        save_tokenizer(model.tokenizer, folder, model.config["max_position_embeddings"] - 2)
        bar.update()
        if layout == "stock" and model.tables is not None:
            save_tables(model.tables, folder, heads.unfolded if heads.into_model is not None else None)
        if len(heads.folded) > 1:
            (folder / "heads").mkdir()
            for tag, bias in heads.folded.items():
                save_file({DENSE_BIAS: bias}, folder / "heads" / f"{tag}.safetensors", {"format": "pt"})
        folded = [str(tag) for tag in heads.folded]
        readme = model_card(model.state, model.config, model.tables, folded=folded, layout=layout, fields=card)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        bar.update()


def _verify(
    model: OutgoingModel, heads: _Heads, folder: Path, *, dtype: Optional[torch.dtype], text: Optional[PathLike]
) -> Verification:
    # In half precision the folded bias is rounded; everything else is exact.
    rounded = dtype is not None and heads.into_model is not None
    limit = torch.finfo(dtype).eps if rounded and dtype is not None else LIMIT
    found = verify_folder(model.state, model.trained_with, folder, fold=heads.into_model, text=text, logits_limit=limit)
    found.check()
    return found
