"""Any source to a corpus: one text file per tag, one sentence or paragraph a line, and a table of counts.

With rules for doubtful lines there are two stages: each source's lines go to a part per tag that they belong to, then
the parts of a tag are joined in the order of the sources. So the output is the same for any number of workers, and what
was finished before a kill is not done again.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Optional

from langsamp_plugin.atomic import PathLike, atomic_write, read_record
from langsamp_plugin.corpus.decisions import DROPPED, DecisionCounts, Rules, decide, save_decisions
from langsamp_plugin.corpus.duplicates import repeated
from langsamp_plugin.corpus.left_out import LeftOut, refuse_if_strict
from langsamp_plugin.corpus.readers import LONGEST_LINE, read_texts
from langsamp_plugin.corpus.sources import find_sources
from langsamp_plugin.corpus.text import clean
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import parallel, progress

JOINED = ".finished/joined.json"
COUNTS = ("tag", "lines", "characters", "bytes", "duplicates")
BATCH = 1000  # lines that are judged at a time
STREAMS = 256  # parts that are open at a time


class Written(NamedTuple):
    """What a run wrote.

    Args:
        rows: per tag the numbers of ``counts.tsv``: lines, characters without line ends, bytes of the file, and how
            many duplicates were left out.
        left_out: names and lines that were not taken.
        merged: per tag the names that mean it, where they are several.
        decisions: rows of ``decisions.tsv``; empty without rules.
    """

    rows: list[dict[str, Any]]
    left_out: list[LeftOut]
    merged: dict[str, list[str]]
    decisions: list[list[str]]


class Job(NamedTuple):
    """One language to write.

    Args:
        tag: its tag.
        files: where its text is.
        column: the field or column that holds it.
        dedup: leave out lines that stood there before.
        longest: bytes of the longest line that is taken.
        rules: how lines are judged.
        out: the folder of the corpus.
    """

    tag: LangScript
    files: list[Path]
    column: str
    dedup: bool
    longest: int
    rules: Rules
    out: Path

    def lines(self, left_out: Optional[list[LeftOut]] = None) -> Iterator[str]:
        """Yield the lines that have any text; bad ones are listed."""
        bad: list[LeftOut] = [] if left_out is None else left_out
        for path in self.files:
            yield from filter(None, map(clean, read_texts(path, self.column, longest=self.longest, left_out=bad)))

    def fingerprint(self) -> str:
        """Return what the result depends on; a finished language with the same is not written again."""
        stats = [path.stat() for path in self.files]
        parts = [str(path.resolve()) for path in self.files], [(stat.st_size, stat.st_mtime_ns) for stat in stats]
        rules = self.rules.fingerprint() if self.rules.active else ""
        return blake2b(repr((*parts, self.column, self.dedup, self.longest, rules)).encode(), digest_size=8).hexdigest()

    @property
    def record(self) -> Path:
        """What is left when it is finished."""
        return self.out / ".finished" / f"{self.tag}.json"

    @property
    def parts(self) -> Path:
        """The folder of its lines by the tag that they go to."""
        return self.out / ".parts" / str(self.tag)


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
) -> Written:
    """Write ``<out>/<tag>.txt`` and ``counts.tsv``; called again it resumes after the last language that was finished.

    With rules the folder is that of one run: files of an earlier one with other sources or rules are removed.

    Args:
        source: what :func:`~langsamp_plugin.corpus.sources.find_sources` reads.
        out: the folder to write.
        column: the field or column that holds the text.
        split: the split to take.
        dedup: leave out lines that are exactly the same as an earlier one of their language.
        workers: processes.
        langs: the tags to take; empty takes all.
        rules: which lines are moved or dropped; then ``decisions.tsv`` is written, too.
        longest: bytes of the longest line that is taken.
        strict: what would be left out is an error.

    Raises:
        ValueError: a file is damaged, nothing is left, ``out`` is the source itself, or something would be left out and
            ``strict``.
    """
    source, out = Path(source), Path(out)
    if source.resolve() == out.resolve():
        raise ValueError(f"--out {out} is the source itself: choose another folder")
    if rules.model is not None:
        from langsamp_plugin.corpus.identification import load_identifier

        load_identifier(rules.model)  # fails here, and the workers, forks of this process, have it already
    found = find_sources(source, langs, split, column=column)
    refuse_if_strict(found.left_out, strict)
    out.mkdir(parents=True, exist_ok=True)
    jobs = [Job(tag, files, column, dedup, longest, rules, out) for tag, files in found.found.items()]
    jobs.sort(key=lambda job: -sum(path.stat().st_size for path in job.files))
    if rules.active:
        rows, records = _write_judged(out, jobs, workers)
    else:
        if (out / JOINED).is_file():  # of a run with rules
            _remove_earlier(out, [])
            shutil.rmtree(out / ".finished")
        with parallel(workers) as run:
            records = _run_jobs(run, _write_language, jobs)
        rows = [record["row"] for record in records if record["row"]["lines"]]
    left_out = [*found.left_out, *(LeftOut(*entry) for record in records for entry in record["left_out"])]
    refuse_if_strict(left_out, strict)
    if not rows:
        raise ValueError(f"nothing is left of {source}: {left_out[0] if left_out else 'every line was dropped'}")
    decisions = [row for record in records for row in record.get("decisions", ())]
    if rules.active:
        save_decisions(out / "decisions.tsv", decisions)
    with atomic_write(out / "counts.tsv") as stream:
        writer = csv.DictWriter(stream, COUNTS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return Written(rows, left_out, found.merged, decisions)


def _run_jobs(run: Any, work: Any, jobs: list[Job]) -> list[dict[str, Any]]:
    done = progress(run(work, jobs), total=len(jobs), desc="corpus", unit="language")
    return sorted(done, key=lambda record: record["tag"])


def _write_judged(out: Path, jobs: list[Job], workers: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write a corpus whose lines are judged; return the rows of ``counts.tsv`` and the records of the languages."""
    finished = _finished_run(out, jobs)
    if finished is not None:
        joined = read_record(out / JOINED, ("rows",))
        return (joined or {})["rows"], finished
    with parallel(workers) as run:
        records = _run_jobs(run, _part_language, jobs)
        return _join_parts(out, jobs, records, run), records


