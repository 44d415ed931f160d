"""Pretrain XLM-R with LangSAMP on Megatron-Core.

With Megatron-LM on the path this is one of its pretraining programs, with its flags and those of `extra_args_provider`:

    torchrun --nproc-per-node 8 examples/megatron/pretrain_langsamp.py --data-path DATA-BIN --load START ...

With --core-only it needs only the package megatron-core, has a few separate flags, and also runs on a CPU:

    torchrun --nproc-per-node 2 examples/megatron/pretrain_langsamp.py --core-only \\
        --data DATA-BIN --load START --save RUN

`langsamp megatron import` writes START. A run that is started again resumes from its newest checkpoint in --save.
"""

import argparse
import logging
import sys
import warnings
from dataclasses import MISSING, fields

import torch

warnings.filterwarnings("ignore", category=UserWarning, module="megatron")


# What megatron.training.pretrain is given.


def extra_args_provider(parser):
    """Add the flags of LangSAMP to Megatron's."""
    group = parser.add_argument_group("LangSAMP")
    group.add_argument(
        "--langsamp-start", required=True, help="folder that `langsamp megatron import` wrote: sizes, tables"
    )
    group.add_argument("--multilang-sampling", choices=["alpha", "glot500"], default="alpha")
    group.add_argument("--multilang-sampling-alpha", type=float, default=1.0)
    group.add_argument("--multilang-sampling-scale", type=float, default=30.0)
    group.add_argument("--tag-dropout", type=float, default=0.0, help="share of samples whose tag is hidden")
    return parser


def model_provider(pre_process=True, post_process=True, vp_stage=None, config=None, pg_collection=None):
    """Build this rank's part of the model."""
    from megatron.training import get_args
    from megatron.training.arguments import core_transformer_config_from_args

    from langsamp_plugin.megatron.model import LangSampBertModel
    from langsamp_plugin.megatron.record import read_record
    from langsamp_plugin.megatron.run import model_tables
    from langsamp_plugin.megatron.run_folder import iteration_folder

    args = get_args()
    sizes = read_record(iteration_folder(args.langsamp_start)).sizes
    check_flags(args, sizes)
    multiple = args.make_vocab_size_divisible_by * args.tensor_model_parallel_size
    return LangSampBertModel(
        config if config is not None else core_transformer_config_from_args(args),
        num_words=sizes.words,
        padded_words=sizes.words + -sizes.words % multiple,
        max_positions=sizes.positions,
        tables=model_tables(args.langsamp_start),
        embed_tags=sizes.embed_tags,
        post_norm=sizes.post_norm,
        token_types=sizes.token_types,
        pre_process=pre_process,
        post_process=post_process,
        vp_stage=vp_stage,
    )


def check_flags(args, sizes):
    """Raise ``ValueError`` if Megatron's flags describe another model than the checkpoint's."""
    wanted = {
        "num_layers": sizes.layers, "hidden_size": sizes.width, "ffn_hidden_size": sizes.inner,
        "num_attention_heads": sizes.heads,
    }  # fmt: skip
    wrong = [f"--{name.replace('_', '-')} {value}" for name, value in wanted.items() if getattr(args, name) != value]
    if args.seq_length > sizes.positions:
        wrong.append(f"--seq-length {sizes.positions} or less")
    if wrong:
        raise ValueError(f"flags must be those of {args.langsamp_start}, but are not: use {' '.join(wrong)}")


KEYS = ("tokens", "labels", "attention_mask", "lang_ids", "script_ids")


def get_batch(data_iterator):
    """Return the next micro-batch on every tensor-parallel rank; rank 0 has read it."""
    from megatron.core import tensor_parallel

    data = next(data_iterator) if data_iterator is not None else None
    return tensor_parallel.broadcast_data(list(KEYS), data, torch.int64)


def forward_step(data_iterator, model):
    """Return the losses of masked tokens, and the function that reduces them."""
    batch = get_batch(data_iterator)
    losses = model(
        batch["tokens"],
        batch["attention_mask"],
        lang_ids=batch["lang_ids"],
        script_ids=batch["script_ids"],
        labels=batch["labels"],
    )
    return losses, loss_func


def loss_func(losses):
    """Return the sum, the number of masked tokens, and both for the log, which Megatron adds up over ranks."""
    total = losses.float().sum()
    count = torch.tensor(losses.numel(), dtype=torch.int, device=losses.device)
    return total, count, {"lm loss": torch.stack([total.detach(), count.float()])}


