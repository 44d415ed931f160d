"""Any source to a corpus: one text file per tag, one sentence or paragraph a line, and a table of counts."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from langsamp_plugin.atomic import PathLike, atomic_write, read_record
from langsamp_plugin.corpus.duplicates import repeated
from langsamp_plugin.corpus.sources import find_sources, read_texts
from langsamp_plugin.corpus.text import clean
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import parallel, progress

COUNTS = ("tag", "lines", "characters", "bytes", "duplicates")


class Job(NamedTuple):
    """One language to write.

    Args:
        tag: its tag.
        files: where its text is.
        column: the field or column that holds it.
        dedup: leave out lines that stood there before.
        out: the folder of the corpus.
    """

    tag: LangScript
    files: list[Path]
    column: str
    dedup: bool
    out: Path

    def lines(self) -> Iterator[str]:
        """Yield the lines that have any text."""
        for path in self.files:
            yield from filter(None, map(clean, read_texts(path, self.column)))

    def fingerprint(self) -> str:
        """Return what the result depends on; a finished language with the same is not written again."""
        stats = [path.stat() for path in self.files]
        parts = [str(path.resolve()) for path in self.files], [(stat.st_size, stat.st_mtime_ns) for stat in stats]
        return blake2b(repr((*parts, self.column, self.dedup)).encode(), digest_size=8).hexdigest()


def write_corpus(
    source: PathLike,
    out: PathLike,
    column: str = "text",
    split: str = "train",
    dedup: bool = False,
    workers: int = 1,
    langs: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Write ``<out>/<tag>.txt`` and ``counts.tsv``; called again it goes on after the last language that was finished.

    Args:
        source: what :func:`~langsamp_plugin.corpus.sources.find_sources` reads.
        out: the folder to write.
        column: the field or column that holds the text.
        split: the split to take of sources that have several.
        dedup: leave out lines that are exactly the same as an earlier one of their language.
        workers: processes.
        langs: the tags to take; empty takes all.

    Returns:
        Per tag the numbers of ``counts.tsv``: lines, characters without line ends, bytes of the file, and how many
        duplicates were left out.

    Raises:
        ValueError: a source is damaged or has a name that is no tag, or ``out`` is the source itself.
    """
    source, out = Path(source), Path(out)
    if source.resolve() == out.resolve():
        raise ValueError(f"--out {out} is the source itself: choose another folder")
    found = find_sources(source, langs, split)
    out.mkdir(parents=True, exist_ok=True)
    jobs = [Job(tag, files, column, dedup, out) for tag, files in found.items()]
    jobs.sort(key=lambda job: -sum(path.stat().st_size for path in job.files))
    with parallel(workers) as run:
        done = progress(run(_write_language, jobs), total=len(jobs), desc="corpus", unit="language")
        rows = sorted(done, key=lambda row: row["tag"])
    with atomic_write(out / "counts.tsv") as stream:
        writer = csv.DictWriter(stream, COUNTS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _write_language(job: Job) -> dict[str, Any]:
    path = job.out / f"{job.tag}.txt"
    record = job.out / ".finished" / f"{job.tag}.json"
    fingerprint = job.fingerprint()
    finished = read_record(record, ("fingerprint", "row"))
    if finished is not None and path.is_file():
        found = finished["row"]
        if (finished["fingerprint"], found["bytes"]) == (fingerprint, path.stat().st_size):
            return dict(found)
    row: dict[str, Any] = {"tag": str(job.tag), "lines": 0, "characters": 0, "bytes": 0, "duplicates": 0}
    drop = repeated(job.lines()) if job.dedup else None
    with atomic_write(path, "wb") as stream:
        for number, line in enumerate(job.lines()):
            if drop is not None and drop[number]:
                row["duplicates"] += 1
                continue
            try:
                row["bytes"] += stream.write(f"{line}\n".encode())
            except UnicodeEncodeError as error:  # a lone surrogate, which JSON can carry
                raise ValueError(
                    f"{job.files[0].parent}: a text of {job.tag} is not Unicode ({error.reason}): {line[:50]!a}"
                ) from error
            row["lines"] += 1
            row["characters"] += len(line)
        if not row["lines"]:
            raise ValueError(f"{job.files[0]} has no line of text: add text or remove it")
    with atomic_write(record) as stream:
        json.dump({"fingerprint": fingerprint, "row": row}, stream)
    return row
