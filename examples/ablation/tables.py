"""Tables of an ablation: models as rows, groups of languages or wrong tags as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from outcome import Run, Scores, read_json

from langsamp_plugin.report.published import PUBLISHED_ROWS
from langsamp_plugin.report.statistics import Resamples

RESAMPLES = Resamples()


MODELS = ("vanilla", "lang", "script", "both")


TITLES = {"vanilla": "vanilla", "lang": "+ language", "script": "+ script", "both": "+ both", "untrained": "untrained"}


def mean(values: dict[str, float], tags: Sequence[str]) -> float:
    """Return the mean over some languages."""
    return float(np.mean([values[tag] for tag in tags]))


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean over seeds, with their standard deviation if there are several."""
    text = f"{np.mean(values):.{digits}f}"
    return f"{text} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else text


def against(scores: Scores, model: str, tags: Sequence[str], digits: int) -> str:
    """Return the difference from vanilla, its 95 % interval over languages, and the difference of each seed."""
    seeds = sorted(scores[model].keys() & scores["vanilla"].keys())
    gains = np.array([[scores[model][seed][tag] - scores["vanilla"][seed][tag] for tag in tags] for seed in seeds])
    by_tag = gains.mean(0)
    low, high = np.percentile(RESAMPLES.weights(len(by_tag)) @ by_tag, [2.5, 97.5])
    each = ", ".join(f"{gain:+.{digits}f}" for gain in gains.mean(1))
    return f"{by_tag.mean():+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]" + (
        f" (seeds: {each})" if len(seeds) > 1 else ""
    )


def group_table(run: Run, scores: Scores, digits: int, chance: str = "") -> list[str]:
    """Return a table of the paper's groups, with the difference from vanilla over all languages."""
    if not scores:
        return []
    tags = sorted(set.intersection(*(set(values) for seeds in scores.values() for values in seeds.values())))
    groups = {name: run.groups.members(name, tags) for name in run.groups.names}
    lines = [
        "| | "
        + " | ".join(f"{name} ({len(members)})" for name, members in groups.items())
        + " | all, against vanilla |",
        "| --- |" + " ---: |" * len(groups) + " --- |",
    ]
    for model in (*MODELS, "untrained"):
        if model in scores:
            cells = [
                spread([mean(values, members) for values in scores[model].values()], digits) if members else "-"
                for members in groups.values()
            ]
            last = against(scores, model, tags, digits) if model in MODELS[1:] else ""
            lines.append(f"| {TITLES[model]} | {' | '.join(cells)} | {last} |")
    if chance:
        lines.append(f"| chance | {' | '.join(['', '', '', '', chance])} | |")
    return lines


def tag_table(run: Run, models: Sequence[str] = MODELS, titles: Mapping[str, str] = TITLES) -> list[str]:
    """Return the table of the cost of a wrong tag."""
    found = run.each(lambda name: read_json(path) if (path := run.folder / "tags" / f"{name}.json").is_file() else None)
    swaps = list(next(iter(next(iter(found.values())).values()))["macro"])
    lines = ["| | " + " | ".join(swaps) + " |", "| --- |" + " ---: |" * len(swaps)]
    for model in models:
        if model in found:
            seeds = found[model].values()
            cells = [
                spread([seed["macro"][swap] - (seed["macro"]["right"] if number else 0) for seed in seeds], 3)
                for number, swap in enumerate(swaps)
            ]
            lines.append(
                f"| {titles[model]} | "
                + " | ".join([cells[0], *(f"+{cell}".replace("+-", "-") for cell in cells[1:])])
                + " |"
            )
    return lines


def neutrality_table(run: Run) -> tuple[list[str], dict[str, Any]]:
    """Return the table of the similarity of the languages' representations, and one of its measurements."""
    found = run.each(lambda name: read_json(run.folder / "neutrality" / name / "neutrality.json"))
    columns = {"cosine": 3, "unrelated": 3, "margin": 3, "top1": 1, "probe": 1}
    lines = [
        "| | cosine of parallel | not parallel | margin | retrieval top-1, % | probe of the language, % |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model in (*MODELS, "untrained"):
        if model in found:
            cells = [
                spread([seed["model"][name] for seed in found[model].values()], digits)
                for name, digits in columns.items()
            ]
            lines.append(f"| {TITLES[model]} | {' | '.join(cells)} |")
    one = next(iter(found["both"].values()))
    count = len(one["languages"])
    lines.append(f"| chance | | | 0 | {100 / one['sentences']:.1f} | {100 / count:.1f} |")
    return lines, one


def paper_table() -> list[str]:
    """Return the paper's ablation."""
    rows = [row for row in PUBLISHED_ROWS if row.table == "ablation"]
    tasks = ("sr_bible", "sr_tatoeba", "taxi1500", "sib200")
    return [
        "| | SR-B | SR-T | Taxi1500 | SIB200 |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {row.model.partition(' (')[0]} | "
            + " | ".join(f"{row.values[task]['all']:.1f}" for task in tasks)
            + " |"
            for row in rows
        ),
    ]
