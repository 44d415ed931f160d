"""Encodes sentences as vectors with any Hugging Face encoder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Optional

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.convert.hf_folder import read_config
from langsamp_plugin.evaluation.device import BATCH_TOKENS, Compute, autocast
from langsamp_plugin.evaluation.finite import check_features, check_weights

# Exceptions that transformers passes on from the libraries that read a folder's files.
FAILURES = (OSError, LookupError, ValueError, RuntimeError, TypeError, AttributeError, UnpicklingError, SafetensorError)
HEADS = r"(^|\.)(pooler|classifier|score|lm_head|cls|position_ids)\b"

PUBLISHED_TABLES = ("lang_type_embeddings.weight", "script_type_embeddings.weight")
"""Suffixes of weight names that identify the published model's layout."""


def load_encoder(model: PathLike, device: Optional[torch.device] = None) -> tuple[Any, Any]:
    """Return ``(model, tokenizer)`` of a Hugging Face folder, float32 and in evaluation mode.

    Args:
        model: the folder.
        device: by default a GPU if there is one.

    Raises:
        ValueError: ``AutoModel`` cannot load the folder, or a weight is not finite.
    """
    from transformers import AutoModel

    # transformers 5 loads the stored dtype, so an export in half precision would be scored in half precision.
    encoder = load_model(AutoModel.from_pretrained, model).float()
    check_weights(encoder, model)
    return encoder.to(device or Compute().where()).eval(), load_tokenizer(model)


def load_tokenizer(model: PathLike) -> Any:
    """Return the fast tokenizer of a Hugging Face folder.

    Raises:
        ValueError: the folder has none.
    """
    from transformers import AutoTokenizer

    return load_with(AutoTokenizer.from_pretrained, model)


