"""The job of writing one language of a corpus, and the record of a finished job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Optional

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.corpus.decisions import Rules
from langsamp_plugin.corpus.duplicates import repeated
from langsamp_plugin.corpus.left_out import LeftOut
from langsamp_plugin.corpus.readers import read_texts
from langsamp_plugin.corpus.text import clean
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress
from langsamp_plugin.source_files import FIELD, describe

FINISHED = ".finished"
"""The folder of records, in that of a corpus."""


class Job(NamedTuple):
    """One language to write.

    Args:
        tag: its tag.
        files: files with its text.
        column: the field or column with the text.
        dedup: drop repeated lines.
        longest: maximum length of a line in bytes.
        rules: rules for judging lines.
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
        """Yield the lines with text; bad lines are listed."""
        bad: list[LeftOut] = [] if left_out is None else left_out
        for path in self.files:
            yield from filter(None, map(clean, read_texts(path, self.column, longest=self.longest, left_out=bad)))

    def fingerprint(self) -> str:
        """Return everything that the result depends on; a finished language with an equal value is not written
        again."""
        stats = [path.stat() for path in self.files]
        parts = [str(path.resolve()) for path in self.files], [(stat.st_size, stat.st_mtime_ns) for stat in stats]
        rules = self.rules.fingerprint() if self.rules.active else ""
        return blake2b(repr((*parts, self.column, self.dedup, self.longest, rules)).encode(), digest_size=8).hexdigest()

    @property
    def record(self) -> Path:
        """Path of the record of the finished job."""
        return self.out / FINISHED / f"{self.tag}.json"

    @property
    def parts(self) -> Path:
        """The folder with its lines by destination tag."""
        return self.out / ".parts" / str(self.tag)


def run_jobs(run: Any, work: Any, jobs: list[Job]) -> list[dict[str, Any]]:
    """Return the records of all languages, in the order of their tags."""
    done = progress(run(work, jobs), total=len(jobs), desc="corpus", unit="language")
    return sorted(done, key=lambda record: record["tag"])


def write_lines(path: Path, tag: object, lines: Any, dedup: bool, left_out: list[LeftOut]) -> dict[str, Any]:
    """Write lines and return the row of ``counts.tsv``; ``lines`` is called for each pass over them."""
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


def save_record(job: Job, fingerprint: str, parts: dict[str, Any]) -> dict[str, Any]:
    """Write and return the record of a finished language."""
    record = {"tag": str(job.tag), "fingerprint": fingerprint, FIELD: describe(job.files), **parts}
    with atomic_write(job.record) as stream:
        json.dump(record, stream)
    return record
