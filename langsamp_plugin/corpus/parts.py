"""Writes a judged corpus in two stages: lines of each source go to one part per destination tag, then parts are joined.

Parts are joined in the order of the sources, so the output does not depend on the number of workers, and work that was
finished before a kill is not repeated.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Optional

from langsamp_plugin.atomic import atomic_write, read_record
from langsamp_plugin.corpus.decisions import DROPPED, DecisionCounts
from langsamp_plugin.corpus.identification import home_tag
from langsamp_plugin.corpus.jobs import FINISHED, Job, run_jobs, save_record, write_lines
from langsamp_plugin.corpus.judging import judge
from langsamp_plugin.corpus.left_out import LeftOut
from langsamp_plugin.progress import parallel
from langsamp_plugin.source_files import are_unedited

JOINED = f"{FINISHED}/joined.json"
STREAMS = 256  # maximum number of open parts


def write_judged(out: Path, jobs: list[Job], workers: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write a corpus whose lines are judged; return the rows of ``counts.tsv`` and the records of the languages."""
    finished = _finished_run(out, jobs)
    if finished is not None:
        joined = read_record(out / JOINED, ("rows",))
        return (joined or {})["rows"], finished
    with parallel(workers) as run:
        records = run_jobs(run, _part_language, jobs)
        return _join_parts(out, jobs, records, run), records


def _part_language(job: Job) -> dict[str, Any]:
    """Write a language's lines into one part per destination tag; return its record."""
    finished = read_record(job.record, ("fingerprint", "parts", "decisions", "left_out", "tag"))
    fingerprint = job.fingerprint()
    same = finished is not None and finished["fingerprint"] == fingerprint and are_unedited(finished, job.files)
    if finished is not None and same and _are_whole(job, finished["parts"]):
        return finished
    shutil.rmtree(job.parts, ignore_errors=True)
    job.parts.mkdir(parents=True)
    counts, left_out = DecisionCounts(job.tag), list[LeftOut]()
    sizes: dict[str, int] = {}
    with _Parts(job.parts) as parts:
        for line, decision in judge(job.lines(left_out), job.tag, job.rules):
            counts.add(decision, line)
            if decision.what != DROPPED:
                sizes[decision.to] = sizes.get(decision.to, 0) + parts.write(decision.to, line)
    if not counts.counts:
        left_out.append(LeftOut(str(job.files[0]), "has no line of text", "add text or remove it"))
    return save_record(job, fingerprint, {"parts": sizes, "decisions": counts.rows(), "left_out": left_out})


class _Parts:
    """The destination files of a language's lines, with a limited number of open ones."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.streams: dict[str, IO[bytes]] = {}

    def write(self, name: str, line: str) -> int:
        """Append a line to the part of a tag; return its length in bytes."""
        if name not in self.streams:
            if len(self.streams) == STREAMS:
                self.streams.pop(next(iter(self.streams))).close()
            self.streams[name] = open(self.folder / f"{name}.txt", "ab")  # noqa: SIM115 - closed at the end
        return self.streams[name].write(f"{line}\n".encode())

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self.streams.values():
            stream.close()


def _are_whole(job: Job, sizes: dict[str, int]) -> bool:
    files = {name: job.parts / f"{name}.txt" for name in sizes}
    return all(path.is_file() and path.stat().st_size == sizes[name] for name, path in files.items())


def _finished_run(out: Path, jobs: list[Job]) -> Optional[list[dict[str, Any]]]:
    """Return the records of a finished run with rules; ``None`` if it is unfinished or its files were changed."""
    joined = read_record(out / JOINED, ("state", "rows", "records"))
    if joined is None or joined["state"] != _state(jobs):
        return None
    records = {record["tag"]: record for record in joined["records"]}
    if not all(are_unedited(records.get(str(job.tag), {}), job.files) for job in jobs):
        return None
    files = {out / f"{row['tag']}.txt": row["bytes"] for row in joined["rows"]}
    whole = all(path.is_file() and path.stat().st_size == size for path, size in files.items())
    return list(joined["records"]) if whole else None


def _state(jobs: list[Job]) -> str:
    parts = sorted((str(job.tag), job.fingerprint()) for job in jobs)
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _join_parts(out: Path, jobs: list[Job], records: list[dict[str, Any]], run: Any) -> list[dict[str, Any]]:
    """Join the parts of each tag in the order of their sources; return the rows of ``counts.tsv``."""
    tags = {str(job.tag) for job in jobs}
    parts: dict[str, list[Path]] = {}
    for record in records:
        for name in record["parts"]:
            path = out / ".parts" / record["tag"] / f"{name}.txt"
            parts.setdefault(home_tag(name, tags), []).append(path)
    remove_earlier(out, parts)
    tasks = [(out / f"{name}.txt", name, paths, jobs[0].dedup) for name, paths in sorted(parts.items())]
    rows = sorted(run(_join_one, tasks), key=lambda row: row["tag"])
    with atomic_write(out / JOINED) as stream:
        json.dump({"state": _state(jobs), "rows": rows, "records": records}, stream)
    shutil.rmtree(out / ".parts", ignore_errors=True)
    return rows


def _join_one(task: tuple[Path, str, list[Path], bool]) -> dict[str, Any]:
    path, name, paths, dedup = task

    def lines() -> Iterator[str]:
        for part in paths:
            with open(part, encoding="utf-8", newline="\n") as stream:
                for line in stream:
                    yield line.rstrip("\n")

    return write_lines(path, name, lines, dedup, [])


def remove_earlier(out: Path, names: Iterable[str]) -> None:
    """Remove files of an earlier run that are not written again: they could contain moved lines."""
    joined = read_record(out / JOINED, ("rows",))
    earlier = {row["tag"] for row in joined["rows"]} if joined else set()
    earlier |= {path.stem for path in (out / FINISHED).glob("*.json")} - {Path(JOINED).stem}
    for name in earlier - set(names):
        (out / f"{name}.txt").unlink(missing_ok=True)
