"""Analyses the two tables: nearest neighbours, cosines, maps, and files for TensorBoard's projector."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from langsamp_plugin.analysis.embedding_map import MapPoint, TableMap, draw_map, write_page
from langsamp_plugin.analysis.families import families_of, read_families
from langsamp_plugin.analysis.projection import principal_components, umap_points
from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.convert.hf_folder import read_config
from langsamp_plugin.convert.tables_file import TABLES_FILENAME, load_tables, read_authors_tables
from langsamp_plugin.evaluation.paper_languages import published_tags
from langsamp_plugin.lang_script import SCRIPT_ALIASES, LangScript, head_tags

AT_LEAST = 3
"""Minimum number of rows for a map."""


class TrainedRows(NamedTuple):
    """The rows of one table that a model was trained on.

    Args:
        noun: ``language`` or ``script``.
        codes: ISO 639-3 or ISO 15924 codes.
        vectors: float ``(len(codes), C)``.
        tags: the tags that each code was trained with.
    """

    noun: str
    codes: list[str]
    vectors: np.ndarray
    tags: dict[str, list[LangScript]]


def trained_rows(model: PathLike) -> list[TrainedRows]:
    """Read the rows that a model was trained on; untrained rows are noise and are omitted.

    Args:
        model: a fairseq checkpoint or an exported folder.

    Returns:
        One entry per table with enough rows, languages first.

    Raises:
        ValueError: the model has no table, does not record its training languages, or has fewer than three languages.
    """
    tables = load_tables(model)
    tags = [LangScript.parse(name) for name in trained_tags(model)]
    found = []
    for codes, weight in tables.both():
        noun = codes.noun
        by_code: dict[str, list[LangScript]] = {}
        for tag in tags:
            if getattr(tag, noun) in codes:
                by_code.setdefault(getattr(tag, noun), []).append(tag)
        names = sorted(by_code)
        if len(codes) and noun == "language" and len(names) < AT_LEAST:
            raise ValueError(f"{model} was trained on {len(names)} languages; a map of them needs at least {AT_LEAST}")
        if len(names) >= AT_LEAST:
            vectors = weight[[codes.id(code) for code in names]].float().numpy()
            found.append(TrainedRows(noun, names, vectors, {code: by_code[code] for code in names}))
    if not found:
        raise ValueError(f"{model} has no language table, and fewer than {AT_LEAST} scripts, so no map can be drawn")
    return found


def trained_tags(model: PathLike) -> list[str]:
    """Return the tags that a checkpoint or an exported folder was trained on.

    The authors' folder does not record them, but its inventory is known: :func:`published_tags`.

    Raises:
        ValueError: the model does not record them.
    """
    path = Path(model)
    if path.is_file():
        tags = (load_roberta(path).get("task_state") or {}).get("tags")
    else:
        tags = read_config(path).get("langsamp_tags")
        if not tags and not (path / TABLES_FILENAME).is_file() and read_authors_tables(path) is not None:
            tags = published_tags()
    if not tags:
        raise ValueError(f"{model} does not record which languages it was trained on")
    return list(tags)


def cosine(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of every pair, ``(n, n)``, of vectors ``(n, C)``."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def neighbours(codes: Sequence[str], vectors: np.ndarray, count: int = 3) -> dict[str, list[tuple[str, float]]]:
    """Return the nearest neighbours of each code by cosine, nearest first."""
    similarity = cosine(vectors)
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1)[:, : min(count, len(codes) - 1)]
    return {
        code: [(codes[other], float(similarity[row, other])) for other in order[row].tolist()]
        for row, code in enumerate(codes)
    }


def agreement(
    found: Mapping[str, Sequence[tuple[str, float]]], groups: Mapping[str, Sequence[str]], asked: Sequence[str]
) -> tuple[float, float]:
    """Return how often a code shares a group with its nearest neighbour and with a random code, in percent.

    Args:
        found: from :func:`neighbours`.
        groups: the groups of each code, such as the scripts of a language; possibly none.
        asked: the codes to evaluate, at least one.
    """
    hits, chances = [], []
    for code in asked:
        own = set(groups[code])
        hits.append(bool(own & set(groups.get(found[code][0][0], ()))))
        chances.append(np.mean([bool(own & set(groups.get(other, ()))) for other in found if other != code]))
    return 100.0 * float(np.mean(hits)), 100.0 * float(np.mean(chances))


def language_agreement(
    found: Mapping[str, Sequence[tuple[str, float]]],
    scripts: Mapping[str, Sequence[str]],
    families: Mapping[str, str],
) -> dict[str, float]:
    """Return :func:`agreement` of languages by script and by family.

    Args:
        found: from :func:`neighbours`.
        scripts: the scripts of each language.
        families: the known families.

    Returns:
        ``same_script`` and ``chance`` over all languages; ``same_script_nonlatin`` and ``chance_nonlatin`` over
        languages in a non-Latin script that other languages share; ``same_family`` and ``chance_family`` over languages
        whose family is known and has another member.
    """

    def with_peers(codes: Iterable[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
        counts = Counter(group for code in found for group in set(groups.get(code, ())))
        return [code for code in codes if any(counts[group] > 1 for group in groups[code])]

    of_family = {code: [families[code]] for code in found if code in families}
    result = dict(zip(("same_script", "chance"), agreement(found, scripts, list(found))))
    for names, groups, asked in (
        (("same_script_nonlatin", "chance_nonlatin"), scripts, [code for code in found if "Latn" not in scripts[code]]),
        (("same_family", "chance_family"), of_family, list(of_family)),
    ):
        asked = with_peers(asked, groups)
        if asked:
            result.update(zip(names, agreement(found, groups, asked)))
    return result


def analyze_embeddings(
    model: PathLike, out: PathLike, count: int = 3, families: Optional[PathLike] = None
) -> dict[str, Any]:
    """Write maps, neighbours, cosines and projector files of both tables into a folder.

    ``<noun>`` is ``language`` or ``script``: ``<noun>_<pca|umap>_<script|family|head>.{png,svg}``,
    ``<noun>_neighbours.tsv``, ``<noun>_cosine.csv``; and ``map.html``, ``embeddings.json``, ``projector/``.

    Args:
        model: a fairseq checkpoint or an exported folder.
        out: the folder.
        count: neighbours per row.
        families: see :func:`langsamp_plugin.analysis.families.read_families`.

    Returns:
        The contents of ``embeddings.json``: the number of languages, :func:`language_agreement`, and the neighbours in
        both tables (``neighbours`` of languages, ``script_neighbours``).
    """
    out = Path(out)
    known = read_families(families)
    rows = trained_rows(model)
    result: dict[str, Any] = {"languages": 0}
    maps = []
    for table in rows:
        nearest = neighbours(table.codes, table.vectors, count)
        scripts = {code: [tag.script for tag in tags] for code, tags in table.tags.items()}
        if table.noun == "language":
            result = {
                "languages": len(table.codes),
                "agreement": language_agreement(nearest, scripts, known),
                "neighbours": nearest,
            }
        else:
            result["script_neighbours"] = nearest
        maps.append(_table_map(table, nearest, scripts, known))
        _write_neighbours(out / f"{table.noun}_neighbours.tsv", table, nearest, count)
        with atomic_write(out / f"{table.noun}_cosine.csv") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["", *table.codes])
            for code, values in zip(table.codes, cosine(table.vectors)):
                writer.writerow([code, *(f"{value:.4f}" for value in values)])
    for one in maps:
        draw_map(one, out)
    write_page(maps, out / "map.html", Path(model).name)
    _write_projector(rows, maps, out / "projector")
    with atomic_write(out / "embeddings.json") as stream:
        json.dump(result, stream, indent=1)
    return result


def _table_map(
    table: TrainedRows,
    nearest: Mapping[str, list[tuple[str, float]]],
    scripts: Mapping[str, list[str]],
    known: dict[str, str],
) -> TableMap:
    from langcodes import Language

    coarse = families_of(table.codes, known)
    points = []
    for code in table.codes:
        tags = table.tags[code]
        if table.noun == "language":
            name = Language.get(code).display_name()
            colours = {
                "script": main_script(code, scripts[code]),
                "family": coarse[code],
                "head": "head" if any(str(tag) in head_tags() for tag in tags) else "tail",
            }
        else:
            name = Language.get(f"und-{code}").script_name()
            colours = {"script": f"{code} {name}"}
        points.append(MapPoint(code, name, [str(tag) for tag in tags], known.get(code, ""), colours, nearest[code]))
    components, share = principal_components(table.vectors)
    return TableMap(table.noun, points, {"pca": components, "umap": umap_points(table.vectors)}, share)


def main_script(language: str, scripts: Sequence[str]) -> str:
    """Return the usual script of a language, by CLDR's likely subtags, if it is among the given scripts."""
    from langcodes import Language

    likely = Language.get(language).maximize().script or ""
    likely = SCRIPT_ALIASES.get(likely, likely)
    return likely if likely in scripts else scripts[0]


