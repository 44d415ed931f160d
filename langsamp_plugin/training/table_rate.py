"""A separate learning rate for the two tables.

A row of a table is trained by the few blocks of its language, the backbone by all of them. At the low rates of
continued pretraining the rows hardly leave their initial values.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from fairseq.trainer import Trainer
from torch import Tensor, nn

from langsamp_plugin.modules.tag_embedding import TagEmbedding
from langsamp_plugin.training.master_weights import masters

logger = logging.getLogger(__name__)

SCALE = "tables_lr_scale"
"""Name in a checkpoint's ``extra_state``, and of the flag."""


def install() -> None:
    """Patch fairseq's trainer to name a scale that differs from the resumed run's. Idempotent."""
    if not hasattr(Trainer.state_dict, SCALE):
        Trainer.state_dict = _saving(Trainer.state_dict)
        Trainer.load_checkpoint = _comparing(Trainer.load_checkpoint)


def _saving(stock: Any) -> Any:
    @wraps(stock)
    def state_dict(self: Any) -> dict[str, Any]:
        state = stock(self)
        scale = getattr(self.cfg.task, SCALE, None)
        if scale is not None:
            state["extra_state"][SCALE] = scale
        return state

    setattr(state_dict, SCALE, True)
    return state_dict


def _comparing(stock: Any) -> Any:
    @wraps(stock)
    def load_checkpoint(self: Any, filename: str, reset_optimizer: bool = False, *rest: Any, **settings: Any) -> Any:
        extra_state = stock(self, filename, reset_optimizer, *rest, **settings)
        before, now = (extra_state or {}).get(SCALE), getattr(self.cfg.task, SCALE, None)
        if before not in (None, now) and now is not None and not reset_optimizer:
            logger.warning(
                "--tables-lr-scale is %g, but was %g in %s: the tables continue at the new rate", now, before, filename
            )
        return extra_state

    return load_checkpoint


def tag_tables(model: nn.Module) -> list[Tensor]:
    """Return the weights of the tables of a model, which may be wrapped for several workers."""
    return [module.weight for module in model.modules() if isinstance(module, TagEmbedding)]


@contextmanager
def scaled_step(optimizer: Any, weights: Sequence[Tensor], factor: float) -> Iterator[None]:
    """Scale by ``factor`` the change that the optimizer's step inside the block makes to some weights.

    This equals a learning rate ``factor`` times as high for each optimizer whose step is proportional to the rate, such
    as Adam and AdamW. Unlike a second parameter group it does not depend on the optimizer, works with the single flat
    tensor of master weights in half precision, and does not change the optimizer's state in the checkpoint.

    Args:
        optimizer: fairseq's optimizer.
        weights: parameters of the model.
        factor: 1 changes nothing.
    """
    if factor == 1.0 or not weights:
        yield
        return
    copies = {id(weight): copy for weight, copy in masters(optimizer)}
    held = [copies.get(id(weight), weight.data) for weight in weights]
    before = [values.clone() for values in held]
    yield
    for weight, values, start in zip(weights, held, before):
        values.copy_(torch.lerp(start, values, factor))
        weight.data.copy_(values)
