"""Opens the languages of a split of a data folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from langsamp_plugin.data.data_folder import check_types, split_parts
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.lang_script import LangScript


def read_languages(
    folders_of: Mapping[LangScript, Sequence[Path]],
    split: str,
    *,
    combine: bool,
    tokens_per_sample: int,
    vocab_size: int,
) -> tuple[list[LanguageBlocks], list[LangScript]]:
    """Open a split of a data folder.

    Args:
        folders_of: the folders of each language.
        split: ``train``, ``valid``, ...
        combine: also take ``train1``, ``train2``, ...
        tokens_per_sample: length of a full block with ``<s>``.
        vocab_size: number of types of the dictionary.

    Returns:
        The languages with text in the split, sorted by tag, and the tags of those without.

    Raises:
        ValueError: a file is damaged, or was binarized with another dictionary.
    """
    languages: list[LanguageBlocks] = []
    missing: list[LangScript] = []
    for tag, folders in sorted(folders_of.items()):
        for folder in folders:
            check_types(folder, vocab_size)
        buffers = [TokenBuffer(prefix) for folder in folders for prefix in split_parts(folder, split, combine)]
        blocks = LanguageBlocks(tag, buffers, block_size=tokens_per_sample - 1, vocab_size=vocab_size)
        if len(blocks):
            languages.append(blocks)
        else:
            missing.append(tag)
    return languages, missing
