"""XLM-R's transformer layer on Megatron-Core, whose own layer places LayerNorms differently.

XLM-R is post-LN: ``y = LN(x + attention(x))``. Megatron's layer is pre-LN: ``y = x + attention(LN(x))``. Post-LN is
pre-LN whose residual starts at the LayerNorm's output, with the LayerNorms shifted by one: the embeddings' is the first
layer's ``input_layernorm``, the one after block i is ``input_layernorm`` of layer i + 1, the last one is the block's
``final_layernorm``. XLM-R XL is pre-LN and uses Megatron's layer unchanged.

Tensor names end in their shape: S positions, B batch, H heads, D width of a head, C width of the model.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Optional

from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules
from torch import Tensor, nn


class PostNormLayer(TransformerLayer):
    """Megatron's layer with each residual taken after the LayerNorm, as in XLM-R."""

    def forward(self, hidden_states: Tensor, attention_mask: Optional[Tensor] = None, **unused: Any) -> Any:
        """Run the layer.

        Args:
            hidden_states: (S, B, C), not yet through this layer's first LayerNorm.
            attention_mask: bool, broadcast to (B, H, S, S), ``True`` for masked positions.
            unused: what Megatron's block passes for decoders (context, rotary embeddings, inference).

        Returns:
            ``(hidden_states, None)``, not yet through the LayerNorm that ends the layer.
        """
        norm_SBC = self.input_layernorm(hidden_states)
        if self.layer_number == 1:  # XLM-R applies dropout to the embeddings after their LayerNorm
            norm_SBC = dropout(norm_SBC, self.hidden_dropout, self.training, self.config.sequence_parallel)
        attended = self.self_attention(norm_SBC, attention_mask=attention_mask)
        add = self.self_attn_bda(self.training, self.config.bias_dropout_fusion)
        hidden_states = add(attended, norm_SBC, self.hidden_dropout)
        norm_SBC = self.pre_mlp_layernorm(hidden_states)
        add = self.mlp_bda(self.training, self.config.bias_dropout_fusion)
        return add(self.mlp(norm_SBC), norm_SBC, self.hidden_dropout), None


class TorchAttention(nn.Module):
    """Core attention with ``torch.nn.functional.scaled_dot_product_attention``, on a CPU or GPU.

    Args:
        config: the model's configuration.
        layer_number, attn_mask_type, attention_type: passed by Megatron; all layers of an encoder are equal.
        others: passed by Megatron for decoders.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        **others: Any,
    ):
        super().__init__()
        self.dropout = config.attention_dropout

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Optional[Tensor],
        **others: Any,
    ) -> Tensor:
        """Attend; the three are (S, B, H, D), the result is (S, B, H * D)."""
        query_BHSD, key_BHSD, value_BHSD = (part_SBHD.permute(1, 2, 0, 3) for part_SBHD in (query, key, value))
        visible = None if attention_mask is None else ~attention_mask
        share = self.dropout if self.training else 0.0

        def attend() -> Tensor:
            return nn.functional.scaled_dot_product_attention(
                query_BHSD, key_BHSD, value_BHSD, attn_mask=visible, dropout_p=share
            )

        if share and query.is_cuda:
            with get_cuda_rng_tracker().fork():  # tensor-parallel ranks have different heads and need different draws
                out_BHSD = attend()
        else:
            out_BHSD = attend()
        return out_BHSD.permute(2, 0, 1, 3).flatten(2)


class TorchNorm(nn.LayerNorm):
    """torch's LayerNorm, with marked weights, so that Megatron sums their gradients under sequence parallelism.

    Megatron's own wrapper refuses sequence parallelism because it lacks the mark.

    Args:
        config: the model's configuration.
        hidden_size: width.
        eps: added to the variance.
        others: passed by Megatron, unused here.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **others: Any):
        super().__init__(hidden_size, eps=eps)
        for parameter in (self.weight, self.bias):
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]