def _write_language(job: Job) -> dict[str, Any]:
    """Write a language whose lines all stay; return its record."""
    path = job.out / f"{job.tag}.txt"
    finished = read_record(job.record, ("fingerprint", "row", "left_out", "tag"))
    fingerprint = job.fingerprint()
    if finished is not None and finished["fingerprint"] == fingerprint:
        size = path.stat().st_size if path.is_file() else 0
        if finished["row"]["bytes"] == size:
            return finished
    left_out: list[LeftOut] = []
    row = _write_lines(path, job.tag, lambda: job.lines(left_out), job.dedup, left_out)
    if not row["lines"]:
        path.unlink(missing_ok=True)
        left_out.append(LeftOut(str(job.files[0]), "has no line of text", "add text or remove it"))
    return _save_record(job, fingerprint, {"row": row, "left_out": left_out})


def _write_lines(path: Path, tag: object, lines: Any, dedup: bool, left_out: list[LeftOut]) -> dict[str, Any]:
    """Write lines and return the row of ``counts.tsv``; ``lines`` is called for each time that they are read."""
    row: dict[str, Any] = {"tag": str(tag), "lines": 0, "characters": 0, "bytes": 0, "duplicates": 0}
    drop = repeated(lines()) if dedup else None
    left_out.clear()
    with atomic_write(path, "wb") as stream:
        for number, line in enumerate(lines()):
            if drop is not None and drop[number]:
                row["duplicates"] += 1
                continue
            row["bytes"] += stream.write(f"{line}\n".encode())
            row["lines"] += 1
            row["characters"] += len(line)
    return row


def _save_record(job: Job, fingerprint: str, parts: dict[str, Any]) -> dict[str, Any]:
    record = {"tag": str(job.tag), "fingerprint": fingerprint, **parts}
    with atomic_write(job.record) as stream:
        json.dump(record, stream)
    return record


def _part_language(job: Job) -> dict[str, Any]:
    """Write a language's lines into a part for each tag that they belong to; return its record."""
    finished = read_record(job.record, ("fingerprint", "parts", "decisions", "left_out", "tag"))
    fingerprint = job.fingerprint()
    if finished is not None and finished["fingerprint"] == fingerprint and _are_whole(job, finished["parts"]):
        return finished
    shutil.rmtree(job.parts, ignore_errors=True)
    job.parts.mkdir(parents=True)
    counts, left_out = DecisionCounts(job.tag), list[LeftOut]()
    sizes: dict[str, int] = {}
    lines = job.lines(left_out)
    with _Parts(job.parts) as parts:
        while batch := list(islice(lines, BATCH)):
            for line, decision in zip(batch, decide(batch, job.tag, job.rules)):
                counts.add(decision, line)
                if decision.what == DROPPED:
                    continue
                sizes[decision.to] = sizes.get(decision.to, 0) + parts.write(decision.to, line)
    if not counts.counts:
        left_out.append(LeftOut(str(job.files[0]), "has no line of text", "add text or remove it"))
    return _save_record(job, fingerprint, {"parts": sizes, "decisions": counts.rows(), "left_out": left_out})


class _Parts:
    """The files that a language's lines go to, not all of them open at a time."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.streams: dict[str, IO[bytes]] = {}

    def write(self, name: str, line: str) -> int:
        """Append a line to the part of a tag; return its bytes."""
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
    """Return the records of a run with rules that is finished; ``None`` if it is not, or its files were changed."""
    joined = read_record(out / JOINED, ("state", "rows", "records"))
    if joined is None or joined["state"] != _state(jobs):
        return None
    files = {out / f"{row['tag']}.txt": row["bytes"] for row in joined["rows"]}
    whole = all(path.is_file() and path.stat().st_size == size for path, size in files.items())
    return list(joined["records"]) if whole else None


def _state(jobs: list[Job]) -> str:
    parts = sorted((str(job.tag), job.fingerprint()) for job in jobs)
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _join_parts(out: Path, jobs: list[Job], records: list[dict[str, Any]], run: Any) -> list[dict[str, Any]]:
    """Join the parts of each tag in the order of their sources; return the rows of ``counts.tsv``."""
    parts: dict[str, list[Path]] = {}
    for record in records:
        for name in record["parts"]:
            parts.setdefault(name, []).append(out / ".parts" / record["tag"] / f"{name}.txt")
    _remove_earlier(out, parts)
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

    return _write_lines(path, name, lines, dedup, [])


def _remove_earlier(out: Path, names: Iterable[str]) -> None:
    """Remove the files that an earlier run made, except those that are written again: moved lines would stay there."""
    joined = read_record(out / JOINED, ("rows",))
    earlier = {row["tag"] for row in joined["rows"]} if joined else set()
    earlier |= {path.stem for path in (out / ".finished").glob("*.json")} - {Path(JOINED).stem}
    for name in earlier - set(names):
        (out / f"{name}.txt").unlink(missing_ok=True)
