"""``--store-ema``: fairseq averages every tensor of a model; the integer codes of the tables are copied instead."""

from __future__ import annotations

from functools import wraps
from typing import Any

from fairseq import trainer


def install() -> None:
    """Make fairseq's moving average copy integer tensors. Idempotent."""
    if not hasattr(trainer.build_ema, "langsamp"):
        trainer.build_ema = _copying_integers(trainer.build_ema)


def _copying_integers(stock: Any) -> Any:
    @wraps(stock)
    def build_ema(model: Any, *rest: Any) -> Any:
        average = stock(model, *rest)
        integers = {name for name, tensor in model.state_dict().items() if not tensor.is_floating_point()}
        average.skip_keys = {*average.skip_keys, *integers}
        return average

    build_ema.langsamp = True  # type: ignore[attr-defined]
    return build_ema
