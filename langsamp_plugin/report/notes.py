"""Notes for readers of a report: languages left out, differing protocols, notes from the evaluation."""

from __future__ import annotations

from langsamp_plugin.report.published import DIFFERENT_METRICS
from langsamp_plugin.report.report import Report

WARNING = "\u26a0"


def report_notes(report: Report) -> list[str]:
    """Return the notes of a report, grouped by task."""
    lines = []
    for task in report.tasks:
        lines += _comparability(report, task)
        lines += _coverage(report, task)
        lines += _remarks(report, task)
    return lines


def _comparability(report: Report, task: str) -> list[str]:
    """Return reasons why the models of a task are hard to compare."""
    title, of_task, lines = report.title(task), report.tasks[task], []
    if not report.shared[task]:
        lines.append(f"{WARNING} {title}: no language has scores of all models, so nothing is compared")
    settings = {str(sorted(result.settings.items())) + str(result.seeds) + result.source for result in of_task}
    if len(settings) > 1:
        lines.append(f"{WARNING} {title}: the models were run with different settings, see the JSON files")
    if _data_differ(report, task):
        lines.append(f"{WARNING} {title}: the models were scored on different data")
    if len(of_task) > 1 and report.baseline not in [result.model for result in of_task]:
        lines.append(f"{title}: {report.baseline} has no result, so no model is tested against it")
    return lines


def _data_differ(report: Report, task: str) -> bool:
    of_task = report.tasks[task]
    hashes = [result.provenance.get("data_hashes") for result in of_task]
    if all(isinstance(part, dict) for part in hashes):
        by_tag = any(len({part.get(tag) for part in hashes if part}) > 1 for tag in report.shared[task])
        return by_tag or len({result.provenance.get("train_hash") for result in of_task}) > 1
    return len({result.provenance.get("data_hash") for result in of_task}) > 1


def _coverage(report: Report, task: str) -> list[str]:
    """Return what the scores of a task depend on: metric, retrieval pools, limits, source language."""
    title, of_task, lines = report.title(task), report.tasks[task], []
    if task in DIFFERENT_METRICS and report.metric(task) != DIFFERENT_METRICS[task][0] and report.published:
        metric, why = DIFFERENT_METRICS[task]
        lines.append(f"{WARNING} {title}: {why}; --metric {task}={metric} shows the paper's")
    sizes = [size for tag, size in of_task[0].sizes.items() if tag in report.shared[task]]
    if not of_task[0].seeds and sizes and min(sizes) != max(sizes):
        lines.append(
            f"{title}: retrieval pools have {min(sizes):,} to {max(sizes):,} sentences, and accuracy falls as they grow"
        )
    if of_task[0].settings.get("limit"):
        lines.append(f"{title}: at most {of_task[0].settings['limit']} sentences of each file")
    if of_task[0].source != "eng_Latn":
        lines.append(f"{title}: fine-tuned on {of_task[0].source}")
    return lines


def _remarks(report: Report, task: str) -> list[str]:
    """Return the notes of the evaluation, and languages that are not in the summary."""
    title, of_task, lines = report.title(task), report.tasks[task], []
    for result in of_task:
        extra = sorted(set(result.scores) - set(report.shared[task]))
        if extra:
            lines.append(
                f"{title}: {len(extra)} languages scored only for {result.model} are not in the summary: "
                f"{' '.join(extra)}"
            )
        lines += [
            f"{title}, {result.model}: {tag} has seeds {', '.join(seeds)} only, so it is not in the summary"
            for tag, seeds in result.incomplete.items()
            if tag not in result.scores
        ]
        lines += [f"{title}, {result.model}: {tag} not scored, {why}" for tag, why in result.not_scored.items()]
        lines += [f"{title}, {result.model}: {note}" for note in result.notes]
    return lines
