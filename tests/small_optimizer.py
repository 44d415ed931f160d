"""Two parameters, their gradients, and steps of an optimizer of fairseq's kind."""

from argparse import Namespace

import torch

SETTINGS = {"lr": [1e-2], "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-8, "weight_decay": 0.1}


def config(**changes):
    return Namespace(**{**SETTINGS, "use_old_adam": False, "fp16_adam_stats": False, "tpu": False, **changes})


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator).to(dtype)) for shape in ((5, 3), (7,))]


def gradients(step):
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(*shape, generator=generator) for shape in ((5, 3), (7,))]


def run(optimizer, params, steps, first=0, factors=(0.5, 0.1), clip=1.0):
    norms = []
    for step in range(first, first + steps):
        optimizer.zero_grad()
        for param, gradient in zip(params, gradients(step)):
            param.grad = gradient.to(param.dtype)
        optimizer.multiply_grads(factors[step % 2])
        norms.append(float(optimizer.clip_grad_norm(clip)))
        optimizer.step()
    return norms
