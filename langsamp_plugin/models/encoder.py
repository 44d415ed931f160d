"""XLM-R with a language and a script embedding added to its output.

Tensor names end in their shape: B sentences, T tokens, N masked tokens, C width.

    src_tokens_BT -> transformer blocks -> h_BTC -> masked positions h_NC
                  -> o_NC = h_NC + E_lang + E_script -> MLM head -> logits

``o_i = h_i + E_lang + E_script`` is equation 1 of LangSAMP (Liu et al., ACL 2025, arXiv 2409.18199).
"""

from __future__ import annotations

from typing import Any, Optional, Union

import torch
from fairseq.data import Dictionary
from fairseq.models.roberta.model import RobertaEncoder
from fairseq.modules.checkpoint_activations import checkpoint_wrapper, unwrap_checkpoint
from torch import Tensor

from langsamp_plugin.lang_script import CODE_TABLES, Tables
from langsamp_plugin.modules.head_loss import TokenLosses, in_blocks, masked_lm_loss
from langsamp_plugin.modules.second_names import second_names
from langsamp_plugin.modules.tag_embedding import TagEmbedding
from langsamp_plugin.modules.tied_embedding import TiedGradient, tied_lookup


class LangSampRobertaEncoder(RobertaEncoder):
    """RoBERTa's encoder with the two tables.

    Args:
        args: the model's configuration.
        dictionary: the vocabulary.
        tables: the inventories, or ``None`` for the bare backbone.
    """

    def __init__(self, args: Any, dictionary: Dictionary, tables: Optional[Tables] = None):
        super().__init__(args, dictionary)
        for module in self.modules():
            if hasattr(module, "normalized_shape"):  # torch's LayerNorm, or Apex's
                module.eps = args.layer_norm_eps
        weights = dict(self.named_parameters())
        for name in second_names(weights):
            # They never get a gradient. DistributedDataParallel would wait for it and average none at all, and the
            # optimizer would keep two more floats for each of them.
            weights[name].requires_grad_(False)
        if args.compile:
            # Compile in place, block by block: all blocks share one compilation, and weight names do not change.
            for block in self.sentence_encoder.layers:
                if args.checkpoint_activations:  # the compiled block is recomputed, with the same dropout
                    unwrap_checkpoint(block)
                    block.forward = torch.compile(block.forward)
                    checkpoint_wrapper(block)
                else:
                    block.compile()
        if args.activation_fn == "gelu":
            # fairseq's converts to float32 and moves 20 bytes per element instead of 4; torch's kernel computes in
            # float32 internally. In float32 both are the same.
            for block in (*self.sentence_encoder.layers, self.lm_head):
                block.activation_fn = torch.nn.functional.gelu
        self.fused_loss = bool(args.compile)
        self.mask_id = dictionary.index("<mask>")
        self.tables_at = args.embed_tags_at
        wanted, width = args.embed_tags, args.encoder_embed_dim
        for kind, codes in zip(CODE_TABLES, tables or (None, None)):
            table = TagEmbedding(codes, width) if codes is not None and wanted in ("both", kind.short) else None
            setattr(self, f"{kind.short}_embedding", table)

    def tag_embedding(self, lang_ids: Optional[Tensor], script_ids: Optional[Tensor]) -> Optional[Tensor]:
        """Return ``E_lang + E_script`` of each sentence.

        Args:
            lang_ids, script_ids: int64 (B,), rows of the tables or -1 for unknown; or (B, T), of each token.

        Returns:
            (B, C), or ``None`` if both tables are disabled. Without ids, which fairseq's hub cannot pass, language and
            script are unknown and nothing is added.

        Raises:
            ValueError: in training a table is enabled and its ids are absent.
        """
        total: Optional[Tensor] = None
        for kind, ids in zip(CODE_TABLES, (lang_ids, script_ids)):
            table = getattr(self, f"{kind.short}_embedding")
            if table is None:
                continue
            if ids is None and not self.training:
                continue
            if ids is None:
                raise ValueError(
                    f"{kind.short}_ids are needed because the model has a {kind.noun} table: train with --task "
                    "langsamp_masked_lm, or use features_only=True, which needs no ids"
                )
            rows_BC = table(ids)
            total = rows_BC if total is None else total + rows_BC
        return total

    def forward(
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        masked_tokens: Optional[Tensor] = None,
        masked_index: Optional[Tensor] = None,
        masked_rows: Optional[Tensor] = None,
        lang_ids: Optional[Tensor] = None,
        script_ids: Optional[Tensor] = None,
        src_lengths: Optional[Tensor] = None,
        padded: Optional[bool] = None,
        target: Optional[Tensor] = None,
        head_loss: str = "auto",
        **unused: Any,
    ) -> tuple[Union[Tensor, TokenLosses], dict[str, Any]]:
        """Encode, and predict unless ``features_only``.

        Args:
            src_tokens: int64 (B, T).
            features_only: return ``h`` and skip the head; ids are ignored.
            return_all_hiddens: also return the states of all layers.
            masked_tokens: bool (B, T), positions to predict; without them and ``masked_index`` all are.
            masked_index, masked_rows: int64 (N,), the same positions in the flattened batch, ascending, and their rows;
                they avoid a synchronisation to count positions.
            lang_ids, script_ids: int64 (B,).
            src_lengths: not used; part of every fairseq batch.
            padded: whether any row is padded, if known without a synchronisation.
            target: int64 (N,), the correct words at the masked positions in row-major order; if given, losses are
                returned instead of logits.
            head_loss: kind of computation, see :func:`langsamp_plugin.modules.head_loss.masked_lm_loss`.
            unused: additional inputs from other fairseq tasks (``prev_output_tokens`` of sentence prediction).

        Returns:
            ``(x, extra)``: ``x`` is ``h`` (B, T, C), or logits (N, vocabulary) of the masked positions in row-major
            order, or (B, T, vocabulary) if all are predicted, or the losses; ``extra["inner_states"]`` as in RoBERTa.
        """
        at_input = self.tables_at == "input"
        tags_BC = self.tag_embedding(lang_ids, script_ids) if at_input or not features_only else None
        tied = self._tied_gradient(target, head_loss)
        features_BTC, extra = self._encode(src_tokens, return_all_hiddens, tags_BC if at_input else None, tied, padded)
        if features_only:
            return features_BTC, extra
        tags_BC = None if at_input else tags_BC
        if masked_index is not None and masked_rows is not None:
            x_NC = _take(features_BTC, masked_index, masked_rows, tags_BC)
        else:
            x_NC = self._select(features_BTC, masked_tokens, tags_BC)
        if target is None:
            return self.lm_head(x_NC), extra
        head = self.lm_head
        x_NC = head.layer_norm(head.activation_fn(head.dense(x_NC)))
        return masked_lm_loss(x_NC, head.weight, head.bias, target, head_loss, tied, fused=self.fused_loss), extra

    def _tied_gradient(self, target: Optional[Tensor], head_loss: str) -> Optional[TiedGradient]:
        """Return the carrier of the head's gradient to the lookup, if it saves a tensor of the vocabulary's size."""
        weight = self.lm_head.weight
        if target is None or weight is not self.sentence_encoder.embed_tokens.weight:
            return None
        trained = torch.is_grad_enabled() and weight.requires_grad
        return TiedGradient(self.mask_id) if trained and in_blocks(len(target), weight, head_loss) else None

    def _encode(
        self,
        src_tokens: Tensor,
        return_all_hiddens: bool,
        tags_BC: Optional[Tensor],
        tied: Optional[TiedGradient],
        padded: Optional[bool] = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return ``h`` (B, T, C); ``tags_BC`` are added to the token embeddings."""
        embedding = self.sentence_encoder.embed_tokens
        embedding_BTC = None
        if tied is not None:
            embedding_BTC = tied_lookup(src_tokens, embedding.weight, embedding.padding_idx, tied)
        if tags_BC is not None:
            embedding_BTC = embedding(src_tokens) if embedding_BTC is None else embedding_BTC
            embedding_BTC = embedding_BTC + _per_token(tags_BC)
        if padded is not None and not return_all_hiddens:
            return self._states(src_tokens, embedding_BTC, padded), {"inner_states": None}
        return super().extract_features(src_tokens, return_all_hiddens, token_embeddings=embedding_BTC)

    def _states(self, src_tokens: Tensor, embedding_BTC: Optional[Tensor], padded: bool) -> Tensor:
        """Compute the same as fairseq's encoder, bit for bit, without its synchronisation about padding in each
        block."""
        encoder = self.sentence_encoder
        x_BTC, _ = encoder.forward_embedding(src_tokens, embedding_BTC)
        padding_BT = src_tokens.eq(encoder.padding_idx) if padded else None
        if padding_BT is not None:
            x_BTC = x_BTC * (1 - padding_BT.unsqueeze(-1).type_as(x_BTC))
        x_TBC = x_BTC.transpose(0, 1)
        for block in encoder.layers:
            x_TBC = block(x_TBC, encoder_padding_mask=padding_BT)
        if encoder.layer_norm is not None:
            x_TBC = encoder.layer_norm(x_TBC)
        return x_TBC.transpose(0, 1)

    def extract_features(
        self, src_tokens: Tensor, return_all_hiddens: bool = False, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return ``h`` (B, T, C); ids are needed only if the tables are at the input."""
        tags_BC = None
        if self.tables_at == "input":
            tags_BC = self.tag_embedding(kwargs.get("lang_ids"), kwargs.get("script_ids"))
        return self._encode(src_tokens, return_all_hiddens, tags_BC, None)

    def output_layer(
        self, features: Tensor, masked_tokens: Optional[Tensor] = None, tags: Optional[Tensor] = None
    ) -> Tensor:
        """Add the tags at the positions to predict and compute logits.

        Args:
            features: (B, T, C).
            masked_tokens: bool (B, T) or ``None``.
            tags: (B, C) or ``None``, from :meth:`tag_embedding`.

        Returns:
            logits, (N, vocabulary) or (B, T, vocabulary).
        """
        return self.lm_head(self._select(features, masked_tokens, tags))

    @staticmethod
    def _select(features: Tensor, masked_tokens: Optional[Tensor], tags: Optional[Tensor]) -> Tensor:
        """Return the input of the head: (N, C) of the masked positions, or (B, T, C)."""
        if masked_tokens is None:
            return features if tags is None else features + _per_token(tags)
        if tags is None:
            return features[masked_tokens]
        return features[masked_tokens] + _per_token(tags).expand_as(features)[masked_tokens]


def _per_token(tags: Tensor) -> Tensor:
    """Return (B, 1, C), or (B, T, C) if a row has sentences in several languages."""
    return tags if tags.dim() == 3 else tags.unsqueeze(1)


def _take(features_BTC: Tensor, index_N: Tensor, rows_N: Tensor, tags_BC: Optional[Tensor]) -> Tensor:
    """Return ``h + E`` (N, C) at positions ``index_N`` of the flattened batch, which are in ``rows_N``."""
    batch, length, width = features_BTC.shape
    # fairseq's states are a transposed (T, B, C); index it without copying all of it.
    place_N = index_N.remainder(length) * batch + rows_N
    x_NC = features_BTC.transpose(0, 1).reshape(-1, width).index_select(0, place_N)
    # A lookup instead of index_select, whose gradient is summed in a nondeterministic order on a GPU.
    return x_NC if tags_BC is None else x_NC + torch.nn.functional.embedding(rows_N, tags_BC)
