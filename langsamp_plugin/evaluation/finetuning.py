"""The fine-tuning loop for classification and tagging: one seed, best checkpoint by dev score.

Both kinds train on labels per position: the label of a sentence is at ``<s>``, through transformers' own classification
head; the label of a word is at its first piece.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from langsamp_plugin.evaluation.device import Compute, autocast
from langsamp_plugin.evaluation.encoding import load_model, longest_input, pad
from langsamp_plugin.evaluation.examples import IGNORED, Example, encode, training_batches
from langsamp_plugin.evaluation.finite import check_loss, check_weights
from langsamp_plugin.evaluation.prediction import score_split
from langsamp_plugin.evaluation.reading.labelled import Labelled, labels_of
from langsamp_plugin.evaluation.tasks import TAGGING, Settings
from langsamp_plugin.progress import progress


class FineTunedModel(NamedTuple):
    """A fine-tuned model.

    Args:
        model: the best checkpoint, in evaluation mode.
        labels: the labels in the order of their numbers.
        curve: ``(update, dev score)`` of every dev evaluation.
        best: the best dev score.
    """

    model: Any
    labels: list[str]
    curve: list[tuple[int, float]]
    best: float


def new_model(folder: str, kind: str, labels: Sequence[str], seed: int) -> Any:
    """Load an encoder with a new head; the seed is set first, because the head is initialised at random.

    A head that the folder already has from earlier fine-tuning is discarded.
    """
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    cls = AutoModelForTokenClassification if kind == TAGGING else AutoModelForSequenceClassification
    model, found = load_model(
        cls.from_pretrained, folder, num_labels=len(labels), ignore_mismatched_sizes=True, return_loaded=True
    )
    prefix = f"{model.base_model_prefix}."
    heads = {name for name in model.state_dict() if not name.startswith(prefix)}
    if heads - found["missing_keys"]:
        torch.manual_seed(seed)
        for name, module in model.named_modules():
            if name and not f"{name}.".startswith(prefix):
                if hasattr(module, "_is_hf_initialized"):
                    module._is_hf_initialized = False
                for weight in module.parameters(recurse=False):
                    if hasattr(weight, "_is_hf_initialized"):
                        del weight._is_hf_initialized
                model._init_weights(module)
    model = model.float()
    check_weights(model, folder)
    return model


class BestWeights:
    """The weights with the best dev score so far, on the CPU; of equal scores, the first wins.

    Args:
        above: only higher scores count.
    """

    def __init__(self, above: float = -1.0):
        self.score = above
        self.weights: Optional[dict[str, Tensor]] = None

    def offer(self, score: float, model: Any) -> None:
        """Store the weights of a model if its score is the best."""
        if score > self.score:
            self.score = score
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def finetune(
    folder: str,
    tokenizer: Any,
    *,
    kind: str,
    train: Labelled,
    dev: Labelled,
    settings: Settings,
    seed: int,
    compute: Compute = Compute(),
    description: str = "fine-tuning",
) -> FineTunedModel:
    """Fine-tune an encoder.

    Uses AdamW without weight decay, a learning rate that falls linearly to 0, gradients clipped at 1, and mixed
    precision on a GPU. An update over ``accumulate`` micro-batches equals one over a single batch of their total size:
    each loss is divided by the number of labels in all of them, and the gradient is reset once per update.
    ``settings.recipe`` changes each of these to the behaviour of the authors' scripts.

    Args:
        folder: the encoder.
        tokenizer: its tokenizer.
        kind: ``classification`` or ``tagging``.
        train, dev: data of the source language.
        settings: learning rate, epochs and batch size.
        seed: determines the head, the order and dropout.
        compute: device and precision.
        description: label of the progress bar.

    Returns:
        The checkpoint with the best dev score; of equal scores, the first.

    Raises:
        ValueError: a loss or a weight is not finite.
    """
    device = compute.where()
    labels = sorted(labels_of(train))
    model = new_model(folder, kind, labels, seed).to(device)
    limit = longest_input(model, tokenizer, settings.max_length)
    examples = encode(train, tokenizer, labels, kind, limit, settings.recipe).examples
    dev_encoded = encode(dev, tokenizer, labels, kind, limit, settings.recipe)
    lengths = [len(example.ids) for example in examples]
    groups = update_groups(lengths, settings, seed)
    precision = compute.finetuning_precision(settings.precision)
    loop = _Loop(model, settings, examples, kind, tokenizer.pad_token_id, precision, str(folder))
    loop.decay_over(sum(map(len, groups)) if not settings.recipe.decay_by_batch else _batches(groups))
    best = BestWeights(above=0.0 if settings.recipe.never_zero else -1.0)
    on_dev = "f1_spans" if kind == TAGGING and settings.recipe.spans_on_dev else "f1"
    curve: list[tuple[int, float]] = []
    model.train()
    with progress(total=sum(map(len, groups)), desc=description, unit="update") as bar:
        for epoch, updates in enumerate(groups):
            for group in updates:
                loop.step(group)
                bar.update()
                last = epoch == len(groups) - 1 and group is updates[-1]
                regular = bool(settings.eval_steps) and loop.updates % settings.eval_steps == 0
                at_end = group is updates[-1] and (settings.recipe.look_after_epochs or (last and not curve))
                if regular or at_end:
                    score = score_split(
                        model, dev_encoded, dev, labels, kind, tokenizer.pad_token_id, compute, precision
                    )[on_dev]
                    curve.append((loop.updates, score))
                    best.offer(score, model)
                    model.train()
                    bar.set_postfix_str(f"dev F1 {score:.1f}, best {best.score:.1f}")
    if best.weights is not None:
        model.load_state_dict(best.weights)
    check_weights(model, f"the fine-tuned {folder}")
    return FineTunedModel(model.eval(), labels, curve, max(best.score, 0.0))


def update_groups(lengths: Sequence[int], settings: Settings, seed: int) -> list[list[list[list[int]]]]:
    """Return epoch -> update -> micro-batch -> rows.

    Args:
        lengths: number of tokens of each example.
        settings: batch size, accumulation, and whether an epoch's leftover micro-batches are carried over.
        seed: determines the order.
    """
    epochs: list[list[list[list[int]]]] = []
    waiting: list[list[int]] = []
    for epoch in range(settings.epochs):
        batches = training_batches(lengths, settings.batch_size, seed, epoch, settings.recipe.random_order)
        updates = []
        for number, batch in enumerate(batches, 1):
            waiting.append(batch)
            full = number % settings.accumulate == 0 or (number == len(batches) and not settings.recipe.carry)
            if full:
                updates.append(waiting)
                waiting = []
        epochs.append(updates)
    if not any(epochs):
        epochs[-1].append(waiting)
    return epochs


def _batches(groups: list[list[list[list[int]]]]) -> int:
    return sum(len(update) for updates in groups for update in updates)


class _Loop:
    """Optimizer, schedule and scaler of one run."""

    def __init__(
        self, model: Any, settings: Settings, examples: Sequence[Example], kind: str, pad_id: int, precision: str,
        name: str
    ):  # fmt: skip
        self.model, self.recipe, self.accumulate = model, settings.recipe, settings.accumulate
        self.examples, self.kind, self.pad_id, self.precision, self.name = examples, kind, pad_id, precision, name
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, eps=1e-8, weight_decay=0.0)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=precision == "float16")
        self.updates = 0
        self.lr = settings.lr
        self.total = 1

    def decay_over(self, total: int) -> None:
        """Set the number of updates over which the learning rate falls to 0."""
        self.total = max(total, 1)

    def step(self, group: Sequence[Sequence[int]]) -> None:
        """Perform one update over some micro-batches."""
        batches = [[self.examples[row] for row in rows] for rows in group]
        counts = [sum(target >= 0 for example in batch for target in example.targets) for batch in batches]
        passed = self.updates + (1 if self.recipe.decay_first else 0)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.lr * max(0.0, 1 - passed / self.total)
        for batch, count in zip(batches, counts):
            if self.recipe.reset_by_batch:
                self.optimizer.zero_grad(set_to_none=True)
            share = count * self.accumulate if self.recipe.mean_by_batch else sum(counts)
            with autocast(self.model.device, self.precision):
                loss = batch_loss(self.model, batch, self.kind, self.pad_id) / max(share, 1)
            check_loss(float(loss.detach()), self.updates, self.name)
            self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        if self.recipe.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1


def batch_loss(model: Any, batch: Sequence[Example], kind: str, pad_id: int) -> Tensor:
    """Return the sum of the losses of all labels."""
    tokens, mask = pad([example.ids for example in batch], pad_id, model.device)
    logits = model(tokens, attention_mask=mask).logits
    targets = torch.full(tokens.shape if kind == TAGGING else (len(batch), 1), IGNORED)
    for row, example in zip(targets, batch):
        row[: len(example.targets)] = torch.tensor(example.targets).where(torch.tensor(example.targets) >= 0, IGNORED)
    targets = targets.to(model.device)
    return torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), targets.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
