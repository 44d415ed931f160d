"""What a model takes over from a checkpoint, and the sizes that its names stand for."""

import argparse

import pytest
import torch
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.roberta import RobertaModel
from support import Task

from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion
from langsamp_plugin.lang_script import LanguageTable, ScriptTable, Tables
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


@pytest.fixture
def batch():
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


def test_ablations_start_from_the_same_backbone():
    states = [ours(embed_tags=tables).state_dict() for tables in ("both", "lang", "none")] + [stock().state_dict()]
    for name, weight in states[2].items():
        assert all(torch.equal(state[name], weight) for state in states), name


def test_rows_follow_codes_through_reorder_and_growth():
    old = ours()
    new = ours(
        Task(Tables(LanguageTable(["abk", "rus", "zul", "eng"]), ScriptTable(["Arab", "Latn", "Cyrl", "Deva"]))),
        seed=9,
    )
    fresh = {name: weight.clone() for name, weight in new.state_dict().items()}
    new.load_state_dict(old.state_dict(), strict=True)
    lang, script = new.encoder.lang_embedding.weight, new.encoder.script_embedding.weight
    before = old.encoder.lang_embedding.weight
    assert torch.equal(lang[1:], before[[3, 2, 0]]), "they keep their rows"
    assert torch.equal(lang[0], fresh["encoder.lang_embedding.weight"][0])
    assert torch.equal(script[1:], old.encoder.script_embedding.weight[:3])
    assert torch.equal(script[0], fresh["encoder.script_embedding.weight"][0])
    # Control: by position, rows would belong to other codes.
    assert not torch.equal(lang[1:], before[1:])


def test_bare_backbone_for_fine_tuning_drops_the_tables():
    model = ours(Task(tables=None))
    model.load_state_dict(ours().state_dict(), strict=True)
    assert not any("lang_embedding" in name for name in model.state_dict())


def test_other_vocabulary_names_both_sizes():
    with pytest.raises(ValueError, match=r"55 types in the checkpoint and 65 here.*langsamp init"):
        ours(Task(words=60)).load_state_dict(ours().state_dict())
    with pytest.raises(ValueError, match=r"42 rows in the checkpoint and 66 here: set --max-positions 40"):
        ours(max_positions=64).load_state_dict(ours().state_dict())


@pytest.mark.parametrize(
    ("arch", "layers", "width", "heads"),
    [
        ("langsamp_roberta", 12, 768, 12),
        ("langsamp_roberta_large", 24, 1024, 16),
        ("langsamp_roberta_xl", 36, 2560, 32),
        ("langsamp_roberta_tiny", 4, 192, 4),
    ],
)
def test_architectures(arch, layers, width, heads):
    args = argparse.Namespace()
    ARCH_CONFIG_REGISTRY[arch](args)
    assert (args.encoder_layers, args.encoder_embed_dim, args.encoder_attention_heads, args.encoder_ffn_embed_dim) == (
        layers,
        width,
        heads,
        4 * width,
    )
    assert args.max_positions == 512 and args.encoder_normalize_before == (arch == "langsamp_roberta_xl")
