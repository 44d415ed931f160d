"""The one fine-tuning loop: classification and tagging, one seed, the best checkpoint by the dev set.

Both are trained as a label per position: a sentence has its one label at ``<s>``, through transformers' own
classification head; a word has its label at its first piece.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from langsamp_plugin.evaluation.encoding import batches_by_length, device, load_model, longest_input, pad
from langsamp_plugin.evaluation.metrics import classification_scores, tagging_scores
from langsamp_plugin.evaluation.task_data import Labelled
from langsamp_plugin.evaluation.tasks import TAGGING, Settings
from langsamp_plugin.modules.ignored import IGNORED
from langsamp_plugin.progress import progress

POOL = 50  # batches' worth of sentences that are sorted by length together


class Example(NamedTuple):
    """One input.

    Args:
        ids: token ids with ``<s>`` and ``</s>``.
        targets: a label number for the sentence, or per token with -100 where there is none.
        sentence: which sentence it is of; a sentence longer than the model is several.
    """

    ids: list[int]
    targets: list[int]
    sentence: int


class Encoded(NamedTuple):
    """A split as inputs.

    Args:
        examples: the inputs.
        long: sentences longer than the model: cut (classification) or split (tagging).
        unknown: labels that training does not have, and how often.
    """

    examples: list[Example]
    long: int
    unknown: dict[str, int]


def encode(data: Labelled, tokenizer: Any, labels: Sequence[str], kind: str, limit: int) -> Encoded:
    """Turn texts into inputs.

    Args:
        data: sentences with a label, or words with labels.
        tokenizer: of the model.
        labels: those of the training data in the order of their numbers; others become -100 and are listed.
        kind: ``classification`` or ``tagging``.
        limit: tokens of an input.
    """
    number = {label: place for place, label in enumerate(labels)}
    unknown: dict[str, int] = {}

    def target(label: str) -> int:
        if label not in number:
            unknown[label] = unknown.get(label, 0) + 1
        return number.get(label, IGNORED)

    begin, end = _special(tokenizer)
    examples: list[Example] = []
    long = 0
    if kind != TAGGING:
        for place, (row, label) in enumerate(
            zip(
                tokenizer(list(data.texts), truncation=False, verbose=False)["input_ids"] if data.texts else [],
                data.labels,
            )
        ):
            long += len(row) > limit
            ids = row if len(row) <= limit else [*row[: limit - 1], end]
            examples.append(Example(ids, [target(label)], place))
        return Encoded(examples, long, unknown)
    words = sorted({word for text in data.texts for word in text})
    pieces = dict(zip(words, tokenizer(words, add_special_tokens=False, verbose=False)["input_ids"])) if words else {}
    for place, (text, tags) in enumerate(zip(data.texts, data.labels)):
        ids, targets, parts = [begin], [IGNORED], 1
        for word, label in zip(text, tags):
            # A word of nothing but what the tokenizer drops still has a label, and must not shift the others.
            own = (pieces[word] or [tokenizer.unk_token_id])[: limit - 2]
            if len(ids) + len(own) > limit - 1:
                examples.append(Example([*ids, end], [*targets, IGNORED], place))
                ids, targets, parts = [begin], [IGNORED], parts + 1
            ids += own
            # An unknown label of a word is still a word to predict: -1 marks it, and training skips it.
            known = target(label)
            targets += [known if known != IGNORED else -1, *[IGNORED] * (len(own) - 1)]
        examples.append(Example([*ids, end], [*targets, IGNORED], place))
        long += parts > 1
    return Encoded(examples, long, unknown)


def _special(tokenizer: Any) -> tuple[int, int]:
    begin = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    return begin, end


def training_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return an epoch's batches: shuffled, similar lengths together, in shuffled order.

    Args:
        lengths: tokens of each example.
        batch_size: examples per batch.
        seed, epoch: what the order depends on.
    """
    shuffle = random.Random(seed * 1000 + epoch)
    order = list(range(len(lengths)))
    shuffle.shuffle(order)
    batches = []
    for start in range(0, len(order), batch_size * POOL):
        pool = sorted(order[start : start + batch_size * POOL], key=lambda row: lengths[row])
        batches += [pool[place : place + batch_size] for place in range(0, len(pool), batch_size)]
    shuffle.shuffle(batches)
    return batches


class FineTunedModel(NamedTuple):
    """A fine-tuned model.

    Args:
        model: the best checkpoint, in evaluation mode.
        labels: in the order of their numbers.
        curve: ``(update, dev score)`` of every look.
        best: the best dev score.
    """

    model: Any
    labels: list[str]
    curve: list[tuple[int, float]]
    best: float


def new_model(folder: str, kind: str, labels: Sequence[str], seed: int) -> Any:
    """Load an encoder with a fresh head; the seed is set first, because the head is drawn at random."""
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    cls = AutoModelForTokenClassification if kind == TAGGING else AutoModelForSequenceClassification
    return load_model(cls.from_pretrained, folder, num_labels=len(labels)).float()


