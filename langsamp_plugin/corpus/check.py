"""Checks labels: script and language of the text per tag, and unusable lines."""

from __future__ import annotations

import csv
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.corpus.decisions import KEPT, DecisionCounts, Rules, at_home
from langsamp_plugin.corpus.duplicates import repeated
from langsamp_plugin.corpus.identification import load_identifier, same_language
from langsamp_plugin.corpus.judging import batches, judge
from langsamp_plugin.corpus.left_out import LeftOut
from langsamp_plugin.corpus.readers import LONGEST_LINE, Undecodable, read_texts
from langsamp_plugin.corpus.scripts import count_letters, letter_scripts, script_share
from langsamp_plugin.corpus.sources import find_sources
from langsamp_plugin.corpus.text import clean
from langsamp_plugin.lang_script import UNKNOWN_SCRIPT, LangScript
from langsamp_plugin.progress import parallel, progress


class Limits(NamedTuple):
    """Limits beyond which a language is suspicious.

    Args:
        script: minimum share of letters in the declared script.
        language: minimum share of lines that the model identifies as the declared language.
        lines: maximum share of lines that are empty, over-long, damaged or repeated, applied to each kind separately.
        characters: length beyond which a line is over-long.
    """

    script: float = 0.8
    language: float = 0.5
    lines: float = 0.1
    characters: int = 10_000


class Report(NamedTuple):
    """Findings for one language.

    Args:
        tag: its tag.
        lines: lines checked, without empty ones.
        empty, over_long, replacement, duplicates: lines without text; longer than the limit; with U+FFFD or bytes
            that are not UTF-8; equal to an earlier one.
        script_share: share of letters in the declared script, relative to all letters with a script; ``None`` if there
            are none.
        main_script: the script of most letters.
        language_share: share of lines that the model identifies as the declared language; ``None`` if the model does
            not know it.
        main_language: the model's most frequent label.
        kept: lines that `langsamp corpus` would keep under this tag with the same options.
        problems: messages about exceeded limits.
    """

    tag: LangScript
    lines: int
    empty: int
    over_long: int
    replacement: int
    duplicates: int
    script_share: Optional[float]
    main_script: str
    language_share: Optional[float]
    main_language: str
    kept: int
    problems: list[str]

    def cells(self) -> dict[str, str]:
        """Return its row of the printed table, by heading."""
        shares = ["-" if share is None else f"{share:.1%}" for share in (self.script_share, self.language_share)]
        return {
            "tag": str(self.tag), "lines": f"{self.lines:,}", "script": shares[0], "main_script": self.main_script,
            "language": shares[1], "main_language": self.main_language, "kept": f"{self.kept:,}",
            "empty": f"{self.empty:,}", "long": f"{self.over_long:,}", "damaged": f"{self.replacement:,}",
            "repeated": f"{self.duplicates:,}", "problems": ", ".join(self.problems) or "ok",
        }  # fmt: skip


class Checked(NamedTuple):
    """Result of a check.

    Args:
        reports: one report per tag, in the order of the tags.
        left_out: names and lines that were skipped.
        merged: for tags with several names, these names.
        by_text: names without a script whose text is not in the usual script, per tag.
        decisions: decisions of `langsamp corpus` with the same options, as in its ``decisions.tsv``.
    """

    reports: list[Report]
    left_out: list[LeftOut]
    merged: dict[str, list[str]]
    by_text: dict[str, list[str]]
    decisions: list[list[str]]


class Job(NamedTuple):
    """One language to check, with the arguments of :func:`check_corpus`."""

    tag: LangScript
    files: list[Path]
    column: str
    limits: Limits
    max_lines: int
    rules: Rules
    longest: int


def check_corpus(
    source: PathLike,
    *,
    out: Optional[PathLike] = None,
    rules: Rules = Rules(),
    limits: Limits = Limits(),
    max_lines: int = 0,
    column: str = "text",
    split: str = "train",
    workers: int = 1,
    langs: Iterable[str] = (),
    longest: int = LONGEST_LINE,
) -> Checked:
    """Check every language of a corpus; write nothing except ``out``.

    Args:
        source: a source for :func:`~langsamp_plugin.corpus.sources.find_sources`.
        out: the TSV file to write.
        rules: rules of `langsamp corpus` for judging lines; their model also determines language shares.
        limits: limits beyond which a language is suspicious.
        max_lines: maximum number of lines per language; 0 checks all.
        column: the field or column that holds the text.
        split: the split to read.
        workers: number of processes.
        langs: the tags to use; empty means all.
        longest: maximum length of a line in bytes.
    """
    found = find_sources(source, langs, split, column=column)
    if out is not None and not os.access(Path(out).resolve().parent, os.W_OK):
        raise PermissionError(13, "cannot write there, choose another --out", str(out))
    if rules.model is not None:
        load_identifier(rules.model)  # fail early; the workers inherit it, as forks of this process
    jobs = [Job(tag, files, column, limits, max_lines, rules, longest) for tag, files in found.found.items()]
    jobs.sort(key=lambda job: -sum(path.stat().st_size for path in job.files))
    with parallel(workers) as run:
        done = progress(run(_check_language, jobs), total=len(jobs), desc="checking", unit="language")
        results = sorted(done, key=lambda result: result[0].tag)
    reports = [report for report, _, _ in results]
    if out is not None:
        _save_reports(out, reports)
    left_out = [*found.left_out, *(entry for _, _, bad in results for entry in bad)]
    decisions = at_home([row for _, rows, _ in results for row in rows], [str(tag) for tag in found.found])
    return Checked(reports, left_out, found.merged, found.by_text, decisions)


