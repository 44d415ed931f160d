"""Measures how language-neutral a model is: similarity of parallel sentences, with the controls that cosine needs.

The paper reports the mean cosine of parallel sentences per pair of languages, relative to the baseline. Cosine alone
also rises when a space merely collapses, so three controls are reported as well: the cosine of sentences that are *not*
parallel and the margin between both, retrieval, and the accuracy of a linear probe for the language.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.evaluation.cache import Cache, hash_model
from langsamp_plugin.evaluation.device import Compute
from langsamp_plugin.evaluation.encoding import depth, keep_blocks, load_encoder, longest_input
from langsamp_plugin.evaluation.features import FeatureStore
from langsamp_plugin.evaluation.reading.aligned import evenly_spaced, read_aligned, texts_by_id
from langsamp_plugin.evaluation.reading.names import task_tag
from langsamp_plugin.evaluation.retrieval import both_ranks
from langsamp_plugin.evaluation.run import model_folder
from langsamp_plugin.progress import progress

PAPER = (
    "eng_Latn", "rus_Cyrl", "zho_Hani", "arb_Arab", "hin_Deva", "jpn_Jpan", "tur_Latn", "spa_Latn",
    "ind_Latn", "swa_Latn",
)  # fmt: skip
"""The ten languages of the paper's figure."""

ID_COLUMNS = ("id", "index_id")
SMALLEST_COSINE = 0.01
MOST_TEXTS = 30
"""Maximum number of languages for which cells show numbers."""
LARGEST_SIDE = 24.0
"""Maximum length of the picture's longer side, in inches."""

ALSO = {"zho_Hani": ("zho_Hans", "cmn_Hani", "zho_Hant"), "swa_Latn": ("swh_Latn",)}
"""Alternative tags of the paper's languages in data sets."""


class Pair(NamedTuple):
    """Measurements of two languages.

    Args:
        one, other: their tags.
        cosine: mean cosine of parallel sentences.
        unrelated: mean cosine of sentences that are not parallel.
        margin: the difference between both.
        top1: share of sentences whose nearest neighbour is their translation, mean of both directions, in percent.
    """

    one: str
    other: str
    cosine: float
    unrelated: float
    margin: float
    top1: float


def pair_scores(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float, float]:
    """Compare two languages.

    Args:
        one, other: float ``(n, C)``, row i of one is the translation of row i of the other; n is at least 2.

    Returns:
        ``cosine``, ``unrelated``, ``margin`` and ``top1`` of :class:`Pair`.
    """
    count = len(one)
    forth, back = both_ranks(one, other)
    one, other = (side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12) for side in (one, other))
    parallel = float(np.einsum("nc,nc->", one, other))
    # The sum of all n * n cosines is the product of the sums; subtracting the parallel ones leaves the rest.
    unrelated = (float(one.sum(0) @ other.sum(0)) - parallel) / (count * (count - 1))
    top1 = 50.0 * float((forth == 1).mean() + (back == 1).mean())
    return parallel / count, unrelated, parallel / count - unrelated, top1


