"""A fairseq checkpoint to a Hugging Face folder that loads without this package."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.options import architecture
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.checkpoint.tables import TagTables, checkpoint_tables
from langsamp_plugin.checkpoint.vocabulary import checkpoint_tokenizer
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, VERSION
from langsamp_plugin.convert.authors import to_authors_layout
from langsamp_plugin.convert.hf_config import hf_config
from langsamp_plugin.convert.key_map import hf_names
from langsamp_plugin.convert.model_card import model_card
from langsamp_plugin.convert.own_folder import check_replaceable, own_folder
from langsamp_plugin.convert.tables_file import save_tables
from langsamp_plugin.convert.tokenizer_files import save_tokenizer
from langsamp_plugin.convert.verification import verify_folder
from langsamp_plugin.convert.verification_table import LIMIT, Verification
from langsamp_plugin.corpus.text import corpus_files
from langsamp_plugin.errors import error_context
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.ordered_tokenizer import OrderedTokenizer
from langsamp_plugin.vocabulary.tokenizer import UNK, Tokenizer

WORDS = "roberta.embeddings.word_embeddings.weight"
DENSE_BIAS = "lm_head.dense.bias"
LAYOUTS = ("stock", "authors")


class ExportResult(NamedTuple):
    """What an export found.

    Args:
        verification: the comparison of both sides, ``None`` without one.
        notes: what a user must know, a sentence each.
    """

    verification: Optional[Verification]
    notes: list[str]


class _Model(NamedTuple):
    """A checkpoint on its way out: ``state`` as read, the other parts in Hugging Face's names and order."""

    state: dict[str, Any]
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    tables: Optional[TagTables]
    trained_with: Tokenizer
    tokenizer: Tokenizer
    notes: list[str]


def export(
    checkpoint: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    dictionary: Optional[PathLike] = None,
    fold: Sequence[str] = (),
    half: Optional[str] = None,
    layout: str = "stock",
    scores: Optional[PathLike] = None,
    overwrite: bool = False,
    verify: bool = False,
    text: Optional[PathLike] = None,
) -> ExportResult:
    """Write ``config.json``, ``model.safetensors``, the tokenizer, a model card, and the two tables.

    Args:
        checkpoint: a LangSAMP, ``roberta`` or ``xlmr`` checkpoint of fairseq.
        out: the folder to write; one that an export wrote and nobody changed is replaced once the new one is complete.
        spm: the SentencePiece model; by default the one in the data folder that the checkpoint was trained on.
        dictionary: the ``dict.txt`` that the rows follow; by default the one in that folder, or next to the checkpoint.
        fold: tags whose embeddings go into the bias of the head's first layer, so that a stock masked LM predicts as
            LangSAMP does for that tag: ``dense(h + e) = W h + (b + W e)``. One tag goes into the model itself; of
            several each gets its bias as ``heads/<tag>.safetensors``.
        half: ``float16`` or ``bfloat16`` stores all weights so.
        layout: ``stock``, or ``authors``: the tables among the weights, as the published model's class reads them.
        scores: a folder of ``langsamp report`` whose table goes into the model card.
        overwrite: replace whatever folder is there.
        verify: compare the folder with fairseq's model before it takes its place.
        text: a folder of ``<tag>.txt`` whose every line is tokenized on both sides then, too.

    Raises:
        ModuleNotFoundError: transformers or safetensors is not installed.
        FileNotFoundError: the checkpoint, the SentencePiece model or the dictionary is missing.
        ValueError: ``out`` is somebody else's; or the checkpoint is damaged, has weights without a place, or another
            vocabulary than the tokenizer.
        VerificationError: the two sides differ.
    """
    for package in ("safetensors", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"export needs {package}: pip install 'langsamp-plugin[hf]'")
    dtype = _check_arguments(out, fold=fold, half=half, layout=layout, overwrite=overwrite, text=text)
    model = _read_model(checkpoint, spm=spm, dictionary=dictionary, dtype=dtype)
    unfolded = model.tensors[DENSE_BIAS]
    folded = {tag: _folded_bias(model, tag, checkpoint) for tag in map(LangScript.from_spelling, fold)}
    into_model = str(next(iter(folded))) if len(folded) == 1 else None
    if into_model is not None:
        (model.tensors[DENSE_BIAS],) = folded.values()
        model.config["langsamp_folded"] = into_model
    if layout == "authors":
        tensors, config, notes = to_authors_layout(model.tensors, model.config, model.tables)
        model = model._replace(tensors=tensors, config=config, notes=[*model.notes, *notes])
    found = None
    with own_folder(out, overwrite) as folder, progress(total=3 + verify, desc="export", unit="step") as bar:
        _write_weights(model, folder)
        bar.update()
        save_tokenizer(model.tokenizer, folder, model.config["max_position_embeddings"] - 2)
        bar.update()
        if layout == "stock" and model.tables is not None:
            save_tables(model.tables, folder, unfolded if into_model is not None else None)
        if len(folded) > 1:
            _write_heads(folded, folder)
        card = model_card(model.state, model.config, model.tables, folded=[str(tag) for tag in folded], scores=scores)
        (folder / "README.md").write_text(card, encoding="utf-8")
        bar.update()
        if verify:
            # In half precision the folded bias is rounded, all else is exact.
            limit = torch.finfo(dtype).eps if dtype is not None and into_model is not None else LIMIT
            found = verify_folder(
                model.state, model.trained_with, folder, fold=into_model, text=text, logits_limit=limit
            )
            bar.update()
            found.check()
    return ExportResult(found, model.notes)


