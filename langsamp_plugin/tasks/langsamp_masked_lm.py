"""Masked language modelling over folders of tagged languages."""

import logging
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING

from langsamp_plugin.criterions.tag_losses import group_losses, report_validation, tag_losses
from langsamp_plugin.data.block_dataset import BlockDataset
from langsamp_plugin.data.block_iterator import BlockIterator
from langsamp_plugin.data.data_folder import check_types, data_languages, split_parts
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.data.sampling import BlockSampler, draws_per_epoch
from langsamp_plugin.data.split_table import SplitTable
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.lang_script import LanguageTable, Tables, head_tags
from langsamp_plugin.training import ending
from langsamp_plugin.vocabulary.dictionary import read_dictionary

logger = logging.getLogger(__name__)

BREAK_MODES = ChoiceEnum(["none", "complete", "complete_doc", "eos"])
SAMPLING = ChoiceEnum(["alpha", "glot500"])
COUNTS = ChoiceEnum(["blocks", "lines"])


@dataclass
class LangSampMaskedLMConfig(FairseqDataclass):
    """The flags of ``multilingual_masked_lm`` with their meaning, and those of the tags."""

    data: str = field(
        default=MISSING, metadata={"help": "colon separated data folders, visited in turns, an epoch each"}
    )
    sample_break_mode: BREAK_MODES = field(  # type: ignore[valid-type]
        default="none",
        metadata={
            "help": "none fills each sample with tokens-per-sample tokens and needs no per-sentence index; complete ends "
            "samples at sentence ends, complete_doc also at document ends, eos has one sentence per sample"
        },
    )
    tokens_per_sample: int = field(default=512, metadata={"help": "most tokens in a sample, <s> included"})
    mask_prob: float = field(default=0.15, metadata={"help": "share of tokens that are predicted"})
    leave_unmasked_prob: float = field(
        default=0.1, metadata={"help": "share of predicted tokens that stay as they are"}
    )
    random_token_prob: float = field(
        default=0.1, metadata={"help": "share of predicted tokens that become random ones"}
    )
    freq_weighted_replacement: bool = field(
        default=False, metadata={"help": "draw random tokens by their frequency in dict.txt"}
    )
    mask_whole_words: bool = field(
        default=False, metadata={"help": "choose whole words; a word begins with SentencePiece's marker in dict.txt"}
    )
    multilang_sampling_alpha: float = field(
        default=1.0,
        metadata={
            "help": "languages are drawn by p ~ count ** alpha; for --multilang-sampling glot500 over the tail only"
        },
    )
    multilang_sampling: SAMPLING = field(  # type: ignore[valid-type]
        default="alpha", metadata={"help": "alpha: fairseq's and XLM-R's; glot500: head languages fixed, tail by alpha"}
    )
    multilang_sampling_scale: float = field(
        default=30.0, metadata={"help": "for glot500: how often the smallest language comes in an epoch"}
    )
    multilang_sampling_counts: COUNTS = field(  # type: ignore[valid-type]
        default="blocks",
        metadata={"help": "what the sampling counts: blocks of tokens, or lines as Glot500 did"},
    )
    tables: str = field(
        default="auto",
        metadata={
            "help": "inventory of languages and scripts: auto (languages.tsv and scripts.tsv of the first data folder, "
            "else glot500), glot500 (the published 610 and 30), data (what the data has), or a folder with both files"
        },
    )
    tag_map: Optional[str] = field(
        default=None,
        metadata={"help": "file of lines FOLDER<tab>TAG, for data folders not named like eng_Latn, en_XX or zh-Hant"},
    )
    tag_dropout: float = field(
        default=0.0, metadata={"help": "probability that a training sample's tag is replaced by the unknown one"}
    )
    seed: int = II("common.seed")
    train_subset: str = II("dataset.train_subset")
    save_dir: str = II("checkpoint.save_dir")
    no_save: bool = II("checkpoint.no_save")
    tensorboard_logdir: Optional[str] = II("common.tensorboard_logdir")