def _write_neighbours(
    path: Path, table: TrainedRows, nearest: Mapping[str, list[tuple[str, float]]], count: int
) -> None:
    numbers = range(1, min(count, len(table.codes) - 1) + 1)
    with atomic_write(path) as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow([table.noun, "tags", *(f"neighbour_{n}" for n in numbers), *(f"cosine_{n}" for n in numbers)])
        for code, others in nearest.items():
            tags = " ".join(map(str, table.tags[code][:5])) + (" ..." if len(table.tags[code]) > 5 else "")
            writer.writerow([code, tags, *(name for name, _ in others), *(f"{value:.3f}" for _, value in others)])


def _write_projector(rows: Sequence[TrainedRows], maps: Sequence[TableMap], folder: Path) -> None:
    """Write the files for TensorBoard's projector (`tensorboard --logdir FOLDER`)."""
    config = []
    for table, one in zip(rows, maps):
        with atomic_write(folder / f"{table.noun}_vectors.tsv") as stream:
            csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(
                [f"{value:.6g}" for value in row] for row in table.vectors
            )
        with atomic_write(folder / f"{table.noun}_metadata.tsv") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerow(["code", "name", *one.points[0].colours])
            writer.writerows([point.code, point.name, *point.colours.values()] for point in one.points)
        config.append(
            f'embeddings {{\n  tensor_name: "{table.noun}"\n  tensor_path: "{table.noun}_vectors.tsv"\n'
            f'  metadata_path: "{table.noun}_metadata.tsv"\n}}\n'
        )
    with atomic_write(folder / "projector_config.pbtxt") as stream:
        stream.write("".join(config))
