"""What lies in a data folder, a checkpoint or an exported model, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.data_folder import data_languages, split_parts
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.lang_script import LanguageTable, Tables


def describe(path: PathLike) -> list[str]:
    """Return the lines of a report.

    Args:
        path: a data folder, a checkpoint of fairseq, or an exported Hugging Face folder.

    Raises:
        FileNotFoundError: there is nothing there.
        ValueError: it is none of the three, or a file in it is damaged; the message names the file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing")
    if path.is_file():
        return list(_checkpoint(path))
    if (path / "config.json").is_file():
        return list(_exported(path))
    return list(_data_folder(path))


def _data_folder(path: Path) -> Iterator[str]:
    languages = data_languages(path)
    if not (path / "dict.txt").is_file():
        raise FileNotFoundError(f"{path / 'dict.txt'} is missing: binarizing was not finished, or the file was removed")
    types = sum(1 for line in (path / "dict.txt").read_text(encoding="utf-8").split("\n") if line)
    yield f"data folder {path}: {types:,} pieces, {types + 5:,} token ids with the special ones"
    if (path / LanguageTable.filename).is_file():
        tables = Tables.load(path)
        yield f"tables: {len(tables.languages)} languages, {len(tables.scripts)} scripts"
        for tag in languages:
            tables.ids(tag)  # names a code that the tables lack
    yield f"{'tag':<10} {'split':<8} {'sentences':>14} {'tokens':>16}"
    for tag, folders in sorted(languages.items()):
        for folder in folders:
            splits = sorted({file.stem.rstrip("0123456789") for file in folder.glob("*.idx")})
            for split in splits:
                for prefix in split_parts(folder, split, combine=True):
                    buffer = TokenBuffer(prefix)  # checks that index and buffer are whole and belong together
                    yield f"{tag!s:<10} {prefix.name:<8} {buffer.num_sentences:>14,} {buffer.num_tokens:>16,}"
    yield f"{len(languages)} language-scripts; every index and buffer is whole"


def _checkpoint(path: Path) -> Iterator[str]:
    from langsamp_plugin.checkpoint.loading import load_checkpoint
    from langsamp_plugin.checkpoint.tables import checkpoint_tables

    state = load_checkpoint(path)
    weights = state["model"]
    embedding = weights.get("encoder.sentence_encoder.embed_tokens.weight")
    if embedding is None:
        raise ValueError(f"{path} is a fairseq checkpoint, but of no RoBERTa: it has no encoder.sentence_encoder")
    updates = (state.get("optimizer_history") or [{}])[-1].get("num_updates", 0)
    parameters = sum(weight.numel() for name, weight in weights.items() if name != "encoder.lm_head.weight")
    yield f"checkpoint {path}: {updates:,} updates, {parameters:,} parameters"
    yield f"vocabulary: {len(embedding):,} token ids, width {embedding.shape[1]}"
    tables = checkpoint_tables(state)
    if tables is None:
        yield "tables: none"
    else:
        yield f"tables: {len(tables.languages)} languages, {len(tables.scripts)} scripts"
    tags = (state.get("task_state") or {}).get("tags")
    if tags:
        yield f"trained on {len(tags)} language-scripts: {' '.join(tags)}"


def _exported(path: Path) -> Iterator[str]:
    from langsamp_plugin.checkpoint.tables import FILENAME, load_tables

    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        yield (
            f"Hugging Face folder {path}: {config['num_hidden_layers']} layers, width {config['hidden_size']}, "
            f"{config['vocab_size']:,} token ids"
        )
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path / 'config.json'} is no model configuration: {error}") from error
    if (path / FILENAME).is_file():
        tables = load_tables(path)
        yield f"tables: {len(tables.languages)} languages, {len(tables.scripts)} scripts"
    if config.get("langsamp_tags"):
        yield f"trained on {len(config['langsamp_tags'])} language-scripts: {' '.join(config['langsamp_tags'])}"