def train_valid_test_datasets_provider(train_val_test_num_samples, vp_stage=None):
    """Build the data sets: training by samples, validation in order; there is no test split."""
    from megatron.training import get_args

    from langsamp_plugin.megatron.data import LangSampDataset
    from langsamp_plugin.megatron.run import codes_of, model_tables

    args = get_args()
    (data,) = args.data_path
    common = {
        "tables": model_tables(args.langsamp_start) or codes_of(data), "seq_length": args.seq_length, "seed": args.seed,
        "mask_prob": args.mask_prob,
    }  # fmt: skip
    train = LangSampDataset(
        data, num_samples=train_val_test_num_samples[0], alpha=args.multilang_sampling_alpha,
        sampling=args.multilang_sampling, scale=args.multilang_sampling_scale, tag_dropout=args.tag_dropout, **common,
    )  # fmt: skip
    valid = LangSampDataset(data, split="valid", num_samples=train_val_test_num_samples[1], sampled=False, **common)
    return train, valid, None


def pretrain_with_megatron_lm():
    """Pass everything to Megatron-LM, whose interface changed after core 0.16."""
    from megatron.core.enums import ModelType
    from megatron.training import pretrain

    # Megatron's fused gelu is an approximation that XLM-R was not trained with; losses are means over masked tokens;
    # the order of samples is the data set's own.
    defaults = {"tokenizer_type": "NullTokenizer", "bias_gelu_fusion": False, "calculate_per_token_loss": True,
                "dataloader_type": "single"}  # fmt: skip
    train_valid_test_datasets_provider.is_distributed = True
    try:
        from megatron.training.argument_utils import pretrain_cfg_container_from_args
        from megatron.training.arguments import parse_and_validate_args
    except ImportError:
        pretrain(
            train_valid_test_datasets_provider, model_provider, ModelType.encoder_or_decoder, forward_step,
            extra_args_provider=extra_args_provider, args_defaults=defaults,
        )  # fmt: skip
        return
    args = parse_and_validate_args(extra_args_provider=extra_args_provider, args_defaults=defaults)
    pretrain(
        pretrain_cfg_container_from_args(args), train_valid_test_datasets_provider, ModelType.encoder_or_decoder,
        forward_step, model_provider,
    )  # fmt: skip


# On Megatron-Core alone.


def core_options(arguments):
    """Read the flags of --core-only, one for each field of `TrainingOptions`."""
    from langsamp_plugin.megatron.options import TrainingOptions

    parser = argparse.ArgumentParser(description=TrainingOptions.__doc__.split("\n")[0])
    parser.add_argument("--core-only", action="store_true")
    kinds = {"int": int, "float": float}
    for option in fields(TrainingOptions):
        if option.name == "dataset":
            continue
        name = f"--{option.name.replace('_', '-')}"
        if option.type == "bool":
            parser.add_argument(name, action="store_true")
        elif option.default is MISSING:
            parser.add_argument(name, type=kinds.get(option.type, str), required=True)
        else:
            parser.add_argument(name, type=kinds.get(option.type, str), default=option.default)
    parser.add_argument("--multilang-sampling", choices=["alpha", "glot500"], default="alpha")
    parser.add_argument("--multilang-sampling-alpha", type=float, default=1.0)
    parser.add_argument("--multilang-sampling-scale", type=float, default=30.0)
    parser.add_argument("--tag-dropout", type=float, default=0.0)
    parser.add_argument("--tag-map", default=None)
    found = vars(parser.parse_args(arguments))
    found.pop("core_only")
    dataset = {
        "sampling": found.pop("multilang_sampling"), "alpha": found.pop("multilang_sampling_alpha"),
        "scale": found.pop("multilang_sampling_scale"), "tag_dropout": found.pop("tag_dropout"),
        "tag_map": found.pop("tag_map"),
    }  # fmt: skip
    return TrainingOptions(**found, dataset=dataset)


def main():
    """Train."""
    if "--core-only" not in sys.argv:
        pretrain_with_megatron_lm()
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in ("megatron", "fairseq", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from langsamp_plugin.megatron.parallel import start, stop
    from langsamp_plugin.megatron.training import train

    options = core_options(sys.argv[1:])
    start(options.tensor_parallel)
    try:
        train(options)
    finally:
        stop()


if __name__ == "__main__":
    main()
