"""transformers' Trainer with the training order, data position and validation of ``fairseq-train``."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments, __version__
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.data.tag_losses import group_losses, report_validation, tag_losses
from langsamp_plugin.hf.data_bin import DataBin
from langsamp_plugin.modules.ignored import IGNORED
from langsamp_plugin.modules.tag_embedding import TagEmbedding

logger = logging.getLogger(__name__)

STATE = "langsamp_data.json"
"""File in a checkpoint's folder: the tables' learning rate, the run's position in its data, and their fingerprint."""


WEIGHS_BY_TOKENS = hasattr(TrainingArguments, "average_tokens_across_devices")
"""Whether this transformers divides an update's loss by all of its masked tokens (4.47 and newer)."""


class LangSampTrainer(Trainer):
    """A Trainer for a :class:`~langsamp_plugin.hf.data_bin.DataBin` as ``train_dataset`` or ``eval_dataset``.

    - Items follow the data set's order. A resumed run continues at the exact block, also with another number of
      processes, batch size or accumulation.
    - ``evaluate`` reports the loss per language, script and group in ``OUTPUT_DIR/validation/<updates>.tsv``.
    - AdamW adds epsilon before the bias correction of the second moment, like fairseq's ``adam``; an optimizer that is
      passed in stays as it is.
    - A :class:`~langsamp_plugin.hf.collator.LangSampCollator` gets the epoch.

    Args:
        model, args, data_collator, kwargs: those of the stock class.
        tables_lr_scale: learning rate of the two tables relative to that of all other weights.

    Raises:
        ValueError: data and model do not match, or ``tables_lr_scale`` is negative.
    """

    control: Any

    def __init__(
        self, model: Any, args: Any, data_collator: Any = None, *, tables_lr_scale: float = 1.0, **kwargs: Any
    ):
        if not (math.isfinite(tables_lr_scale) and tables_lr_scale >= 0):
            raise ValueError(f"tables_lr_scale must be at least 0, but is {tables_lr_scale}: 1 is the common rate")
        self._tables_lr_scale = tables_lr_scale
        self._adjusted: Any = None  # the optimizer that has this class's hooks
        for data in (kwargs.get("train_dataset"), kwargs.get("eval_dataset")):
            if isinstance(data, DataBin):
                data.check_model(model)
                data_collator = data_collator or data.collate
        super().__init__(model, args, data_collator, **kwargs)
        if hasattr(data_collator, "callback"):
            self.add_callback(data_collator.callback)
        self._epochs = args.num_train_epochs
        if not WEIGHS_BY_TOKENS and args.gradient_accumulation_steps * args.world_size > 1:
            logger.warning(
                "transformers %s gives each batch of an update the same weight, however many tokens are masked in it: "
                "install 4.47 or newer for updates that equal those of one large batch", __version__,
            )  # fmt: skip

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.train_dataset, DataBin):
            return SequentialSampler(self.train_dataset)
        return super()._get_train_sampler(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Create the optimizer that the arguments name, unless there is one from an earlier call of ``train``."""
        passed_in = self.optimizer is not None
        optimizer = super().create_optimizer(*args, **kwargs)
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate has wrapped it in that case
        if inner is self._adjusted:
            return optimizer
        self._adjusted = inner
        if not passed_in and isinstance(self.train_dataset, DataBin) and isinstance(inner, torch.optim.AdamW):
            inner.register_step_pre_hook(partial(_like_fairseq, eps=self.args.adam_epsilon))
        if self._tables_lr_scale != 1.0:
            tables = [module.weight for module in self.model.modules() if isinstance(module, TagEmbedding)]
            scale_updates(inner, tables, self._tables_lr_scale)
        return optimizer

    @property
    def _items_per_update(self) -> int:
        return self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train; see the stock class. A warning names a ``tables_lr_scale`` that differs from the resumed run's.

        Raises:
            ValueError: the data differ from those of the resumed run.
        """
        data, folder = self.train_dataset, resume_from_checkpoint
        if folder is True:
            folder = get_last_checkpoint(self.args.output_dir)
        if folder:
            before, now = _read_state(Path(folder)).get("tables_lr_scale"), self._tables_lr_scale
            if before not in (None, now):
                logger.warning(
                    "tables_lr_scale is %g, but was %g in %s: the tables continue at the new rate", now, before, folder
                )
        if isinstance(data, DataBin):
            total = math.ceil(self._epochs * len(data.blocks))
            if self.args.max_steps > 0:
                total = self.args.max_steps * self._items_per_update
            self.args.num_train_epochs = 1  # of all items, over all epochs
            data.start = 0
            if data.with_ids:  # analyses use the rows of languages that a model was trained on
                earlier = getattr(self.model.config, "langsamp_tags", None) or []
                self.model.config.langsamp_tags = sorted({*earlier, *map(str, data.tags)})
            if folder:
                data.start = self._place(Path(folder))
            # max_steps determines the last update, however earlier items were batched.
            data.length = total if self.args.max_steps > 0 else total - data.start
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _inner_training_loop(self, batch_size: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.train_dataset, DataBin) and not self.args.auto_find_batch_size:
            batch_size = self.args.train_batch_size  # on resume transformers 4 takes the one of the checkpoint
        return super()._inner_training_loop(batch_size, *args, **kwargs)

    def _place(self, folder: Path) -> int:
        """Return the item at index 0, so that the items that the Trainer skips on resume are those already used."""
        state = _read_state(folder)
        if "fingerprint" not in state:
            raise FileNotFoundError(
                f"{folder} has no position in the data ({STATE}): resume from a checkpoint that LangSampTrainer wrote "
                "on a data folder"
            )
        now = self.train_dataset.fingerprint
        changed = [name for name in now if state["fingerprint"].get(name) != now[name]]
        if changed:
            raise ValueError(
                f"{folder} cannot be resumed on other data: {', '.join(changed)} changed; start a new run from its "
                "weights"
            )
        return int(state["consumed"]) - int(state["updates"]) * self._items_per_update

    def _load_rng_state(self, checkpoint: Any) -> None:
        # Older versions read the states of the generators with torch's defaults, which refuse numpy arrays.
        array = np.random.get_state()[1]  # type: ignore[index]
        reconstruct = array.__reduce__()[0]
        with torch.serialization.safe_globals([reconstruct, np.ndarray, np.dtype, type(array.dtype)]):
            super()._load_rng_state(checkpoint)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._save_checkpoint(*args, **kwargs)
        data = self.train_dataset
        if self.args.should_save:
            updates = self.state.global_step
            state: dict[str, Any] = {"updates": updates, "tables_lr_scale": self._tables_lr_scale}
            if isinstance(data, DataBin):
                state["consumed"] = data.start + updates * self._items_per_update
                state["fingerprint"] = data.fingerprint
            folder = Path(self._get_output_dir(trial=None)) / f"{PREFIX_CHECKPOINT_DIR}-{updates}"
            with atomic_write(folder / STATE) as stream:
                json.dump(state, stream)
        return result

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Optional[list[str]] = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return ``eval_loss`` in nats, and macro averages over languages in bits, such as ``eval_loss_tail``."""
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(data, DataBin):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        sums = self._tag_sums(data)
        losses = tag_losses(data.tags, sums)
        metrics = {f"{metric_key_prefix}_loss": float(sums[:, 0].sum() / max(sums[:, 1].sum(), 1.0))}
        metrics.update({f"{metric_key_prefix}_{name}": value for name, value in group_losses(losses).items()})
        if self.is_world_process_zero():
            board = getattr(self.args, "logging_dir", None) if "tensorboard" in (self.args.report_to or []) else None
            report_validation(
                losses,
                updates=self.state.global_step,
                subset=data.split,
                save_dir=self.args.output_dir,
                tensorboard_logdir=board,
            )
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _tag_sums(self, data: DataBin) -> np.ndarray:
        """Return summed loss, masked tokens and correct predictions per tag, float64 (tags, 3), over all processes."""
        model, size, device = self.accelerator.unwrap_model(self.model), self.args.eval_batch_size, self.args.device
        sums = torch.zeros(len(data.tags), 3, dtype=torch.float64, device=device)
        was_training = model.training
        model.eval()
        step = size * self.args.world_size
        for first in range(self.args.process_index * size, len(data.blocks), step):
            positions = range(first, min(first + size, len(data.blocks)))
            batch = data.collate(data.blocks.read(positions, 1), with_tags=True)
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            tags_B = batch.pop("tag_ids")
            with torch.no_grad(), self.compute_loss_context_manager():
                losses = model.token_losses(**batch)
            tags_N = tags_B.unsqueeze(1).expand_as(batch["labels"])[batch["labels"] != IGNORED]
            ones_N = torch.ones_like(losses.losses_N).double()
            columns = torch.stack([losses.losses_N.double(), ones_N, losses.correct_N.double()], dim=1)
            sums.index_add_(0, tags_N, columns)
        model.train(was_training)
        return self.accelerator.reduce(sums, "sum").cpu().numpy()


def _read_state(folder: Path) -> dict[str, Any]:
    """Return the content of ``STATE``; empty without the file, as in checkpoints of the stock Trainer."""
    path = folder / STATE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def scale_updates(optimizer: torch.optim.Optimizer, weights: Sequence[torch.Tensor], factor: float) -> None:
    """Scale by ``factor`` the change that each step of an optimizer makes to some weights.

    For AdamW this equals a learning rate ``factor`` times as high. The optimizer's groups, and therefore its state in
    checkpoints, do not change.
    """
    before: list[torch.Tensor] = []

    def remember(*_: Any) -> None:
        before[:] = [weight.detach().clone() for weight in weights]

    def scale(*_: Any) -> None:
        with torch.no_grad():
            for weight, start in zip(weights, before):
                weight.copy_(torch.lerp(start, weight, factor))

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(scale)


def _like_fairseq(optimizer: torch.optim.AdamW, args: Any, kwargs: Any, eps: float) -> None:
    """Set epsilon for the next update, so that torch's AdamW equals fairseq's.

    torch divides by ``sqrt(v / c) + eps``, fairseq by ``(sqrt(v) + eps) / sqrt(c)`` with ``c = 1 - beta2 ** updates``.
    The difference matters in the first updates, when most gradients of a large vocabulary are smaller than epsilon.
    """
    done = max((int(state["step"]) for state in optimizer.state.values() if "step" in state), default=0)
    for group in optimizer.param_groups:
        group["eps"] = eps / math.sqrt(1 - group["betas"][1] ** (done + 1))
