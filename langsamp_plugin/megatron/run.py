"""A run on Megatron-Core: model, optimizer and data, built from its options on each rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.data_folder import data_languages
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.megatron.data import LangSampDataset
from langsamp_plugin.megatron.layout import stored_rows, stored_tables
from langsamp_plugin.megatron.options import TrainingOptions
from langsamp_plugin.megatron.record import Record, read_record
from langsamp_plugin.megatron.run_folder import iteration_folder
from langsamp_plugin.megatron.sizes import transformer_config
from langsamp_plugin.megatron.stored import open_stored
from langsamp_plugin.vocabulary.dictionary import dictionary_digest, read_dictionary


class Run(NamedTuple):
    """The training state of one rank.

    Args:
        model: the model inside Megatron's data parallelism.
        optimizer: Megatron's optimizer.
        config: the model's ``TransformerConfig``, through which Megatron's schedule accesses the two.
        dataset: the training samples.
        record: the starting checkpoint's description of the model.
    """

    model: Any
    optimizer: Any
    config: Any
    dataset: LangSampDataset
    record: Record


def build_run(options: TrainingOptions) -> Run:
    """Build this rank's part of a run, with random weights.

    Raises:
        FileNotFoundError: the data or the starting checkpoint is missing.
        ValueError: the vocabularies of data and model differ, or sizes are not divisible by the ranks.
    """
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads

    record = read_record(iteration_folder(options.load))
    tables = model_tables(options.load)
    dataset = _dataset(options, record, tables)
    torch.manual_seed(options.seed)
    if torch.cuda.is_available():
        from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

        model_parallel_cuda_manual_seed(options.seed)
    config, model = _model(options, record, tables)
    parallel = DistributedDataParallel(config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), model)
    optimizer = _optimizer(options, parallel)
    config.grad_scale_func = optimizer.scale_loss
    config.finalize_model_grads_func = finalize_model_grads
    config.no_sync_func = parallel.no_sync
    return Run(parallel, optimizer, config, dataset, record)


def _dataset(options: TrainingOptions, record: Record, tables: Optional[Tables]) -> LangSampDataset:
    sizes = record.sizes
    if options.seq_length > sizes.positions:
        raise ValueError(
            f"seq_length must be at most the model's {sizes.positions} positions, but is {options.seq_length}"
        )
    dataset = LangSampDataset(
        options.data, tables=tables or codes_of(options.data), seq_length=options.seq_length, seed=options.seed,
        **options.dataset,
    )  # fmt: skip
    remedy = "binarize with the model's SentencePiece model and dictionary"
    if dataset.num_words != sizes.words:
        raise ValueError(
            f"{options.data} must have the model's {sizes.words:,} words, but dict.txt has "
            f"{dataset.num_words:,}: {remedy}"
        )
    pieces = [piece for piece in read_dictionary(Path(options.data) / "dict.txt") if piece != "<mask>"]
    if record.dictionary is not None and dictionary_digest(pieces) != record.dictionary:
        raise ValueError(
            f"{options.data} must have the model's dictionary (hash {record.dictionary}), but dict.txt has other "
            f"pieces or another order (hash {dictionary_digest(pieces)}): {remedy}"
        )
    return dataset


def _model(options: TrainingOptions, record: Record, tables: Optional[Tables]) -> tuple[Any, Any]:
    """Return Megatron's configuration and this rank's part of the model."""
    from langsamp_plugin.megatron.model import LangSampBertModel

    sizes = record.sizes
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    config = transformer_config(
        sizes, tensor_model_parallel_size=options.tensor_parallel, sequence_parallel=options.sequence_parallel,
        use_cpu_initialization=not torch.cuda.is_available(), hidden_dropout=options.dropout,
        attention_dropout=options.dropout, bf16=options.bf16, params_dtype=dtype, pipeline_dtype=dtype,
    )  # fmt: skip
    rows = stored_rows(open_stored(options.load))
    model = LangSampBertModel(
        config, num_words=sizes.words, max_positions=sizes.positions, tables=tables, embed_tags=sizes.embed_tags,
        post_norm=sizes.post_norm, token_types=sizes.token_types,
        padded_words=None if rows % options.tensor_parallel else rows,
    )  # fmt: skip
    if options.bf16:
        from megatron.core.transformer.module import Float16Module

        model = Float16Module(config, model)
    return config, model


def _optimizer(options: TrainingOptions, parallel: Any) -> Any:
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer

    config = OptimizerConfig(
        optimizer="adam", lr=options.lr, min_lr=0.0, adam_beta1=0.9, adam_beta2=options.beta2, adam_eps=options.eps,
        weight_decay=options.weight_decay, clip_grad=options.clip, bf16=options.bf16,
        params_dtype=torch.bfloat16 if options.bf16 else torch.float32,
    )  # fmt: skip
    return get_megatron_optimizer(config, [parallel])


def model_tables(load: PathLike) -> Optional[Tables]:
    """Return the inventories of a checkpoint, ``None`` if it has no tables."""
    return stored_tables(open_stored(load))


def codes_of(data: PathLike) -> Tables:
    """Return tables for the data of a model without tables, which ignores the ids."""
    return Tables.of(data_languages(data))
