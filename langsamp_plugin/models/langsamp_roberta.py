"""The fairseq model ``langsamp_roberta``: flags, sizes, and loading of checkpoints with other inventories."""

from __future__ import annotations

import argparse
import logging
from typing import Any, Optional

from fairseq.models import register_model, register_model_architecture
from fairseq.models.roberta.model import RobertaModel, base_architecture
from fairseq.utils import safe_getattr

from langsamp_plugin.lang_script import CODE_TABLES
from langsamp_plugin.models.encoder import LangSampRobertaEncoder
from langsamp_plugin.modules.second_names import second_names
from langsamp_plugin.modules.sizes import check_sizes
from langsamp_plugin.modules.tag_embedding import TagEmbedding, decode_codes, move_rows

logger = logging.getLogger(__name__)


@register_model("langsamp_roberta")
class LangSampRobertaModel(RobertaModel):
    """RoBERTa whose masked-LM head also receives the language and script of a sentence.

    Everything that ``roberta`` supports works unchanged: ``features_only=True`` and ``extract_features`` give the
    backbone's ``h`` and take no ids, classification heads sit on ``h``, stock checkpoints load.
    """

    @classmethod
    def hub_models(cls) -> dict[str, str]:
        """No weights are published under this name."""
        return {}

    @staticmethod
    def add_args(parser: argparse.ArgumentParser) -> None:
        """Add the flags of RoBERTa and of the two tables."""
        RobertaModel.add_args(parser)
        parser.add_argument(
            "--embed-tags",
            choices=["both", "lang", "script", "none"],
            help="tables to add to the output: both is LangSAMP, none is vanilla XLM-R (default: both)",
        )
        parser.add_argument(
            "--embed-tags-at",
            choices=["output", "input"],
            help="output is LangSAMP; input adds the tables to the token embeddings instead, as in XLM, for "
            "comparison; features then need ids (default: output)",
        )
        parser.add_argument(
            "--layer-norm-eps",
            type=float,
            help="added to the variance in every LayerNorm; an imported model may need another value than XLM-R's, "
            "which `langsamp import` prints (default: 1e-5)",
        )
        parser.add_argument(
            "--freeze-encoder",
            action="store_true",
            help="train only the masked-LM head and the tables, for an encoder that has no head",
        )
        parser.add_argument(
            "--checkpoint-activations",
            action="store_true",
            help="store only the input of each transformer block and recompute the block in the backward pass: less "
            "memory, a third more time; the XL size needs it",
        )
        parser.add_argument(
            "--compile",
            action="store_true",
            help="compile the transformer blocks and the softmax of --head-loss blocks with torch.compile: the first "
            "updates take a minute or two; checkpoints are the same with and without it",
        )

    @classmethod
    def build_model(cls, args: Any, task: Any) -> LangSampRobertaModel:
        """Build the model for a task; one without tables (fine-tuning) gets the bare backbone."""
        from omegaconf import OmegaConf

        if getattr(args, "ddp_backend", None) == "fully_sharded":
            raise ValueError(
                "--ddp-backend fully_sharded is not supported: the gradient of the tied embedding needs the complete "
                "weight; leave the flag out (a base model with 401,145 words and its optimizer state take 8.7 GB per "
                "GPU in fp16)"
            )
        if OmegaConf.is_config(args):
            OmegaConf.set_struct(args, False)
        langsamp_roberta_architecture(args)
        encoder = LangSampRobertaEncoder(args, task.source_dictionary, getattr(task, "tables", None))
        if args.freeze_encoder:  # and with it the head's projection, which is tied to the word embeddings
            encoder.sentence_encoder.requires_grad_(False)
        if OmegaConf.is_config(args):
            OmegaConf.set_struct(args, True)
        return cls(args, encoder)

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Adapt a checkpoint to this model: stock RoBERTa or XLM-R, or LangSAMP with another inventory.

        Raises:
            ValueError: the vocabulary, the number of positions or the blocks differ in size.
        """
        super().upgrade_state_dict_named(state_dict, name)
        for copy in second_names(state_dict):
            del state_dict[copy]
        prefix = f"{name}." if name else ""
        check_sizes(state_dict, self.state_dict(), prefix)
        for kind in CODE_TABLES:
            name = f"{kind.short}_embedding"
            self._fit_table(state_dict, f"{prefix}encoder.{name}.", getattr(self.encoder, name), kind.noun)

    def _fit_table(self, state_dict: dict[str, Any], prefix: str, table: Optional[TagEmbedding], noun: str) -> None:
        old, old_codes = state_dict.pop(f"{prefix}weight", None), state_dict.pop(f"{prefix}codes", None)
        if table is None:
            if old is not None:
                logger.info("the checkpoint's %s table (%d rows) is dropped: this model has none", noun, len(old))
            return
        codes = decode_codes(table.codes)
        if old is None:
            logger.info("%s table: the checkpoint has none, all %d rows start as N(0, 0.02)", noun, len(codes))
            weight = table.weight.detach()
        else:
            weight, moved = move_rows(old, decode_codes(old_codes), table.weight.detach(), codes)
            logger.info("%s table: %d rows carried over by code", noun, len(moved.kept))
            if moved.new:
                logger.info(
                    "%s table: %d rows that the checkpoint lacks start as N(0, 0.02) (other starts: `langsamp init "
                    "CHECKPOINT --tables ... --new-rows mean --donors NEW=OLD`): %s",
                    noun, len(moved.new), " ".join(moved.new),
                )  # fmt: skip
            if moved.dropped:
                logger.warning(
                    "%s table: %d rows of the checkpoint are not in this run's inventory and are dropped: %s",
                    noun, len(moved.dropped), " ".join(moved.dropped),
                )  # fmt: skip
        state_dict[f"{prefix}weight"] = weight
        state_dict[f"{prefix}codes"] = table.codes


@register_model_architecture("langsamp_roberta", "langsamp_roberta")
def langsamp_roberta_architecture(args: Any) -> None:
    """XLM-R base: 12 layers, width 768."""
    args.max_positions = safe_getattr(args, "max_positions", None) or 512
    args.embed_tags = safe_getattr(args, "embed_tags", "both") or "both"
    args.embed_tags_at = safe_getattr(args, "embed_tags_at", "output") or "output"
    args.layer_norm_eps = safe_getattr(args, "layer_norm_eps", None) or 1e-5
    args.compile = safe_getattr(args, "compile", False)
    args.checkpoint_activations = safe_getattr(args, "checkpoint_activations", False)
    args.freeze_encoder = safe_getattr(args, "freeze_encoder", False)
    base_architecture(args)


@register_model_architecture("langsamp_roberta", "langsamp_roberta_large")
def langsamp_roberta_large_architecture(args: Any) -> None:
    """XLM-R large: 24 layers, width 1024."""
    args.encoder_layers = safe_getattr(args, "encoder_layers", 24)
    args.encoder_embed_dim = safe_getattr(args, "encoder_embed_dim", 1024)
    args.encoder_ffn_embed_dim = safe_getattr(args, "encoder_ffn_embed_dim", 4096)
    args.encoder_attention_heads = safe_getattr(args, "encoder_attention_heads", 16)
    langsamp_roberta_architecture(args)


@register_model_architecture("langsamp_roberta", "langsamp_roberta_xl")
def langsamp_roberta_xl_architecture(args: Any) -> None:
    """XLM-R XL (Goyal et al. 2021, table 1): 36 layers, width 2560, LayerNorm before each block."""
    args.encoder_layers = safe_getattr(args, "encoder_layers", 36)
    args.encoder_embed_dim = safe_getattr(args, "encoder_embed_dim", 2560)
    args.encoder_ffn_embed_dim = safe_getattr(args, "encoder_ffn_embed_dim", 10240)
    args.encoder_attention_heads = safe_getattr(args, "encoder_attention_heads", 32)
    args.layernorm_embedding = safe_getattr(args, "layernorm_embedding", False)
    args.encoder_normalize_before = True
    langsamp_roberta_architecture(args)


@register_model_architecture("langsamp_roberta", "langsamp_roberta_tiny")
def langsamp_roberta_tiny_architecture(args: Any) -> None:
    """4 layers, width 192: trains on a CPU, for experiments."""
    args.encoder_layers = safe_getattr(args, "encoder_layers", 4)
    args.encoder_embed_dim = safe_getattr(args, "encoder_embed_dim", 192)
    args.encoder_ffn_embed_dim = safe_getattr(args, "encoder_ffn_embed_dim", 768)
    args.encoder_attention_heads = safe_getattr(args, "encoder_attention_heads", 4)
    langsamp_roberta_architecture(args)
