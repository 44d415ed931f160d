"""The language table as a map: nearest neighbours by cosine, and a picture of its two principal components."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.checkpoint.tables import load_tables
from langsamp_plugin.lang_script import LangScript


class LanguageVectors(NamedTuple):
    """Trained language embeddings.

    Args:
        codes: ISO 639-3 codes.
        vectors: float ``(len(codes), C)``.
        scripts: the scripts that the model saw each language in.
    """

    codes: list[str]
    vectors: np.ndarray
    scripts: dict[str, list[str]]


def language_vectors(model: PathLike) -> LanguageVectors:
    """Read the rows of the languages that a model was trained on; rows never trained are noise and left out.

    Args:
        model: a fairseq checkpoint or an exported folder.

    Raises:
        ValueError: the model has no language table, does not say what it was trained on, or has fewer than three languages.
    """
    tables = load_tables(model)
    if not len(tables.languages):
        raise ValueError(f"{model} was trained without a language table")
    scripts: dict[str, list[str]] = {}
    for name in trained_tags(model):
        tag = LangScript.parse(name)
        if tag.language in tables.languages:
            scripts.setdefault(tag.language, []).append(tag.script)
    codes = sorted(scripts)
    if len(codes) < 3:
        raise ValueError(f"{model} was trained on {len(codes)} languages; a map of them needs at least three")
    rows = [tables.languages.id(code) for code in codes]
    return LanguageVectors(codes, tables.lang_weight[rows].float().numpy(), scripts)


def trained_tags(model: PathLike) -> list[str]:
    """Return the tags that a checkpoint or an exported folder was trained on.

    Raises:
        ValueError: it does not say so.
    """
    path = Path(model)
    if path.is_file():
        tags = (load_checkpoint(path).get("task_state") or {}).get("tags")
    else:
        tags = json.loads((path / "config.json").read_text(encoding="utf-8")).get("langsamp_tags")
    if not tags:
        raise ValueError(f"{model} does not say which languages it was trained on")
    return list(tags)


def cosine(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of every pair, ``(n, n)``, of vectors ``(n, C)``."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def neighbours(codes: Sequence[str], vectors: np.ndarray, count: int = 3) -> dict[str, list[tuple[str, float]]]:
    """Return the nearest others of each code by cosine, nearest first."""
    similarity = cosine(vectors)
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1)[:, : min(count, len(codes) - 1)]
    return {
        code: [(codes[other], float(similarity[row, other])) for other in order[row].tolist()]
        for row, code in enumerate(codes)
    }


def script_agreement(
    found: Mapping[str, Sequence[tuple[str, float]]], scripts: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Return how often a language's nearest neighbour shares a script with it, against chance.

    Args:
        found: from :func:`neighbours`.
        scripts: the scripts of each language.

    Returns:
        Percentages ``same_script`` and ``chance`` over all languages, and ``same_script_nonlatin`` and
        ``chance_nonlatin`` over those that are not written in Latin script but have another language in theirs. Chance
        is the share of the other languages that have the script.
    """
    hits: dict[str, list[bool]] = {"": [], "_nonlatin": []}
    chances: dict[str, list[float]] = {"": [], "_nonlatin": []}
    for code, nearest in found.items():
        own = set(scripts[code])
        peers = [bool(own & set(scripts[other])) for other in found if other != code]
        groups = ["", "_nonlatin"] if "Latn" not in own and any(peers) else [""]
        for group in groups:
            hits[group].append(bool(own & set(scripts[nearest[0][0]])))
            chances[group].append(float(np.mean(peers)))
    result = {}
    for group in hits:
        if hits[group]:
            result[f"same_script{group}"] = 100.0 * float(np.mean(hits[group]))
            result[f"chance{group}"] = 100.0 * float(np.mean(chances[group]))
    return result


def principal_components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(points (n, 2), share of variance (2,))`` of the first two principal components.

    The sign of a component is arbitrary; it is chosen so that its largest entry is positive.
    """
    centred = vectors - vectors.mean(0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * singular[:2]
    points *= np.where(points[np.abs(points).argmax(0), np.arange(2)] < 0, -1.0, 1.0)
    return points, singular[:2] ** 2 / max(float((singular**2).sum()), 1e-30)


def draw_map(found: LanguageVectors, out: PathLike) -> None:
    """Draw the principal components, coloured by script and labelled by code, as PNG.

    Raises:
        ModuleNotFoundError: matplotlib or adjustText is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from adjustText import adjust_text

    points, share = principal_components(found.vectors)
    script_of = [found.scripts[code][0] for code in found.codes]
    names = sorted(set(script_of), key=lambda name: (-script_of.count(name), name))
    figure, axes = plt.subplots(figsize=(11, 8.5), dpi=130)
    colours = plt.get_cmap("tab20")
    for number, name in enumerate(names):
        rows = [row for row, script in enumerate(script_of) if script == name]
        # Twenty colours, three shapes: more scripts than that would repeat a pair.
        axes.scatter(
            *points[rows].T,
            s=22,
            color=colours(number % 20),
            marker="o^s"[number // 20 % 3],
            label=f"{name} ({len(rows)})",
            zorder=2,
        )
    labels = [axes.text(x, y, code, fontsize=7) for (x, y), code in zip(points.tolist(), found.codes)]
    axes.set_xlabel(f"first principal component ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second principal component ({share[1]:.0%})")
    axes.set_title(f"Language embeddings of {len(found.codes)} languages, coloured by script")
    axes.margins(0.06)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.tight_layout()
    adjust_text(labels, ax=axes, arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.4})
    with atomic_write(out, "wb") as stream:
        figure.savefig(stream, format="png")
    plt.close(figure)


def analyze_embeddings(model: PathLike, out: PathLike, count: int = 3) -> dict[str, Any]:
    """Write ``neighbours.tsv``, ``language_pca.png`` and ``embeddings.json`` into a folder.

    Args:
        model: a fairseq checkpoint or an exported folder.
        out: the folder.
        count: neighbours per language.

    Returns:
        What is in ``embeddings.json``: neighbours per language and :func:`script_agreement`.
    """
    out = Path(out)
    found = language_vectors(model)
    nearest = neighbours(found.codes, found.vectors, count)
    result = {
        "languages": len(found.codes),
        "agreement": script_agreement(nearest, found.scripts),
        "neighbours": nearest,
    }
    draw_map(found, out / "language_pca.png")
    with atomic_write(out / "neighbours.tsv") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(
            [
                "language",
                "scripts",
                *(f"neighbour_{n + 1}" for n in range(count)),
                *(f"cosine_{n + 1}" for n in range(count)),
            ]
        )
        for code, others in nearest.items():
            writer.writerow(
                [
                    code,
                    " ".join(found.scripts[code]),
                    *(name for name, _ in others),
                    *(f"{value:.3f}" for _, value in others),
                ]
            )
    with atomic_write(out / "embeddings.json") as stream:
        json.dump(result, stream, indent=1)
    return result
