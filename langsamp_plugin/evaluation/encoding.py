"""Sentences to vectors with any Hugging Face encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from langsamp_plugin.atomic import PathLike


def load_encoder(model: PathLike) -> tuple[Any, Any]:
    """Return ``(model, tokenizer)`` of a Hugging Face folder, in evaluation mode.

    Raises:
        ValueError: the folder is no model that ``AutoModel`` loads.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # a missing pooler and an unused head are what is wanted here
    logging.disable_progress_bar()
    try:
        encoder = AutoModel.from_pretrained(str(model))
        tokenizer = AutoTokenizer.from_pretrained(str(model))
    except (OSError, KeyError) as error:
        raise ValueError(f"{model} is no Hugging Face model folder: {str(error).splitlines()[0]}") from error
    return encoder.eval(), tokenizer


def mean_pooled(
    sentences: Sequence[str], model: Any, tokenizer: Any, layer: int, batch_size: int = 32, max_length: int = 512
) -> np.ndarray:
    """Encode sentences as the mean over all tokens, ``<s>`` and ``</s>`` included, of one layer's output.

    Args:
        sentences: the text.
        model, tokenizer: from :func:`load_encoder`.
        layer: which transformer block's output, from 1; 0 is the embedding layer.
        batch_size: sentences at a time; they are sorted by length, so that little is padding.
        max_length: tokens that are kept of a sentence.

    Returns:
        float32 ``(len(sentences), C)`` in the order of ``sentences``.
    """
    ids = tokenizer(list(sentences), truncation=True, max_length=max_length)["input_ids"]
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    vectors = np.empty((len(ids), model.config.hidden_size), dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
            states = model(**batch, output_hidden_states=True).hidden_states[layer]
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            vectors[rows] = ((states * mask).sum(1) / mask.sum(1)).float().numpy()
    return vectors
