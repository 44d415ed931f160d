"""Formats a report for a terminal."""

from __future__ import annotations

from langsamp_plugin.report.groups import Groups
from langsamp_plugin.report.report import Comparison, Report
from langsamp_plugin.report.statistics import MODELS, RUN, spell_p


def report_text(report: Report) -> str:
    """Return the summary for a terminal."""
    lines = []
    for task in report.tasks:
        rows = [row for row in report.summary if row.task == task]
        width = max(len(row.model) for row in rows)
        title = f"{report.title(task)} ({report.metric(task)})"
        lines.append(f"{title:<{max(width + 2, 20)}}" + "".join(f"{name:>16}" for name in report.columns(task)))
        for row in rows:
            marks = [
                f"{row.cells[group]}{'*' if (task, row.model, group) in report.best else ' '}" for group in Groups.names
            ]
            lines.append(f"  {row.model:<{max(width, 18)}}" + "".join(f"{mark:>16}" for mark in marks))
        if report.coverage(task):
            lines.append(f"  {report.coverage(task)}")
    if report.best:
        lines.append("* best of its column")
    lines += [comparison_line(report, row) for row in report.comparisons if row.group == "all"]
    return "\n".join(lines)


def comparison_line(report: Report, row: Comparison) -> str:
    """Return one comparison as a line."""
    gain = row.gain
    interval = f" [{gain.low:+.2f}, {gain.high:+.2f}]" if gain.low is not None and gain.high is not None else ""
    tested = f"p = {spell_p(gain.p)}, Holm {spell_p(gain.adjusted)}, " if gain.p is not None else "no test: "
    return (
        f"{report.title(row.task)}: {row.model} - {row.baseline} {gain.mean:+.2f}{interval}, {tested}{gain.method}"
    ).replace("p = <", "p <")


def about(name: str) -> str:
    """Return the subject of a p-value, for a table."""
    return {MODELS: "the models", RUN: "this run only"}.get(name, "languages")
