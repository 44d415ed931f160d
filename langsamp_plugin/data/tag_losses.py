"""Computes the losses that a validation reports from sums per tag."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.lang_script import LangScript, head_tags

logger = logging.getLogger(__name__)


class TagLoss(NamedTuple):
    """Masked-LM result of one tag.

    Args:
        loss: mean loss of a masked token, in bits.
        accuracy: share of masked tokens predicted correctly, in percent.
        tokens: number of masked tokens.
    """

    loss: float
    accuracy: float
    tokens: int


def tag_losses(tags: Sequence[LangScript], sums: np.ndarray) -> dict[LangScript, TagLoss]:
    """Divide sums by counts.

    Args:
        tags: tags of the rows.
        sums: float64 ``(tags, 3)``: summed loss in nats, masked tokens, correct ones.

    Returns:
        Results of the tags with masked tokens.
    """
    return {
        tag: TagLoss(loss / count / math.log(2), 100.0 * correct / count, int(count))
        for tag, (loss, count, correct) in zip(tags, sums.tolist())
        if count
    }


def groups_of(tag: LangScript) -> tuple[str, str]:
    """Return ``head`` or ``tail``, and ``latn`` or ``nonlatn``: the paper's groups."""
    return ("head" if str(tag) in head_tags() else "tail", "latn" if tag.script == "Latn" else "nonlatn")


def group_losses(losses: Mapping[LangScript, TagLoss]) -> dict[str, float]:
    """Return macro averages (every tag has equal weight) in bits, as ``loss_macro``, ``loss_head``, ``loss_latn``."""
    groups: dict[str, list[float]] = {"macro": [], "head": [], "tail": [], "latn": [], "nonlatn": []}
    for tag, result in losses.items():
        for group in ("macro", *groups_of(tag)):
            groups[group].append(result.loss)
    return {f"loss_{group}": float(np.mean(values)) for group, values in groups.items() if values}


def script_losses(losses: Mapping[LangScript, TagLoss]) -> dict[str, float]:
    """Return the mean loss of a masked token per script, in bits."""
    sums: dict[str, list[float]] = {}
    for tag, result in losses.items():
        total = sums.setdefault(tag.script, [0.0, 0.0])
        total[0] += result.loss * result.tokens
        total[1] += result.tokens
    return {script: total / count for script, (total, count) in sorted(sums.items())}


def validation_rows(losses: Mapping[LangScript, TagLoss]) -> list[list[str]]:
    """Return the table of one validation: a header, one row per tag, then scripts and macro averages."""
    rows = [["kind", "name", "group", "loss_bits", "ppl", "accuracy", "masked_tokens"]]
    for tag, result in sorted(losses.items()):
        rows.append(
            [
                "tag",
                str(tag),
                groups_of(tag)[0],
                f"{result.loss:.4f}",
                f"{2**result.loss:.2f}",
                f"{result.accuracy:.2f}",
                str(result.tokens),
            ]
        )
    rows += [
        ["script", script, "", f"{value:.4f}", f"{2**value:.2f}", "", ""]
        for script, value in script_losses(losses).items()
    ]
    rows += [
        ["macro", name[5:], "", f"{value:.4f}", f"{2**value:.2f}", "", ""]
        for name, value in group_losses(losses).items()
    ]
    return rows


def report_validation(
    losses: Mapping[LangScript, TagLoss],
    *,
    updates: int,
    subset: str,
    save_dir: PathLike,
    tensorboard_logdir: Optional[str],
) -> None:
    """Log the losses, write ``<save_dir>/validation/<updates>.tsv``, and ``valid_by_tag`` for TensorBoard.

    For subsets other than ``valid`` the names are ``<updates>.<subset>.tsv`` and ``<subset>_by_tag``.

    Args:
        losses: results of one validation, summed over all workers; call this in one worker.
        updates: number of updates of the model.
        subset: the split that was validated.
        save_dir: the run's folder of checkpoints.
        tensorboard_logdir: fairseq's ``--tensorboard-logdir``, or ``None``.
    """
    scripts = script_losses(losses)
    by_language = {str(tag): result.loss for tag, result in losses.items()}
    logger.info("%s: bits per masked token, by language: %s", subset, _listed(by_language))
    logger.info("%s: bits per masked token, by script: %s", subset, _listed(scripts))
    name = f"{updates}.tsv" if subset == "valid" else f"{updates}.{subset}.tsv"
    with atomic_write(Path(save_dir) / "validation" / name) as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(validation_rows(losses))
    if not tensorboard_logdir:
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # fairseq has already logged that
        return
    with SummaryWriter(str(Path(tensorboard_logdir) / f"{subset}_by_tag")) as writer:
        for name, loss in by_language.items():
            writer.add_scalar(f"language/{name}", loss, updates)
        for name, loss in scripts.items():
            writer.add_scalar(f"script/{name}", loss, updates)


def _listed(losses: Mapping[str, float]) -> str:
    """Return ``name loss, name loss, ...``, highest loss first."""
    return ", ".join(f"{name} {loss:.2f}" for name, loss in sorted(losses.items(), key=lambda item: -item[1]))
