"""Builds Megatron's configuration of an XLM-R from its sizes."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn


class ModelSizes(NamedTuple):
    """The sizes of a model, stored as JSON next to its weights.

    Args:
        layers, width, inner, heads: number of blocks, width of the states and inside a block, number of attention
            heads.
        words: words of the vocabulary, including ``<mask>``.
        positions: maximum tokens per row.
        eps: epsilon of every LayerNorm.
        post_norm: XLM-R's layers; ``False`` is XLM-R XL's.
        token_types: rows of a token-type embedding, 0 or 1.
        embed_tags: ``both``, ``lang``, ``script`` or ``none``.
    """

    layers: int
    width: int
    inner: int
    heads: int
    words: int
    positions: int = 512
    eps: float = 1e-5
    post_norm: bool = True
    token_types: int = 0
    embed_tags: str = "both"

    def check(self) -> None:
        """Raise ``ValueError`` if a size is invalid."""
        for name in ("layers", "width", "inner", "heads", "words", "positions"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive whole number, but is {value!r}")
        if self.width % self.heads:
            raise ValueError(f"width must be divisible by the {self.heads} heads, but is {self.width}")
        if type(self.eps) is not float or not 0 < self.eps < 1:
            raise ValueError(f"eps must be between 0 and 1, but is {self.eps!r}")
        if type(self.post_norm) is not bool:
            raise ValueError(f"post_norm must be true or false, but is {self.post_norm!r}")
        if self.token_types not in (0, 1):
            raise ValueError(f"token_types must be 0 or 1, but is {self.token_types!r}")
        if self.embed_tags not in ("both", "lang", "script", "none"):
            raise ValueError(f"embed_tags must be both, lang, script or none, but is {self.embed_tags!r}")


XLMR_BASE = ModelSizes(layers=12, width=768, inner=3072, heads=12, words=250_002)
XLMR_LARGE = ModelSizes(layers=24, width=1024, inner=4096, heads=16, words=250_002)
XLMR_XL = ModelSizes(layers=36, width=2560, inner=10240, heads=32, words=250_880, post_norm=False)
"""Conneau et al. 2020; Goyal et al. 2021, table 1."""


def transformer_config(sizes: ModelSizes, **options: Any) -> Any:
    """Return Megatron's ``TransformerConfig`` for these sizes.

    Args:
        sizes: the model's sizes.
        options: further fields (parallel sizes, precision, dropout); XLM-R's 0.1 is the default of both dropouts.

    Raises:
        ModuleNotFoundError: megatron-core is not installed.
        ValueError: the heads are not divisible by the tensor-parallel ranks.
    """
    from megatron.core.transformer.transformer_config import TransformerConfig

    sizes.check()
    ranks = options.get("tensor_model_parallel_size", 1)
    if sizes.heads % ranks:
        raise ValueError(
            f"the {sizes.heads} heads must be divisible by the tensor-parallel size, but it is {ranks}: use a divisor"
        )
    fields: dict[str, Any] = {
        "num_layers": sizes.layers, "hidden_size": sizes.width, "ffn_hidden_size": sizes.inner,
        "num_attention_heads": sizes.heads, "layernorm_epsilon": sizes.eps, "activation_func": nn.functional.gelu,
        "hidden_dropout": 0.1, "attention_dropout": 0.1, "bias_activation_fusion": False,
        # Over masked tokens, whose number differs between ranks and micro-batches.
        "calculate_per_token_loss": True, "gradient_accumulation_fusion": False,
    }  # fmt: skip
    return TransformerConfig(**{**fields, **options})
