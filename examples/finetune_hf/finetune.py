"""Fine-tune an exported model on one language and test it on others, with nothing but transformers.

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
    TrainingArguments,
    set_seed,
)


def read(path):
    """Return the texts and labels of a file."""
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["text"] for row in rows], [row["category"] for row in rows]


class Split(torch.utils.data.Dataset):
    """A file as token ids and label numbers."""

    def __init__(self, path, tokenizer, names, max_length):
        texts, labels = read(path)
        self.ids = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        self.labels = [names.index(label) for label in labels]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, number):
        return {"input_ids": self.ids[number], "labels": self.labels[number]}


def main():
    """Train on the source language, choose the epoch on its dev set, test everywhere."""
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
    args = parser.parse_args()

    set_seed(args.seed)  # before the model, whose new classification head is drawn at random
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    names = sorted(set(read(args.data / args.source / "train.tsv")[1]))
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=len(names))

    def split(tag, name):
        return Split(args.data / tag / f"{name}.tsv", tokenizer, names, args.max_length)

    def f1(prediction):
        return {"f1": 100 * f1_score(prediction.label_ids, prediction.predictions.argmax(-1), average="macro")}

    trainer = Trainer(
        model,
        TrainingArguments(
            str(args.out),
            learning_rate=args.lr,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=64,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            logging_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="f1",
            seed=args.seed,
            report_to="none",
        ),
        DataCollatorWithPadding(tokenizer),
        split(args.source, "train"),
        split(args.source, "dev"),
        compute_metrics=f1,
    )
    trainer.train()
    tags = args.langs.split(",") if args.langs else sorted(path.name for path in args.data.iterdir() if path.is_dir())
    scores = {tag: trainer.predict(split(tag, "test")).metrics["test_f1"] for tag in tags}
    (args.out / "scores.json").write_text(
        json.dumps({"model": args.model, "source": args.source, "f1": scores}, indent=1)
    )
    for tag, score in scores.items():
        print(f"{tag}  {score:5.1f}")
    print(f"mean      {sum(scores.values()) / len(scores):5.1f}  ({args.out / 'scores.json'})")


if __name__ == "__main__":
    main()
