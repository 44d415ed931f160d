"""Writes a corpus from any source: one text file per tag, one sentence or paragraph per line, and a table of counts."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from langsamp_plugin.atomic import PathLike, atomic_write, read_record
from langsamp_plugin.corpus.decisions import Rules, at_home, save_decisions
from langsamp_plugin.corpus.identification import load_identifier
from langsamp_plugin.corpus.jobs import FINISHED, Job, run_jobs, save_record, write_lines
from langsamp_plugin.corpus.left_out import LeftOut, refuse_if_strict
from langsamp_plugin.corpus.parts import JOINED, remove_earlier, write_judged
from langsamp_plugin.corpus.readers import LONGEST_LINE
from langsamp_plugin.corpus.sources import find_sources
from langsamp_plugin.own_files import refuse_foreign
from langsamp_plugin.place import making
from langsamp_plugin.progress import parallel
from langsamp_plugin.source_files import are_unedited

COUNTS = ("tag", "lines", "characters", "bytes", "duplicates")


class Written(NamedTuple):
    """Result of a run.

    Args:
        rows: the numbers of ``counts.tsv`` per tag: lines, characters without line ends, bytes of the file, and dropped
            duplicates.
        left_out: names and lines that were left out.
        merged: for tags with several names, these names.
        by_text: names without a script whose text is not in the usual script, per tag.
        decisions: rows of ``decisions.tsv``; empty without rules.
        earlier: languages of earlier runs that are no longer in the source but still in the folder.
    """

    rows: list[dict[str, Any]]
    left_out: list[LeftOut]
    merged: dict[str, list[str]]
    by_text: dict[str, list[str]]
    decisions: list[list[str]]
    earlier: Sequence[str] = ()


def write_corpus(
    source: PathLike,
    out: PathLike,
    *,
    column: str = "text",
    split: str = "train",
    dedup: bool = False,
    workers: int = 1,
    langs: Iterable[str] = (),
    rules: Rules = Rules(),
    longest: int = LONGEST_LINE,
    strict: bool = False,
    prune: bool = False,
    overwrite: bool = False,
) -> Written:
    """Write ``<out>/<tag>.txt`` and ``counts.tsv``; another call resumes after the last finished language.

    With rules, the folder contains a single run: files of earlier runs with other sources or rules are removed.

    Args:
        source: a source for :func:`~langsamp_plugin.corpus.sources.find_sources`.
        out: the folder to write.
        column: the field or column with the text.
        split: the split to read.
        dedup: drop exact duplicates within a language.
        workers: number of processes.
        langs: the tags to use; empty means all.
        rules: rules for moving or dropping lines; ``decisions.tsv`` is then also written.
        longest: maximum length of a line in bytes.
        strict: raise instead of leaving anything out.
        prune: remove languages of earlier runs that are no longer in the source; otherwise they are reported.
        overwrite: replace files of these names that something else wrote.

    Raises:
        ValueError: a file is damaged, nothing is left, ``out`` is the source itself, or something would be left out
            with ``strict``.
    """
    source, out = Path(source), Path(out)
    if source.resolve() == out.resolve():
        raise ValueError(f"--out {out} is the source itself: choose another folder")
    langs = list(langs)
    if prune and langs:
        raise ValueError("--prune needs all languages of the source: leave out --langs")
    if rules.model is not None:
        load_identifier(rules.model)  # fail early; the workers inherit it, as forks of this process
    found = find_sources(source, langs, split, column=column)
    refuse_if_strict(found.left_out, strict)
    own = (out / FINISHED).is_dir()
    refuse_foreign([*(out / f"{tag}.txt" for tag in found.found), out / "counts.tsv"], overwrite, own=own)
    jobs = [Job(tag, files, column, dedup, longest, rules, out) for tag, files in found.found.items()]
    jobs.sort(key=lambda job: -sum(path.stat().st_size for path in job.files))
    earlier: list[str] = []
    with making(out / FINISHED):  # from here on the folder is this command's
        if rules.active:
            rows, records = write_judged(out, jobs, workers)
        else:
            earlier = _remove_stale(out, jobs, all_languages=not langs, prune=prune)
            with parallel(workers) as run:
                records = run_jobs(run, _write_language, jobs)
            rows = [record["row"] for record in records if record["row"]["lines"]]
    left_out = [*found.left_out, *(LeftOut(*entry) for record in records for entry in record["left_out"])]
    refuse_if_strict(left_out, strict)
    if not rows:
        raise ValueError(f"nothing is left of {source}: {left_out[0] if left_out else 'every line was dropped'}")
    decisions = at_home((row for record in records for row in record.get("decisions", ())), list(map(str, found.found)))
    if rules.active:
        save_decisions(out / "decisions.tsv", decisions)
    _save_counts(out / "counts.tsv", rows)
    return Written(rows, left_out, found.merged, found.by_text, decisions, [] if prune else earlier)


def _remove_stale(out: Path, jobs: list[Job], *, all_languages: bool, prune: bool) -> list[str]:
    """Remove what a run with rules left, and with ``prune`` languages that are gone; return the names of these."""
    if (out / JOINED).is_file():
        remove_earlier(out, [])
        shutil.rmtree(out / FINISHED)
    earlier = _earlier(out, jobs) if all_languages else []
    for name in earlier if prune else ():
        (out / f"{name}.txt").unlink(missing_ok=True)
        (out / FINISHED / f"{name}.json").unlink()
    return earlier


def _earlier(out: Path, jobs: list[Job]) -> list[str]:
    """Return the languages of earlier runs that are not in the source."""
    finished = {path.stem for path in (out / FINISHED).glob("*.json")} - {Path(JOINED).stem}
    return sorted(finished - {str(job.tag) for job in jobs})


def _save_counts(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_write(path) as stream:
        writer = csv.DictWriter(stream, COUNTS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_language(job: Job) -> dict[str, Any]:
    """Write a language without judging its lines; return its record."""
    path = job.out / f"{job.tag}.txt"
    finished = read_record(job.record, ("fingerprint", "row", "left_out", "tag"))
    fingerprint = job.fingerprint()
    if finished is not None and finished["fingerprint"] == fingerprint and are_unedited(finished, job.files):
        size = path.stat().st_size if path.is_file() else 0
        if finished["row"]["bytes"] == size:
            return finished
    left_out: list[LeftOut] = []
    row = write_lines(path, job.tag, lambda: job.lines(left_out), job.dedup, left_out)
    if not row["lines"]:
        path.unlink(missing_ok=True)
        left_out.append(LeftOut(str(job.files[0]), "has no line of text", "add text or remove it"))
    return save_record(job, fingerprint, {"row": row, "left_out": left_out})