def finetune(
    folder: str,
    tokenizer: Any,
    kind: str,
    train: Labelled,
    dev: Labelled,
    settings: Settings,
    seed: int,
    description: str = "fine-tuning",
) -> FineTunedModel:
    """Fine-tune an encoder.

    AdamW without weight decay, learning rate falling linearly to 0, gradients clipped at 1; mixed precision on a GPU. An
    update over ``accumulate`` micro-batches is exactly that of one batch of their size: the loss of each is divided by
    the number of labels in all of them, and the gradient is reset once an update.

    Args:
        folder: the encoder.
        tokenizer: its tokenizer.
        kind: ``classification`` or ``tagging``.
        train, dev: of the source language.
        settings: learning rate and so on.
        seed: of the head, the order and dropout.
        description: for the progress bar.

    Returns:
        The checkpoint with the best dev score (the first of equals).
    """
    labels = sorted({label for row in train.labels for label in (row if kind == TAGGING else [row])})
    model = new_model(folder, kind, labels, seed).to(device())
    limit = longest_input(model, tokenizer, settings.max_length)
    examples = encode(train, tokenizer, labels, kind, limit).examples
    dev_encoded = encode(dev, tokenizer, labels, kind, limit)
    epochs = [
        training_batches([len(example.ids) for example in examples], settings.batch_size, seed, epoch)
        for epoch in range(settings.epochs)
    ]
    per_epoch = -(-len(epochs[0]) // settings.accumulate)
    total = per_epoch * settings.epochs
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, eps=1e-8, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: max(0.0, 1 - update / total))
    scaler = torch.amp.GradScaler(enabled=device().type == "cuda" and not torch.cuda.is_bf16_supported())
    best: tuple[float, Optional[dict[str, Tensor]]] = (-1.0, None)
    curve: list[tuple[int, float]] = []
    update = 0

    def evaluate_dev() -> None:
        nonlocal best
        score = score_split(model, dev_encoded, dev, labels, kind, tokenizer.pad_token_id)["f1"]
        curve.append((update, score))
        if score > best[0]:
            best = (score, {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()})
        model.train()

    model.train()
    with progress(total=total, desc=description, unit="update") as bar:
        for batches in epochs:
            for start in range(0, len(batches), settings.accumulate):
                group = [[examples[row] for row in rows] for rows in batches[start : start + settings.accumulate]]
                count = sum(target >= 0 for batch in group for example in batch for target in example.targets)
                for batch in group:
                    with autocast():
                        loss = _loss(model, batch, kind, tokenizer.pad_token_id) / max(count, 1)
                    scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
                update += 1
                bar.update()
                if settings.eval_steps and update % settings.eval_steps == 0:
                    evaluate_dev()
            if not curve or curve[-1][0] != update:
                evaluate_dev()
            bar.set_postfix_str(f"dev F1 {curve[-1][1]:.1f}, best {best[0]:.1f}")
    assert best[1] is not None
    model.load_state_dict(best[1])
    return FineTunedModel(model.eval(), labels, curve, best[0])


def autocast() -> Any:
    """Return mixed precision on a GPU (bfloat16 where it can), and nothing on a CPU."""
    if device().type != "cuda":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)


def _loss(model: Any, batch: Sequence[Example], kind: str, pad_id: int) -> Tensor:
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


def predict(
    model: Any, encoded: Encoded, labels: Sequence[str], kind: str, pad_id: int,
    on_batch: Optional[Callable[[int], Any]] = None,
) -> list[Any]:  # fmt: skip
    """Return a label per sentence, or per sentence a list with one per word."""
    model.eval()
    found: list[Any] = [None] * len(encoded.examples)
    with torch.inference_mode(), autocast():
        for rows in batches_by_length([len(example.ids) for example in encoded.examples]):
            tokens, mask = pad([encoded.examples[row].ids for row in rows], pad_id, model.device)
            best = model(tokens, attention_mask=mask).logits.argmax(-1).cpu()
            for row, numbers in zip(rows, best):
                if kind == TAGGING:
                    targets = encoded.examples[row].targets
                    found[row] = [labels[number] for number, goal in zip(numbers.tolist(), targets) if goal != IGNORED]
                else:
                    found[row] = labels[int(numbers)]
            if on_batch is not None:
                on_batch(len(rows))
    if kind != TAGGING:
        return found
    sentences: list[list[str]] = [
        [] for _ in range(1 + max((example.sentence for example in encoded.examples), default=-1))
    ]
    for example, part in zip(encoded.examples, found):
        sentences[example.sentence] += part
    return sentences


def score_split(
    model: Any, encoded: Encoded, data: Labelled, labels: Sequence[str], kind: str, pad_id: int
) -> dict[str, float]:
    """Return the scores of a split; a label that training does not have counts as wrong wherever it stands."""
    predicted = predict(model, encoded, labels, kind, pad_id)
    if kind != TAGGING:
        return classification_scores(data.labels, predicted)
    return tagging_scores(data.labels, predicted, entities=any(label[:2] in ("B-", "I-") for label in labels))
