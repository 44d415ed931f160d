"""A learning rate of the tables against torch's parameter groups, and a frozen encoder."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.optim.adam import FairseqAdam
from fairseq.optim.fp16_optimizer import FP16Optimizer
from small_optimizer import config, gradients, parameters, run
from small_step import build, make_batch
from support import Task

from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion
from langsamp_plugin.hf.trainer import scale_updates
from langsamp_plugin.optim.fused_adamw import FairseqFusedAdamW
from langsamp_plugin.training import table_rate
from langsamp_plugin.training.master_weights import check_state
from langsamp_plugin.training.table_rate import scaled_step, tag_tables


class Scaled:
    """An optimizer whose second parameter has another rate."""

    def __init__(self, optimizer, params, factor):
        self.optimizer, self.params, self.factor = optimizer, params, factor

    def step(self):
        with scaled_step(self.optimizer, self.params[1:], self.factor):
            self.optimizer.step()

    def __getattr__(self, name):
        return getattr(self.optimizer, name)


def by_groups(factor, decay):
    """Return the weights after five steps of torch's AdamW with two groups."""
    params = parameters()
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 1e-2 * factor}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.98), eps=1e-12, weight_decay=decay)
    for step in range(5):
        for param, gradient in zip(params, gradients(step)):
            param.grad = gradient
        optimizer.step()
    return params


@pytest.mark.parametrize("kind", [FairseqAdam, FairseqFusedAdamW])
@pytest.mark.parametrize("factor", [10.0, 0.5, 0.0])
def test_it_is_a_second_group(kind, factor):
    params = parameters()
    optimizer = kind(config(weight_decay=0.1, adam_eps=1e-12), params)
    run(Scaled(optimizer, params, factor), params, 5, factors=(1.0, 1.0), clip=0.0)
    for one, other in zip(params, by_groups(factor, 0.1)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(params[1], by_groups(1.0, 0.1)[1], atol=1e-3), "the control: the factor matters"


@pytest.mark.parametrize("factor", [10.0, 0.5, 0.0])
def test_the_trainers_hooks_are_a_second_group(factor):
    params = parameters()
    optimizer = torch.optim.AdamW(params, lr=1e-2, betas=(0.9, 0.98), eps=1e-12, weight_decay=0.1)
    scale_updates(optimizer, params[1:], factor)
    for step in range(5):
        for param, gradient in zip(params, gradients(step)):
            param.grad = gradient
        optimizer.step()
    for one, other in zip(params, by_groups(factor, 0.1)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_masters_have_it_in_half_precision():
    """The float32 copies, which the next update starts from, and the weights, which are their rounded values."""
    weights = parameters(torch.bfloat16)
    common = SimpleNamespace(bf16=True, fp16_no_flatten_grads=True, fp16_scale_window=1)
    settings = SimpleNamespace(common=common, optimizer=config(adam_eps=1e-12))
    masters = [torch.nn.Parameter(weight.data.float()) for weight in weights]
    reference = [master.detach().clone() for master in masters]
    optimizer = FP16Optimizer(settings, weights, FairseqAdam(config(adam_eps=1e-12), masters), masters)
    for param, gradient in zip(weights, gradients(0)):
        param.grad = gradient.bfloat16()
    optimizer._needs_sync = True
    with scaled_step(optimizer, weights[1:], 10.0):
        optimizer.step()
    moved = [(master.detach() - start).abs().mean() for master, start in zip(masters, reference)]
    assert 8 < moved[1] / moved[0] < 12
    assert all(torch.equal(weight, master.bfloat16()) for weight, master in zip(weights, masters))


@pytest.mark.parametrize("flat", [False, True])
def test_a_state_of_other_weights_is_refused(flat):
    """As after a run with --freeze-encoder or another --embed-tags; in half precision all weights are one tensor."""
    weights = [weight.detach() for weight in parameters()]
    some, all_of_them = weights[:1], weights
    if flat:
        some, all_of_them = ([torch.cat([weight.flatten() for weight in part])] for part in (some, all_of_them))
    optimizers = []
    for part in (some, all_of_them):
        params = [torch.nn.Parameter(weight.clone()) for weight in part]
        optimizers.append(torch.optim.Adam(params))
        for param in params:
            param.grad = torch.ones_like(param)
        optimizers[-1].step()
    for one, other in zip(optimizers, optimizers[::-1]):
        check_state(one.state_dict(), one)
        with pytest.raises(ValueError, match="but this run trains .* the same --freeze-encoder, --embed-tags and tab"):
            check_state(one.state_dict(), other)
    check_state({"param_groups": [{"params": [0]}], "state": {}}, optimizers[0])  # nothing has been averaged


def test_the_tables_of_a_model_are_found():
    model = build()
    assert [len(weight) for weight in tag_tables(torch.nn.Sequential(model))] == [4, 3]
    assert tag_tables(build(embed_tags="none")) == []


@pytest.mark.parametrize("kind", ["blocks", "plain"])
def test_a_frozen_encoder_trains_its_head_and_the_tables(kind):
    found = {}
    for frozen in (True, False):
        model = build(freeze_encoder=frozen, dropout=0.0, attention_dropout=0.0)
        loss, _, _ = LangSampMaskedLMCriterion(Task(words=300), kind)(model, make_batch())
        loss.backward()
        found[frozen] = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    names = {"lang_embedding.weight", "script_embedding.weight", "lm_head.bias"}
    names |= {f"lm_head.{part}.{kind}" for part in ("dense", "layer_norm") for kind in ("weight", "bias")}
    assert set(found[True]) == {f"encoder.{name}" for name in names} < set(found[False])
    for name, gradient in found[True].items():
        torch.testing.assert_close(gradient, found[False][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "then, now, reset, said",
    [(10.0, 5.0, False, True), (10.0, 10.0, False, False), (10.0, 5.0, True, False), (None, 5.0, False, False)],
)
def test_another_scale_is_said_on_resuming(then, now, reset, said, caplog):
    """Neither on the same scale, nor in a new run from a checkpoint, nor after checkpoints of other versions."""

    def trainer(scale):
        return SimpleNamespace(cfg=SimpleNamespace(task=SimpleNamespace(tables_lr_scale=scale)))

    state = table_rate._saving(lambda self: {"extra_state": {}})(trainer(then))
    load = table_rate._comparing(lambda self, filename, *rest, **settings: state["extra_state"])
    assert load(trainer(now), "last.pt", reset) is state["extra_state"]
    assert ("--tables-lr-scale is 5, but was 10 in last.pt" in caplog.text) == said
    stock = SimpleNamespace(cfg=SimpleNamespace(task=SimpleNamespace()))  # another task
    assert table_rate._saving(lambda self: {"extra_state": {}})(stock) == {"extra_state": {}}
