"""A small model, a batch and one step, for tests that compare ways of making a step."""

import argparse

import torch
from support import Task

from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion
from langsamp_plugin.models.langsamp_roberta import LangSampRobertaModel

WORDS = 300
SIZES = {
    "encoder_layers": 2, "encoder_embed_dim": 24, "encoder_ffn_embed_dim": 48, "encoder_attention_heads": 3,
    "max_positions": 40,
}  # fmt: skip


def build(**options):
    torch.manual_seed(1)
    args = argparse.Namespace(**{**SIZES, **options})
    return LangSampRobertaModel.build_model(args, Task(words=WORDS)).train()


def make_batch(padded=True):
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(4, WORDS + 4, (6, 17), generator=generator)
    if padded:
        tokens[2, 11:] = 1
    target = torch.where((torch.rand(6, 17, generator=generator) < 0.4) & (tokens > 3), tokens, torch.tensor(1))
    ids = {"lang_ids": torch.tensor([0, 3, 1, -1, 2, 0]), "script_ids": torch.tensor([0, 1, 0, 2, -1, 0])}
    inputs = {"src_tokens": tokens, "src_lengths": tokens.ne(1).sum(1), **ids}
    return {"net_input": inputs, "target": target, "nsentences": 6, "ntokens": 102}


def step(model, batch, kind):
    """Return loss and gradients by name."""
    model.zero_grad()
    torch.manual_seed(3)
    loss, _, logged = LangSampMaskedLMCriterion(Task(words=WORDS), kind)(model, batch)
    loss.backward()
    return loss.item(), gradients(model), logged["correct"].item()


def gradients(model):
    """Return gradients by name."""
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}


def worst(one, other):
    """The largest difference of two sets of gradients, relative to each tensor's largest entry.

    The keys' biases are left out: a softmax does not change when all its inputs are shifted, so that their gradients
    are zero but for rounding.
    """
    names = [name for name in other if not name.endswith("k_proj.bias")]
    return max(float((one[name] - other[name]).abs().max() / other[name].abs().max()) for name in names)