@register_task("langsamp_masked_lm", dataclass=LangSampMaskedLMConfig)
class LangSampMaskedLMTask(FairseqTask):
    """Trains a masked LM on ``<data>/<tag>/{train,valid}.{bin,idx}`` and tells the model each sample's tag.

    Attributes:
        dictionary: the vocabulary, ``<mask>`` included.
        tables: the inventories of languages and scripts.
        tags: every tag that a data folder has, sorted; batches carry indices into this list as ``tag_ids``.
    """

    cfg: LangSampMaskedLMConfig

    def __init__(self, cfg: LangSampMaskedLMConfig, dictionary: Dictionary):
        super().__init__(cfg)
        if not 0.0 <= cfg.tag_dropout <= 1.0:
            raise ValueError(f"--tag-dropout must lie between 0 and 1, but is {cfg.tag_dropout}")
        self.dictionary = dictionary
        self.mask_idx = dictionary.add_symbol("<mask>")
        self.paths = [Path(path) for path in utils.split_paths(cfg.data)]
        self.folders = [data_languages(path, cfg.tag_map) for path in self.paths]
        self.tags = sorted({tag for folder in self.folders for tag in folder})
        self.tables = self._load_tables()
        # Fails here, before any model is built, with the name of a code that the tables lack.
        self.tag_rows = np.array([self.tables.ids(tag) for tag in self.tags], dtype=np.int64).reshape(-1, 2)
        self.state.merge_state_dict(
            {
                "languages": list(self.tables.languages),
                "scripts": list(self.tables.scripts),
                "tags": [str(tag) for tag in self.tags],
            }
        )
        self._masking = self._build_masking()
        self._tag_sums = np.zeros((len(self.tags), 3))

    @classmethod
    def setup_task(cls, cfg: LangSampMaskedLMConfig, **kwargs: Any) -> "LangSampMaskedLMTask":
        """Load the dictionary of the first data folder and build the task."""
        paths = utils.split_paths(cfg.data)
        path = Path(paths[0]) / "dict.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: the data folder needs the dictionary it was binarized with")
        read_dictionary(path)  # names the line that is wrong, which fairseq does not
        dictionary = Dictionary.load(str(path))
        logger.info("dictionary: %d types", len(dictionary))
        return cls(cfg, dictionary)

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

    def _build_masking(self) -> Masking:
        size = len(self.dictionary)
        special = np.zeros(size, dtype=bool)
        special[: self.dictionary.nspecial] = True
        special[self.mask_idx] = True
        weights = (
            np.array(self.dictionary.count, dtype=np.float64) if self.cfg.freq_weighted_replacement else np.ones(size)
        )
        padding = np.array([symbol.startswith("madeupword") for symbol in self.dictionary.symbols])
        weights[special | padding] = 0.0
        if weights.sum() <= 0:
            raise ValueError("no token can be drawn as a random one: dict.txt has no pieces, or counts of 0 throughout")
        begins = None
        if self.cfg.mask_whole_words:
            begins = np.array([symbol.startswith("\u2581") for symbol in self.dictionary.symbols])
            if not begins.any():
                raise ValueError(
                    "--mask-whole-words needs SentencePiece pieces, but no symbol of dict.txt begins with \u2581"
                )
        cumulative = np.cumsum(weights)
        masking = Masking(
            special=special,
            mask_id=self.mask_idx,
            pad_id=self.dictionary.pad(),
            replacements=cumulative / cumulative[-1],
            word_begins=begins,
            mask_prob=self.cfg.mask_prob,
            leave_unmasked_prob=self.cfg.leave_unmasked_prob,
            random_token_prob=self.cfg.random_token_prob,
        )
        masking.check()
        return masking

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split of the data folder whose turn it is.

        Args:
            split: ``train``, ``valid``, ...
            epoch: from 1; with several data folders it chooses which.
            combine: also take ``train1``, ``train2``, ...

        Raises:
            FileNotFoundError: no language has the split.
            ValueError: a file is damaged.
        """
        turn = (epoch - 1) % len(self.paths)
        languages: list[LanguageBlocks] = []
        missing: list[LanguageBlocks] = []
        for tag, folders in sorted(self.folders[turn].items()):
            for folder in folders:
                check_types(folder, len(self.dictionary))
            prefixes = [prefix for folder in folders for prefix in split_parts(folder, split, combine)]
            blocks = LanguageBlocks(
                tag,
                [TokenBuffer(prefix) for prefix in prefixes],
                self.cfg.tokens_per_sample - 1,  # one less for <s>
                str(self.cfg.sample_break_mode),
                self.dictionary.pad(),
                self.dictionary.eos(),
                len(self.dictionary),
            )
            (languages if len(blocks) else missing).append(blocks)
        if not languages:
            raise FileNotFoundError(f"no language of {self.paths[turn]} has a {split} split")
        sampler = None
        counts = np.array([len(blocks) for blocks in languages], dtype=np.int64)
        draws = counts
        if split == self.cfg.train_subset:
            head = np.array([str(blocks.tag) in head_tags() for blocks in languages])
            lines = None
            if str(self.cfg.multilang_sampling_counts) == "lines":
                lines = np.array([blocks.num_sentences for blocks in languages], dtype=np.int64)
            draws = draws_per_epoch(
                counts,
                str(self.cfg.multilang_sampling),
                self.cfg.multilang_sampling_alpha,
                head,
                self.cfg.multilang_sampling_scale,
                lines,
            )
            sampler = BlockSampler(
                counts, draws, np.array([blocks.key for blocks in languages], dtype=np.uint64), self.cfg.seed
            )
        tag_ids = [self.tags.index(blocks.tag) for blocks in languages]
        elsewhere = set(self.tags) - set(self.folders[turn])
        table = SplitTable(languages, draws, self.tables)
        logger.info(
            "%s split of %s\n%s",
            split,
            self.paths[turn],
            table.format(split, [blocks.tag for blocks in missing], elsewhere),
        )
        if sampler is not None and not self.cfg.no_save and _is_first_worker():
            table.save(Path(self.cfg.save_dir) / ("sampling.tsv" if turn == 0 else f"sampling{turn}.tsv"))
        self.datasets[split] = BlockDataset(
            languages,
            tag_ids,
            self.tag_rows[tag_ids, 0],
            self.tag_rows[tag_ids, 1],
            self._masking,
            self.dictionary.bos(),
            self.cfg.seed,
            sampler,
            len(self.paths),
            self.cfg.tag_dropout if sampler is not None else 0.0,
        )

    def get_batch_iterator(
        self,
        dataset: BlockDataset,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        max_positions: Any = None,
        required_batch_size_multiple: int = 1,
        seed: int = 1,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        **unused: Any,
    ) -> Any:
        """Return the iterator of a split; data of other kinds (inference) goes to fairseq's own."""
        if not isinstance(dataset, BlockDataset):
            return super().get_batch_iterator(
                dataset, max_tokens=max_tokens, max_sentences=max_sentences, max_positions=max_positions,
                required_batch_size_multiple=required_batch_size_multiple, seed=seed, num_shards=num_shards,
                shard_id=shard_id, num_workers=num_workers, epoch=epoch, data_buffer_size=data_buffer_size, **unused,
            )  # fmt: skip
        longest = min(max_positions) if isinstance(max_positions, (tuple, list)) else max_positions
        if longest is not None and self.cfg.tokens_per_sample > longest:
            raise ValueError(
                f"--tokens-per-sample must be <= --max-positions ({longest}), but is {self.cfg.tokens_per_sample}"
            )
        dataset.set_epoch(epoch)
        return BlockIterator(
            dataset,
            str(self.cfg.sample_break_mode),
            self.cfg.tokens_per_sample,
            max_tokens,
            max_sentences,
            required_batch_size_multiple,
            num_shards,
            shard_id,
            num_workers,
            epoch,
            data_buffer_size,
            self._fingerprint(dataset),
        )

    def _fingerprint(self, dataset: BlockDataset) -> dict[str, str]:
        """Return short hashes of everything that the meaning of a position depends on."""
        draws = dataset.sampler.draws if dataset.sampler is not None else np.empty(0)

        def short(*parts: Any) -> str:
            return blake2b(repr(parts).encode(), digest_size=6).hexdigest()

        return {
            "the data": short(
                [(str(blocks.tag), blocks.num_tokens, len(blocks)) for blocks in dataset.languages],
                self.cfg.tokens_per_sample,
            ),
            "the dictionary": short(self.dictionary.symbols),
            "the sampling": short(draws.tolist(), self.cfg.seed),
            "the language table": short(self.tables.languages.codes),
            "the script table": short(self.tables.scripts.codes),
        }

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Do one micro-batch; from the first one on SIGTERM means: save and stop."""
        ending.watch()
        return super().train_step(*args, **kwargs)

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Start the sums of a validation."""
        super().begin_valid_epoch(epoch, model)
        self._tag_sums[:] = 0

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log what the criterion logs, and add up the sums per tag, which fairseq has summed over the workers."""
        super().reduce_metrics(logging_outputs, criterion)
        for log in logging_outputs:
            if log.get("stop"):
                ending.StopSignal.agreed = True
            if "tag_sums" in log:
                self._tag_sums += log["tag_sums"].cpu().numpy()

    def post_validate(self, model: Any, stats: dict[str, Any], agg: Any) -> None:
        """Report one validation per language, script and group.

        The macro averages go into ``stats``, which fairseq prints and sends to TensorBoard; see
        :func:`~langsamp_plugin.criterions.tag_losses.report_validation` for the rest.
        """
        losses = tag_losses(self.tags, self._tag_sums)
        self._tag_sums[:] = 0  # the next subset's
        if not losses:
            return  # another criterion
        stats.update({name: round(value, 3) for name, value in group_losses(losses).items()})
        if _is_first_worker():
            report_validation(losses, int(stats["num_updates"]), self.cfg.save_dir, self.cfg.tensorboard_logdir)

    def build_dataset_for_inference(self, src_tokens: Any, src_lengths: Any, sort: bool = True) -> Any:
        """Wrap sentences for fairseq's hub interface, one per sample, as ``masked_lm`` does."""
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
        """Most tokens in a sample."""
        return self.cfg.tokens_per_sample


def _is_first_worker() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
