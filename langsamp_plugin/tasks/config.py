"""The flags of the task."""

from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum
from omegaconf import II, MISSING

from langsamp_plugin.tasks.alignment_config import AlignmentConfig

SAMPLING = ChoiceEnum(["alpha", "glot500"])
COUNTS = ChoiceEnum(["blocks", "lines"])


@dataclass
class LangSampMaskedLMConfig(AlignmentConfig):
    """The flags of ``multilingual_masked_lm`` with their meaning, and those of the tags."""

    data: str = field(
        default=MISSING, metadata={"help": "colon separated data folders, visited in turns, an epoch each"}
    )
    sample_break_mode: str = field(
        default="none", metadata={"help": "only none: each sample is filled with tokens-per-sample tokens"}
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
    phases: Optional[str] = field(
        default=None,
        metadata={
            "help": "JSON list of phases, each with its own updates, mask_prob, alpha, scale, languages and data, for "
            "what this run's flags say; the last one lasts until --max-update"
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
