"""The table of a split: all counts, and the frequency of each language."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.lang_script import LangScript, Tables, head_tags

COLUMNS = (
    "tag", "lang_id", "script_id", "group", "sentences", "tokens", "blocks", "draws", "probability", "repeats",
)  # fmt: skip


class SplitTable:
    """A table with one row per language.

    Args:
        languages: the languages with the split.
        draws: int64 ``(languages,)``, blocks of each language per epoch.
        tables: the inventories, for ids.

    Attributes:
        rows: the values of :data:`COLUMNS` per language: ``draws`` are its blocks per epoch, ``probability`` is its
            share of the epoch, and ``repeats`` is the average number of times that each of its blocks occurs in an
            epoch.
    """

    def __init__(self, languages: Sequence[LanguageBlocks], draws: np.ndarray, tables: Tables):
        self.languages = languages
        self.draws = draws
        self.rows = [
            (
                str(blocks.tag), *tables.ids(blocks.tag), "head" if str(blocks.tag) in head_tags() else "tail",
                blocks.num_sentences, blocks.num_tokens, len(blocks), draw, draw / draws.sum(), draw / len(blocks),
            )
            for blocks, draw in zip(languages, draws.tolist())
        ]  # fmt: skip

    def format(self, split: str, missing: Iterable[LangScript] = (), elsewhere: Iterable[LangScript] = ()) -> str:
        """Format the rows, a line of totals, and the missing languages.

        Args:
            split: ``train``, ``valid``, ...
            missing: languages of this data folder that lack the split.
            elsewhere: languages that exist only in other data folders.
        """
        lines = [
            f"{'tag':<9} {'lang':>4} {'script':>6} {'group':>5} {'sentences':>13} {'tokens':>15} {'blocks':>11} "
            f"{'draws':>11} {'share':>8} {'repeats':>8}"
        ]
        for tag, lang_id, script_id, group, sentences, tokens, blocks, draws, share, repeats in self.rows:
            lines.append(
                f"{tag:<9} {lang_id:>4} {script_id:>6} {group:>5} {sentences:>13,} {tokens:>15,} {blocks:>11,} "
                f"{draws:>11,} {share:>8.3%} {repeats:>8.2f}"
            )
        lines.append(
            f"{len(self.rows)} languages, {sum(row[4] for row in self.rows):,} sentences, "
            f"{sum(row[5] for row in self.rows):,} tokens, {sum(row[6] for row in self.rows):,} blocks of which "
            f"{sum(blocks.num_short for blocks in self.languages):,} are short, {self.draws.sum():,} draws per epoch"
        )
        for what, tags in ((f"without a {split} split", missing), ("that only other data folders have", elsewhere)):
            names = sorted(map(str, tags))
            if names:
                lines.append(f"{len(names)} languages {what}: {' '.join(names)}")
        return "\n".join(lines)

    def save(self, path: PathLike) -> None:
        """Write the rows as TSV."""
        with atomic_write(path) as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in self.rows:
                writer.writerow((*row[:-2], f"{row[-2]:.8f}", f"{row[-1]:.6f}"))
