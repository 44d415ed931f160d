"""A demo corpus of real text: the translation catalogues in the ``Django`` package (BSD licence).

About a hundred locales translate the same messages, so the corpus is aligned across languages by message. A fixed fifth
of the messages is held out in all languages and serves as validation text and as parallel sentences for retrieval.
"""

from __future__ import annotations

import html
import importlib.util
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from langsamp_plugin.atomic import PathLike, atomic_folder
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress

HELD_OUT_SHARE = 5
"""One out of this many messages is held out."""

MIN_ALIGNED_WORDS = 2
"""Minimum number of English words of a message for retrieval, which needs sentences, not a single "Save"."""

ENGLISH = LangScript("eng", "Latn")

_PLACEHOLDER = re.compile(
    r"%\(\w+\)[#0\- +]*[\d.]*[a-zA-Z]"  # %(name)s
    r"|%[#0\-+]*[\d.]*[sdifr%]"  # %s
    r"|\{[\w.!:]*\}"  # {name}
    r"|\{%.*?%\}"  # {% tag %}
    r"|</?[A-Za-z][^<>]*>"  # <a href="...">
)


def clean(text: str) -> str:
    """Strip placeholders, markup and repeated white space from a message."""
    return " ".join(_PLACEHOLDER.sub(" ", html.unescape(text)).split())


def held_out(message: str) -> bool:
    """Return whether a message is held out, from its English text alone."""
    return int.from_bytes(blake2b(message.encode(), digest_size=8).digest(), "little") % HELD_OUT_SHARE == 0


def locale_folders() -> dict[LangScript, list[str]]:
    """Map tags to Django's locales; regional variants of a language-script are grouped, with the plain locale first.

    Raises:
        ModuleNotFoundError: Django or polib is not installed.
    """
    for package in ("django", "polib"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"the demo corpus needs {package}: pip install 'langsamp-plugin[demo]'")
    locales: dict[LangScript, list[str]] = {}
    for folder in sorted((_django() / "conf" / "locale").iterdir()):
        if (folder / "LC_MESSAGES").is_dir():
            locales.setdefault(LangScript.from_spelling(folder.name), []).append(folder.name)
    return {tag: sorted(names, key=lambda name: (len(name), name)) for tag, names in sorted(locales.items())}


def _django() -> Path:
    spec = importlib.util.find_spec("django")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def read_messages(locale: str) -> list[tuple[str, str]]:
    """Return ``(English message, translation)`` of a locale, cleaned, without fuzzy and obsolete entries."""
    import polib

    pairs: list[tuple[str, str]] = []
    for path in sorted(_django().glob(f"**/locale/{locale}/LC_MESSAGES/*.po")):
        for entry in polib.pofile(str(path)):
            if entry.obsolete or entry.fuzzy:
                continue
            translations = [entry.msgstr, *(form for _, form in sorted(entry.msgstr_plural.items()))]
            if locale == "en":  # the catalogue of the source language has no translations
                translations = [entry.msgid, entry.msgid_plural]
            english = clean(entry.msgid)
            pairs += [(english, clean(text)) for text in translations if any(c.isalpha() for c in clean(text))]
    return pairs


def message_id(english: str) -> str:
    """Return the id of a message, which is the same in all languages."""
    return blake2b(english.encode(), digest_size=6).hexdigest()


def aligned_messages(tag: LangScript) -> Iterator[tuple[str, str, bool]]:
    """Yield ``(id, text, held out)`` of messages with at least :data:`MIN_ALIGNED_WORDS` English words.

    Of several variants and plural forms, the first is used.
    """
    seen: set[str] = set()
    for locale in locale_folders()[tag]:
        for english, text in read_messages(locale):
            if len(english.split()) >= MIN_ALIGNED_WORDS and english not in seen:
                seen.add(english)
                yield message_id(english), text, held_out(english)


def write_corpus(out: PathLike, langs: Iterable[str] = (), overwrite: bool = False) -> dict[str, int]:
    """Write the demo corpus.

    Args:
        out: a new folder with ``train/<tag>.txt`` (text), ``valid/<tag>.txt`` (text of the held-out messages) and
            ``aligned/<tag>.txt`` (held-out messages of :data:`MIN_ALIGNED_WORDS` words or more, ``id<tab>text``, with
            the same id in all languages).
        langs: the tags to use; empty means all. English is always included, because retrieval needs it.
        overwrite: also replace a demo corpus to which files were added.

    Returns:
        Training lines per tag.

    Raises:
        ValueError: one of ``langs`` has no catalogue.
    """
    locales = locale_folders()
    wanted = {LangScript.from_spelling(lang) for lang in langs}
    missing = sorted(map(str, wanted - locales.keys()))
    if missing:
        raise ValueError(f"Django has no catalogue in {missing[0]}; it has {' '.join(map(str, locales))}")
    tags = [tag for tag in locales if not wanted or tag in wanted or tag == ENGLISH]
    counts: dict[str, int] = {}
    with atomic_folder(out, marker="aligned", overwrite=overwrite) as folder:
        for part in ("train", "valid", "aligned"):
            (folder / part).mkdir()
        for tag in progress(tags, desc="catalogues", unit="language"):
            # A dict keeps the order and drops repeats; of several variants, the first is aligned.
            train: dict[str, None] = {}
            valid: dict[str, None] = {}
            aligned: dict[str, str] = {}
            for locale in locales[tag]:
                for english, text in read_messages(locale):
                    if not held_out(english):
                        train[text] = None
                        continue
                    valid[text] = None
                    if len(english.split()) >= MIN_ALIGNED_WORDS:
                        aligned.setdefault(message_id(english), text)
            lines = [text for text in train if text not in valid]  # two messages can share a translation
            _write(folder / "train" / f"{tag}.txt", lines)
            _write(folder / "valid" / f"{tag}.txt", valid)
            _write(folder / "aligned" / f"{tag}.txt", (f"{number}\t{text}" for number, text in sorted(aligned.items())))
            counts[str(tag)] = len(lines)
    return counts


def _write(path: Path, lines: Iterable[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)
