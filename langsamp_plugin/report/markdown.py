"""Formats a report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from langsamp_plugin.report.groups import Groups
from langsamp_plugin.report.notes import report_notes
from langsamp_plugin.report.published import SOURCE
from langsamp_plugin.report.report import Report
from langsamp_plugin.report.statistics import spell_p
from langsamp_plugin.report.text import about


def report_markdown(report: Report, pictures: Sequence[str] = ()) -> str:
    """Return the report.

    Args:
        report: the numbers.
        pictures: names of picture files next to the report, each beginning with its task.
    """
    lines = [
        "# Zero-shot evaluation",
        "",
        "Scores are means over languages; ± is the standard deviation over seeds; the best score is bold. "
        + report.groups.describe()[0].upper()
        + report.groups.describe()[1:]
        + ".",
        "",
    ]
    if report.published:
        lines += [
            f"Rows marked (paper) are from {SOURCE}, over the paper's languages; - marks values that this package does "
            "not include.",
            "",
        ]
    for task in report.tasks:
        lines += [f"## {report.title(task)}", "", *_summary_table(report, task)]
        lines += _comparison_table(report, task)
        lines += _family_table(report, task)
        coverage = report.coverage(task)
        lines += ["", _settings_line(report, task) + (f" {coverage}." if coverage else ""), ""]
        lines += [f"![{report.title(task)}]({picture})" for picture in pictures if picture.split(".")[0] == task]
        lines.append("")
    lines += ["## Scores by language", ""]
    for task in report.tasks:
        lines += _language_table(report, task)
    notes = report_notes(report)
    if notes:
        lines += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    return "\n".join([*lines, *_origins(report)]) + "\n"


def _summary_table(report: Report, task: str) -> list[str]:
    lines = [f"| model | {' | '.join(report.columns(task))} |", "| --- |" + " ---: |" * len(Groups.names)]
    for row in report.summary:
        if row.task == task:
            parts = [
                f"**{row.cells[group]}**" if (task, row.model, group) in report.best else str(row.cells[group])
                for group in Groups.names
            ]
            lines.append(f"| {row.model} | {' | '.join(parts)} |")
    return lines


def _comparison_table(report: Report, task: str) -> list[str]:
    rows = [row for row in report.comparisons if row.task == task]
    if not rows:
        return []
    lines = [
        "",
        "| difference | group | languages | points | 95 % interval | p | Holm | about |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for row in rows:
        gain = row.gain
        interval = f"{gain.low:+.2f} to {gain.high:+.2f}" if gain.low is not None and gain.high is not None else "-"
        lines.append(
            f"| {row.model} - {row.baseline} | {row.group} | {gain.languages} | {gain.mean:+.2f} | {interval} | "
            f"{spell_p(gain.p)} | {spell_p(gain.adjusted)} | {about(gain.about)} |"
        )
    methods = list(dict.fromkeys(row.gain.method for row in rows))
    return [*lines, "", f"Tests: {'; '.join(methods)}. Holm's correction is over all tests of this report."]


def _family_table(report: Report, task: str) -> list[str]:
    rows = [row for row in report.family_effects if row.task == task]
    if not rows:
        return []
    return [
        "",
        "| difference | family | languages | points |",
        "| --- | --- | ---: | ---: |",
        *(f"| {row.model} - {row.baseline} | {row.family} | {row.languages} | {row.gain:+.2f} |" for row in rows),
    ]


def _settings_line(report: Report, task: str) -> str:
    first = report.tasks[task][0]
    settings = ", ".join(f"{key} {value}" for key, value in first.settings.items() if key != "recipe")
    seeds = f", seeds {' '.join(map(str, first.seeds))}" if first.seeds else ""
    return f"Metric {report.metric(task)}; {settings}{seeds}; from {first.source}."


def _language_table(report: Report, task: str) -> list[str]:
    of_task = report.tasks[task]
    size = "pairs" if not of_task[0].seeds else "sentences"
    lines = [
        f"### {report.title(task)}",
        "",
        f"| tag | group | {size} | {' | '.join(result.model for result in of_task)} |",
        "| --- | --- | ---: |" + " ---: |" * len(of_task),
    ]
    for tag, values in report.languages(task):
        scores = " | ".join("-" if value is None else f"{value:.1f}" for value in values)
        count = next((result.sizes[tag] for result in of_task if tag in result.sizes), 0)
        lines.append(f"| {tag} | {'head' if report.groups.is_head(tag, task) else 'tail'} | {count:,} | {scores} |")
    return [*lines, ""]


def _origins(report: Report) -> list[str]:
    lines = ["## Provenance", ""]
    for task, of_task in report.tasks.items():
        for result in of_task:
            origin = result.provenance
            lines.append(
                f"- {report.title(task)}, {result.model}: weights {origin.get('model_hash')}, data "
                f"{origin.get('data_hash')}, {origin.get('device')}, torch {origin.get('versions', {}).get('torch')}, "
                f"{origin.get('finished')}: `{origin.get('command')}`"
            )
    return lines
