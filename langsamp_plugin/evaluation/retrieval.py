"""Sentence retrieval: whether a sentence's vector lies nearest to its translation's.

The protocol is SR-B's of Glot500 and LangSAMP: English queries, the other language's sentences as index, cosine of
mean-pooled states of block 8 of 12, top-k accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.corpus import corpus_files, read_lines
from langsamp_plugin.evaluation.encoding import load_encoder, mean_pooled
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress

TOP = (1, 5, 10)
ENGLISH = LangScript("eng", "Latn")


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


def top_k_accuracy(queries: np.ndarray, index: np.ndarray) -> dict[str, float]:
    """Return the share of queries whose own row is among the k nearest by cosine, for each k of :data:`TOP`.

    Args:
        queries, index: float ``(n, C)``; row i of one is the translation of row i of the other.

    Returns:
        ``{"top1": ..., "top5": ..., "top10": ...}`` in percent. Of equally near rows the own one counts as last, so
        that a model that maps everything to one point scores by its merit.
    """
    similarity = _unit(queries) @ _unit(index).T
    own = np.diagonal(similarity)[:, None]
    rank = (similarity >= own).sum(1)  # the own row counts itself: rank 1 is the best
    return {f"top{k}": 100.0 * float((rank <= k).mean()) for k in TOP}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def retrieval(
    model: PathLike, data: PathLike, layer: Optional[int] = None, langs: Iterable[str] = (), min_pairs: int = 20
) -> dict[str, Any]:
    """Retrieve every language's sentences by their English translations.

    Args:
        model: a Hugging Face folder.
        data: folder of ``<tag>.txt`` with lines ``id<tab>text``, ``eng_Latn.txt`` among them.
        layer: transformer block; by default two thirds up, as block 8 is of 12.
        langs: the tags to take; empty takes all.
        min_pairs: languages with fewer translated sentences are listed and not scored.

    Returns:
        ``{"layer": n, "by_tag": {tag: {"pairs": n, "top1": ..., ..., "chance10": ...}}, "mean": {...}, "too_few": {tag: pairs}}``,
        percentages; ``chance10`` is what guessing gets among that language's candidates.

    Raises:
        ValueError: there is no English file, a file is malformed, or no language has enough pairs.
    """
    data = Path(data)
    files = corpus_files(data)
    if ENGLISH not in files:
        raise ValueError(f"{data} has no eng_Latn.txt, whose sentences are the queries")
    wanted = {LangScript.from_spelling(lang) for lang in langs}
    english = read_aligned(files.pop(ENGLISH))
    encoder, tokenizer = load_encoder(model)
    depth = encoder.config.num_hidden_layers
    layer = round(depth * 8 / 12) if layer is None else layer
    if not 0 <= layer <= depth:
        raise ValueError(f"--layer must lie between 0 and {depth}, but is {layer}")
    names = sorted(english)
    row = {name: number for number, name in enumerate(names)}
    queries = mean_pooled([english[name] for name in names], encoder, tokenizer, layer)
    by_tag: dict[str, dict[str, float]] = {}
    too_few: dict[str, int] = {}
    todo = [(tag, path) for tag, path in files.items() if not wanted or tag in wanted]
    for tag, path in progress(todo, desc="retrieval", unit="language"):
        sentences = read_aligned(path)
        shared = [name for name in sorted(sentences) if name in row]
        if len(shared) < min_pairs:
            too_few[str(tag)] = len(shared)
            continue
        index = mean_pooled([sentences[name] for name in shared], encoder, tokenizer, layer)
        scores = top_k_accuracy(queries[[row[name] for name in shared]], index)
        by_tag[str(tag)] = {"pairs": len(shared), **scores, "chance10": 100.0 * min(1.0, 10 / len(shared))}
    if not by_tag:
        raise ValueError(f"no language of {data} has {min_pairs} sentences with an English translation")
    columns = [*(f"top{k}" for k in TOP), "chance10"]
    mean = {name: float(np.mean([scores[name] for scores in by_tag.values()])) for name in columns}
    return {"layer": layer, "mean": mean, "by_tag": by_tag, "too_few": too_few}
