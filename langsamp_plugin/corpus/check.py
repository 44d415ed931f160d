"""Are the labels right? Per tag: script and language of the text, and lines that no model should learn from."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.corpus.duplicates import repeated
from langsamp_plugin.corpus.sources import find_sources, read_texts
from langsamp_plugin.corpus.text import clean
from langsamp_plugin.lang_script import UNKNOWN_LANGUAGE, UNKNOWN_SCRIPT, LangScript
from langsamp_plugin.progress import parallel, progress

# ISO 15924 has codes for mixtures, while Unicode gives every character one script of its own.
MIXTURES = {
    "Jpan": ("Hira", "Kana", "Hani"),
    "Hang": ("Hang", "Hani"),
    "Kore": ("Hang", "Hani"),
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Hrkt": ("Hira", "Kana"),
}
BATCH = 1000
PROBES = ("a", "ж", "م", "क", "漢", "한", "ก")


class Limits(NamedTuple):
    """What makes a language suspicious.

    Args:
        script: least share of letters in the declared script.
        language: least share of lines that the model takes for the declared language.
        lines: largest share of lines that are empty, over-long, damaged or repeated, each kind for itself.
        characters: a longer line is over-long.
    """

    script: float = 0.8
    language: float = 0.5
    lines: float = 0.1
    characters: int = 10_000


class Report(NamedTuple):
    """What was found in one language.

    Args:
        tag: its tag.
        lines: lines looked at, empty ones not counted.
        empty, over_long, replacement, duplicates: lines without text; longer than the limit; with U+FFFD or bytes
            that are not UTF-8; equal to an earlier one.
        script_share: share of letters in the declared script, of all letters that have a script; ``None`` without any.
        main_script: the script that most letters are in.
        language_share: share of lines whose language the model gives as declared; ``None`` if it does not know it.
        main_language: the label that the model gives most often.
        problems: what is beyond the limits, in words.
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
    problems: list[str]

    def columns(self) -> list[str]:
        """Return the cells of its row in the table."""
        shares = ["-" if share is None else f"{share:.1%}" for share in (self.script_share, self.language_share)]
        counts = (self.empty, self.over_long, self.replacement, self.duplicates)
        return [
            str(self.tag), f"{self.lines:,}", shares[0], self.main_script, shares[1], self.main_language,
            *(f"{count:,}" for count in counts), ", ".join(self.problems) or "ok",
        ]  # fmt: skip


HEADER = (
    "tag", "lines", "script", "mostly", "language", "mostly",
    "empty", "long", "damaged", "repeated", "problems",
)  # fmt: skip


class Job(NamedTuple):
    """One language to check; the arguments are those of :func:`check_corpus`."""

    tag: LangScript
    files: list[Path]
    column: str
    limits: Limits
    max_lines: int
    model: Optional[Path]


def check_corpus(
    source: PathLike,
    out: Optional[PathLike] = None,
    model: Optional[PathLike] = None,
    limits: Limits = Limits(),
    max_lines: int = 0,
    column: str = "text",
    split: str = "train",
    workers: int = 1,
    langs: Iterable[str] = (),
) -> list[Report]:
    """Check every language of a corpus.

    Args:
        source: what :func:`~langsamp_plugin.corpus.sources.find_sources` reads.
        out: the TSV file to write.
        model: a language identification model in fastText's format.
        limits: what makes a language suspicious.
        max_lines: look at so many lines of each language; 0 looks at all.
        column: the field or column that holds the text.
        split: the split to take of sources that have several.
        workers: processes.
        langs: the tags to take; empty takes all.

    Returns:
        A report per tag, in the order of the tags.
    """
    found = find_sources(source, langs, split)
    if out is not None and not os.access(Path(out).resolve().parent, os.W_OK):
        raise PermissionError(13, "cannot write there, choose another --out", str(out))
    if model is not None:
        _load_model(Path(model))  # fails here, and the workers, forks of this process, have it already
    jobs = [Job(tag, files, column, limits, max_lines, Path(model) if model else None) for tag, files in found.items()]
    jobs.sort(key=lambda job: -sum(path.stat().st_size for path in job.files))
    with parallel(workers) as run:
        reports = sorted(progress(run(_check_language, jobs), total=len(jobs), desc="checking", unit="language"))
    if out is not None:
        with atomic_write(out) as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerow(Report._fields)
            for report in reports:
                shares = {
                    name: "" if getattr(report, name) is None else f"{getattr(report, name):.4f}"
                    for name in ("script_share", "language_share")
                }
                writer.writerow(report._replace(problems="; ".join(report.problems), **shares))
    return reports


