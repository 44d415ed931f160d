"""PyTorch's fused AdamW for fairseq, ``--optimizer fused_adamw``: one pass over the parameters, no Apex needed."""

import ast
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II, OmegaConf
from torch import Tensor


@dataclass
class FusedAdamWConfig(FairseqDataclass):
    """The flags of fairseq's ``adam``, so that only the optimizer's name changes in a command."""

    adam_betas: Any = field(default=(0.9, 0.999), metadata={"help": "betas for Adam optimizer"})
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon for Adam optimizer"})
    weight_decay: float = field(default=0.0, metadata={"help": "weight decay"})
    lr: Any = field(default=II("optimization.lr"))


class FusedAdamW(torch.optim.AdamW):
    """``torch.optim.AdamW(fused=True)`` with a factor for the gradients and fairseq's placement of epsilon.

    Both are Loshchilov and Hutter's AdamW (2019). torch adds epsilon to the bias-corrected root of the second moment,
    fairseq's ``adam`` to the root before the correction. This matters in the first updates, when many gradients of a
    large vocabulary are below 1e-8. Passing ``eps / sqrt(1 - beta2 ** t)`` makes torch's equal to fairseq's.
    """

    supports_flat_params = True
    # fairseq's half-precision wrapper would pass the factor itself, but never resets it under bf16; multiply_grads of
    # the class below handles it instead.
    supports_step_with_scale = False
    updates = 0

    @property
    def supports_memory_efficient_fp16(self) -> bool:
        """Refuse low-precision parameters, because the state would have their precision."""
        raise ValueError(
            "--optimizer fused_adamw must not be combined with --memory-efficient-fp16 or --memory-efficient-bf16: "
            "use --optimizer adam, or leave the flag out"
        )

    def step(self, closure: Optional[Callable] = None, factor: Any = 1.0) -> Any:
        """Perform one update with ``factor * gradient``."""
        device = self.param_groups[0]["params"][0].device
        # The kernel divides by this on its own device, without a synchronisation.
        self.grad_scale = (
            None
            if isinstance(factor, (int, float)) and factor == 1
            else torch.as_tensor(1.0 / factor, dtype=torch.float32).to(device, non_blocking=True).reshape(())
        )
        self.updates += 1
        epsilons = [group["eps"] for group in self.param_groups]
        for group in self.param_groups:
            group["eps"] /= (1 - group["betas"][1] ** self.updates) ** 0.5
        try:
            return super().step(closure)
        finally:
            for group, epsilon in zip(self.param_groups, epsilons):
                group["eps"] = epsilon

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of a checkpoint, but keep this optimizer's settings.

        The checkpoint may be from another Adam, whose groups lack ``fused`` and whose ``step`` is a number. Settings of
        the current command (betas, epsilon, weight decay) override those of an earlier one.
        """
        own = [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, settings in zip(self.param_groups, own):
            group.update(settings)
        for weight, values in self.state.items():
            values["step"] = torch.as_tensor(values["step"], dtype=torch.float32).to(weight.device)
        self.updates = max((int(values["step"]) for values in state_dict["state"].values()), default=0)


@register_optimizer("fused_adamw", dataclass=FusedAdamWConfig)
class FairseqFusedAdamW(FairseqOptimizer):
    """fairseq's view of :class:`FusedAdamW`.

    A checkpoint of fairseq's ``adam`` can be continued by this class and vice versa: both store ``step``,
    ``exp_avg`` and ``exp_avg_sq`` per parameter.

    Gradient factors (the mean over masked tokens, clipping) are applied once, within the update, instead of one by one.
    """

    def __init__(self, cfg: FusedAdamWConfig, params: Any):
        super().__init__(cfg)
        self._optimizer = FusedAdamW(params, **self.optimizer_config)
        self._factor: Any = 1.0

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """Return the settings that override a checkpoint's on resume."""
        lr, betas = self.cfg.lr, self.cfg.adam_betas
        if isinstance(betas, str):
            betas = ast.literal_eval(betas)
        elif OmegaConf.is_config(betas):
            betas = OmegaConf.to_container(betas)
        return {
            "lr": lr if isinstance(lr, (int, float)) else lr[0],
            "betas": tuple(betas),
            "eps": self.cfg.adam_eps,
            "weight_decay": self.cfg.weight_decay,
            "fused": True,
        }

    def multiply_grads(self, c: Any) -> None:
        """Record a factor, a number or a scalar tensor."""
        self._factor = self._factor * c

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Optional[Callable] = None) -> Tensor:
        """Return the norm of the gradients times the factors so far; record another factor if it exceeds
        ``max_norm``."""
        norm = self._norm(aggregate_norm_fn) * self._factor
        if max_norm > 0:
            self._factor = self._factor * (max_norm / (norm + 1e-6)).clamp(max=1)
        return norm

    def _norm(self, aggregate_norm_fn: Optional[Callable]) -> Tensor:
        """Return the norm of all gradients; fairseq's needs Apex to avoid a kernel per weight."""
        gradients = [weight.grad.detach() for weight in self.params if weight.grad is not None]
        if len(gradients) <= 1:
            return super().clip_grad_norm(0, aggregate_norm_fn)
        norm = torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32)).norm()
        return norm if aggregate_norm_fn is None else aggregate_norm_fn(norm)

    def step(self, closure: Optional[Callable] = None, scale: Any = 1.0, groups: Any = None) -> None:
        """Perform one update with all recorded factors."""
        factor, self._factor = self._factor, 1.0
        self._optimizer.step(closure, factor / scale)

    def zero_grad(self) -> None:
        """Clear gradients and factors."""
        self._factor = 1.0
        super().zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return the state with ``step`` as a number, as in fairseq's ``adam``."""
        state = super().state_dict()
        state["state"] = {
            row: {**values, "step": int(values["step"])} if "step" in values else values
            for row, values in state["state"].items()
        }
        return state


# Named like adam's class, because fairseq compares class names on resume.
FairseqFusedAdamW.__name__ = "FairseqAdam"
