"""Source selection with frozen features: whether the nearest language by the model's own embeddings beats English.

Each target of SIB200 is classified twice: by a classifier trained on English, and by one trained on the language whose
    row of the table is nearest. Both have the same number of training sentences. A target is never its own source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frozen import Features, classify, task_files

from langsamp_plugin.analysis.embeddings import trained_tags
from langsamp_plugin.analysis.source_languages import choose_sources
from langsamp_plugin.convert.tables_file import load_tables
from langsamp_plugin.evaluation.reading.names import ENGLISH
from langsamp_plugin.lang_script import LangScript

TRAIN = 100
"""Training sentences of each source, evenly spaced."""


def source_selection(
    features: Features, checkpoint: Path, folder: Path, limit: int, langs: list[str]
) -> dict[str, Any]:
    """Return for each target its ``source``, and the macro F1 of transfer from it (``nearest``) and from ``english``.

    Args:
        features: of the model.
        checkpoint: the model, with its tables.
        folder: of SIB200.
        limit: test sentences per language; 0 means all.
        langs: the targets and sources, in addition to English as source.
    """
    files = task_files(folder, langs)
    sources = [LangScript.parse(tag) for tag, splits in files.items() if "train" in splits]
    targets = [LangScript.parse(tag) for tag, splits in files.items() if "test" in splits and tag != str(ENGLISH)]
    trained = [LangScript.parse(name) for name in trained_tags(checkpoint)]
    choices, _ = choose_sources(load_tables(checkpoint), targets, sources, trained=trained)
    tests = {str(choice.target): features.of(files[str(choice.target)]["test"], limit) for choice in choices}
    from_english = classify(features.of(files[str(ENGLISH)]["train"], TRAIN), tests)
    found: dict[str, Any] = {}
    for source in sorted({str(choice.source) for choice in choices}):
        own = {str(choice.target): tests[str(choice.target)] for choice in choices if str(choice.source) == source}
        scores = classify(features.of(files[source]["train"], TRAIN), own)
        for tag, score in scores.items():
            found[tag] = {"source": source, "nearest": score, "english": from_english[tag]}
    return found
