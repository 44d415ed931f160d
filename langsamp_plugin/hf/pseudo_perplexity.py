"""How well a masked LM predicts a sentence: each token masked in turn (Salazar et al., Masked language model scoring, ACL 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

import torch

from langsamp_plugin.hf.masked_lm import LangSampForMaskedLM
from langsamp_plugin.progress import progress


def pseudo_perplexity(
    model: LangSampForMaskedLM,
    tokenizer: Any,
    sentences: Sequence[str],
    tag: Optional[str] = None,
    batch_size: int = 32,
) -> list[float]:
    """Return ``exp(-mean_i log p(w_i | the rest))`` of each sentence, special tokens not counted.

    Args:
        model: the masked LM.
        tokenizer: its tokenizer.
        sentences: one language's.
        tag: their language and script; ``None`` leaves them unknown.
        batch_size: masked copies of a sentence at a time.

    Raises:
        ValueError: the model does not know the tag, or a sentence has no token.
    """
    model.eval()
    scores = []
    for sentence in progress(sentences, desc="pseudo-perplexity", unit="sentence"):
        limit = model.config.max_position_embeddings - 2
        ids = tokenizer(sentence, return_tensors="pt", truncation=True, max_length=limit)["input_ids"][0].to(
            model.device
        )
        places = torch.arange(1, len(ids) - 1, device=model.device)
        if not len(places):
            raise ValueError(f"a sentence without any token has no perplexity: {sentence!r}")
        total = 0.0
        for part in places.split(batch_size):
            masked = ids.repeat(len(part), 1)
            rows = torch.arange(len(part), device=model.device)
            masked[rows, part] = tokenizer.mask_token_id
            lang_ids, script_ids = model.tag_ids([tag] * len(part)) if tag is not None else (None, None)
            with torch.no_grad():
                logits = model(masked, lang_ids=lang_ids, script_ids=script_ids).logits[rows, part].float()
            total -= logits.log_softmax(-1)[rows, ids[part]].sum().item()
        scores.append(math.exp(total / len(places)))
    return scores
