"""Evaluation data in the layouts that people have on disk."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from langsamp_plugin.atomic import PathLike, atomic_folder
from langsamp_plugin.corpus.text import read_lines
from langsamp_plugin.errors import error_context
from langsamp_plugin.evaluation.tasks import Task
from langsamp_plugin.lang_script import LangScript

ENGLISH = LangScript("eng", "Latn")
ID_COLUMNS = ("id", "index_id")
LABEL_COLUMNS = ("label", "category")
SPLITS = ("train", "dev", "test")


class Pairs(NamedTuple):
    """Parallel sentences: row i of one is the translation of row i of the other."""

    english: list[str]
    other: list[str]


class Labelled(NamedTuple):
    """Sentences with a label each, or words with a label each.

    Args:
        texts: the sentences: ``str``, or a list of words.
        labels: a label per sentence, or a list with one per word.
    """

    texts: list[Any]
    labels: list[Any]

    def thinned(self, limit: int) -> Labelled:
        """Return so many sentences, evenly spread: files are often sorted by label. 0 returns all."""
        count = len(self.texts)
        if not limit or limit >= count:
            return self
        rows = [number * count // limit for number in range(limit)]
        return Labelled([self.texts[row] for row in rows], [self.labels[row] for row in rows])


def task_folder(task: Task, data: PathLike, unpacked: PathLike) -> Path:
    """Return where a task's files lie: ``<data>/<task>``, or ``data`` itself; an archive in it is unpacked once.

    Args:
        task: the task.
        data: what the user named.
        unpacked: a folder for what comes out of an archive.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: the archive is damaged.
    """
    data = Path(data)
    folder = data / task.name if (data / task.name).is_dir() else data
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data folder {folder} is missing; `langsamp evaluate --list` says where data are to be had"
        )
    archives = sorted(folder.glob(f"{task.name}.tar.*"))
    if not archives:
        return folder
    stat = archives[0].stat()
    target = Path(unpacked) / f"{task.name}-{stat.st_size}-{stat.st_mtime_ns}"
    if not target.is_dir():
        try:
            with atomic_folder(target, marker=task.name) as beside, tarfile.open(archives[0]) as archive:
                archive.extractall(beside, filter=_plain)
        except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(
                f"{archives[0]} is damaged, cut off or not to be trusted, get it again: {error}"
            ) from error
    return target / task.name if (target / task.name).is_dir() else target


def _plain(member: tarfile.TarInfo, folder: str) -> Optional[tarfile.TarInfo]:
    """Let files and folders inside the target out of an archive, and no links, through which others could leave it."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.ReadError(f"{member.name!r} in it is no file and no folder")
    return tarfile.data_filter(member, folder)


def read_aligned(path: PathLike) -> dict[str, str]:
    """Read lines ``id<tab>text``.

    Raises:
        ValueError: a line has no tab or an id comes twice; the message names file and line.
    """
    sentences: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        name, tab, text = line.partition("\t")
        if not tab or name in sentences:
            raise ValueError(f"{path}, line {number}: must be id<tab>text with an id of its own, but is {line[:60]!r}")
        sentences[name] = text
    return sentences


def read_verses(folder: Path) -> tuple[dict[LangScript, Pairs], dict[str, str]]:
    """Read SR-B's layout, every language joined with English by id.

    Returns:
        The pairs of each language, and for languages without any what is wrong with them.

    Raises:
        FileNotFoundError: there is no English file.
        ValueError: a file is malformed.
    """
    files = _tagged(folder, "*.txt")
    if ENGLISH not in files:
        raise FileNotFoundError(f"{folder} has no eng_Latn.txt, whose sentences are the queries")
    english = read_aligned(files.pop(ENGLISH))
    pairs, unusable = {}, {}
    for tag, path in files.items():
        sentences = read_aligned(path)
        shared = [name for name in sorted(sentences) if name in english]
        if shared:
            pairs[tag] = Pairs([english[name] for name in shared], [sentences[name] for name in shared])
        else:
            unusable[str(tag)] = "the file is empty" if not sentences else "no sentence has an id that English has"
    return pairs, unusable


def read_tatoeba(folder: Path) -> tuple[dict[LangScript, Pairs], dict[str, str]]:
    """Read SR-T's layout; the script of a code is the one that the language is usually written in, or ``index.tsv``'s.

    Returns:
        The pairs of each language, and for languages without any what is wrong with them.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: the two files of a language have different numbers of lines, or a code is unknown.
    """
    scripts: dict[str, LangScript] = {}
    index = folder / "index.tsv"
    if index.is_file():
        for number, line in enumerate(_all_lines(index)[1:], 2):
            columns = line.split("\t")
            if len(columns) < 2:
                raise ValueError(f"{index}, line {number}: must be code<tab>tag, but is {line[:60]!r}")
            with error_context(f"{index}, line {number}"):
                scripts[columns[0]] = _task_tag(columns[1])
    pairs: dict[LangScript, Pairs] = {}
    unusable = {}
    for path in sorted(folder.glob("tatoeba.*-eng.eng")):
        code = path.name.split(".")[1].removesuffix("-eng")
        other = path.with_suffix(f".{code}")
        if not other.is_file():
            unusable[code] = f"{other.name} is missing"
            continue
        # Lines count, so empty ones must stay.
        english, sentences = (_all_lines(part) for part in (path, other))
        if len(english) != len(sentences):
            raise ValueError(
                f"{other} has {len(sentences)} lines, but {path.name} {len(english)}: they must be parallel"
            )
        with error_context(path):
            tag = scripts.get(code) or _task_tag(code)
        if english:
            pairs[tag] = Pairs(english, sentences)
        else:
            unusable[str(tag)] = "the file is empty"
    if not pairs:
        raise FileNotFoundError(f"{folder} has no tatoeba.<l3>-eng.eng with sentences in it")
    return pairs, unusable


