"""Pretrain with LangSAMP in transformers' Trainer, on a folder of `langsamp binarize`.

    python pretrain.py DATA-BIN --from xlm-roberta-base --out runs/pretrain_hf

--from is a folder or hub name of XLM-R or any other masked LM, or a folder of `langsamp export`; without it a model
with the sizes --layers, --width and --heads is randomly initialized. Every flag of the Trainer works, too, such as
--gradient_accumulation_steps 8 or --bf16.
"""

import argparse

from transformers import AutoModelForMaskedLM, HfArgumentParser, TrainingArguments, set_seed

from langsamp_plugin.hf import DataBin, LangSampConfig, LangSampForMaskedLM, LangSampTrainer, add_tags, load_tagged
from langsamp_plugin.lang_script import LanguageTable, ScriptTable, Tables

DEFAULTS = ["--eval_strategy", "steps", "--lr_scheduler_type", "linear", "--logging_steps", "10"]


def read_arguments():
    """Return the flags of this script and those of the Trainer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of `langsamp binarize`")
    parser.add_argument("--from", dest="start", help="model to start from")
    parser.add_argument("--out", default="runs/pretrain_hf")
    parser.add_argument("--embed-tags", choices=("both", "lang", "script", "none"), default="both")
    parser.add_argument("--tag-dropout", type=float, default=0.0)
    parser.add_argument("--multilang-sampling", choices=("alpha", "glot500"), default="alpha")
    parser.add_argument("--multilang-sampling-alpha", type=float, default=1.0)
    parser.add_argument("--tokens-per-sample", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-update", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--tables-lr-scale", type=float, default=1.0, help="learning rate of the tables, times --lr")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    args, rest = parser.parse_known_args()
    own = ["--output_dir", args.out, "--per_device_train_batch_size", args.batch_size, "--max_steps", args.max_update]
    own += ["--learning_rate", args.lr, "--seed", args.seed]
    (training,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses([*map(str, own), *DEFAULTS, *rest])
    return args, training


def read_tables(args):
    """Return the inventories of the data folder, without a table that is switched off."""
    tables = Tables.load(args.data)
    languages = tables.languages if args.embed_tags in ("both", "lang") else LanguageTable([])
    scripts = tables.scripts if args.embed_tags in ("both", "script") else ScriptTable([])
    return Tables(languages, scripts)


def make_model(args, vocab_size, tables):
    """Return the model to train."""
    set_seed(args.seed)
    if args.start is None:
        config = LangSampConfig(
            list(tables.languages), list(tables.scripts), vocab_size=vocab_size, hidden_size=args.width,
            num_hidden_layers=args.layers, num_attention_heads=args.heads, intermediate_size=4 * args.width,
            max_position_embeddings=args.tokens_per_sample + 2, type_vocab_size=1, layer_norm_eps=1e-5,
        )  # fmt: skip
        return LangSampForMaskedLM(config)
    model = load_tagged(args.start)
    if not any(map(len, model.tables)) and any(map(len, tables)):
        return add_tags(AutoModelForMaskedLM.from_pretrained(args.start), tables)
    return model


def main():
    """Train, validate per language, save."""
    args, training = read_arguments()
    shared = {"tokens_per_sample": args.tokens_per_sample, "seed": args.seed, "with_ids": args.embed_tags != "none"}
    model = make_model(args, DataBin(args.data, "valid", **shared).vocab_size, read_tables(args))
    # A model with tables keeps their order; the data are mapped to it.
    tables = Tables(*(own if len(own) else data for own, data in zip(model.tables, Tables.load(args.data))))
    train = DataBin(
        args.data,
        tables=tables,
        tag_dropout=args.tag_dropout,
        multilang_sampling=args.multilang_sampling,
        multilang_sampling_alpha=args.multilang_sampling_alpha,
        **shared,
    )
    valid = DataBin(args.data, "valid", tables=tables, **shared)
    trainer = LangSampTrainer(
        model, training, train_dataset=train, eval_dataset=valid, tables_lr_scale=args.tables_lr_scale
    )
    trainer.train(resume_from_checkpoint=args.resume or None)
    metrics = trainer.evaluate()
    trainer.save_model(args.out)
    print(
        f"held-out loss {metrics['eval_loss_macro']:.2f} bits per masked token, mean over languages; model: {args.out}"
    )


if __name__ == "__main__":
    main()
