"""The table that a run logs when it has loaded a split: everything that was counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.lang_script import LangScript, Tables


def split_table(
    split: str,
    languages: Sequence[LanguageBlocks],
    draws: np.ndarray,
    tables: Tables,
    missing: Iterable[LangScript],
    elsewhere: Iterable[LangScript],
) -> str:
    """Return a row per language, a line of totals, and who is not there.

    Args:
        split: ``train``, ``valid``, ...
        languages: those that have the split.
        draws: int64 ``(languages,)``, blocks that each gives an epoch.
        tables: the inventories, for the ids.
        missing: languages of this data folder that lack the split.
        elsewhere: languages that only other data folders have.
    """
    rows = [
        f"{'tag':<9} {'lang':>4} {'script':>6} {'sentences':>11} {'tokens':>14} {'blocks':>9} {'draws':>9} {'share':>7} {'repeats':>8}"
    ]
    for blocks, draw in zip(languages, draws.tolist()):
        lang_id, script_id = tables.ids(blocks.tag)
        rows.append(
            f"{blocks.tag!s:<9} {lang_id:>4} {script_id:>6} {blocks.num_sentences:>11,} {blocks.num_tokens:>14,} "
            f"{len(blocks):>9,} {draw:>9,} {draw / draws.sum():>7.2%} {draw / len(blocks):>8.2f}"
        )
    rows.append(
        f"{len(languages)} languages, {sum(blocks.num_sentences for blocks in languages):,} sentences, "
        f"{sum(blocks.num_tokens for blocks in languages):,} tokens, {sum(map(len, languages)):,} blocks of which "
        f"{sum(blocks.num_short for blocks in languages):,} are short, {draws.sum():,} draws an epoch"
    )
    for what, tags in ((f"without a {split} split", missing), ("that only other data folders have", elsewhere)):
        names = sorted(map(str, tags))
        if names:
            rows.append(f"{len(names)} languages {what}: {' '.join(names)}")
    return "\n".join(rows)
