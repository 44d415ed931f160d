"""A fairseq checkpoint to a Hugging Face folder that loads without this package."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_folder
from langsamp_plugin.checkpoint.options import architecture, model_beside_data, training_data_folder
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.checkpoint.tables import TagTables, checkpoint_tables
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, VERSION, is_xl
from langsamp_plugin.convert.key_map import hf_names
from langsamp_plugin.convert.model_card import model_card
from langsamp_plugin.convert.tables_file import save_tables
from langsamp_plugin.convert.verification import LIMIT, Verification, verify_folder
from langsamp_plugin.corpus.text import corpus_files
from langsamp_plugin.errors import error_context
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.dictionary import read_dictionary
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME, Tokenizer

TOKENIZER_OPTIONS = (
    *(f"{name}_token" for name in ("bos", "cls", "eos", "mask", "pad", "sep", "unk")),
    "model_max_length",
    "tokenizer_class",
)


def export(
    checkpoint: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    fold: Sequence[str] = (),
    half: Optional[str] = None,
    verify: bool = False,
    text: Optional[PathLike] = None,
) -> Optional[Verification]:
    """Write ``config.json``, ``model.safetensors``, the tokenizer, a model card, and the two tables.

    Args:
        checkpoint: a LangSAMP, ``roberta`` or ``xlmr`` checkpoint of fairseq.
        out: the folder to write; an exported folder there is replaced once the new one is whole.
        spm: the SentencePiece model; by default the one in the data folder that the checkpoint was trained on.
        fold: tags whose embeddings go into the bias of the head's first layer, so that a stock masked LM predicts as
            LangSAMP does for that tag: ``dense(h + e) = W h + (b + W e)``. One tag goes into the model itself; of
            several each gets its bias as ``heads/<tag>.safetensors``.
        half: ``float16`` or ``bfloat16`` stores all weights so.
        verify: compare the folder with fairseq's model before it takes its place.
        text: a folder of ``<tag>.txt`` whose every line is tokenized on both sides then, too.

    Returns:
        What the comparison found, ``None`` without one.

    Raises:
        ModuleNotFoundError: transformers or safetensors is not installed.
        FileNotFoundError: the checkpoint or the SentencePiece model is missing.
        ValueError: the checkpoint is damaged, has weights without a place, or another vocabulary than the tokenizer.
        VerificationError: the two sides differ.
    """
    for package in ("safetensors", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"export needs {package}: pip install 'langsamp-plugin[hf]'")
    from safetensors.torch import save_file

    if text is not None:
        corpus_files(text)  # a mistake in it is better said now than after minutes
    state = load_roberta(checkpoint)
    dtype = half_dtype(half) if half is not None else None
    if dtype is not None:
        state["model"] = {
            name: tensor.to(dtype) if tensor.is_floating_point() and name != VERSION else tensor
            for name, tensor in state["model"].items()
        }
    weights: dict[str, Tensor] = state["model"]
    names = hf_names(weights)
    tables = checkpoint_tables(state)
    tokenizer = Tokenizer(spm if spm is not None else model_beside_data(state, checkpoint, "--spm"))
    check_tokenizer(tokenizer, weights, training_data_folder(state))
    head = weights.get(f"{HEAD}weight")
    if head is not None and not torch.equal(head, weights[EMBEDDING]):
        raise ValueError(
            f"{checkpoint} was trained with --untie-weights-roberta, which Hugging Face's XLM-R cannot hold"
        )
    tensors = {target: weights[name].contiguous() for name, target in names.items() if target is not None}
    width = weights[EMBEDDING].shape[1]
    # Hugging Face adds an embedding of the token type, of which XLM-R has one; fairseq has none.
    tensors["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, width, dtype=weights[EMBEDDING].dtype)
    # The head's bias under its second name too: transformers 4 takes a projection without a stored bias for a new one
    # and sets the bias, which both names share, to zero.
    tensors["lm_head.decoder.bias"] = tensors["lm_head.bias"].clone()
    unfolded = tensors["lm_head.dense.bias"]
    folded = {tag: _folded_bias(tensors, tables, tag, checkpoint) for tag in map(LangScript.from_spelling, fold)}
    into_model = str(next(iter(folded))) if len(folded) == 1 else None
    if into_model is not None:
        (tensors["lm_head.dense.bias"],) = folded.values()
    with error_context(checkpoint):
        config = hf_config(architecture(state), weights)
    config["langsamp_tags"] = list((state.get("task_state") or {}).get("tags") or [])
    if into_model is not None:
        config["langsamp_folded"] = into_model
    found = None
    with (
        atomic_folder(out, marker="config.json") as folder,
        progress(total=4 + verify, desc="export", unit="step") as bar,
    ):
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        bar.update()
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        save_tokenizer(tokenizer, folder, config["max_position_embeddings"] - 2)
        bar.update()
        if tables is not None:
            save_tables(tables, folder, unfolded if into_model is not None else None)
        if len(folded) > 1:
            (folder / "heads").mkdir()
            for tag, bias in folded.items():
                save_file({"lm_head.dense.bias": bias}, folder / "heads" / f"{tag}.safetensors", {"format": "pt"})
        bar.update()
        card = model_card(state, config, tables, [str(tag) for tag in folded])
        (folder / "README.md").write_text(card, encoding="utf-8")
        bar.update()
        if verify:
            # In half precision the folded bias is rounded, all else is exact.
            limit = torch.finfo(dtype).eps if dtype is not None and into_model is not None else LIMIT
            found = verify_folder(state, tokenizer, folder, into_model, text, logits_limit=limit)
            bar.update()
            found.check()
    return found


def half_dtype(name: str) -> torch.dtype:
    """Return the dtype that ``--half`` names.

    Raises:
        ValueError: it is none of half precision.
    """
    dtypes = {"float16": torch.float16, "fp16": torch.float16, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16}
    if name not in dtypes:
        raise ValueError(f"--half must be float16 or bfloat16, but is {name!r}")
    return dtypes[name]


def _folded_bias(
    tensors: dict[str, Tensor], tables: Optional[TagTables], tag: LangScript, checkpoint: PathLike
) -> Tensor:
    """Return the bias of the head's first layer with a tag's embeddings folded into it."""
    if tables is None:
        raise ValueError(f"--fold {tag} needs a checkpoint with tables, and {checkpoint} has none")
    weight, bias = tensors["lm_head.dense.weight"], tensors["lm_head.dense.bias"]
    return (bias.float() + weight.float() @ tables.embedding(tag).float()).to(bias.dtype)


def hf_config(options: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Any]:
    """Return ``config.json``.

    Args:
        options: the model's, from :func:`~langsamp_plugin.checkpoint.options.architecture`.
        weights: the model's.

    Raises:
        ValueError: the model is of a kind that XLM-R's class cannot compute.
    """
    xl = is_xl(weights)
    if bool(options.get("encoder_normalize_before")) != xl:
        raise ValueError("this model has its LayerNorms elsewhere than XLM-R and XLM-R XL, and no Hugging Face form")
    if options.get("embed_tags_at", "output") == "input":
        raise ValueError(
            "a model with its tables at the input needs ids to compute anything and has no Hugging Face form"
        )
    return {
        "architectures": ["XLMRobertaXLForMaskedLM" if xl else "XLMRobertaForMaskedLM"],
        "model_type": "xlm-roberta-xl" if xl else "xlm-roberta",
        "vocab_size": len(weights[EMBEDDING]),
        "hidden_size": options["encoder_embed_dim"],
        "num_hidden_layers": options["encoder_layers"],
        "num_attention_heads": options["encoder_attention_heads"],
        "intermediate_size": options["encoder_ffn_embed_dim"],
        "max_position_embeddings": options["max_positions"] + 2,
        "type_vocab_size": 1,
        "hidden_act": options.get("activation_fn", "gelu"),
        "hidden_dropout_prob": options.get("dropout", 0.1),
        "attention_probs_dropout_prob": options.get("attention_dropout", 0.1),
        "layer_norm_eps": options.get("layer_norm_eps") or 1e-5,  # torch's and fairseq's default, and XLM-R's
        "initializer_range": 0.02,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
        "torch_dtype": str(weights[EMBEDDING].dtype).replace("torch.", ""),
    }


def check_tokenizer(tokenizer: Tokenizer, weights: dict[str, Tensor], data: Optional[Path]) -> None:
    """Raise ``ValueError`` unless tokenizer, embedding and (where it is at hand) ``dict.txt`` agree on every id."""
    rows = len(weights[EMBEDDING])
    if rows != tokenizer.vocab_size:
        raise ValueError(
            f"the checkpoint has {rows:,} word embeddings, but {tokenizer.path} makes {tokenizer.vocab_size:,} tokens: "
            "name the SentencePiece model that the training data was made with, --spm MODEL"
        )
    if data is None or not (data / "dict.txt").is_file():
        return
    if read_dictionary(data / "dict.txt") != tokenizer.pieces:
        raise ValueError(
            f"{data / 'dict.txt'} is not in the order of {tokenizer.path}: ids would mean other pieces in Hugging Face"
        )


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write the SentencePiece model and Hugging Face's fast tokenizer.

    Raises:
        ValueError: the fast tokenizer numbers the pieces in another way than the model was trained with.
    """
    from transformers import XLMRobertaTokenizerFast

    shutil.copyfile(tokenizer.path, folder / SPM_FILENAME)
    fast = XLMRobertaTokenizerFast.from_pretrained(str(folder), model_max_length=max_length)
    vocabulary = fast.get_vocab()
    wrong = [piece for number, piece in enumerate(tokenizer.pieces, 4) if vocabulary.get(piece) != number]
    if wrong or fast.mask_token_id != tokenizer.vocab_size - 1:
        raise ValueError(f"transformers numbers {len(wrong)} pieces of {tokenizer.path} differently, first {wrong[:1]}")
    fast.save_pretrained(str(folder))
    # What transformers 5 writes here besides (a list of extra tokens, how the folder was opened) stops transformers 4.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {name: config[name] for name in TOKENIZER_OPTIONS if name in config}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
