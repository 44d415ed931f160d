"""The flags of the task."""

import math
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum
from omegaconf import II, MISSING

from langsamp_plugin.tasks.alignment_config import AlignmentConfig, check_alignment_flags

SAMPLING = ChoiceEnum(["alpha", "glot500"])
COUNTS = ChoiceEnum(["blocks", "lines"])


@dataclass
class LangSampMaskedLMConfig(AlignmentConfig):
    """The flags of ``multilingual_masked_lm``, unchanged, and flags for tags."""

    data: str = field(
        default=MISSING, metadata={"help": "colon-separated data folders, visited in turn, one epoch each"}
    )
    sample_break_mode: str = field(
        default="none", metadata={"help": "must be none: each sample is filled with tokens-per-sample tokens"}
    )
    tokens_per_sample: int = field(default=512, metadata={"help": "maximum tokens per sample, including <s>"})
    mask_prob: float = field(default=0.15, metadata={"help": "share of tokens that are predicted"})
    leave_unmasked_prob: float = field(
        default=0.1, metadata={"help": "share of predicted tokens that are unchanged in the input"}
    )
    random_token_prob: float = field(
        default=0.1, metadata={"help": "share of predicted tokens that are replaced by random ones"}
    )
    freq_weighted_replacement: bool = field(
        default=False, metadata={"help": "draw random tokens by their frequency in dict.txt"}
    )
    mask_whole_words: bool = field(
        default=False, metadata={"help": "mask whole words; a word begins with SentencePiece's marker in dict.txt"}
    )
    multilang_sampling_alpha: float = field(
        default=1.0,
        metadata={
            "help": "languages are sampled by p ~ count ** alpha; with --multilang-sampling glot500 only over the tail"
        },
    )
    multilang_sampling: SAMPLING = field(  # type: ignore[valid-type]
        default="alpha", metadata={"help": "alpha: fairseq's and XLM-R's; glot500: head languages fixed, tail by alpha"}
    )
    multilang_sampling_scale: float = field(
        default=30.0, metadata={"help": "for glot500: repeats of the smallest language per epoch"}
    )
    multilang_sampling_counts: COUNTS = field(  # type: ignore[valid-type]
        default="blocks",
        metadata={"help": "unit of the sampling's counts: blocks of tokens, or lines as in Glot500"},
    )
    tables: str = field(
        default="auto",
        metadata={
            "help": "inventory of languages and scripts: auto (languages.tsv and scripts.tsv of the first data folder, "
            "else glot500), data (the codes of the data), glot500 (the published 610 and 30), or a folder with "
            "languages.tsv and scripts.tsv"
        },
    )
    tag_map: Optional[str] = field(
        default=None,
        metadata={"help": "file of lines FOLDER<tab>TAG, for data folders not named like eng_Latn, en_XX or zh-Hant"},
    )
    tag_dropout: float = field(
        default=0.0, metadata={"help": "probability that a training sample's tag is replaced by the unknown one"}
    )
    shuffle_tags: bool = field(
        default=False,
        metadata={
            "help": "control: each sample has the tag of a language drawn at random, so that the tables have the same "
            "parameters and no information"
        },
    )
    tables_lr_scale: float = field(
        default=1.0,
        metadata={"help": "learning rate of the two tables as a multiple of --lr; continued pretraining may need 10"},
    )
    phases: Optional[str] = field(
        default=None,
        metadata={
            "help": "JSON list of phases with updates, mask_prob, alpha, scale, languages and data, "
            "which override this run's flags; the last phase lasts until --max-update"
        },
    )
    seed: int = II("common.seed")
    max_tokens: Optional[int] = II("dataset.max_tokens")
    batch_size: Optional[int] = II("dataset.batch_size")
    required_batch_size_multiple: int = II("dataset.required_batch_size_multiple")
    update_freq: Any = field(default=II("optimization.update_freq"))
    distributed_world_size: int = II("distributed_training.distributed_world_size")
    train_subset: str = II("dataset.train_subset")
    save_dir: str = II("checkpoint.save_dir")
    no_save: bool = II("checkpoint.no_save")
    cpu: bool = II("common.cpu")
    best_checkpoint_metric: str = II("checkpoint.best_checkpoint_metric")
    tensorboard_logdir: Optional[str] = II("common.tensorboard_logdir")


def check_flags(cfg: LangSampMaskedLMConfig) -> None:
    """Raise ``ValueError`` if a flag is out of range."""
    check_alignment_flags(cfg)
    if str(cfg.sample_break_mode) != "none":
        raise ValueError(
            f"--sample-break-mode must be none, but is {cfg.sample_break_mode}: other modes keep a list of all "
            "sentences in memory; leave the flag out"
        )
    if not 0.0 <= cfg.tag_dropout <= 1.0:
        raise ValueError(f"--tag-dropout must be between 0 and 1, but is {cfg.tag_dropout}")
    if not (math.isfinite(cfg.tables_lr_scale) and cfg.tables_lr_scale >= 0):
        raise ValueError(f"--tables-lr-scale must be at least 0, but is {cfg.tables_lr_scale}: 1 is --lr, 10 is usual")