def format_table(reports: Iterable[Report]) -> str:
    """Return a table for the terminal, with suspicious languages last, so that they stay on screen."""
    ordered = sorted(reports, key=lambda report: (bool(report.problems), report.tag))
    cells = [report.cells() for report in ordered]
    if not cells:
        return ""
    left = {"tag", "main_script", "main_language", "problems"}
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in cells[0]}
    rows = [{name: name for name in widths}, *cells]
    return "\n".join(
        "  ".join(
            row[name].ljust(width) if name in left else row[name].rjust(width) for name, width in widths.items()
        ).rstrip()
        for row in rows
    )


def _save_reports(path: PathLike, reports: Iterable[Report]) -> None:
    with atomic_write(path) as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(Report._fields)
        for report in reports:
            shares = {
                name: "" if getattr(report, name) is None else f"{getattr(report, name):.4f}"
                for name in ("script_share", "language_share")
            }
            writer.writerow(report._replace(problems="; ".join(report.problems), **shares))  # type: ignore[arg-type]


def _check_language(job: Job) -> tuple[Report, list[list[str]], list[LeftOut]]:
    counts, labels, decisions = Counter[str](), Counter[str](), DecisionCounts(job.tag)
    left_out: list[LeftOut] = []
    names, _ = letter_scripts()
    letters = np.zeros(len(names), dtype=np.int64)
    identifier = load_identifier(job.rules.model) if job.rules.model else None

    def counted() -> Iterator[str]:
        """Count the properties of each line, and yield the lines that `langsamp corpus` judges."""
        for batch in batches(_lines(job, left_out)):
            lines = [(clean(text), isinstance(text, Undecodable)) for text in batch]
            for line, damaged in lines:
                counts["lines" if line else "empty"] += 1
                counts["over_long"] += len(line) > job.limits.characters
                counts["replacement"] += damaged or "\ufffd" in line
                if identifier is not None and line:
                    labels[str(identifier.identify(line)[0])] += 1
            letters.__iadd__(count_letters([line for line, _ in lines]).sum(axis=0))
            yield from (line for line, damaged in lines if line and not damaged)

    if job.rules.active:
        for line, decision in judge(counted(), job.tag, job.rules):
            decisions.add(decision, line)
    else:
        deque(counted(), maxlen=0)
    duplicates = int(repeated(filter(None, map(clean, _lines(job, [])))).sum())
    total = int(letters.sum())
    known_script = job.tag.script != UNKNOWN_SCRIPT and total > 0
    language_share = None
    if identifier is not None and counts["lines"] and identifier.knows(job.tag):
        agree = sum(
            number
            for label, number in labels.items()
            if same_language(label.partition("_")[0], job.tag.language, job.rules.close)
        )
        language_share = agree / counts["lines"]
    kept = sum(number for decision, number in decisions.counts.items() if decision.what == KEPT)
    report = Report(
        tag=job.tag,
        lines=counts["lines"],
        empty=counts["empty"],
        over_long=counts["over_long"],
        replacement=counts["replacement"],
        duplicates=duplicates,
        script_share=float(script_share(letters, job.tag.script)) if known_script else None,
        main_script=names[int(letters.argmax())] if total else "-",
        language_share=language_share,
        main_language=labels.most_common(1)[0][0] if labels else "-",
        kept=kept if job.rules.active else counts["lines"],
        problems=[],
    )
    return report._replace(problems=_problems(report, job.limits)), decisions.rows(), left_out


def _problems(report: Report, limits: Limits) -> list[str]:
    if not report.lines:
        return ["no text"]
    problems = []
    if report.script_share is None and report.tag.script != UNKNOWN_SCRIPT:
        problems.append("no letters")
    if report.script_share is not None and report.script_share < limits.script:
        problems.append(f"script {report.script_share:.0%}, mostly {report.main_script}")
    if report.language_share is not None and report.language_share < limits.language:
        problems.append(f"language {report.language_share:.0%}, mostly {report.main_language}")
    total = report.lines + report.empty
    kinds = {
        "empty": report.empty,
        "over-long": report.over_long,
        "damaged": report.replacement,
        "repeated": report.duplicates,
    }
    most = limits.lines * total
    return problems + [f"{count / total:.0%} {kind} lines" for kind, count in kinds.items() if count > most]


def _lines(job: Job, left_out: list[LeftOut]) -> Iterator[str]:
    """Yield the lines of a language, including empty ones."""
    lines = (
        line
        for path in job.files
        for line in read_texts(path, job.column, undecodable=True, longest=job.longest, left_out=left_out)
    )
    return islice(lines, job.max_lines or None)
