"""Language identification with a fastText model, and the agreement of labels with tags."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.lang_script import UNKNOWN_LANGUAGE, LangScript
from langsamp_plugin.spelling import read_spelling, usual_script

PROBES = ("a", "ж", "م", "क", "漢", "한", "ก")
CLOSE = (
    *(
        frozenset(["hbs", "hrv", "srp", "bos", "cnr"]),
        frozenset(["msa", "ind", "zlm", "zsm"]),
        frozenset(["nob", "nno", "nor", "dan"]),
    ),
    *(frozenset(["prs", "pes", "fas"]), frozenset(["fil", "tgl"]), frozenset(["kin", "run"])),
)
"""Languages that models confuse, and whose texts readers confuse as well."""

WIKIPEDIA_LABELS = {"als": "gsw", "nrm": "nrf", "mo": "ron", "zh-min-nan": "nan", "bh": "bih", "nah": "nah"}
"""Labels of models trained on Wikipedia (lid.176) whose meaning differs from the equal ISO code."""


class Label(NamedTuple):
    """A model's label for a line.

    Args:
        language: ISO 639-3 code, or the model's own label if it is not a language.
        script: ISO 15924 code, if the label has one.
        probability: probability of the label.
    """

    language: str
    script: Optional[str]
    probability: float

    def __str__(self) -> str:
        return f"{self.language}_{self.script}" if self.script else self.language


NOTHING = Label("-", None, 0.0)


class Identifier:
    """A model in fastText's format: GlotLID, OpenLID, lid.176 and others.

    Args:
        path: the model; labels are ``__label__deu_Latn``, ``__label__deu`` or ``__label__de``.

    Raises:
        FileNotFoundError: the file is missing.
        ModuleNotFoundError: the reader is not installed, or does not work with numpy 2.
        ValueError: the file is not a fastText model.
    """

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
            raise ValueError(f"{path} must be a complete fastText model, but does not load: {error}") from error
        labels = [read_label(name) for probe in PROBES for name, _ in self._predict(probe, -1)]
        self.known = {(macrolanguage(language), script or label_script(language)) for language, script in labels}

    def identify(self, line: str, count: int = 1) -> list[Label]:
        """Return the most likely labels of a line, most likely first."""
        predicted = self._predict(usual_writing(line), count)
        return [Label(*read_label(name), float(chance)) for name, chance in predicted] or [NOTHING]

    def knows(self, tag: LangScript) -> bool:
        """Return whether the model has a label for the tag's language or macrolanguage in the tag's script.

        A model trained on Malay in Latin letters mistakes Malay in Arabic letters for Arabic.
        """
        return tag.language != UNKNOWN_LANGUAGE and (macrolanguage(tag.language), tag.script) in self.known

    def _predict(self, line: str, count: int) -> Sequence[tuple[str, float]]:
        try:
            names, chances = self.model.predict(line.replace("\n", " "), k=count)
        except ValueError as error:
            if "copy" not in str(error):
                raise
            raise ModuleNotFoundError(
                "the installed package fasttext does not work with numpy 2: pip uninstall fasttext, then pip install "
                "fasttext-predict"
            ) from error
        return list(zip(names, chances))


def usual_writing(line: str) -> str:
    """Return a line in the form of most text: composed, not all capitals, Ethiopic words separated.

    Models have seen few lines in capitals and label them almost at random.
    """
    if not line.isascii():
        line = unicodedata.normalize("NFC", line).replace("\u1361", " ")
    capitals = sum(map(str.isupper, line))
    return line.lower() if 2 * capitals > sum(map(str.isalpha, line)) else line


@lru_cache(maxsize=1)
def load_identifier(path: Path) -> Identifier:
    """Load a model once per process."""
    return Identifier(path)


@cache
def read_label(name: str) -> tuple[str, Optional[str]]:
    """Return language and script of a label; ``__label__deu_Latn`` has both, ``__label__de`` has no script."""
    name = name.replace("__label__", "")
    language, _, script = name.partition("_")
    if language in WIKIPEDIA_LABELS and not script:
        return WIKIPEDIA_LABELS[language], None
    try:
        tag = LangScript.from_spelling(name, script="Zyyy")
    except ValueError:
        return name, None
    explicit = script or "-" in name
    return (tag.language, tag.script) if explicit else (read_spelling(name).language, None)


@cache
def label_script(language: str) -> Optional[str]:
    """Return the script of a label without one: the language's usual script."""
    try:
        return LangScript.from_spelling(language).script
    except ValueError:
        return usual_script(macrolanguage(language))


@cache
def macrolanguage(language: str) -> str:
    """Return the ISO 639-3 code of a language's macrolanguage, or of the language itself."""
    import langcodes
    from langcodes.data_dicts import MACROLANGUAGES

    try:
        short = langcodes.Language.get(language).language or language
        macro = MACROLANGUAGES.get(short) or MACROLANGUAGES.get(language) or short
        return str(langcodes.Language.get(macro, normalize=False).to_alpha3())
    except (LookupError, ValueError):
        return language


def same_language(language: str, other: str, close: bool = True) -> bool:
    """Return whether two codes are compatible.

    Codes are compatible if they are equal, have the same macrolanguage, one is the other's macrolanguage, or they are a
    close pair.

    Args:
        language, other: ISO 639-3 codes.
        close: ``False`` distinguishes members of a macrolanguage and close pairs; a macrolanguage still agrees with its
            members.
    """
    if language == other:
        return True
    if close:
        return macrolanguage(language) == macrolanguage(other) or any({language, other} <= group for group in CLOSE)
    return macrolanguage(language) == other or macrolanguage(other) == language


def home_tag(tag: str, tags: Collection[str]) -> str:
    """Return the tag of a corpus that corresponds to a model's tag.

    A model's ``ar`` means Standard Arabic: if a corpus has arb_Arab but no ara_Arab, the lines belong to arb_Arab.

    Args:
        tag: a model's tag, such as ara_Arab.
        tags: the tags of the corpus.
    """
    language, _, script = tag.partition("_")
    if tag in tags:
        return tag
    same = [
        other
        for other in sorted(tags)
        if other.endswith(f"_{script}") and standard_of(other.partition("_")[0]) == standard_of(language)
    ]
    return same[0] if len(same) == 1 else tag


@cache
def standard_of(language: str) -> str:
    """Return the macrolanguage whose standard variety a language is, according to CLDR (ara for arb), or the language
    itself."""
    import langcodes
    from langcodes.data_dicts import NORMALIZED_MACROLANGUAGES

    macro = NORMALIZED_MACROLANGUAGES.get(language)
    return str(langcodes.Language.get(macro, normalize=False).to_alpha3()) if macro else language
