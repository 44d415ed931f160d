"""Estimates the disk space and time of an evaluation before it starts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from langsamp_plugin.evaluation.device import Compute
from langsamp_plugin.evaluation.plan import TaskPlan
from langsamp_plugin.evaluation.tasks import RETRIEVAL

CHARACTERS_PER_TOKEN = 3.6
MEASURED = 8_000_000
"""Parameters whose update is timed: more than fit into a processor's cache."""
WORDS = 1000
"""Vocabulary of the timed model; small, because the cost of embeddings is not measured."""
READING = 100e6
"""Bytes of weights that are hashed, read and checked per second."""


class Cost(NamedTuple):
    """Cost of a task.

    Args:
        task: its name.
        trainings: fine-tuning runs.
        languages: number of languages to score.
        tokens_forward: tokens of forward passes.
        tokens_trained: tokens trained on, over all epochs and seeds.
        disk: peak bytes on disk, including fine-tuned weights.
        kept: bytes that remain afterwards.
        seconds: estimated time on this machine.
    """

    task: str
    trainings: int
    languages: int
    tokens_forward: float
    tokens_trained: float
    disk: float
    kept: float
    seconds: float


class ModelSize(NamedTuple):
    """The sizes of a model that determine its cost.

    Args:
        parameters: total number of parameters.
        layers, width, inner: of the transformer blocks.
    """

    parameters: int
    layers: int
    width: int
    inner: int

    @property
    def blocks(self) -> int:
        """Parameters of the transformer blocks, which process every token."""
        return self.layers * (4 * self.width * self.width + 2 * self.width * self.inner + 9 * self.width + self.inner)