def find_labelled(folder: Path) -> dict[LangScript, dict[str, Path]]:
    """Find ``<tag>/{train,dev,test}.{tsv,txt}``.

    Raises:
        FileNotFoundError: there is none.
    """
    found: dict[LangScript, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        files = {
            split: path / f"{split}{kind}"
            for split in SPLITS
            for kind in (".txt", ".tsv")
            if (path / f"{split}{kind}").is_file()
        }
        if not files:
            continue
        try:
            tag = _task_tag(path.name)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; rename the folder") from error
        if tag in found:
            raise ValueError(f"{path} means {tag}, as another folder does: remove one of them")
        found[tag] = files
    if not found:
        raise FileNotFoundError(f"{folder} has no <tag>/test.tsv or <tag>/test.txt in it")
    return found


def read_classified(path: PathLike) -> Labelled:
    """Read a TSV of id, label and text, with or without a header line.

    Raises:
        ValueError: a line has too few columns; the message names file and line.
    """
    texts, labels = [], []
    label_column, text_column = 1, 2
    for number, line in enumerate(_all_lines(path), 1):
        columns = line.split("\t")
        if number == 1 and columns[0] in ID_COLUMNS:
            names = {name: place for place, name in enumerate(columns)}
            wanted = [names.get(name) for name in (*LABEL_COLUMNS, "text")]
            label_column = next((place for place in wanted[:-1] if place is not None), 1)
            text_column = wanted[-1] if wanted[-1] is not None else 2
            if label_column == text_column:
                raise ValueError(f"{path} has no column {' or '.join(LABEL_COLUMNS)}, only {line[:60]!r}")
            continue
        if not line.strip():
            continue
        if len(columns) <= max(label_column, text_column):
            raise ValueError(f"{path}, line {number}: must be id<tab>label<tab>text, but is {line[:60]!r}")
        labels.append(columns[label_column])
        texts.append(columns[text_column])
    return Labelled(texts, labels)


def read_tagged(path: PathLike) -> Labelled:
    """Read a token and its label a line, separated by a tab or a space, a blank line between sentences.

    Raises:
        ValueError: a line has no label; the message names file and line.
    """
    texts: list[list[str]] = []
    labels: list[list[str]] = []
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*_all_lines(path), ""], 1):
        if not line.strip():
            if words:
                texts.append(words)
                labels.append(tags)
                words, tags = [], []
            continue
        word, separator, label = line.rstrip().rpartition("\t" if "\t" in line else " ")
        if not separator or not word:
            raise ValueError(f"{path}, line {number}: must be a token and its label, but is {line[:60]!r}")
        words.append(word)
        tags.append(label)
    prefixes = {word.split(":")[0] if ":" in word else "" for words in texts for word in words}
    if len(prefixes) == 1 and len(next(iter(prefixes))) in (2, 3):  # WikiANN writes the language before every token
        texts = [[word.split(":", 1)[1] for word in words] for words in texts]
    return Labelled(texts, labels)


def select_tags(tags: Iterable[LangScript], langs: Iterable[str], where: Path) -> list[LangScript]:
    """Return the tags that are wanted, sorted; empty ``langs`` wants all.

    Raises:
        FileNotFoundError: one that is wanted is not there.
    """
    there = sorted(tags)
    wanted = [_task_tag(lang) for lang in langs]
    for tag in wanted:
        if tag not in there:
            raise FileNotFoundError(f"{where} has no {tag}; it has {' '.join(map(str, there))}")
    return sorted(set(wanted)) if wanted else there


def _task_tag(name: str) -> LangScript:
    """Return the tag of a task's language; zho_Hans and zho_Hant, which train one row, are two languages of a task."""
    try:
        return LangScript.parse(name)
    except ValueError:
        return LangScript.from_spelling(name)


def _tagged(folder: Path, pattern: str) -> dict[LangScript, Path]:
    found = {}
    for path in sorted(folder.glob(pattern)):
        try:
            found[_task_tag(path.stem)] = path
        except ValueError as error:
            raise ValueError(f"{path}: {error}; rename the file") from error
    if not found:
        raise FileNotFoundError(f"{folder} has no <tag>.txt in it")
    return found


def read_columns(path: PathLike, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Read a TSV with a header line, without quotes.

    Args:
        path: the file.
        wanted: columns that it must have.

    Returns:
        A row per line, at least one.

    Raises:
        ValueError: the file is not UTF-8, lacks a column or lines, or a line has too few fields; the message names
            file and line.
    """
    lines = [line.rstrip("\r") for line in _all_lines(path)]
    header = lines[0].split("\t") if lines else []
    if not set(wanted) <= set(header) or len(lines) < 2:
        raise ValueError(f"{path} must be a TSV with the columns {' and '.join(wanted)} and a line at least")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) < len(header):
            raise ValueError(f"{path}, line {number}: {len(fields)} fields where the first line names {len(header)}")
        rows.append(dict(zip(header, fields)))
    return rows


def _all_lines(path: PathLike) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); convert the file, e.g. with iconv") from error
    lines = text.split("\n")
    return lines[:-1] if lines and not lines[-1] else lines
