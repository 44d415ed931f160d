"""Opens the split of an epoch, from its data folder or phase."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Optional

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary

from langsamp_plugin.data.block_dataset import BlockDataset
from langsamp_plugin.data.data_folder import data_languages
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.data.sampling import BlockSampler
from langsamp_plugin.data.split_table import SplitTable
from langsamp_plugin.data.splits import read_languages
from langsamp_plugin.lang_script import LangScript, LanguageTable, Tables
from langsamp_plugin.tasks.config import LangSampMaskedLMConfig
from langsamp_plugin.tasks.datasets import build_masking, check_metric, sequences_per_update, training_draws
from langsamp_plugin.tasks.phases import exact_draws, languages_of, read_phases

logger = logging.getLogger(__name__)


class SplitLoader:
    """The data folders and phases of a run, and the rows of their languages in the tables.

    Args:
        cfg: the task's flags.
        dictionary: the vocabulary with ``<mask>``.
        further_tags: languages that exist only in other data, such as parallel text.

    Attributes:
        paths: the data folders of ``data``, then folders named only by phases.
        phases: phases of ``--phases``, in order; empty without that flag.
        tags: every tag, sorted.
        tables: the inventories of languages and scripts.
        tag_rows: int64 (tags, 2), the rows of each tag in the two tables.
        masking: parameters of the corruption outside of phases.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: a folder is damaged, or the tables lack a code.
    """

    def __init__(self, cfg: LangSampMaskedLMConfig, dictionary: Dictionary, further_tags: Iterable[LangScript] = ()):
        self.cfg, self.dictionary = cfg, dictionary
        self.phases = read_phases(cfg.phases) if cfg.phases else []
        self.paths = [Path(path) for path in utils.split_paths(cfg.data)]
        self._num_turns = len(self.paths)
        for path in (Path(path) for phase in self.phases for path in phase.data or ()):
            self.paths += [path] if path not in self.paths else []
        self.folders = [data_languages(path, cfg.tag_map) for path in self.paths]
        self.tags = sorted({tag for folder in self.folders for tag in folder}.union(further_tags))
        self.tables = self._load_tables()
        # Fail here, before any model is built, with the name of the code that the tables lack.
        self.tag_rows = np.array([self.tables.ids(tag) for tag in self.tags], dtype=np.int64).reshape(-1, 2)
        self.masking = build_masking(dictionary, cfg)
        self._combine = False
        self._lengths: dict[int, int] = {}

    def _load_tables(self) -> Tables:
        choice = self.cfg.tables
        if choice == "auto":
            choice = str(self.paths[0]) if (self.paths[0] / LanguageTable.filename).is_file() else "glot500"
        if choice == "glot500":
            tables = Tables.glot500()
        elif choice == "data":
            tables = Tables.of(self.tags, self.cfg.data)
        else:
            tables = Tables.load(choice)
        logger.info("tables: %d languages, %d scripts (%s)", len(tables.languages), len(tables.scripts), choice)
        return tables

    def load(self, split: str, epoch: int = 1, combine: bool = False) -> BlockDataset:
        """Return a split of the data folder or phase of an epoch.

        Args:
            split: ``train``, ``valid``, ...
            epoch: from 1; selects among several data folders.
            combine: also take ``train1``, ``train2``, ...

        Raises:
            FileNotFoundError: no language has the split.
            ValueError: a file is damaged.
        """
        if split != self.cfg.train_subset:
            return self._folder_dataset(split, epoch, combine)
        self._combine = combine
        dataset = (self._phase_dataset if self.phases else self._folder_dataset)(split, epoch, combine)
        self._lengths[self.part_of(epoch)] = len(dataset)
        return dataset

    def _folder_dataset(self, split: str, epoch: int, combine: bool) -> BlockDataset:
        training = split == self.cfg.train_subset
        turn = (epoch - 1) % len(self.paths)
        languages, missing = self._languages(self.folders[turn], split, combine)
        if not languages:
            raise FileNotFoundError(
                f"no language of {self.paths[turn]} has a {split} split: binarize with --valid or more text, or train "
                "with --disable-validation"
            )
        if not training:
            check_metric(self.cfg.best_checkpoint_metric, languages, split)
        draws = counts = np.array([len(blocks) for blocks in languages], dtype=np.int64)
        sampler = None
        if training:
            draws = training_draws(languages, self.cfg)
            keys = np.array([blocks.key for blocks in languages], dtype=np.uint64)
            sampler = BlockSampler(counts, draws, keys, self.cfg.seed)
        table = SplitTable(languages, draws, self.tables)
        elsewhere = set(self.tags) - set(self.folders[turn])
        logger.info("%s split of %s\n%s", split, self.paths[turn], table.format(split, missing, elsewhere))
        if training:
            self._save_table(table, "sampling.tsv" if turn == 0 else f"sampling{turn}.tsv")
        return self._dataset(languages, sampler, self.masking, len(self.paths))

    def _languages(
        self, folders_of: Mapping[LangScript, Sequence[Path]], split: str, combine: bool
    ) -> tuple[list[LanguageBlocks], list[LangScript]]:
        return read_languages(
            folders_of,
            split,
            combine=combine,
            tokens_per_sample=self.cfg.tokens_per_sample,
            vocab_size=len(self.dictionary),
        )

    def _dataset(
        self, languages: list[LanguageBlocks], sampler: Optional[BlockSampler], masking: Masking, num_folders: int
    ) -> BlockDataset:
        tag_ids = [self.tags.index(blocks.tag) for blocks in languages]
        return BlockDataset(
            languages,
            tag_ids=tag_ids,
            lang_ids=self.tag_rows[tag_ids, 0],
            script_ids=self.tag_rows[tag_ids, 1],
            masking=masking,
            bos_id=self.dictionary.bos(),
            seed=self.cfg.seed,
            sampler=sampler,
            num_folders=num_folders,
            tag_dropout=self.cfg.tag_dropout if sampler is not None else 0.0,
            shuffle_tags=self.cfg.shuffle_tags,
        )

    def _phase_dataset(self, split: str, epoch: int, combine: bool) -> BlockDataset:
        """Return the data of a phase, which is an epoch; languages continue where earlier phases stopped."""
        number = self.part_of(epoch)
        drawn: dict[LangScript, int] = {}
        for earlier in range(number + 1):
            if self._phase_paths(earlier) == self._phase_paths(number):
                languages, missing, draws = self._phase_draws(earlier, split, combine)
                if earlier < number:
                    for blocks, draw in zip(languages, draws.tolist()):
                        drawn[blocks.tag] = drawn.get(blocks.tag, 0) + draw
        before = np.array([drawn.get(blocks.tag, 0) for blocks in languages], dtype=np.int64)
        keys = np.array([blocks.key for blocks in languages], dtype=np.uint64)
        counts = np.array([len(blocks) for blocks in languages], dtype=np.int64)
        table = SplitTable(languages, draws, self.tables)
        elsewhere = set(self.tags) - {blocks.tag for blocks in languages} - set(missing)
        updates = int(draws.sum()) // sequences_per_update(self.cfg)
        logger.info(
            "phase %d of %d, %d updates\n%s",
            number + 1, len(self.phases), updates, table.format(split, missing, elsewhere),
        )  # fmt: skip
        self._save_table(table, f"sampling.phase{number + 1}.tsv")
        mask_prob = self.phases[number].mask_prob
        masking = self.masking if mask_prob is None else self.masking._replace(mask_prob=mask_prob)
        masking.check()
        sampler = BlockSampler(counts, draws, keys, self.cfg.seed, before, first_visit=number)
        return self._dataset(languages, sampler, masking, 1)

    def _phase_paths(self, number: int) -> list[Path]:
        data = self.phases[number].data
        return self.paths[: self._num_turns] if data is None else [Path(path) for path in data]

    def _phase_draws(
        self, number: int, split: str, combine: bool
    ) -> tuple[list[LanguageBlocks], list[LangScript], np.ndarray]:
        phase = self.phases[number]
        folders_of: dict[LangScript, list[Path]] = {}
        for path in self._phase_paths(number):
            for tag, folders in self.folders[self.paths.index(path)].items():
                folders_of[tag] = [*folders_of.get(tag, []), *folders]
        languages, missing = self._languages(languages_of(phase, folders_of), split, combine)
        if not languages:
            raise FileNotFoundError(
                f"no language of phase {number + 1} of --phases has a {split} split: binarize with --valid or more "
                "text, name other languages in it, or train with --disable-validation"
            )
        draws, size = training_draws(languages, self.cfg, phase), sequences_per_update(self.cfg)
        updates = phase.updates or -(-int(draws.sum()) // size)
        return languages, missing, exact_draws(draws, updates * size)

    def part_of(self, epoch: int) -> int:
        """Return the number, from 0, of the phase or data folder of an epoch; the last phase is open-ended."""
        return min(epoch, len(self.phases)) - 1 if self.phases else (epoch - 1) % len(self.paths)

    def rounds_before(self, epoch: int, blocks: int) -> int:
        """Return the number of complete rounds of training in all epochs before one.

        Args:
            epoch: from 1.
            blocks: blocks per round of all workers.
        """
        return sum(self._length(self.part_of(earlier)) // blocks for earlier in range(1, epoch))

    def _length(self, part: int) -> int:
        """Return the number of blocks of a phase or data folder in an epoch; a resumed run opens earlier ones."""
        if part not in self._lengths:
            split = self.cfg.train_subset
            if self.phases:
                draws = self._phase_draws(part, split, self._combine)[2]
            else:
                draws = training_draws(self._languages(self.folders[part], split, self._combine)[0], self.cfg)
            self._lengths[part] = int(draws.sum())
        return self._lengths[part]

    def _save_table(self, table: SplitTable, name: str) -> None:
        if not self.cfg.no_save and is_first_worker():
            table.save(Path(self.cfg.save_dir) / name)


def is_first_worker() -> bool:
    """Return whether this process writes files for the job."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
