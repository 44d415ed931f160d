"""Measures what the tables learned: the held-out loss with the correct tag and with wrong ones.

If the tables store language-specific information, the loss must rise with a wrong tag. The encoder's states do not
depend on tags, so they are computed once per batch, and only the head runs again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import torch

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.hashing import key
from langsamp_plugin.evaluation.device import Compute
from langsamp_plugin.lang_script import UNKNOWN_ID, LangScript
from langsamp_plugin.modules.head_loss import masked_lm_loss
from langsamp_plugin.progress import progress

TASK = "langsamp_masked_lm"
SWAPS = ("right", "language replaced", "script replaced", "both replaced", "both unknown")


def swapped_rows(tags: Sequence[LangScript], rows: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Choose the wrong rows for each tag.

    Args:
        tags: the tags of the data.
        rows: int64 ``(tags, 2)``, their rows in the language and the script table.
        seed: which replacement is drawn.

    Returns:
        An int64 ``(tags, 2)`` array for each of :data:`SWAPS`. Replacements are drawn uniformly from the tags of the
        data that differ in language, in script, or in both.

    Raises:
        ValueError: the data has only one language or one script, and no wrong one can be drawn.
    """
    languages, scripts = np.unique(rows[:, 0]), np.unique(rows[:, 1])
    if len(languages) < 2 or len(scripts) < 2:
        raise ValueError(
            f"swapping tags needs two languages and two scripts, but the data has {len(languages)} and {len(scripts)}"
        )
    swaps = {name: rows.copy() for name in SWAPS}
    swaps["both unknown"][:] = UNKNOWN_ID

    def draw(options: np.ndarray, *name: int) -> Any:
        return options[int(key(seed, *name)) % len(options)]

    for number, (language, script) in enumerate(rows.tolist()):
        swaps["language replaced"][number, 0] = draw(languages[languages != language], number, 0)
        swaps["script replaced"][number, 1] = draw(scripts[scripts != script], number, 1)
        others = rows[(rows[:, 0] != language) & (rows[:, 1] != script)]
        if len(others):
            swaps["both replaced"][number] = draw(others, number, 2)
        else:
            swaps["both replaced"][number] = (
                swaps["language replaced"][number, 0],
                swaps["script replaced"][number, 1],
            )
    return swaps


def tag_swap(
    checkpoint: PathLike,
    data: Optional[PathLike] = None,
    split: str = "valid",
    *,
    batch_size: int = 32,
    blocks: int = 0,
    device: str = "",
) -> dict[str, Any]:
    """Measure the held-out loss under each of :data:`SWAPS`.

    Args:
        checkpoint: a LangSAMP checkpoint of fairseq.
        data: the data folder; by default the one that it was trained on.
        split: the split to use.
        batch_size: blocks per batch.
        blocks: maximum number of blocks per tag; 0 takes all.
        device: by default a GPU if there is one.

    Returns:
        ``{"loss": {swap: bits per masked token}, "macro": {swap: mean over tags}, "by_tag": {tag: {swap: bits}},
        "masked_tokens": n}``.

    Raises:
        ModuleNotFoundError: fairseq is not installed.
        ValueError: the model has no table, or a loss is not finite.
    """
    where = Compute(device).where()
    model, task = _load(checkpoint, data)
    model.to(where).eval()
    task.load_dataset(split)
    iterator = task.get_batch_iterator(task.dataset(split), max_sentences=batch_size)
    swaps = {name: torch.from_numpy(rows).to(where) for name, rows in swapped_rows(task.tags, task.tag_rows).items()}
    sums = torch.zeros(len(swaps), len(task.tags), dtype=torch.float64)
    counts = torch.zeros(len(task.tags), dtype=torch.float64)
    seen = torch.zeros(len(task.tags), dtype=torch.int64)
    with torch.no_grad():
        for sample in progress(iterator.next_epoch_itr(), desc="swapping tags", unit="batch"):
            kept = _first_blocks(sample["tag_ids"], seen, blocks)
            if not kept.any():
                continue
            losses_SN, tags_N = _swapped_losses(model.encoder, sample, kept, swaps, task.dictionary.pad(), where)
            counts.index_add_(0, tags_N, torch.ones(len(tags_N), dtype=torch.float64))
            sums.index_add_(1, tags_N, losses_SN)
    there = counts > 0
    by_tag = sums[:, there] / counts[there] / math.log(2)
    if not torch.isfinite(by_tag).all():
        raise ValueError(f"{checkpoint} produces losses that are NaN or infinite: use an earlier checkpoint")
    names = [str(tag) for tag, is_there in zip(task.tags, there.tolist()) if is_there]
    total = (sums.sum(1) / counts.sum() / math.log(2)).tolist()
    return {
        "loss": dict(zip(swaps, total)),
        "macro": dict(zip(swaps, by_tag.mean(1).tolist())),
        "by_tag": {name: dict(zip(swaps, column)) for name, column in zip(names, by_tag.T.tolist())},
        "masked_tokens": int(counts.sum()),
    }


def _load(checkpoint: PathLike, data: Optional[PathLike]) -> tuple[Any, Any]:
    """Return the model and its task."""
    import langsamp_plugin

    langsamp_plugin.register()
    from fairseq import checkpoint_utils

    from langsamp_plugin.checkpoint.loading import load_checkpoint
    from langsamp_plugin.checkpoint.options import training_task
    from langsamp_plugin.convert.tables_file import load_tables

    load_tables(checkpoint)  # fail early with a clear error
    task_name = training_task(load_checkpoint(checkpoint))
    if task_name != TASK:  # fairseq must never build a task that a file names
        raise ValueError(f"{checkpoint} must say that it was trained with --task {TASK}, but says {task_name}")
    overrides = {"data": str(data)} if data is not None else {}
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)], arg_overrides=overrides)
    return model, task


def _first_blocks(tag_ids: torch.Tensor, seen: torch.Tensor, most: int) -> torch.Tensor:
    """Return which blocks of a batch are among the first of their tag; updates ``seen``."""
    kept = torch.ones(len(tag_ids), dtype=torch.bool)
    for place, tag in enumerate(tag_ids.tolist()):
        kept[place] = not most or int(seen[tag]) < most
        seen[tag] += 1
    return kept


def _swapped_losses(
    encoder: Any,
    sample: dict[str, Any],
    kept: torch.Tensor,
    swaps: dict[str, torch.Tensor],
    pad: int,
    where: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 losses (swaps, N) in nats on the CPU, and the tag of each of the N masked tokens.

    At most one block of the head's logits is in memory.
    """
    tag_ids = sample["tag_ids"][kept]
    target_BT = sample["target"][kept]
    masked_BT = target_BT.ne(pad)
    tags_N = tag_ids.unsqueeze(1).expand_as(masked_BT)[masked_BT]
    target_N = target_BT[masked_BT].to(where)
    features_BTC = encoder.extract_features(sample["net_input"]["src_tokens"][kept].to(where))[0]
    features_NC = features_BTC[masked_BT.to(where)]
    head = encoder.lm_head
    losses = []
    for rows in swaps.values():
        lang_ids, script_ids = rows[tags_N.to(where)].unbind(1)
        x_NC = features_NC
        tags_NC = encoder.tag_embedding(lang_ids, script_ids)
        if tags_NC is not None:
            x_NC = x_NC + tags_NC
        x_NC = head.layer_norm(head.activation_fn(head.dense(x_NC)))
        found = masked_lm_loss(x_NC, head.weight, head.bias, target_N, "blocks")
        losses.append(found.losses_N.double().cpu())
    return torch.stack(losses), tags_N
