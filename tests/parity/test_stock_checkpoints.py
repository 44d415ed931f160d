"""What a model takes over from a checkpoint, and the sizes that its names stand for."""

import argparse

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from stock_models import ours, stock
from support import ROOT, Task

from langsamp_plugin.lang_script import LanguageTable, ScriptTable, Tables
from langsamp_plugin.models.langsamp_roberta import LangSampRobertaModel


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


def test_memory_that_the_documents_name():
    """20 bytes per trained parameter in half precision with float32 masters, 22 with buckets of gradients for several
    GPUs."""
    task = Task()
    model = LangSampRobertaModel.build_model(argparse.Namespace(), task)
    missing = 401_145 - len(task.dictionary)  # rows of the embedding, and of the projection's bias
    count = sum(part.numel() for part in model.parameters() if part.requires_grad) + missing * (768 + 1)
    text = " ".join((ROOT / "examples" / "pretrain" / "README.md").read_text(encoding="utf-8").split())
    assert f"{20 * count / 1e9:.1f} or {22 * count / 1e9:.1f} GB" in text
    assert f"({count / 1e6:.0f} million parameters)" in text


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