def _check_arguments(
    out: PathLike,
    *,
    fold: Sequence[str],
    half: Optional[str],
    layout: str,
    overwrite: bool,
    text: Optional[PathLike],
) -> Optional[torch.dtype]:
    """Fail before anything heavy is read; return the dtype of ``half``."""
    check_replaceable(out, overwrite)
    if layout not in LAYOUTS:
        raise ValueError(f"--layout must be {' or '.join(LAYOUTS)}, but is {layout!r}")
    if layout == "authors" and fold:
        raise ValueError("--fold and --layout authors exclude each other: their class adds the tables itself")
    if text is not None:
        corpus_files(text)
    return half_dtype(half) if half is not None else None


def _read_model(
    checkpoint: PathLike, *, spm: Optional[PathLike], dictionary: Optional[PathLike], dtype: Optional[torch.dtype]
) -> _Model:
    """Read a checkpoint and put its rows into the order of its SentencePiece model, which Hugging Face's follow."""
    if Path(checkpoint).is_dir():
        raise ValueError(
            f"{checkpoint} is a folder, but export takes a checkpoint file of fairseq"
            + (": it is in Hugging Face's format already" if (Path(checkpoint) / "config.json").is_file() else "")
        )
    state = load_roberta(checkpoint)
    if dtype is not None:
        state["model"] = {
            name: tensor.to(dtype) if tensor.is_floating_point() and name != VERSION else tensor
            for name, tensor in state["model"].items()
        }
    weights: dict[str, Tensor] = state["model"]
    with error_context(checkpoint):
        names = hf_names(weights)
        config = hf_config(architecture(state), weights)
        head = weights.get(f"{HEAD}weight")
        if head is not None and not torch.equal(head, weights[EMBEDDING]):
            raise ValueError("it was trained with --untie-weights-roberta, which Hugging Face's XLM-R cannot hold")
    trained_with = checkpoint_tokenizer(state, checkpoint, spm=spm, dictionary=dictionary)
    tensors = {target: weights[name].contiguous() for name, target in names.items() if target is not None}
    notes: list[str] = []
    tokenizer = trained_with
    if isinstance(trained_with, OrderedTokenizer):
        tokenizer = Tokenizer(trained_with.path)
        rows, notes = model_order(trained_with)
        tensors[WORDS], tensors["lm_head.bias"] = tensors[WORDS][rows], tensors["lm_head.bias"][rows]
        config["vocab_size"] = len(rows)
    width = weights[EMBEDDING].shape[1]
    # Hugging Face adds an embedding of the token type, of which XLM-R has one; fairseq has none.
    tensors["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, width, dtype=weights[EMBEDDING].dtype)
    # The head's bias under its second name too: transformers 4 treats a projection without a stored bias as newly
    # initialised and sets the bias, which both names share, to zero.
    tensors["lm_head.decoder.bias"] = tensors["lm_head.bias"].clone()
    config["langsamp_tags"] = list((state.get("task_state") or {}).get("tags") or [])
    return _Model(state, tensors, config, checkpoint_tables(state), trained_with, tokenizer, notes)


def model_order(trained_with: OrderedTokenizer) -> tuple[Tensor, list[str]]:
    """Return the row of each token in the order of the SentencePiece model, int64, and what a user must know."""
    row = {piece: number for number, piece in enumerate(trained_with.pieces, 4)}
    rows = [0, 1, 2, 3, *(row.get(piece, UNK) for piece in trained_with.model_pieces), trained_with.vocab_size - 1]
    lacking = len(set(trained_with.model_pieces) - row.keys())
    padding = len(row.keys() - set(trained_with.model_pieces))
    notes = ["rows were put into the order of the SentencePiece model: the dictionary has another one"]
    if lacking:
        notes.append(f"{lacking:,} pieces that the dictionary lacks have the row of <unk>, which they were in training")
    if padding:
        notes.append(f"{padding:,} rows that only fill up the dictionary are left out")
    return torch.tensor(rows), notes


def _write_weights(model: _Model, folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(model.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_heads(folded: dict[LangScript, Tensor], folder: Path) -> None:
    from safetensors.torch import save_file

    (folder / "heads").mkdir()
    for tag, bias in folded.items():
        save_file({DENSE_BIAS: bias}, folder / "heads" / f"{tag}.safetensors", {"format": "pt"})


def half_dtype(name: str) -> torch.dtype:
    """Return the dtype that ``--half`` names.

    Raises:
        ValueError: it is none of half precision.
    """
    dtypes = {"float16": torch.float16, "fp16": torch.float16, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16}
    if name not in dtypes:
        raise ValueError(f"--half must be float16 or bfloat16, but is {name!r}")
    return dtypes[name]


def _folded_bias(model: _Model, tag: LangScript, checkpoint: PathLike) -> Tensor:
    """Return the bias of the head's first layer with a tag's embeddings folded into it."""
    if model.tables is None:
        raise ValueError(f"--fold {tag} needs a checkpoint with tables, and {checkpoint} has none")
    weight, bias = model.tensors["lm_head.dense.weight"], model.tensors[DENSE_BIAS]
    return (bias.float() + weight.float() @ model.tables.embedding(tag).float()).to(bias.dtype)