def format_table(reports: Iterable[Report]) -> str:
    """Return a table for the terminal, suspicious languages last, where one sees them."""
    ordered = sorted(reports, key=lambda report: (bool(report.problems), report.tag))
    rows = [list(HEADER), *(report.columns() for report in ordered)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in (0, 3, 5, 10) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def _check_language(job: Job) -> Report:
    scripts, letters = _letters()
    counts = Counter[str]()
    found = np.zeros(len(scripts), dtype=np.int64)
    labels = Counter[str]()
    for batch in _batches(job):
        lines = []
        for text in batch:
            line = clean(text)
            counts["lines" if line else "empty"] += 1
            counts["over_long"] += len(line) > job.limits.characters
            counts["replacement"] += "\ufffd" in line
            if line:
                lines.append(line)
        codes = np.frombuffer("".join(lines).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        found += np.bincount(letters[codes], minlength=len(scripts))
        if job.model is not None:
            labels.update(_load_model(job.model).label(line) for line in lines)
    found[0] = 0  # what is no letter
    duplicates = int(repeated(line for batch in _batches(job) for line in filter(None, map(clean, batch))).sum())
    of_script = sum(int(found[scripts.index(name)]) for name in _unicode_scripts(job.tag.script) if name in scripts)
    total = int(found.sum())
    known_script = job.tag.script != UNKNOWN_SCRIPT and total > 0
    script_share = of_script / total if known_script else None
    language_share = None
    if job.model is not None and counts["lines"] and _load_model(job.model).knows(job.tag):
        agree = sum(number for label, number in labels.items() if same_language(label, job.tag))
        language_share = agree / counts["lines"]
    report = Report(
        job.tag, counts["lines"], counts["empty"], counts["over_long"], counts["replacement"], duplicates, script_share,
        scripts[int(found.argmax())] if total else "-", language_share, labels.most_common(1)[0][0] if labels else "-", [],
    )  # fmt: skip
    return report._replace(problems=_problems(report, job.limits))


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
    kinds = {"empty": report.empty, "over-long": report.over_long, "damaged": report.replacement, "repeated": report.duplicates}  # fmt: skip
    return problems + [f"{count / total:.0%} {kind} lines" for kind, count in kinds.items() if count > limits.lines * total]  # fmt: skip


def _batches(job: Job) -> Iterator[list[str]]:
    """Yield the lines of a language, empty ones too."""
    batch: list[str] = []
    left = job.max_lines or -1
    for path in job.files:
        for line in read_texts(path, job.column, errors="replace"):
            if left == 0:
                break
            left -= 1
            batch.append(line)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _unicode_scripts(script: str) -> tuple[str, ...]:
    return MIXTURES.get(script, (script,))


@lru_cache(maxsize=1)
def _letters() -> tuple[list[str], np.ndarray]:
    """Return script names and, for every code point, the index of a letter's script, 0 for all else.

    Letters that no script owns (Unicode's Common and Inherited, such as the modifier apostrophe) count as all else.
    """
    try:
        from fontTools.unicodedata import script
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("checking scripts needs fontTools: pip install 'langsamp-plugin[data]'") from error
    names = [""]
    numbers = {"Zyyy": 0, "Zinh": 0, "Zzzz": 0}
    table = np.zeros(0x110000, dtype=np.uint8)
    for code in range(0x110000):
        character = chr(code)
        # Cn: not in this Python's Unicode, but perhaps in the library's newer one.
        if unicodedata.category(character)[0] == "L" or unicodedata.category(character) == "Cn":
            name = script(character)
            if name not in numbers:
                numbers[name] = len(names)
                names.append(name)
            table[code] = numbers[name]
    return names, table


class _Model:
    """A language identification model; labels are written ``deu_Latn`` or ``deu``, however the model writes them."""

    def __init__(self, path: Path):
        try:
            import fasttext
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "language identification needs fasttext-predict: pip install 'langsamp-plugin[data]'"
            ) from error
        if not path.is_file():
            raise FileNotFoundError(f"language identification model {path} is missing")
        try:
            self.model = fasttext.load_model(str(path))
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ValueError(f"{path} is no fastText model, or cut off: {error}") from error
        self.languages = {
            _macro(_label(name).partition("_")[0]) for probe in PROBES for name in self.model.predict(probe, k=-1)[0]
        }

    def label(self, line: str) -> str:
        """Return the most likely label of a line."""
        names, _ = self.model.predict(line, k=1)
        return _label(names[0]) if names else "-"

    def knows(self, tag: LangScript) -> bool:
        """Return whether some label is the tag's language."""
        return tag.language != UNKNOWN_LANGUAGE and _macro(tag.language) in self.languages


@lru_cache(maxsize=1)
def _load_model(path: Path) -> _Model:
    return _Model(path)


@cache
def _label(name: str) -> str:
    """``__label__zh`` -> ``zho_Hani``; ``__label__deu`` -> ``deu_Latn``; what no registry knows stays as it is."""
    name = name.replace("__label__", "")
    try:
        return str(LangScript.from_spelling(name))
    except ValueError:
        return name


@cache
def _macro(language: str) -> str:
    """Return the code of the macrolanguage: a model that says Arabic agrees with Standard Arabic."""
    import langcodes

    try:
        return langcodes.standardize_tag(language, macro=True)
    except ValueError:
        return language


def same_language(label: str, tag: LangScript) -> bool:
    """Return whether a label means the tag's language, or its macrolanguage; its script is for the script column."""
    return _macro(label.partition("_")[0]) == _macro(tag.language)
