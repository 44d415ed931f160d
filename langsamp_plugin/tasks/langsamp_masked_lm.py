"""Masked language modelling over folders of tagged languages."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask, register_task

from langsamp_plugin.criterions.pair_loss import align_layer
from langsamp_plugin.data.batches import blocks_per_batch
from langsamp_plugin.data.block_dataset import BlockDataset
from langsamp_plugin.data.block_iterator import BlockIterator
from langsamp_plugin.data.tag_losses import group_losses, report_validation, tag_losses
from langsamp_plugin.tasks.alignment import (
    alignment_weight,
    held_out_pairs,
    open_pairs,
    pair_batches,
    pairs_fingerprint,
)
from langsamp_plugin.tasks.config import LangSampMaskedLMConfig, check_flags
from langsamp_plugin.tasks.datasets import digest, fingerprint, sequences_per_update
from langsamp_plugin.tasks.held_out_pairs import alignment_stats, report_alignment
from langsamp_plugin.tasks.split_loader import SplitLoader, is_first_worker
from langsamp_plugin.training import ending
from langsamp_plugin.training.table_rate import scaled_step, tag_tables
from langsamp_plugin.vocabulary.dictionary import dictionary_digest, read_dictionary

logger = logging.getLogger(__name__)


@register_task("langsamp_masked_lm", dataclass=LangSampMaskedLMConfig)
class LangSampMaskedLMTask(FairseqTask):
    """Trains a masked LM on ``<data>/<tag>/{train,valid}.{bin,idx}`` and passes each sample's tag to the model.

    Attributes:
        dictionary: the vocabulary, ``<mask>`` included.
        tables: the inventories of languages and scripts.
        tags: all tags of the data folders, sorted; ``tag_ids`` in batches index this list.
        tag_rows: int64 (tags, 2), the rows of each tag in the two tables.
    """

    cfg: LangSampMaskedLMConfig

    def __init__(self, cfg: LangSampMaskedLMConfig, dictionary: Dictionary):
        super().__init__(cfg)
        check_flags(cfg)
        self.dictionary = dictionary
        pieces = dictionary.symbols[dictionary.nspecial :]  # before <mask> is added
        self.mask_idx = dictionary.add_symbol("<mask>")
        digest_of_pieces = dictionary_digest(pieces)
        self.pairs = open_pairs(cfg, Path(utils.split_paths(cfg.data)[0]), len(dictionary), digest_of_pieces)
        self.splits = SplitLoader(cfg, dictionary, self.pairs.tags if self.pairs is not None else [])
        self.tables, self.tags, self.tag_rows = self.splits.tables, self.splits.tags, self.splits.tag_rows
        self.state.merge_state_dict(
            {
                "languages": list(self.tables.languages),
                "scripts": list(self.tables.scripts),
                "tags": [str(tag) for tag in self.tags],
                "dictionary": digest_of_pieces,
            }
        )
        if self.pairs is not None:
            self.state.merge_state_dict({"pair_tags": [str(tag) for tag in self.pairs.train.languages]})
        self._tag_sums = np.zeros((len(self.tags), 3))
        self._fingerprints: dict[int, dict[str, str]] = {}
        self._validating = False
        self._subset = ""
        self._held_out_pairs = None
        if self.pairs is not None:
            self._held_out_pairs = held_out_pairs(self.pairs.valid, cfg, self.tables, dictionary)

    @classmethod
    def setup_task(cls, cfg: LangSampMaskedLMConfig, **kwargs: Any) -> LangSampMaskedLMTask:
        """Load the dictionary of the first data folder and build the task; from now on SIGTERM saves and stops."""
        ending.watch()
        paths = utils.split_paths(cfg.data)
        path = Path(paths[0]) / "dict.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: the data folder needs the dictionary it was binarized with")
        read_dictionary(path)  # names the invalid line, which fairseq does not
        dictionary = Dictionary.load(str(path))
        logger.info("dictionary: %d types", len(dictionary))
        return cls(cfg, dictionary)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model.

        Raises:
            ValueError: ``--align-layer`` is deeper than the model.
        """
        if self.pairs is not None:
            align_layer(self.cfg.align_layer, cfg.encoder_layers)
        return super().build_model(cfg, from_checkpoint)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split of the data folder or phase of an epoch.

        Args:
            split: ``train``, ``valid``, ...
            epoch: from 1; selects among several data folders.
            combine: also take ``train1``, ``train2``, ...

        Raises:
            FileNotFoundError: no language has the split.
            ValueError: a file is damaged.
        """
        self.datasets[split] = self.splits.load(split, epoch, combine)

    def has_sharded_data(self, split: str) -> bool:
        """Return whether epochs have different data."""
        return bool(self.splits.phases) or super().has_sharded_data(split)

    def get_batch_iterator(
        self,
        dataset: BlockDataset,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        max_positions: Any = None,
        ignore_invalid_inputs: bool = False,
        required_batch_size_multiple: int = 1,
        seed: int = 1,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        **fairseqs: Any,
    ) -> Any:
        """Return the iterator of a split; for other data sets (inference), fairseq's own.

        Args:
            dataset: a data set from :meth:`load_dataset`, or another one.
            max_tokens, max_sentences, required_batch_size_multiple: limits of a batch.
            max_positions: maximum tokens per sample for the model.
            ignore_invalid_inputs, seed: for other data sets; blocks are never too long, and the task has the seed.
            num_shards, shard_id: number of data-parallel workers, and the index of this one.
            num_workers: number of loader processes.
            epoch: the first epoch, from 1.
            data_buffer_size: number of batches to prefetch.
            fairseqs: settings of fairseq's iterators, which depend on its version, for other data sets.
        """
        if not isinstance(dataset, BlockDataset):
            return super().get_batch_iterator(
                dataset,
                max_tokens=max_tokens,
                max_sentences=max_sentences,
                max_positions=max_positions,
                ignore_invalid_inputs=ignore_invalid_inputs,
                required_batch_size_multiple=required_batch_size_multiple,
                seed=seed,
                num_shards=num_shards,
                shard_id=shard_id,
                num_workers=num_workers,
                epoch=epoch,
                data_buffer_size=data_buffer_size,
                **fairseqs,
            )
        longest = min(max_positions) if isinstance(max_positions, (tuple, list)) else max_positions
        tokens_per_sample = self.cfg.tokens_per_sample
        if longest is not None and tokens_per_sample > longest:
            raise ValueError(
                f"--tokens-per-sample must be <= --max-positions ({longest}), but is {tokens_per_sample}: lower it"
            )
        dataset.set_epoch(epoch)
        training = dataset.sampler is not None
        found = fingerprint(dataset, self.dictionary, self.tables, self.cfg, len(self.splits.paths))
        if self.splits.phases:
            found["the phases"] = digest(self.splits.phases)
            found["sequences an update"] = str(sequences_per_update(self.cfg))
        pairs = None
        if self.pairs is not None and training:
            pairs = pair_batches(self.pairs.train, self.cfg, self.tables, self.splits.masking, self.dictionary)
            found.update(pairs_fingerprint(pairs, self.cfg))
        if training:
            self._fingerprints[self.splits.part_of(epoch)] = found
        else:
            self._subset = next(name for name, loaded in self.datasets.items() if loaded is dataset)
        return BlockIterator(
            dataset,
            batch_size=blocks_per_batch(tokens_per_sample, max_tokens, max_sentences, required_batch_size_multiple),
            num_shards=num_shards,
            shard_id=shard_id,
            num_workers=num_workers,
            epoch=epoch,
            buffer_size=data_buffer_size,
            pin_memory=torch.cuda.is_available() and not self.cfg.cpu,
            fingerprints=self._fingerprints if training else {0: found},
            part_of=self.splits.part_of if training else None,
            ended=None if training else (ending.stopping if self._validating else ending.starting_to_stop),
            pairs=pairs,
            rounds_before=self.splits.rounds_before if training else None,
        )

    def train_step(
        self,
        sample: dict[str, Any],
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Perform one micro-batch, with the contrastive loss weighted for this update."""
        if "pairs" in sample:
            sample["pairs"]["weight"] = alignment_weight(self.cfg, update_num)
        return super().train_step(sample, model, criterion, optimizer, update_num, *args, **kwargs)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Perform an update, in which the tables have their own learning rate."""
        with scaled_step(optimizer, tag_tables(model), self.cfg.tables_lr_scale):
            super().optimizer_step(optimizer, model, update_num)

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Reset the sums of a validation."""
        super().begin_valid_epoch(epoch, model)
        self._validating = True
        self._tag_sums[:] = 0

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log the criterion's metrics and accumulate the sums per tag, which fairseq has summed over workers.

        Macro averages are validation metrics like the loss, available to ``--best-checkpoint-metric``, ``--patience``
        and learning rate schedules.
        """
        super().reduce_metrics(logging_outputs, criterion)
        for log in logging_outputs:
            if log.get("stop"):
                ending.StopSignal.agreed = True
            if "tag_sums" in log:
                self._tag_sums += log["tag_sums"].cpu().numpy()
                for name in group_losses(tag_losses(self.tags, self._tag_sums)):
                    metrics.log_derived(name, partial(self._group_loss, name))

    def _group_loss(self, name: str, _: Any) -> float:
        return round(group_losses(tag_losses(self.tags, self._tag_sums)).get(name, math.nan), 3)

    def post_validate(self, model: Any, stats: dict[str, Any], agg: Any) -> None:
        """Report a validation per language, script and group, unless SIGTERM interrupted it.

        See :func:`~langsamp_plugin.data.tag_losses.report_validation`.
        """
        losses = tag_losses(self.tags, self._tag_sums)
        self._tag_sums[:] = 0  # for the next subset
        aligned: dict[Any, Any] = {}
        if losses and self._held_out_pairs is not None:
            aligned, norm = self._held_out_pairs.measure(model, self.cfg.align_layer)
            stats.update({name: round(value, 3) for name, value in alignment_stats(aligned, norm).items()})
        if aligned and not ending.stopping() and is_first_worker():
            report_alignment(aligned, int(stats["num_updates"]), self.cfg.save_dir, self.cfg.tensorboard_logdir)
        if losses and not ending.stopping() and is_first_worker():  # no sums: another criterion
            report_validation(
                losses,
                updates=int(stats["num_updates"]),
                subset=self._subset,
                save_dir=self.cfg.save_dir,
                tensorboard_logdir=self.cfg.tensorboard_logdir,
            )

    def build_dataset_for_inference(self, src_tokens: Any, src_lengths: Any, sort: bool = True) -> Any:
        """Wrap sentences for fairseq's hub interface, one per sample, like ``masked_lm``."""
        from fairseq.tasks.masked_lm import MaskedLMTask

        return MaskedLMTask.build_dataset_for_inference(self, src_tokens, src_lengths, sort)

    @property
    def source_dictionary(self) -> Dictionary:
        """The vocabulary."""
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        """The vocabulary."""
        return self.dictionary

    def max_positions(self) -> int:
        """Maximum number of tokens per sample."""
        return self.cfg.tokens_per_sample
