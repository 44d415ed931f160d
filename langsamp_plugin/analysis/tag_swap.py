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

from langsamp_plugin.analysis.held_out import open_held_out
from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.hashing import key
from langsamp_plugin.evaluation.device import Compute
from langsamp_plugin.lang_script import UNKNOWN_ID, LangScript
from langsamp_plugin.progress import progress

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
    tokens_per_sample: int = 0,
) -> dict[str, Any]:
    """Measure the held-out loss under each of :data:`SWAPS`.

    Args:
        checkpoint: a LangSAMP checkpoint of fairseq, or a Hugging Face folder with tables.
        data: the data folder; by default the one that a checkpoint was trained on.
        split: the split to use.
        batch_size: blocks per batch.
        blocks: maximum number of blocks per tag; 0 means all.
        device: by default a GPU if there is one.
        tokens_per_sample: tokens per block for a folder; 0 takes 512, or what its positions allow.

    Returns:
        ``{"loss": {swap: bits per masked token}, "macro": {swap: mean over tags}, "by_tag": {tag: {swap: bits}},
        "masked_tokens": n}``.

    Raises:
        ModuleNotFoundError: the checkpoint needs fairseq, which is not installed.
        ValueError: the model has no table, or a loss is not finite.
    """
    where = Compute(device).where()
    text = open_held_out(checkpoint, data, split, batch_size, where, tokens_per_sample)
    swaps = {name: torch.from_numpy(rows).to(where) for name, rows in swapped_rows(text.tags, text.rows).items()}
    sums = torch.zeros(len(swaps), len(text.tags), dtype=torch.float64)
    counts = torch.zeros(len(text.tags), dtype=torch.float64)
    seen = torch.zeros(len(text.tags), dtype=torch.int64)
    with torch.no_grad():
        for batch in progress(text.batches(), desc="swapping tags", unit="batch"):
            kept = _first_blocks(batch["tag_ids"], seen, blocks)
            if not kept.any():
                continue
            losses_SN, tags_N = text.losses(batch, kept, list(swaps.values()))
            counts.index_add_(0, tags_N, torch.ones(len(tags_N), dtype=torch.float64))
            sums.index_add_(1, tags_N, losses_SN)
    there = counts > 0
    by_tag = sums[:, there] / counts[there] / math.log(2)
    if not torch.isfinite(by_tag).all():
        raise ValueError(f"{checkpoint} produces losses that are NaN or infinite: use an earlier checkpoint")
    names = [str(tag) for tag, is_there in zip(text.tags, there.tolist()) if is_there]
    total = (sums.sum(1) / counts.sum() / math.log(2)).tolist()
    return {
        "loss": dict(zip(swaps, total)),
        "macro": dict(zip(swaps, by_tag.mean(1).tolist())),
        "by_tag": {name: dict(zip(swaps, column)) for name, column in zip(names, by_tag.T.tolist())},
        "masked_tokens": int(counts.sum()),
    }


def _first_blocks(tag_ids: torch.Tensor, seen: torch.Tensor, most: int) -> torch.Tensor:
    """Return which blocks of a batch are among the first of their tag; updates ``seen``."""
    kept = torch.ones(len(tag_ids), dtype=torch.bool)
    for place, tag in enumerate(tag_ids.tolist()):
        kept[place] = not most or int(seen[tag]) < most
        seen[tag] += 1
    return kept
