"""Formats a report as a LaTeX table."""

from __future__ import annotations

from langsamp_plugin.report.groups import Groups
from langsamp_plugin.report.report import Report

ESCAPED = {
    **{character: f"\\{character}" for character in "_&%#${}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def report_latex(report: Report) -> str:
    """Return the summary as a ``tabular`` environment for the booktabs package."""
    lines = [r"\begin{tabular}{llrrrrr}", r"\toprule", "task & model & " + " & ".join(Groups.names) + r" \\"]
    task_before = None
    for row in report.summary:
        if row.task != task_before:
            lines.append(r"\midrule")
        parts = []
        for group in Groups.names:
            text = str(row.cells[group]).replace("±", r"$\pm$")
            parts.append(rf"\textbf{{{text}}}" if (row.task, row.model, group) in report.best else text)
        title = report.title(row.task) if row.task != task_before else ""
        lines.append(f"{escape(title)} & {escape(row.model)} & {' & '.join(parts)} " + r"\\")
        task_before = row.task
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def escape(text: str) -> str:
    """Return text with LaTeX's special characters escaped."""
    return "".join(ESCAPED.get(character, character) for character in text)
