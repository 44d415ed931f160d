"""Half precision across restarts: checkpoints contain the optimizer's float32 master weights.

fairseq's FP16Optimizer keeps a float32 copy of the weights for the updates. Its checkpoints contain only the model's
half-precision weights, so a resumed run starts from rounded values. Here:

1. saved: "model" in the checkpoint has the float32 weights (fairseq stores the rounded ones as float32, too), so that
    export and all other readers get them;
2. restored: the model gets the rounded weights, as before, and the optimizer the exact ones;
3. the counters that determine the growth of the loss scale are saved and restored with the scale;
4. a run may switch between float32, fp16 and bf16: the optimizer state is a single flat tensor in some of them and one
    tensor per weight in others, and is split or joined;
5. frozen weights (``--freeze-encoder``) have no master: the loaded ones are kept, and saved unrounded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import wraps
from typing import Any

import torch
from fairseq.optim.dynamic_loss_scaler import DynamicLossScaler
from fairseq.trainer import Trainer
from torch import Tensor

logger = logging.getLogger(__name__)

SAME_STATE = ("FairseqAdam", "FP16Optimizer")
"""Optimizers with Adam's float32 state; a run may switch between them."""
FROZEN = "langsamp_frozen_weights"
"""Attribute of the trainer: id of a frozen weight -> the tensor that it was loaded from, in that one's precision."""
SCALER = "loss_scaler"
SCALER_COUNTS = ("_iter", "_last_overflow_iter", "_last_rescale_iter", "_overflows_since_rescale")


def install() -> None:
    """Patch fairseq's trainer to save and restore master weights. Idempotent."""
    if not hasattr(Trainer.state_dict, "langsamp"):
        Trainer.state_dict = _saving(Trainer.state_dict)
        Trainer.load_checkpoint = _restoring(Trainer.load_checkpoint)
        Trainer._build_optimizer = _converting(Trainer._build_optimizer)


