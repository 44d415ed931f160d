"""LangSAMP's model on Megatron-Core: XLM-R, the two tables before the head, and a loss over a split vocabulary.

Tensor names end in their shape: B batch, T positions, S the same or this rank's share of them, C width, N masked
positions, V this rank's words.
"""

from __future__ import annotations

from typing import Any, Optional

import torch
from megatron.core import parallel_state, tensor_parallel
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.models.common.language_module.language_module import LanguageModule
from megatron.core.transformer.enums import ModelType
from megatron.core.transformer.transformer_block import TransformerBlock, TransformerBlockSubmodules
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from langsamp_plugin.lang_script import Tables
from langsamp_plugin.megatron.layer import block_spec, check_config
from langsamp_plugin.modules.tag_embedding import TagEmbedding

PAD = 1
IGNORED = -100
"""The label of positions that are not predicted, torch's default."""
NO_WORD = -1e4
"""Logit of a row that pads the vocabulary: its probability is zero in every precision."""
ABLATIONS = ("both", "lang", "script", "none")


class LangSampBertModel(LanguageModule):
    """XLM-R with language and script embeddings added to its output, before the masked-LM head.

    Args:
        config: Megatron's configuration; see :func:`~langsamp_plugin.megatron.sizes.transformer_config`.
        num_words: words of the vocabulary, including ``<mask>``.
        max_positions: maximum tokens per row; two more rows are kept, because XLM-R counts positions from the padding
            id.
        tables: the inventories of languages and scripts; ``None`` if ``embed_tags`` is ``none``.
        embed_tags: ``both``, ``lang``, ``script`` or ``none``.
        padded_words: rows of the word embedding, a multiple of the tensor-parallel size; by default the next one.
        post_norm: XLM-R's layers (base and large); ``False`` is XLM-R XL's.
        token_types: rows of a token-type embedding, which some Hugging Face models have: 0 or 1.
        spec: all layers, from :func:`~langsamp_plugin.megatron.layer.block_spec`; by default chosen for this machine.
        pre_process, post_process: whether this pipeline stage has the embeddings, or the head.
        vp_stage: number of the virtual pipeline stage.

    Raises:
        ValueError: the configuration does not compute XLM-R, or sizes are not divisible by the ranks.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        num_words: int,
        max_positions: int = 512,
        tables: Optional[Tables] = None,
        embed_tags: str = "both",
        padded_words: Optional[int] = None,
        post_norm: bool = True,
        token_types: int = 0,
        spec: Optional[TransformerBlockSubmodules] = None,
        pre_process: bool = True,
        post_process: bool = True,
        vp_stage: Optional[int] = None,
    ):
        check_config(config)
        check_tags(embed_tags, tables)
        super().__init__(config=config)
        ranks = config.tensor_model_parallel_size
        self.padded_words = padded_words if padded_words is not None else num_words + -num_words % ranks
        check_vocabulary(num_words, self.padded_words, ranks)
        self.num_words, self.max_positions, self.vp_stage = num_words, max_positions, vp_stage
        self.pre_process, self.post_process = pre_process, post_process
        self.share_embeddings_and_output_weights = True
        self.model_type = ModelType.encoder_or_decoder
        if pre_process:
            self.embedding = LanguageModelEmbedding(
                config=config,
                vocab_size=self.padded_words,
                max_sequence_length=max_positions + PAD + 1,
                num_tokentypes=token_types,
            )
            if post_norm:  # dropout follows the LayerNorm, which belongs to the first layer
                self.embedding.embedding_dropout = nn.Dropout(0.0)
        self.token_types = token_types
        self.encoder = TransformerBlock(
            config=config,
            spec=spec if spec is not None else block_spec(config, post_norm, vp_stage=vp_stage),
            pre_process=pre_process,
            post_process=post_process,
            vp_stage=vp_stage,
        )
        self.lang_embedding = self.script_embedding = None
        if post_process:
            self._add_head(config)
            if tables is not None and embed_tags in ("both", "lang"):
                self.lang_embedding = TagEmbedding(list(tables.languages), config.hidden_size)
            if tables is not None and embed_tags in ("both", "script"):
                self.script_embedding = TagEmbedding(list(tables.scripts), config.hidden_size)
            for table in (self.lang_embedding, self.script_embedding):
                if table is not None:
                    table.to(config.params_dtype)
                    if not config.use_cpu_initialization:
                        table.to(torch.cuda.current_device())
        if pre_process or post_process:
            self.setup_embeddings_and_output_layer()

    def _add_head(self, config: TransformerConfig) -> None:
        self.lm_head = MaskedLMHead(config)
        self.output_layer = tensor_parallel.ColumnParallelLinear(
            config.hidden_size,
            self.padded_words,
            config=config,
            init_method=config.init_method,
            bias=True,
            skip_bias_add=False,
            gather_output=False,
            skip_weight_param_allocation=self.pre_process,
        )
        # The head processes masked positions of all ranks at once, so nothing is split by position after the encoder.
        self.output_layer.sequence_parallel = False
        self.output_layer.allreduce_dgrad = config.tensor_model_parallel_size > 1

    def set_input_tensor(self, input_tensor: Any) -> None:
        """Receive the states of the previous pipeline stage."""
        tensors = input_tensor if isinstance(input_tensor, list) else [input_tensor]
        self.encoder.set_input_tensor(tensors[0])

    def forward(
        self,
        input_ids: Optional[Tensor],
        attention_mask: Tensor,
        *,
        lang_ids: Optional[Tensor] = None,
        script_ids: Optional[Tensor] = None,
        labels: Optional[Tensor] = None,
    ) -> Tensor:
        """Encode and predict.

        Args:
            input_ids: int64 (B, T), padded with 1.
            attention_mask: bool or int (B, T), 1 for tokens.
            lang_ids, script_ids: int64 (B,), rows of the tables, -1 for unknown.
            labels: int64 (B, T), the correct word at positions to predict, -100 elsewhere.

        Returns:
            With labels the losses in nats, float32 (N,), of the masked positions in row-major order; without them this
            rank's logits (B, T, V). On any pipeline stage except the last, the states (S, B, C).

        Raises:
            ValueError: a table exists but its ids are absent.
        """
        states_SBC = self.encode(input_ids, attention_mask)
        if not self.post_process:
            return states_SBC
        if self.config.sequence_parallel:
            # All ranks continue with the same rows, so each already has its complete gradient.
            states_SBC = tensor_parallel.gather_from_sequence_parallel_region(
                states_SBC, tensor_parallel_output_grad=False
            )
        h_BTC = states_SBC.transpose(0, 1)
        tags_BC = self.tag_embedding(lang_ids, script_ids)
        if labels is None:
            return self.logits(h_BTC if tags_BC is None else h_BTC + tags_BC.unsqueeze(1))
        masked_BT = labels != IGNORED
        rows_NC = h_BTC[masked_BT]
        if tags_BC is not None:
            rows_NC = rows_NC + tags_BC.unsqueeze(1).expand_as(h_BTC)[masked_BT]
        logits_NV = self.logits(rows_NC).float()
        return tensor_parallel.vocab_parallel_cross_entropy(logits_NV, labels[masked_BT])

    def encode(self, input_ids: Optional[Tensor], attention_mask: Tensor) -> Tensor:
        """Return ``h`` (S, B, C), which needs no tags."""
        embedded_SBC = None
        if self.pre_process:
            assert input_ids is not None
            types = torch.zeros_like(input_ids) if self.token_types else None
            embedded_SBC = self.embedding(input_ids, position_ids(input_ids), types)
        hidden_B11T = (attention_mask < 0.5 if attention_mask.dtype != torch.bool else ~attention_mask)[:, None, None]
        return self.encoder(hidden_states=embedded_SBC, attention_mask=hidden_B11T)

    def tag_embedding(self, lang_ids: Optional[Tensor], script_ids: Optional[Tensor]) -> Optional[Tensor]:
        """Return ``E_lang + E_script`` (B, C), ``None`` if both tables are disabled."""
        total: Optional[Tensor] = None
        for noun, table, ids in (
            ("lang", self.lang_embedding, lang_ids),
            ("script", self.script_embedding, script_ids),
        ):
            if table is None:
                continue
            if ids is None:
                raise ValueError(f"{noun}_ids must be given because the model has a {noun} table, but are absent")
            rows_BC = table(ids)
            total = rows_BC if total is None else total + rows_BC
        return total

    def logits(self, rows: Tensor) -> Tensor:
        """Return this rank's logits (..., V) for the head's input (..., C)."""
        weight = self.shared_embedding_or_output_weight()
        out, _ = self.output_layer(self.lm_head(rows), weight=weight)
        first = parallel_state.get_tensor_model_parallel_rank() * out.shape[-1]
        if first + out.shape[-1] > self.num_words:
            out[..., max(self.num_words - first, 0) :] = NO_WORD
        return out


class MaskedLMHead(nn.Module):
    """XLM-R's head before the projection: dense, gelu, LayerNorm; replicated on every tensor-parallel rank.

    Args:
        config: the model's.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        device = "cpu" if config.use_cpu_initialization else torch.cuda.current_device()
        options: dict[str, Any] = {"device": device, "dtype": config.params_dtype}
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, **options)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon, **options)
        config.init_method(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """Return (..., C) of (..., C)."""
        return self.layer_norm(nn.functional.gelu(self.dense(rows)))


def position_ids(input_ids: Tensor) -> Tensor:
    """Return XLM-R's positions (B, T): tokens are counted from the padding id, padding keeps it."""
    there = input_ids.ne(PAD)
    return torch.cumsum(there, dim=1) * there + PAD


def check_tags(embed_tags: str, tables: Optional[Tables]) -> None:
    """Raise ``ValueError`` unless tables and ``embed_tags`` match."""
    if embed_tags not in ABLATIONS:
        raise ValueError(f"embed_tags must be one of {', '.join(ABLATIONS)}, but is {embed_tags!r}")
    if embed_tags != "none" and tables is None:
        raise ValueError(f"embed_tags is {embed_tags}, which needs tables: pass them, or use embed_tags none")


def check_vocabulary(num_words: int, padded_words: int, ranks: int) -> None:
    """Raise ``ValueError`` unless the word embedding has a row for each word and splits evenly over the ranks."""
    if padded_words < num_words:
        raise ValueError(f"padded_words must be at least the {num_words:,} words, but is {padded_words:,}")
    if padded_words % ranks:
        raise ValueError(
            f"padded_words must be divisible by the tensor-parallel size {ranks}, but is {padded_words:,}: take "
            f"{padded_words + -padded_words % ranks:,} (--make-vocab-size-divisible-by)"
        )