def dropout(states: Tensor, share: float, training: bool, sequence_parallel: bool) -> Tensor:
    """Apply dropout to states, with different draws per tensor-parallel rank if the ranks hold different positions."""
    if sequence_parallel and training and share and states.is_cuda:
        with get_cuda_rng_tracker().fork():
            return nn.functional.dropout(states, share)
    return nn.functional.dropout(states, share, training)


def has_transformer_engine() -> bool:
    """Return whether Transformer Engine is installed."""
    return importlib.util.find_spec("transformer_engine") is not None


def layer_spec(post_norm: bool = True, transformer_engine: Optional[bool] = None) -> ModuleSpec:
    """Return the specification of one layer, for ``--spec`` and for
    :class:`~langsamp_plugin.megatron.model.LangSampBertModel`.

    Args:
        post_norm: XLM-R's layer (base and large); ``False`` is XLM-R XL's, which is Megatron's own.
        transformer_engine: use its modules; by default if it is installed.

    Raises:
        ModuleNotFoundError: it was requested but is not installed.
    """
    engine = has_transformer_engine() if transformer_engine is None else transformer_engine
    norm, column, row, attention = engine_modules() if engine else torch_modules()
    return ModuleSpec(
        module=PostNormLayer if post_norm else TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=norm,
            self_attention=ModuleSpec(
                module=SelfAttention,
                params={"attn_mask_type": AttnMaskType.padding},
                submodules=SelfAttentionSubmodules(
                    linear_qkv=column,
                    core_attention=attention,
                    linear_proj=row,
                    q_layernorm=IdentityOp,
                    k_layernorm=IdentityOp,
                ),
            ),
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=norm,
            mlp=ModuleSpec(module=MLP, submodules=MLPSubmodules(linear_fc1=column, linear_fc2=row)),
            mlp_bda=get_bias_dropout_add,
        ),
    )


def block_spec(
    config: TransformerConfig,
    post_norm: bool = True,
    transformer_engine: Optional[bool] = None,
    vp_stage: Optional[int] = None,
) -> TransformerBlockSubmodules:
    """Return the specification of all layers of this pipeline stage and of the final LayerNorm."""
    layer = layer_spec(post_norm, transformer_engine)
    layers = [layer] * get_num_layers_to_build(config, vp_stage)
    return TransformerBlockSubmodules(layer_specs=layers, layer_norm=layer.submodules.input_layernorm)


def torch_modules() -> tuple[Any, ...]:
    """Return LayerNorm, the two linear layers and attention, using only torch and Megatron-Core."""
    return TorchNorm, ColumnParallelLinear, RowParallelLinear, TorchAttention


def engine_modules() -> tuple[Any, ...]:
    """Return the same from Transformer Engine, with separate LayerNorm and linear layer: post-LN needs the value in
    between."""
    if not has_transformer_engine():
        raise ModuleNotFoundError(
            "Transformer Engine must be installed for this layer, but is not: leave out transformer_engine to use "
            "torch's attention"
        )
    from megatron.core.extensions.transformer_engine import (
        TEColumnParallelLinear,
        TEDotProductAttention,
        TENorm,
        TERowParallelLinear,
    )

    return TENorm, TEColumnParallelLinear, TERowParallelLinear, TEDotProductAttention


def check_config(config: TransformerConfig) -> None:
    """Raise ``ValueError`` if a configuration does not compute XLM-R."""
    if config.bias_activation_fusion:
        raise ValueError(
            "bias_activation_fusion must be False, but is True: Megatron's fused gelu is the tanh approximation, and "
            "XLM-R was trained with the exact one (--no-bias-gelu-fusion)"
        )
    if config.activation_func is not nn.functional.gelu or config.gated_linear_unit:
        raise ValueError("activation_func must be torch's gelu without a gate, but is another: XLM-R has no other")
    if config.normalization != "LayerNorm":
        raise ValueError(f"normalization must be LayerNorm, but is {config.normalization}: XLM-R has no other")
    if config.context_parallel_size > 1:
        raise ValueError(
            f"context_parallel_size must be 1, but is {config.context_parallel_size}: positions are counted over "
            "complete rows; use tensor parallelism with sequence_parallel"
        )