def probe_accuracy(vectors: Sequence[np.ndarray], seed: int = 0) -> float:
    """Return the accuracy of logistic regression for the language, in percent; chance is 100 / languages.

    It is trained on a random half of the sentences and tested on the other half. The halves are the same in all
    languages, so no test sentence has a translation in the training half.

    Args:
        vectors: float ``(n, C)`` per language.
        seed: seed of the split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    order = np.random.default_rng(seed).permutation(len(vectors[0]))
    half = len(order) // 2
    labels = np.repeat(np.arange(len(vectors)), [half] * len(vectors))
    train = np.concatenate([side[order[:half]] for side in vectors])
    test = np.concatenate([side[order[half : 2 * half]] for side in vectors])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, labels)
    return 100.0 * float(probe.score(test, labels))


def read_parallel(data: PathLike, langs: Iterable[str], limit: int) -> tuple[dict[str, list[str]], list[str]]:
    """Read the sentences that all languages share.

    Args:
        data: folder of ``<tag>.txt`` with lines ``id<tab>text``, or of ``<tag>/test.tsv`` with an id column and a text
            column (SIB-200, FLORES).
        langs: tags; empty means those of the paper's ten languages that the data contain.
        limit: sentences; 0 means all.

    Returns:
        The sentences of each language, and the paper's languages that the data lack.

    Raises:
        FileNotFoundError: one of ``langs`` is missing.
        ValueError: fewer than three languages, or fewer than ten shared sentences.
    """
    data = Path(data)
    if not data.is_dir():
        raise FileNotFoundError(f"data folder {data} is missing")
    wanted = [str(task_tag(lang)) for lang in langs]
    texts: dict[str, dict[str, str]] = {}
    missing = []
    for tag in wanted or PAPER:
        for name in (tag, *ALSO.get(tag, ())):
            if (data / f"{name}.txt").is_file():
                texts[name], _ = read_aligned(data / f"{name}.txt")
            elif (data / name / "test.tsv").is_file():
                texts[name] = texts_by_id(data / name / "test.tsv", ID_COLUMNS)
            else:
                continue
            break
        else:
            if wanted:
                raise FileNotFoundError(f"{data} has no {tag}.txt and no {tag}/test.tsv")
            missing.append(tag)
    if len(texts) < 3:
        raise ValueError(
            f"{data} must have at least 3 of the requested languages, but has {len(texts)}: name others with --langs"
        )
    shared = sorted(set.intersection(*(set(rows) for rows in texts.values())))
    if len(shared) < 10:
        raise ValueError(f"{data} must have at least 10 sentences in all of {' '.join(texts)}, but has {len(shared)}")
    if 0 < limit < 10:
        raise ValueError(f"--limit must be 0 or at least 10, but is {limit}: fewer sentences are not meaningful")
    rows = evenly_spaced(len(shared), limit)
    shared = shared if rows is None else [shared[row] for row in rows]
    return {tag: [sentences[name] for name in shared] for tag, sentences in texts.items()}, missing


def measure(
    model: PathLike,
    texts: dict[str, list[str]],
    cache: Cache,
    layer: Optional[int] = None,
    compute: Compute = Compute(),
) -> dict[str, Any]:
    """Measure one model.

    Args:
        model: a Hugging Face folder.
        texts: parallel sentences per language.
        cache: where vectors are stored; models that share the folder encode a common baseline once.
        layer: the block whose states are pooled; by default two thirds of the depth, as for retrieval.
        compute: device, precision and batch size.

    Returns:
        ``layer``, ``pairs`` (a list of :class:`Pair`), their means, and ``probe``.
    """
    encoder, tokenizer = load_encoder(model, compute.where())
    layer = round(depth(encoder) * 8 / 12) if layer is None else layer
    if not 0 <= layer <= depth(encoder):
        raise ValueError(f"--layer must be between 0 and {depth(encoder)}, but is {layer}")
    keep_blocks(encoder, layer)
    with progress(total=sum(map(len, texts.values())), desc=str(Path(model).name), unit="sentence") as bar:
        store = FeatureStore(
            cache, model=encoder, tokenizer=tokenizer, model_hash=hash_model(Path(model)),
            max_length=longest_input(encoder, tokenizer, 512), compute=compute, on_batch=bar.update,
        )  # fmt: skip
        vectors = {tag: store.vectors(rows, [layer])[0][0] for tag, rows in texts.items()}
    pairs = [Pair(one, other, *pair_scores(vectors[one], vectors[other])) for one, other in combinations(texts, 2)]
    means = {name: float(np.mean([getattr(pair, name) for pair in pairs])) for name in Pair._fields[2:]}
    return {"layer": layer, "pairs": pairs, **means, "probe": probe_accuracy(list(vectors.values()))}


def analyze_neutrality(
    model: PathLike,
    data: PathLike,
    out: PathLike,
    *,
    baseline: Optional[PathLike] = None,
    langs: Iterable[str] = (),
    layer: Optional[int] = None,
    baseline_layer: Optional[int] = None,
    limit: int = 0,
    cache_folder: Optional[PathLike] = None,
) -> dict[str, Any]:
    """Write ``neutrality.csv``, ``neutrality.json`` and heat maps as PNG and SVG.

    Args:
        model, baseline: Hugging Face folders, or fairseq checkpoints.
        data, langs, limit: see :func:`read_parallel`.
        out: the folder to write.
        layer: see :func:`measure`.
        baseline_layer: the same for the baseline; by default ``layer``.
        cache_folder: where vectors are stored; by default ``<out>/.cache``. Models with a common baseline can share it.

    Returns:
        The measurements of both models, the number of sentences, and the missing languages.
    """
    texts, missing = read_parallel(data, langs, limit)
    cache = Cache(Path(out) / ".cache" if cache_folder is None else cache_folder)
    found = measure(model_folder(Path(model), cache), texts, cache, layer)
    before = None
    if baseline is not None:
        of_baseline = layer if baseline_layer is None else baseline_layer
        before = measure(model_folder(Path(baseline), cache), texts, cache, of_baseline)
    result = {
        "model": found, "baseline": before, "languages": list(texts), "missing": missing,
        "sentences": len(next(iter(texts.values()))),
    }  # fmt: skip
    out = Path(out)
    with atomic_write(out / "neutrality.csv") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            [*Pair._fields, *(("baseline_cosine", "improvement_percent", "baseline_margin") if before else ())]
        )
        for number, pair in enumerate(found["pairs"]):
            row = [pair.one, pair.other, *(f"{value:.6f}" for value in pair[2:])]
            if before:
                other = before["pairs"][number]
                row += [f"{other.cosine:.6f}", f"{improvement(pair, other):.4f}", f"{other.margin:.6f}"]
            writer.writerow(row)
    with atomic_write(out / "neutrality.json") as stream:
        json.dump(result, stream, indent=1)
    values = (
        [improvement(*both) for both in zip(found["pairs"], before["pairs"])]
        if before
        else [pair.cosine for pair in found["pairs"]]
    )
    _heat_map(
        list(texts), values, "relative improvement of cosine, %" if before else "cosine of parallel sentences", out
    )
    return result


def improvement(pair: Pair, before: Pair) -> float:
    """Return the relative gain of cosine over the baseline in percent, as the paper's figure shows it.

    ``nan`` if the baseline's cosine is below :data:`SMALLEST_COSINE`: the ratio to a value near 0 is meaningless.
    """
    if abs(before.cosine) < SMALLEST_COSINE:
        return float("nan")
    return 100.0 * (pair.cosine - before.cosine) / abs(before.cosine)


def _heat_map(tags: list[str], values: Sequence[float], title: str, out: Path) -> None:
    from matplotlib.figure import Figure

    grid = np.full((len(tags), len(tags)), np.nan)
    for (row, column), value in zip(combinations(range(len(tags)), 2), values):
        grid[column, row] = value
    width, height = 1.6 + 0.62 * len(tags), 1.2 + 0.5 * len(tags)
    scale = min(1.0, LARGEST_SIDE / max(width, height))
    size = max(2.0, 8 * min(1.0, LARGEST_SIDE / 0.5 / len(tags) / 2))
    figure = Figure(figsize=(width * scale, height * scale), layout="constrained")
    axes = figure.add_subplot()
    largest = max((abs(value) for value in values if np.isfinite(value)), default=1.0)
    picture = axes.imshow(grid[1:, :-1], cmap="RdBu_r" if "improvement" in title else "viridis",
                          vmin=-largest if "improvement" in title else None,
                          vmax=largest if "improvement" in title else None)  # fmt: skip
    axes.set_xticks(range(len(tags) - 1), tags[:-1], rotation=45 if len(tags) <= MOST_TEXTS else 90, fontsize=size)
    axes.set_yticks(range(len(tags) - 1), tags[1:], fontsize=size)
    for row in range(1, len(tags) if len(tags) <= MOST_TEXTS else 0):
        for column in range(row):
            value = grid[row, column]
            if not np.isfinite(value):
                continue
            red, green, blue, _ = picture.cmap(picture.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            axes.text(column, row - 1, f"{value:+.0f}" if "improvement" in title else f"{value:.2f}",
                      ha="center", va="center",
                      fontsize=7, color="white" if dark else "black")  # fmt: skip
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=10)
    for kind in ("png", "svg"):
        with atomic_write(out / f"neutrality.{kind}", "wb") as stream:
            figure.savefig(stream, format=kind, dpi=150)
