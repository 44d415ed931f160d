"""The numbers of the LangSAMP paper (Liu et al., ACL 2025, arXiv 2409.18199), for comparison with a user's.

Means in percent. The table is incomplete: of the paper's main table, the groups tail, head, Latn and non-Latn are
included for SR-B only.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "Liu et al., LangSAMP, ACL 2025, arXiv 2409.18199"


class PublishedRow(NamedTuple):
    """A model of the paper.

    Args:
        table: the table that lists it.
        model: its name in that table.
        values: task -> group -> mean.
    """

    table: str
    model: str
    values: dict[str, dict[str, float]]


ORDER = ("sr_bible", "sr_tatoeba", "taxi1500", "sib200", "ner", "pos")


def _all_languages(table: str, model: str, *means: float) -> PublishedRow:
    return PublishedRow(table, model, {task: {"all": mean} for task, mean in zip(ORDER, means)})


def _with_groups(row: PublishedRow, task: str, **groups: float) -> PublishedRow:
    spelled = {name.replace("_", "-"): value for name, value in groups.items()}
    return row._replace(values={**row.values, task: {**spelled, **row.values[task]}})


PUBLISHED_ROWS = (
    _with_groups(
        _all_languages("main", "baseline (paper)", 42.9, 69.7, 50.3, 75.0, 62.2, 71.5),
        "sr_bible", tail=36.9, head=60.6, Latn=40.7, non_Latn=51.2,
    ),
    _with_groups(
        _all_languages("main", "LangSAMP (paper)", 45.1, 71.1, 53.4, 75.9, 62.6, 71.6),
        "sr_bible", tail=39.5, head=61.3, Latn=42.8, non_Latn=53.5,
    ),
    _all_languages("ablation", "vanilla (paper's ablation)", 23.2, 68.6, 28.4, 68.3, 59.3, 67.8),
    _all_languages("ablation", "+ lang (paper's ablation)", 24.5, 70.5, 28.5, 68.8, 59.5, 67.8),
    _all_languages("ablation", "+ script (paper's ablation)", 23.9, 69.8, 28.2, 68.2, 59.0, 68.4),
    _all_languages("ablation", "+ both (paper's ablation)", 24.9, 70.8, 30.3, 69.3, 58.6, 67.6),
)  # fmt: skip

DIFFERENT_METRICS = {
    "pos": ("f1_spans", "the paper's POS is F1 of spans, which joins equal neighbours; this is F1 over words")
}
"""Tasks whose main metric here differs from the paper's."""