def masters(optimizer: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(weight, float32 master)`` of an optimizer with master weights; the second may be a view."""
    master = getattr(optimizer, "fp32_params", None)
    if isinstance(master, dict):  # per device, a single tensor with all weights of that device
        offsets = dict.fromkeys(master, 0)
        for weight in optimizer.fp16_params:
            device, count = weight.device.index, weight.numel()
            yield weight, master[device].data[offsets[device] : offsets[device] + count].view_as(weight)
            offsets[device] += count
    elif master is not None:
        yield from ((weight, copy.data) for weight, copy in zip(optimizer.fp16_params, master))


def _saving(stock: Any) -> Any:
    @wraps(stock)
    def state_dict(self: Any) -> dict[str, Any]:
        state = stock(self)
        copies = {id(weight): copy for weight, copy in masters(self.optimizer)}
        copies.update(getattr(self, FROZEN, {}))
        for name, weight in self.get_model().named_parameters(remove_duplicate=False):
            if name in state["model"] and id(weight) in copies:
                state["model"][name] = copies[id(weight)]
        scaler = getattr(self.optimizer, "scaler", None)
        if isinstance(scaler, DynamicLossScaler) and "last_optimizer_state" in state:
            state["last_optimizer_state"][SCALER] = {name: getattr(scaler, name) for name in SCALER_COUNTS}
        return state

    state_dict.langsamp = True  # type: ignore[attr-defined]
    return state_dict


def _restoring(stock: Any) -> Any:
    @wraps(stock)
    def load_checkpoint(self: Any, filename: str, *rest: Any, **settings: Any) -> Any:
        model = self.get_model()
        kept: dict[str, Tensor] = {}
        hook = model.register_load_state_dict_pre_hook(
            lambda module, state, prefix, *_: kept.update(state) if not prefix else None
        )
        try:
            extra_state = stock(self, filename, *rest, **settings)
        except AssertionError as error:  # from fairseq's comparison of class names
            if "Optimizer does not match" not in str(error):
                raise
            then, _, now = str(error).rpartition("). ")[2].partition(" vs ")
            raise ValueError(
                f"the checkpoint's optimizer is {then}, but this run's is {now}: continue with the optimizer and "
                "precision of the checkpoint (--fp16, --bf16, --memory-efficient-fp16, --amp), or start from its "
                "weights alone with --reset-optimizer"
            ) from error
        finally:
            hook.remove()
        if kept:
            copies = {id(weight): copy for weight, copy in masters(self.optimizer)}
            for name, weight in model.named_parameters():
                if id(weight) in copies and name in kept:
                    copies[id(weight)].copy_(kept[name])
            frozen = {
                id(weight): kept[name]
                for name, weight in model.named_parameters()
                if not weight.requires_grad and name in kept and kept[name].dtype != weight.dtype
            }
            setattr(self, FROZEN, frozen)
        return extra_state

    return load_checkpoint


def _converting(stock: Any) -> Any:
    @wraps(stock)
    def build_optimizer(self: Any) -> None:
        stock(self)
        now = type(self._optimizer).__name__
        then = (self._optim_history or [{}])[-1].get("optimizer_name", now)
        if then != now and then in SAME_STATE and now in SAME_STATE:
            logger.info("the checkpoint was trained in another precision; its optimizer's state is continued")
            self._optim_history[-1]["optimizer_name"] = now
        load, scaler = self._optimizer.load_state_dict, getattr(self._optimizer, "scaler", None)

        def load_state_dict(state: dict[str, Any], overrides: Any = None) -> None:
            counts = state.pop(SCALER, {})
            check_state(state, self._optimizer.optimizer)
            load(fit_state(state, self._optimizer.optimizer) if now in SAME_STATE else state, overrides)
            if isinstance(scaler, DynamicLossScaler):
                vars(scaler).update({name: int(count) for name, count in counts.items() if name in SCALER_COUNTS})

        self._optimizer.load_state_dict = load_state_dict

    return build_optimizer


def check_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Raise ``ValueError`` unless Adam's state is for as many numbers as the optimizer trains.

    Torch compares only how many tensors there are, without a remedy; the single tensor of half precision fails later.
    """
    rows = [row for group in state.get("param_groups", []) for row in group["params"]]
    averages = [state["state"].get(row, {}).get("exp_avg") for row in rows]  # other optimizers' states are smaller
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    then = sum(value.numel() for value in averages if torch.is_tensor(value))
    now = sum(weight.numel() for weight in weights)
    if rows and all(map(torch.is_tensor, averages)) and then != now:
        raise ValueError(
            f"the checkpoint's optimizer trained {then:,} numbers, but this run trains {now:,}: resume with the same "
            "--freeze-encoder, --embed-tags and tables, or start with a new optimizer, --reset-optimizer"
        )


def fit_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return Adam's state split or joined to match the parameters of an optimizer; values and order do not change.

    Args:
        state: state of ``optimizer``, or of one whose parameters are the same, joined or split.
        optimizer: an optimizer with one parameter group.
    """
    groups = state.get("param_groups", [])
    if len(groups) != 1 or len(optimizer.param_groups) != 1:
        return state
    weights = optimizer.param_groups[0]["params"]
    rows = groups[0]["params"]
    if len(rows) == len(weights) or not state["state"]:
        return state
    moments = [name for name, value in state["state"][rows[0]].items() if torch.is_tensor(value) and value.dim()]
    joined = {name: torch.cat([state["state"][row][name].flatten() for row in rows]) for name in moments}
    counts = [weight.numel() for weight in weights]
    if any(len(values) != sum(counts) for values in joined.values()):
        return state  # another model: torch raises an error
    cut = {name: values.split(counts) for name, values in joined.items()}
    shared = {name: value for name, value in state["state"][rows[0]].items() if name not in moments}
    fitted = {
        number: {**shared, **{name: cut[name][number].view_as(weight) for name in moments}}
        for number, weight in enumerate(weights)
    }
    return {**state, "state": fitted, "param_groups": [{**groups[0], "params": list(range(len(weights)))}]}
