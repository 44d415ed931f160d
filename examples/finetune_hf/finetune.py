"""Fine-tune an exported model on one language and test it on others, using only transformers.

    python finetune.py MODEL --data sib200 --langs deu_Latn,hin_Deva

The data are folders <tag>/{train,dev,test}.tsv with the columns index_id, category, text, as SIB-200 is published.
"""

import argparse
import csv
import json
from pathlib import Path

import torch
from sklearn.metrics import f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


def read(path):
    """Return the texts and labels of a file; SIB-200's are written with the quotes of CSV."""
    with open(path, encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    if not rows or not {"text", "category"} <= rows[0].keys():
        raise ValueError(f"{path} must have rows with the columns index_id, category and text")
    return [row["text"] for row in rows], [row["category"] for row in rows]


class Split(torch.utils.data.Dataset):
    """Texts as token ids, with label numbers if they have labels."""

    def __init__(self, texts, labels, tokenizer, max_length):
        self.ids = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        self.labels = labels

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, number):
        labels = {} if self.labels is None else {"labels": self.labels[number]}
        return {"input_ids": self.ids[number], **labels}


class KeepBest(TrainerCallback):
    """Keeps the weights of the best epoch in memory; on disk, each epoch would take the size of the model."""

    def __init__(self):
        self.score, self.weights = -1.0, None

    def on_evaluate(self, args, state, control, model=None, metrics=None, **kwargs):
        """Keep the weights if this epoch is the best so far."""
        if metrics["eval_f1"] > self.score:
            self.score = metrics["eval_f1"]
            self.weights = {name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()}


def with_test_data(data, langs):
    """Return the tags that can be tested, and print those that cannot before anything is trained."""
    tags = langs.split(",") if langs else sorted(path.name for path in data.iterdir() if path.is_dir())
    for tag in tags:
        if not (data / tag / "test.tsv").is_file():
            print(f"{tag} is left out: {data / tag / 'test.tsv'} is missing")
    there = [tag for tag in tags if (data / tag / "test.tsv").is_file()]
    if not there:
        raise FileNotFoundError(f"{data} has no <tag>/test.tsv of the languages to test: check --data and --langs")
    return there


def score(trainer, tokenizer, names, texts, labels, max_length):
    """Return macro F1; a label that did not occur in training counts as wrong."""
    found = trainer.predict(Split(texts, None, tokenizer, max_length)).predictions.argmax(-1)
    return 100 * f1_score(labels, [names[number] for number in found], average="macro", zero_division=0)


def arguments():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of `langsamp export`, or any other encoder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--source", default="eng_Latn", help="the language to train on")
    parser.add_argument("--langs", help="languages to test, separated by commas; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=160)
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()


def main():
    """Train on the source language, choose the epoch on its dev set, test everywhere."""
    args = arguments()
    tags = with_test_data(args.data, args.langs)
    tests = {tag: read(args.data / tag / "test.tsv") for tag in tags}
    train, dev = (read(args.data / args.source / f"{name}.tsv") for name in ("train", "dev"))
    set_seed(args.seed)  # before the model, whose new classification head is drawn at random
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    names = sorted(set(train[1]))
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=len(names))

    def split(texts, labels):
        # The loss ignores -100, and F1 counts it as a miss.
        return Split(
            texts, [names.index(label) if label in names else -100 for label in labels], tokenizer, args.max_length
        )

    def f1(prediction):
        return {"f1": 100 * f1_score(prediction.label_ids, prediction.predictions.argmax(-1), average="macro")}

    best = KeepBest()
    trainer = Trainer(
        model,
        TrainingArguments(
            str(args.out),
            learning_rate=args.lr,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=64,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="epoch",
            seed=args.seed,
            report_to="none",
        ),
        DataCollatorWithPadding(tokenizer),
        split(*train),
        split(*dev),
        compute_metrics=f1,
        callbacks=[best],
    )
    trainer.train()
    if best.weights is not None:
        model.load_state_dict(best.weights)
    trainer.save_model(args.out)
    scores = {}
    for tag, (texts, labels) in tests.items():
        scores[tag] = score(trainer, tokenizer, names, texts, labels, args.max_length)
        print(f"{tag}  {scores[tag]:5.1f}", flush=True)
        # Written after each language, so that scores are kept if a later language fails.
        (args.out / "scores.json").write_text(
            json.dumps({"model": args.model, "source": args.source, "f1": scores}, indent=1), encoding="utf-8"
        )
    print(f"mean      {sum(scores.values()) / len(scores):5.1f}  ({args.out / 'scores.json'})")


if __name__ == "__main__":
    main()
