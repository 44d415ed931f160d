"""Describes a data folder, checkpoint or exported model, and checks that it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.data_folder import check_types, data_languages, split_parts
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.sampling import draws_per_epoch
from langsamp_plugin.data.split_table import SplitTable
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.lang_script import LanguageTable, Tables, head_tags
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.dictionary import read_dictionary


class Sampling(NamedTuple):
    """The sampling options for the preview of a data folder, named as in the task."""

    scheme: str = "alpha"
    alpha: float = 0.3
    scale: float = 30.0
    counts: str = "blocks"
    tokens_per_sample: int = 512


def describe(path: PathLike, sampling: Sampling = Sampling()) -> list[str]:
    """Return the lines of a report.

    Args:
        path: a data folder, a checkpoint of fairseq, or an exported Hugging Face folder.
        sampling: options for the preview of a data folder.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: the path is not one of these, or a file is damaged; the message names the file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing")
    if path.is_file():
        return list(_checkpoint(path))
    if (path / "config.json").is_file():
        return list(_exported(path))
    return list(_data_folder(path, sampling))


def _data_folder(path: Path, sampling: Sampling) -> Iterator[str]:
    languages = data_languages(path)
    if not (path / "dict.txt").is_file():
        raise FileNotFoundError(f"{path / 'dict.txt'} is missing: binarizing was not finished, or the file was removed")
    types = len(read_dictionary(path / "dict.txt")) + 5
    yield f"data folder {path}: {types:,} token ids: 4 special ones, {types - 5:,} pieces, <mask>"
    if (path / LanguageTable.filename).is_file():
        tables = Tables.load(path)
        yield f"tables: {len(tables.languages)} languages, {len(tables.scripts)} scripts"
    else:
        tables = Tables.of(languages, path)
        yield "tables: none; training uses the published ones, or with --tables data the codes of the folder names"
    for tag in languages:
        tables.ids(tag)  # the error names a code that the tables lack
    parts: dict[str, int] = {}
    train = []
    for tag, folders in progress(sorted(languages.items()), desc="checking", unit="language"):
        buffers: dict[str, list[TokenBuffer]] = {}
        for folder in folders:
            check_types(folder, types)
            # Either file counts, so that a missing counterpart is an error.
            files = [file for file in folder.iterdir() if file.suffix in (".idx", ".bin")]
            for split in sorted({file.stem.rstrip("0123456789") for file in files}):
                for prefix in split_parts(folder, split, combine=True):
                    buffer = TokenBuffer(prefix)
                    buffer.check()
                    parts[prefix.name] = parts.get(prefix.name, 0) + 1
                    buffers.setdefault(split, []).append(buffer)
        yield f"{tag!s:<10} " + "   ".join(
            f"{split} {sum(buffer.num_sentences for buffer in found):,} sentences, "
            f"{sum(buffer.num_tokens for buffer in found):,} tokens"
            for split, found in buffers.items()
        )
        blocks = LanguageBlocks(
            tag, buffers.get("train", []), block_size=sampling.tokens_per_sample - 1, vocab_size=types
        )
        train += [blocks] if len(blocks) else []
    yield f"{len(languages)} language-scripts; every index and buffer is complete"
    yield "shards: " + ", ".join(f"{name} of {count} languages" for name, count in sorted(parts.items()))
    if not train:
        return
    yield (
        f"sampling preview: {sampling.scheme}, alpha {sampling.alpha:g}, "
        + (f"scale {sampling.scale:g}, " if sampling.scheme == "glot500" else "")
        + f"counted in {sampling.counts}, {sampling.tokens_per_sample} tokens per sample"
    )
    draws = draws_per_epoch(
        np.array([len(blocks) for blocks in train]),
        sampling.scheme,
        sampling.alpha,
        np.array([str(blocks.tag) in head_tags() for blocks in train]),
        sampling.scale,
        np.array([blocks.num_sentences for blocks in train]) if sampling.counts == "lines" else None,
    )
    yield SplitTable(train, draws, tables).format("train")


def _checkpoint(path: Path) -> Iterator[str]:
    from langsamp_plugin.checkpoint.roberta import load_roberta
    from langsamp_plugin.checkpoint.tables import checkpoint_tables
    from langsamp_plugin.checkpoint.weight_names import EMBEDDING

    state = load_roberta(path)
    weights = state["model"]
    embedding = weights[EMBEDDING]
    history = (state.get("optimizer_history") or [{}])[-1]
    updates = int(history.get("num_updates") or 0) if isinstance(history, dict) else 0
    parameters = sum(weight.numel() for name, weight in weights.items() if name != "encoder.lm_head.weight")
    yield f"checkpoint {path}: {updates:,} updates, {parameters:,} parameters"
    yield _shape(state)
    yield f"vocabulary: {len(embedding):,} token ids, width {embedding.shape[1]}"
    tables = checkpoint_tables(state)
    if tables is None:
        yield "tables: none"
    else:
        yield f"tables: {len(tables.languages)} languages, {len(tables.scripts)} scripts"
    tags = (state.get("task_state") or {}).get("tags")
    if tags:
        yield f"trained on {len(tags)} language-scripts: {' '.join(tags)}"


def _shape(state: dict[str, Any]) -> str:
    """Return architecture, sizes, and the position of the tables."""
    from langsamp_plugin.checkpoint.options import architecture

    options = architecture(state)
    name = options.get("_name") or options.get("arch") or "unknown"
    parts = [
        f"architecture {name}: {options['encoder_layers']} layers of width {options['encoder_embed_dim']} "
        f"({options['encoder_ffn_embed_dim']} inside), {options['encoder_attention_heads']} heads, "
        f"{options['max_positions']} positions"
    ]
    if options.get("embed_tags"):
        parts.append(f"--embed-tags {options['embed_tags']} at the {options.get('embed_tags_at') or 'output'}")
    return ", ".join(parts)


def _exported(path: Path) -> Iterator[str]:
    from langsamp_plugin.convert.authors import AUTHORS_TABLES
    from langsamp_plugin.convert.hf_folder import KINDS, PICKLED, SAFE, check_weights, read_config, read_hf_folder
    from langsamp_plugin.convert.import_hf import check_folder
    from langsamp_plugin.convert.tables_file import TABLES_FILENAME, load_tables

    config = read_config(path)
    try:
        yield (
            f"Hugging Face folder {path}: {config['num_hidden_layers']} layers, width {config['hidden_size']}, "
            f"{config['vocab_size']:,} token ids"
        )
    except KeyError as error:
        raise ValueError(f"{path / 'config.json'} is not a model configuration: it lacks {error}") from error
    if list(path.glob(f"{PICKLED}*")) and not list(path.glob(f"{SAFE}*")):
        yield f"weights: only as {PICKLED}, a pickle, which this command does not open"
    elif config.get("model_type") in KINDS:
        folder = read_hf_folder(path)
        check_folder(folder)  # finds missing weights and wrong shapes
        rows = [len(folder.weights[name]) for name in AUTHORS_TABLES if name in folder.weights]
        if rows:
            yield f"tables: {' and '.join(map(str, rows))} rows among the weights, in the published model's layout"
    else:
        check_weights(path)
    if (path / TABLES_FILENAME).is_file():
        tables = load_tables(path)
        yield f"tables: {len(tables.languages)} languages, {len(tables.scripts)} scripts"
    if config.get("langsamp_tags"):
        yield f"trained on {len(config['langsamp_tags'])} language-scripts: {' '.join(config['langsamp_tags'])}"
