"""A small model of ours and of stock fairseq, and their losses on one batch."""

import argparse

import torch
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.roberta import RobertaModel
from support import Task

from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion
from langsamp_plugin.models.langsamp_roberta import LangSampRobertaModel

SIZES = {
    "encoder_layers": 2,
    "encoder_embed_dim": 24,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 3,
    "max_positions": 40,
}


def stock(task=None, **options):
    args = argparse.Namespace(**SIZES, **options)
    ARCH_CONFIG_REGISTRY["roberta"](args)
    torch.manual_seed(1)
    return RobertaModel.build_model(args, task or Task())


def ours(task=None, seed=1, **options):
    torch.manual_seed(seed)
    return LangSampRobertaModel.build_model(argparse.Namespace(**{**SIZES, **options}), task or Task())


def same_weights(model, reference):
    """Load a stock state dict through the upgrade that restoring goes through."""
    model.load_state_dict(reference.state_dict(), strict=True)
    return model


def make_batch():
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(4, 54, (5, 17), generator=generator)
    tokens[:, 0] = 0
    tokens[2, 11:] = 1
    tokens[4, 3:] = 1
    target = torch.where((torch.rand(5, 17, generator=generator) < 0.3) & (tokens > 3), tokens, torch.tensor(1))
    return {
        "net_input": {
            "src_tokens": tokens, "src_lengths": tokens.ne(1).sum(1),
            "lang_ids": torch.tensor([0, 3, 1, -1, 2]), "script_ids": torch.tensor([0, 1, 0, 2, -1]),
        },
        "target": target, "nsentences": 5, "ntokens": int(tokens.ne(1).sum()), "tag_ids": torch.tensor([0, 1, 0, 0, 1]),
    }  # fmt: skip


def losses(model, batch, task=None):
    task = task or Task()
    criterion = LangSampMaskedLMCriterion(task)
    return criterion(model, batch)


def stock_loss(model, batch):
    without = {**batch, "net_input": {k: v for k, v in batch["net_input"].items() if not k.endswith("_ids")}}
    return MaskedLmLoss(MaskedLmConfig(tpu=False), Task())(model, without)
