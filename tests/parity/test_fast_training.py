"""Every fast path of a training step against its slow one, in a complete model."""

import argparse
import copy
import shutil

import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from small_step import WORDS, build, gradients, make_batch, step, worst
from support import Task, run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion
from langsamp_plugin.modules import head_loss as module


@pytest.mark.parametrize(
    "options", [{}, {"embed_tags": "none"}, {"embed_tags_at": "input"}, {"untie_weights_roberta": True}]
)
def test_blocks_and_plain_train_alike(options, monkeypatch):
    """Loss, accuracy and the gradient of every weight, the tied embedding's too; dropout is on, with the same seed."""
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 4 * WORDS * 7)
    model, batch = build(**options), make_batch()
    (plain, right, hits), (blocks, found, same) = step(model, batch, "plain"), step(model, batch, "blocks")
    assert blocks == pytest.approx(plain, rel=1e-6) and hits == same
    assert set(found) == set(right) and worst(found, right) < 2e-5
    torch.manual_seed(4)
    other = {name: grad for name, grad in right.items()}
    other["encoder.lm_head.bias"] = right["encoder.lm_head.bias"].roll(1)
    assert worst(other, right) > 1e-2


def test_gradients_add_up_over_batches(monkeypatch):
    """--update-freq: the second batch's gradient is added to the first's."""
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 4 * WORDS * 7)
    model = build(dropout=0.0, attention_dropout=0.0)
    one, two = make_batch(), make_batch(padded=False)
    parts = [step(model, batch, "plain")[1] for batch in (one, two)]
    model.zero_grad()
    for batch in (one, two):
        LangSampMaskedLMCriterion(Task(words=WORDS), "blocks")(model, batch)[0].backward()
    total = {name: parts[0][name] + parts[1][name] for name in parts[0]}
    assert worst(gradients(model), total) < 2e-5


def test_a_model_in_half_precision(monkeypatch):
    """As fairseq's --fp16 trains: half weights, float32 losses, a loss scale."""
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 4 * WORDS * 7)
    exact, half = build(dropout=0.0, attention_dropout=0.0), build(dropout=0.0, attention_dropout=0.0).half()
    batch = make_batch()
    right = step(exact, batch, "plain")
    for kind in ("plain", "blocks"):
        loss, gradients, _ = step(half, batch, kind)
        assert loss == pytest.approx(right[0], rel=2e-3)
        assert worst({name: grad.float() for name, grad in gradients.items()}, right[1]) < 5e-2


@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_the_fused_one(padded, monkeypatch):
    """Every block calls scaled_dot_product_attention in training, and passes a mask only where there is padding."""
    masks = []
    stock = F.scaled_dot_product_attention

    def watched(query, key, value, attn_mask=None, *args, **kwargs):
        masks.append(attn_mask)
        return stock(query, key, value, attn_mask, *args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    step(build(), make_batch(padded), "plain")
    assert len(masks) == 2 and all((mask is not None) == padded for mask in masks)


def test_compiled_blocks_give_the_same_gradients():
    torch._dynamo.reset()  # other tests' compilations neither count nor reach torch's limit
    torch._dynamo.utils.counters.clear()
    plain, compiled = (build(dropout=0.0, attention_dropout=0.0, compile=on) for on in (False, True))
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for batch in (make_batch(padded=False), make_batch()):
        right, found = step(plain, batch, "plain"), step(compiled, batch, "plain")
        assert found[0] == pytest.approx(right[0], rel=1e-6) and worst(found[1], right[1]) < 2e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


def test_stock_trains_alike():
    """Twenty updates from the same weights and seed: stock's criterion with fairseq's Adam, ours with the fast
    parts."""
    from fairseq.optim.adam import FairseqAdam as Stock

    from langsamp_plugin.optim.fused_adamw import FairseqFusedAdamW as Fused

    model, batch = build(embed_tags="none"), make_batch()
    reference = copy.deepcopy(model)
    cfg = argparse.Namespace(
        lr=[1e-2], adam_betas="(0.9, 0.98)", adam_eps=1e-8, weight_decay=0.0, use_old_adam=False, fp16_adam_stats=False,
        tpu=False,
    )  # fmt: skip
    sides = (
        (
            reference,
            MaskedLmLoss(MaskedLmConfig(tpu=False), Task(words=WORDS)),
            Stock(cfg, list(reference.parameters())),
        ),
        (model, LangSampMaskedLMCriterion(Task(words=WORDS), "blocks"), Fused(cfg, list(model.parameters()))),
    )
    curves = []
    for net, criterion, optimizer in sides:
        curve = []
        for update in range(20):
            torch.manual_seed(update)
            optimizer.zero_grad()
            loss, size, _ = criterion(net, batch)
            optimizer.backward(loss)
            optimizer.multiply_grads(1 / size)
            optimizer.clip_grad_norm(1.0)
            optimizer.step()
            curve.append(loss.item())
        curves.append(curve)
    assert curves[1] == pytest.approx(curves[0], rel=1e-4) and curves[0][-1] < 0.8 * curves[0][0]


def settings(path):
    (group,) = torch.load(path / "checkpoint_last.pt", weights_only=True)["last_optimizer_state"]["param_groups"]
    return tuple(group["betas"]), group["eps"], group["weight_decay"]


def test_either_adam_continues_the_other(demo, tmp_path):
    """Two updates by one and two by the other end where four by one do, in both directions; new settings count."""
    ways = {"adam": ("--optimizer", "adam"), "fused": ("--optimizer", "fused_adamw")}
    common = ("--clip-norm", 1.0, "--encoder-layers", 1, "--dropout", 0, "--attention-dropout", 0)

    def train(name, updates, way, *more):
        return run(*train_command(demo / "data-bin", tmp_path / name, updates, *common, *ways[way], *more))

    train("whole", 4, "adam")
    for first, then in (("adam", "fused"), ("fused", "adam")):
        train(first, 2, first)
        assert "Loaded checkpoint" in train(first, 4, then)
        whole, parts = (load_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("whole", first))
        assert (
            worst({name: whole[name].float() for name in whole}, {name: parts[name].float() for name in whole}) < 1e-4
        )
    train("adam", 5, "fused", "--adam-betas", "(0.8, 0.9)", "--adam-eps", "1e-7", "--weight-decay", 0.1)
    assert settings(tmp_path / "adam") == ((0.8, 0.9), 1e-7, 0.1)


def test_fast_parts_resume(demo, tmp_path):
    """fused_adamw, blocks and --compile through fairseq-train: a run that stopped goes on to the same weights."""
    fast = ("--optimizer", "fused_adamw", "--head-loss", "blocks", "--compile", "--encoder-layers", 1)
    run(
        *train_command(
            demo / "data-bin", tmp_path / "whole", 8, *fast, "--disable-validation", "--save-interval-updates", 5
        )
    )
    # As if that run had been killed after update 5: compiling costs more than all updates.
    (tmp_path / "parts").mkdir()
    shutil.copy(tmp_path / "whole" / "checkpoint_1_5.pt", tmp_path / "parts" / "checkpoint_last.pt")
    output = run(*train_command(demo / "data-bin", tmp_path / "parts", 8, *fast))
    assert "Loaded checkpoint" in output
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    # fairseq's own Adam resumes from there, without --reset-optimizer.
    output = run(*train_command(demo / "data-bin", tmp_path / "parts", 10, "--encoder-layers", 1))
    assert "Loaded checkpoint" in output and "num_updates 10" in output.replace("=", " ")
