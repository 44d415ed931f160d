"""Converts a fairseq model's options to Hugging Face's ``config.json``; refuses what XLM-R's class cannot compute."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from langsamp_plugin.checkpoint.weight_names import EMBEDDING, is_xl

FIXED: dict[str, tuple[Any, str]] = {
    "activation_fn": ("gelu", "Hugging Face's masked-LM head always has gelu"),
    "no_scale_embedding": (True, "Hugging Face's XLM-R does not multiply embeddings by the root of their width"),
    "no_token_positional_embeddings": (False, "Hugging Face's XLM-R always adds positions"),
    "encoder_learned_pos": (True, "Hugging Face's XLM-R has learned positions"),
    "adaptive_input": (False, "Hugging Face's XLM-R has a single word embedding"),
    "quant_noise_scalar": (0, "Hugging Face's XLM-R does not quantize"),
    "encoder_layers_to_keep": (None, "train or save a model with only these layers first"),
}
"""Options that change what a model computes but have no field in ``config.json``: XLM-R's value, and the reason."""

WRITTEN_FOR = "4.45.0"
"""The oldest transformers that loads the folder. Without a version, 4.57 to 5.20 take tokenizers of more than 100,000
pieces for Mistral's, and advise a flag that would spoil them."""


def hf_config(options: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Any]:
    """Return ``config.json``.

    Args:
        options: the model's, from :func:`~langsamp_plugin.checkpoint.options.architecture`.
        weights: the model's.

    Raises:
        ValueError: XLM-R's class cannot compute this model.
    """
    xl = is_xl(weights)
    if bool(options.get("encoder_normalize_before")) != xl:
        raise ValueError(
            "the LayerNorms must be placed as in XLM-R or XLM-R XL, but are not: Hugging Face has no such class"
        )
    if options.get("embed_tags_at", "output") == "input":
        raise ValueError("a model with its tables at the input cannot run without ids, so it has no Hugging Face form")
    for name, (wanted, why) in FIXED.items():
        value = options.get(name)
        if (value or None) != (wanted or None) and name in options and value is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} must be {wanted} for a Hugging Face form, but the model was trained with "
                f"{value}: {why}"
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
        "hidden_act": "gelu",
        "hidden_dropout_prob": options.get("dropout", 0.1),
        "attention_probs_dropout_prob": options.get("attention_dropout", 0.1),
        "layer_norm_eps": options.get("layer_norm_eps") or 1e-5,  # torch's and fairseq's default, and XLM-R's
        "initializer_range": 0.02,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
        "torch_dtype": str(weights[EMBEDDING].dtype).replace("torch.", ""),
        "transformers_version": WRITTEN_FOR,
    }
