"""Makes pairs without translations: each line and its romanization."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.corpus.pair_layouts import Message, ParallelText, Stream
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.lang_script import LangScript

LATIN = "Latn"


def romanized(corpus: PathLike, langs: Iterable[str] = (), without: Iterable[str] = ()) -> ParallelText:
    """Pair the text of each language in a non-Latin script with its romanization by the uroman package.

    The romanization's tag is the language with ``Latn``, such as rus_Latn; messages of different languages are
    unrelated.

    Args:
        corpus: folder of ``<tag>.txt``.
        langs: the tags to use; empty means all.
        without: tags to leave out.

    Raises:
        ModuleNotFoundError: uroman is not installed.
        FileNotFoundError: the folder is missing.
        ValueError: all of its languages are in Latin script.
    """
    try:
        import uroman
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--transliterate needs uroman: pip install 'langsamp-plugin[pairs]'") from error
    unwanted = {LangScript.from_spelling(lang) for lang in without}
    files = {tag: path for tag, path in corpus_files(corpus, langs).items() if tag not in unwanted}
    latin = [str(tag) for tag in files if tag.script == LATIN]
    if len(latin) == len(files):
        raise ValueError(
            f"{corpus} has only languages in Latin script, which have no romanization: name another corpus"
        )
    romanizer = uroman.Uroman()
    streams: dict[LangScript, list[Stream]] = {}
    for tag, path in files.items():
        if tag.script != LATIN:
            streams[tag] = [_lines(tag, path, None)]
            streams.setdefault(LangScript(tag.language, LATIN), []).append(_lines(tag, path, romanizer))
    omitted = [f"{len(latin)} languages in Latin script: {' '.join(latin)}"] if latin else []
    return ParallelText("transliteration", streams, omitted)


def _lines(tag: LangScript, path: Path, romanizer: Any) -> Stream:
    def stream() -> Iterator[Message]:
        for number, line in enumerate(read_lines(path), 1):
            text = line if romanizer is None else " ".join(romanizer.romanize_string(line, lcode=tag.language).split())
            yield Message(f"{tag}:{number}", text)

    return stream
