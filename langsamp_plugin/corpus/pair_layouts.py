"""Reads parallel text in common layouts; each language becomes a stream of messages with ids.

A message has the same id in all of its languages. Everything streams: a file of any size needs a few megabytes of
memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.corpus.pair_archive import is_archive_folder, unpacked_members
from langsamp_plugin.corpus.pair_tsv import tag_or_none, tsv_messages, tsv_tags, without_compression
from langsamp_plugin.corpus.readers import plain_lines
from langsamp_plugin.corpus.text import clean
from langsamp_plugin.lang_script import LangScript

LAYOUTS = ("auto", "django", "ids", "udhr", "lines", "moses", "tsv", "tmx")
WITH_IDS = ("django", "ids", "udhr")
"""Layouts whose ids have the same meaning in other folders, such as a test set."""

UDHR_ID = re.compile(r"(\d\d)\.(\d\d)")
LINES_ENDING = ".txt"
ENGLISH = LangScript("eng", "Latn")


class Message(NamedTuple):
    """One message in one language.

    Args:
        id: the id, equal in all languages; without white space.
        text: the text, stripped; empty if the language lacks the message.
        held_out: whether the source itself holds it out; ``None`` decides by the id.
    """

    id: str
    text: str
    held_out: Optional[bool] = None


Stream = Callable[[], Iterator[Message]]
_Lines = Callable[[], Iterator[str]]


class ParallelText(NamedTuple):
    """A source of parallel text.

    Args:
        layout: one of :data:`LAYOUTS` without ``auto``.
        streams: the streams of each tag, read one after another; each can be read repeatedly.
        omitted: what was left out before reading, one sentence each.
    """

    layout: str
    streams: dict[LangScript, list[Stream]]
    omitted: list[str]

    def messages(self, tag: LangScript) -> Iterator[Message]:
        """Yield the messages of a language, including empty ones."""
        for stream in self.streams[tag]:
            yield from stream()


def find_parallel(source: PathLike, layout: str = "auto", tags: Sequence[str] = ()) -> ParallelText:
    """Find the languages of a source.

    Args:
        source: ``django``, a folder or a file. ``ids``: a folder of ``<tag>.txt`` with lines ``id<tab>text`` (SR-B).
            ``udhr``: the same with ids ``article.paragraph``; only articles with as many paragraphs as in English are
                aligned. ``lines``: a folder of ``<tag>.txt`` aligned by line. ``moses``: one file per language,
                distinguished by the last extension (``x.de`` and ``x.en``, Tatoeba's ``tatoeba.deu-eng.deu``).
            ``tsv``: files with one column per language. ``tmx``: translation memories.
        layout: one of :data:`LAYOUTS`.
        tags: tags of the columns of a TSV file without a header.

    Raises:
        FileNotFoundError: the source is missing or has no text in this layout.
        ValueError: names are not tags, or files aligned by line differ in length.
    """
    if str(source) == "django" and layout in ("auto", "django"):
        return _django()
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: name a folder, a .tsv or .tmx file, or django")
    if layout not in LAYOUTS or layout == "django":
        raise ValueError(f"--layout must be one of {', '.join(LAYOUTS)}, but is {layout!r}")
    layout = _guess(path) if layout == "auto" else layout
    if layout == "tmx":
        from langsamp_plugin.corpus.tmx import tmx_languages, tmx_messages

        return _by_file(path, layout, (".tmx",), tmx_languages, tmx_messages)
    if layout == "tsv":
        return _by_file(
            path,
            layout,
            (".tsv",),
            lambda file: tsv_tags(file, tags),
            lambda file, column: tsv_messages(file, column, tags),
        )
    if layout == "moses":
        return _moses(path)
    files = unpacked_members(path) if is_archive_folder(path) else _tagged_files(path)
    by_tag = _by_tag(path, files)
    if layout == "lines":
        return _aligned_by_line(by_tag, layout)
    streams = {tag: [_with_ids(file, path)] for tag, file in by_tag.items()}
    return _udhr(streams) if layout == "udhr" else ParallelText(layout, streams, [])


def _guess(path: Path) -> str:
    """Detect the layout of a source from its names and first lines."""
    if path.is_file():
        for ending in ("tmx", "tsv"):
            if without_compression(path.name).endswith(f".{ending}"):
                return ending
        raise ValueError(f"{path} must be a folder or end in .tsv or .tmx: name the layout with --layout")
    files = unpacked_members(path) if is_archive_folder(path) else _tagged_files(path)
    if files:
        first = [next((line for line in lines() if line.strip()), "") for lines in files.values()]
        if all("\t" in line for line in first if line):
            return "udhr" if all(UDHR_ID.match(line) for line in first if line) else "ids"
        return "lines"
    if any(len(files) > 1 for files in _by_stem(path)[0].values()):
        return "moses"
    for ending in ("tmx", "tsv"):
        if any(without_compression(file.name).endswith(f".{ending}") for file in path.iterdir()):
            return ending
    return "moses"


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _strict_tag(source: Path, name: str) -> LangScript:
    try:
        return LangScript.from_spelling(name)
    except ValueError as error:
        raise ValueError(f"{source}: {error}; rename the file, e.g. to eng_Latn.txt") from error


def _by_tag(source: Path, files: dict[str, _Lines]) -> dict[LangScript, _Lines]:
    """Return the files by tag; two names of one tag are an error."""
    names: dict[LangScript, str] = {}
    for name in files:
        tag = _strict_tag(source, name)
        if tag in names:
            raise ValueError(f"{source} must have one file for {tag}, but has {names[tag]} and {name}: remove one")
        names[tag] = name
    return {tag: files[name] for tag, name in names.items()}


def _tagged_files(folder: Path) -> dict[str, _Lines]:
    """Find ``<tag>.txt`` and files named by a tag alone, as SR-B has them."""
    found: dict[str, _Lines] = {}
    for file in _files(folder) if folder.is_dir() else []:
        name = without_compression(file.name)
        if name.endswith(LINES_ENDING):
            found[name.removesuffix(LINES_ENDING)] = lambda file=file: plain_lines(file)  # type: ignore[misc]
        elif "." not in name and tag_or_none(name) is not None:
            found[name] = lambda file=file: plain_lines(file)  # type: ignore[misc]
    return found


def _django() -> ParallelText:
    from langsamp_plugin.corpus import django_catalogues

    def stream(tag: LangScript) -> Stream:
        return lambda: (Message(*row) for row in django_catalogues.aligned_messages(tag))

    return ParallelText("django", {tag: [stream(tag)] for tag in django_catalogues.locale_folders()}, [])


def _with_ids(lines: _Lines, source: Path) -> Stream:
    def stream() -> Iterator[Message]:
        for number, line in enumerate(lines(), 1):
            if not line.strip():
                continue
            name, tab, text = line.partition("\t")
            if not tab or not name or name.split() != [name]:
                raise ValueError(f"{source}, line {number}: must be ID<tab>TEXT, but is {line[:60]!r}")
            yield Message(name, clean(text))

    return stream


def _udhr(streams: dict[LangScript, list[Stream]]) -> ParallelText:
    """Keep the articles of a language with as many paragraphs as in English."""
    if ENGLISH not in streams:
        raise ValueError("layout udhr needs eng_Latn.txt to compare the numbers of paragraphs")

    def plain(tag: LangScript) -> Iterator[Message]:
        return (message for stream in streams[tag] for message in stream() if UDHR_ID.fullmatch(message.id))

    def articles(tag: LangScript) -> Counter[str]:
        # Not all versions have the title, 00.00, so it does not count as a paragraph of the preamble.
        return Counter(message.id[:2] for message in plain(tag) if message.id != "00.00")

    english = articles(ENGLISH)

    def aligned(tag: LangScript) -> Iterator[Message]:
        counts = articles(tag)
        for message in plain(tag):
            article = message.id[:2]
            if message.id == "00.00" or counts[article] == english[article]:
                yield message

    different = sum((articles(tag)[name] != english[name]) for tag in streams for name in articles(tag))
    omitted = [f"{different} articles whose number of paragraphs differs from English"] if different else []
    return ParallelText("udhr", {tag: [lambda tag=tag: aligned(tag)] for tag in streams}, omitted)  # type: ignore[misc]


def _aligned_by_line(files: dict[LangScript, _Lines], layout: str, prefix: str = "") -> ParallelText:
    """Number the lines of files of equal length; an empty line is a missing message."""
    lengths = {tag: sum(1 for _ in lines()) for tag, lines in files.items()}
    if len(set(lengths.values())) > 1:
        usual, _ = Counter(lengths.values()).most_common(1)[0]
        tag = next(tag for tag, length in lengths.items() if length != usual)
        other = next(tag for tag, length in lengths.items() if length == usual)
        raise ValueError(
            f"{prefix or 'the files'} must have as many lines in each language, but {tag} has {lengths[tag]:,} and "
            f"{other} {usual:,}: they are aligned by line; leave a line empty if it has no translation"
        )

    def numbered(lines: _Lines) -> Stream:
        return lambda: (Message(f"{prefix}{number}", clean(line)) for number, line in enumerate(lines(), 1))

    return ParallelText(layout, {tag: [numbered(lines)] for tag, lines in files.items()}, [])


def _by_stem(path: Path) -> tuple[dict[str, dict[LangScript, _Lines]], list[str]]:
    """Return the languages of each name without its last extension, and names whose extension is not a language."""
    groups: dict[str, dict[LangScript, _Lines]] = {}
    others = []
    for file in _files(path):
        stem, dot, ending = without_compression(file.name).rpartition(".")
        tag = tag_or_none(ending) if dot else None
        if tag is None:
            others.append(file.name)
        elif tag in groups.get(stem, {}):
            raise ValueError(f"{path} must have one file {stem}.* for {tag}, but {file.name} is another: remove one")
        else:
            groups.setdefault(stem, {})[tag] = lambda file=file: plain_lines(file)  # type: ignore[misc]
    return groups, others


def _moses(path: Path) -> ParallelText:
    """Group files by their name without the last extension, which names the language."""
    groups, others = _by_stem(path)
    omitted = [f"{stem}.*: a file in a single language" for stem, files in groups.items() if len(files) < 2]
    omitted += [f"{name}: its extension is not a language" for name in others]
    streams: dict[LangScript, list[Stream]] = {}
    for stem, files in groups.items():
        if len(files) > 1:
            for tag, parts in _aligned_by_line(files, "moses", f"{'_'.join(stem.split())}:").streams.items():
                streams.setdefault(tag, []).extend(parts)
    if not streams:
        raise FileNotFoundError(
            f"{path} has no parallel text in it: expected <tag>.txt, files such as x.de and x.en, .tsv or .tmx"
        )
    return ParallelText("moses", streams, omitted)


def _by_file(
    path: Path,
    layout: str,
    endings: tuple[str, ...],
    languages: Callable[[Path], dict[LangScript, object]],
    messages: Callable[[Path, object], Iterator[tuple[int, str]]],
) -> ParallelText:
    """Read files that contain several languages.

    Args:
        path: a file, or a folder of them.
        layout: their layout.
        endings: their file name extensions.
        languages: returns the languages of a file, each with its key in the file.
        messages: yields ``(number, text)`` of one language.
    """
    files = [path] if path.is_file() else [f for f in _files(path) if without_compression(f.name).endswith(endings)]
    streams: dict[LangScript, list[Stream]] = {}
    for file in files:
        prefix = "" if len(files) == 1 else f"{'_'.join(file.name.split())}:"
        for tag, where in languages(file).items():

            def stream(file: Path = file, where: object = where, prefix: str = prefix) -> Iterator[Message]:
                return (Message(f"{prefix}{number}", clean(text)) for number, text in messages(file, where))

            streams.setdefault(tag, []).append(stream)
    if not streams:
        raise FileNotFoundError(f"{path} has no {' or '.join(endings)} file with text in it")
    return ParallelText(layout, streams, [])