def load_with(load: Callable[..., Any], model: PathLike, **options: Any) -> Any:
    """Call one of transformers' ``from_pretrained`` methods and turn its errors into one line."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # a missing pooler and an unused head are expected here
    logging.disable_progress_bar()
    if Path(model).is_dir():
        read_config(model)
    try:
        return load(str(model), trust_remote_code=False, **options)
    except Exception as error:
        # The tokenizers library raises bare Exceptions only.
        if not isinstance(error, FAILURES) and type(error) is not Exception:
            raise
        summary = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{model} is not a complete Hugging Face model folder: {summary}") from error


def load_model(load: Callable[..., Any], model: PathLike, return_loaded: bool = False, **options: Any) -> Any:
    """Load a model; heads may be new, but an incomplete backbone is refused.

    Args:
        load: a ``from_pretrained`` method of a model class.
        model: the folder.
        return_loaded: also return transformers' loading information, with ``missing_keys`` as a set.
        **options: of ``load``.

    Raises:
        ValueError: the folder is not a model, or lacks weights that would be random.
    """
    loaded, found = load_with(load, model, output_loading_info=True, **options)
    mismatched = {key if isinstance(key, str) else key[0] for key in found.get("mismatched_keys", ())}
    absent = set(found["missing_keys"]) | mismatched
    # Every weight outside the base model's prefix belongs to a head, regardless of its name.
    prefix = (
        f"{loaded.base_model_prefix}." if getattr(loaded, loaded.base_model_prefix or "-", None) is not None else ""
    )
    missing = sorted(name for name in absent if name.startswith(prefix) and not re.search(HEADS, name))
    if any(name.endswith(PUBLISHED_TABLES) for name in found["unexpected_keys"]):
        # The published model has no token types, so transformers has initialised some at random.
        embeddings = getattr(loaded, loaded.base_model_prefix, loaded).embeddings
        embeddings.token_type_embeddings.weight.data.zero_()
        missing = [name for name in missing if not name.endswith("token_type_embeddings.weight")]
    unused = sorted(name for name in found["unexpected_keys"] if re.search(r"\.layer\.\d+\.", name))
    if missing or unused:
        what = f"lacks {len(missing)} weights" if missing else f"has {len(unused)} weights without a counterpart"
        raise ValueError(
            f"{model} {what} that config.json {'asks for' if missing else 'lacks'}: {(missing + unused)[0]}"
        )
    return (loaded, {**found, "missing_keys": absent}) if return_loaded else loaded


def longest_input(model: Any, tokenizer: Any, wanted: int) -> int:
    """Return how many tokens of a sentence are kept: the requested number, or fewer if the model has fewer
    positions."""
    positions = getattr(model.config, "max_position_embeddings", None) or wanted
    # RoBERTa's first two positions are padding.
    if getattr(model.config, "model_type", "") in ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert"):
        positions -= 2
    return max(3, min(wanted, positions, tokenizer.model_max_length))


def batches_by_length(lengths: Sequence[int], tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Yield batches of row numbers, grouped by length, longest first, with at most ``tokens`` tokens including
    padding."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, tokens // max(lengths[order[start]], 1))
        yield order[start : start + size]
        start += size


def keep_blocks(model: Any, layer: int) -> None:
    """Permanently drop the blocks above a layer, to save their time and memory.

    Call it before the model is used: transformers 5 records the blocks on first use. A model of unknown structure is
    left unchanged, because it could normalise the output of its last block.

    Args:
        model: from :func:`load_encoder`.
        layer: the highest layer that is needed.
    """
    encoder: Any = getattr(model, "encoder", None)
    if type(encoder).__name__ in ("XLMRobertaEncoder", "RobertaEncoder", "BertEncoder"):
        encoder.layer = encoder.layer[: max(layer, 1)]


def depth(model: Any) -> int:
    """Return the number of transformer blocks."""
    return int(model.config.num_hidden_layers)


def mean_pooled(
    sentences: Sequence[str],
    model: Any,
    tokenizer: Any,
    layers: Sequence[int],
    max_length: int = 512,
    on_batch: Optional[Callable[[int], Any]] = None,
    batch_tokens: int = BATCH_TOKENS,
    precision: str = "float32",
) -> tuple[np.ndarray, int]:
    """Encode sentences as the mean of layer outputs over all tokens, ``<s>`` and ``</s>`` included.

    A single pass serves all layers.

    Args:
        sentences: the text.
        model, tokenizer: from :func:`load_encoder`.
        layers: numbers of the transformer blocks, from 1; 0 is the embedding layer.
        max_length: number of tokens kept per sentence.
        on_batch: called with the number of sentences in each finished batch.
        batch_tokens: tokens per batch, including padding.
        precision: precision of the model; means are always computed in float32.

    Returns:
        float32 ``(len(layers), len(sentences), C)`` in the order of ``sentences``, and the number of truncated
        sentences.

    Raises:
        ValueError: a vector is not finite.
    """
    limit = longest_input(model, tokenizer, max_length)
    ids = tokenizer(list(sentences), truncation=False, verbose=False)["input_ids"]
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    cut = sum(len(row) > limit for row in ids)
    ids = [row if len(row) <= limit else [*row[: limit - 1], end] for row in ids]
    vectors = np.empty((len(layers), len(ids), model.config.hidden_size), dtype=np.float32)
    with torch.inference_mode(), autocast(model.device, precision):
        for rows in batches_by_length([len(row) for row in ids], batch_tokens):
            tokens, mask = pad([ids[row] for row in rows], tokenizer.pad_token_id, model.device)
            states = model(tokens, attention_mask=mask, output_hidden_states=True).hidden_states
            weights = mask.unsqueeze(-1).float()
            for place, layer in enumerate(layers):
                pooled = (states[layer].float() * weights).sum(1) / weights.sum(1)
                vectors[place, rows] = pooled.cpu().numpy()
                check_features(vectors[place, rows], layer, model.config.name_or_path, [sentences[row] for row in rows])
            if on_batch is not None:
                on_batch(len(rows))
    return vectors, cut


def pad(rows: Sequence[Sequence[int]], pad_id: int, where: torch.device) -> tuple[Tensor, Tensor]:
    """Return ``(tokens, attention mask)``, int64 (B, T)."""
    tokens = torch.full((len(rows), max(map(len, rows))), pad_id)
    mask = torch.zeros_like(tokens)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return tokens.to(where), mask.to(where)