def model_size(folder: Path) -> ModelSize:
    """Read the sizes of a Hugging Face folder from its configuration, without loading it."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layers = int(config.get("num_hidden_layers", config.get("n_layers", 12)))
    width = int(config.get("hidden_size", config.get("dim", 768)))
    inner = int(config.get("intermediate_size", config.get("hidden_dim", 4 * width)))
    size = ModelSize(0, layers, width, inner)
    words = int(config.get("vocab_size", 0)) + int(config.get("max_position_embeddings", 0))
    return size._replace(parameters=size.blocks + words * width)


class Speed(NamedTuple):
    """What a machine does per second.

    Args:
        forward: multiply-adds of transformer blocks in a forward pass.
        trained: the same count, if a backward pass follows.
        updated: parameters that an update changes: its gradient, its norm, AdamW.
    """

    forward: float
    trained: float
    updated: float


def measured_speed(folder: Path, size: ModelSize, compute: Compute, seconds: float = 0.7) -> Speed:
    """Measure this machine in one block of a model's own kind and width, for about two seconds."""
    import torch
    from transformers import AutoConfig, AutoModel

    device = compute.where()
    config = AutoConfig.from_pretrained(folder)
    config.num_hidden_layers, config.vocab_size = 1, WORDS
    model = AutoModel.from_config(config).float().to(device)
    work = size.blocks / size.layers
    # Batches of short sentences, as retrieval encodes them, and one of fine-tuning.
    many_BT, few_BT = (torch.randint(5, WORDS, shape, device=device) for shape in ((128, 16), (16, 32)))
    words = torch.nn.Embedding(MEASURED // 64, 64, device=device)
    optimizer = torch.optim.AdamW(words.parameters(), lr=1e-5)

    def forward() -> None:
        with torch.inference_mode():
            model.eval()(many_BT, attention_mask=torch.ones_like(many_BT))

    def train() -> None:
        found = model.train()(few_BT, attention_mask=torch.ones_like(few_BT))
        found.last_hidden_state.sum().backward()
        model.zero_grad()

    def update() -> None:
        words(few_BT).sum().backward()
        torch.nn.utils.clip_grad_norm_(words.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return Speed(
        work * many_BT.numel() * _rounds_a_second(forward, device, seconds),
        work * few_BT.numel() * _rounds_a_second(train, device, seconds),
        MEASURED * _rounds_a_second(update, device, seconds),
    )


def _rounds_a_second(step: Callable[[], None], device: Any, seconds: float) -> float:
    import torch

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    step()
    finish()
    rounds, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or not rounds:
        step()
        finish()
        rounds += 1
    return rounds / (time.perf_counter() - start)


def count_tokens(texts: Sequence[Any], max_length: int, tokenizer: Any = None) -> float:
    """Return an estimate of the tokens in some sentences without padding, from a sample of 200."""
    if not texts:
        return 0.0
    sample = [texts[number * len(texts) // min(200, len(texts))] for number in range(min(200, len(texts)))]
    sample = [text if isinstance(text, str) else " ".join(text) for text in sample]
    if tokenizer is None:
        lengths = [len(text) / CHARACTERS_PER_TOKEN + 2 for text in sample]
    else:
        lengths = [float(len(row)) for row in tokenizer(sample, truncation=False, verbose=False)["input_ids"]]
    return len(texts) * sum(min(length, max_length) for length in lengths) / len(lengths)


def plan_cost(
    plan: TaskPlan,
    *,
    size: ModelSize,
    speed: Speed,
    tokenizer: Any,
    layers: Sequence[int] = (),
    keep_models: bool = False,
    loading: float = 0.0,
) -> Cost:
    """Return the cost of a task with an empty cache.

    Args:
        plan: the task with its data.
        size: the sizes of the model.
        speed: of this machine, from :func:`measured_speed`.
        tokenizer: the tokenizer of the model.
        layers: additional blocks that retrieval scores.
        keep_models: whether fine-tuned weights are kept.
        loading: seconds to load a model, which happens once per task and once per seed.
    """
    settings = plan.settings
    if plan.task.kind == RETRIEVAL:
        english = {text for tag in plan.tags for text in plan.pairs[tag].english}
        sentences = len(english) + sum(len(plan.pairs[tag].other) for tag in plan.tags)
        tokens = count_tokens(sorted(english), settings.max_length, tokenizer)
        tokens += sum(count_tokens(plan.pairs[tag].other, settings.max_length, tokenizer) for tag in plan.tags)
        main = settings.layer if settings.layer is not None else round(size.layers * 8 / 12)
        share = max([main, *layers]) / size.layers
        kept = sentences * 4.0 * size.width * len({main, *layers})
        seconds = loading + tokens * size.blocks * share / speed.forward
        return Cost(plan.task.name, 0, len(plan.tags), tokens, 0, kept, kept, seconds)
    train = count_tokens(plan.train.texts, settings.max_length, tokenizer)
    dev = count_tokens(plan.dev.texts, settings.max_length, tokenizer)
    test = sum(count_tokens(part.texts, settings.max_length, tokenizer) for part in plan.tests.values())
    seeds = len(settings.seeds)
    updates = settings.epochs * -(-len(plan.train.texts) // (settings.batch_size * settings.accumulate))
    looks = settings.epochs + (updates // settings.eval_steps if settings.eval_steps else 0)
    trained = seeds * settings.epochs * train
    forward = seeds * (looks * dev + test)
    weights = 4.0 * size.parameters
    seconds = size.blocks * (trained / speed.trained + forward / speed.forward)
    # AdamW reads and writes every parameter several times; most of a multilingual encoder's are rows of the vocabulary.
    seconds += seeds * (loading + updates * size.parameters / speed.updated)
    kept = weights * seeds if keep_models else 0.0
    return Cost(
        plan.task.name, seeds, len(plan.tags), forward, trained, max(weights, kept), kept, seconds
    )  # fmt: skip


def describe_costs(costs: Sequence[Cost]) -> str:
    """Return a table of the cost of each task and the total."""
    lines = [f"{'task':<14}{'runs':>10}{'languages':>10}{'M tokens':>10}{'disk, GB':>10}{'kept, GB':>10}{'time':>12}"]
    for cost in costs:
        tokens = (cost.tokens_forward + cost.tokens_trained) / 1e6
        lines.append(
            f"{cost.task:<14}{cost.trainings:>10}{cost.languages:>10}{tokens:>10.2f}{cost.disk / 1e9:>10.3f}"
            f"{cost.kept / 1e9:>10.3f}{spell_time(cost.seconds):>12}"
        )
    disk = max((cost.disk - cost.kept for cost in costs), default=0.0) + sum(cost.kept for cost in costs)
    total = spell_time(sum(cost.seconds for cost in costs))
    lines.append(f"total: at most {disk / 1e9:.3f} GB of disk, about {total} on this machine")
    return "\n".join(lines)


def spell_time(seconds: float) -> str:
    """Return a duration in a suitable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
