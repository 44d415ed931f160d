"""Fine-tuning against a plain loop."""

import random

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from support import QUICK

from langsamp_plugin.evaluation import finetuning
from langsamp_plugin.evaluation.examples import encode, training_batches
from langsamp_plugin.evaluation.finetuning import finetune
from langsamp_plugin.evaluation.plan import READERS
from langsamp_plugin.evaluation.prediction import predict
from langsamp_plugin.evaluation.reading.archives import task_folder
from langsamp_plugin.evaluation.reading.labelled import Labelled, find_labelled
from langsamp_plugin.evaluation.run import evaluate
from langsamp_plugin.evaluation.tasks import TASKS, Settings
from langsamp_plugin.lang_script import LangScript


def by_a_plain_loop(folder, kind, train, dev, tests, seed, lr, epochs, max_length):
    """A plain fine-tuning loop: batches of 8, one sentence at a time for testing; F1 of dev and
    tests."""
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tagging = kind == "tagging"
    labels = sorted({label for row in train.labels for label in (row if tagging else [row])})
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    cls = AutoModelForTokenClassification if tagging else AutoModelForSequenceClassification
    model = cls.from_pretrained(folder, num_labels=len(labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)

    def tokenize(text):
        row = tokenizer(text, truncation=True, max_length=max_length, is_split_into_words=tagging)
        words = row.word_ids()
        first = [place for place, word in enumerate(words) if word is not None and word != words[place - 1]]
        return {"input_ids": row["input_ids"], "attention_mask": row["attention_mask"]}, first

    def score(part):
        model.eval()
        found = []
        with torch.no_grad():
            for text in part.texts:
                row, first = tokenize(text)
                logits = model(**{name: torch.tensor([ids]) for name, ids in row.items()}).logits[0]
                found.append(
                    [labels[logits[place].argmax()] for place in first] if tagging else labels[logits.argmax()]
                )
        gold = part.labels
        if tagging:
            gold, found = ([label for row in side for label in row] for side in (gold, found))
        return 100 * f1_score(gold, found, average="micro" if tagging else "macro", zero_division=0)

    inputs = [tokenize(text) for text in train.texts]
    batches = [
        training_batches([len(row["input_ids"]) for row, _ in inputs], 8, seed, epoch) for epoch in range(epochs)
    ]
    total, step, best = epochs * len(batches[0]), 0, (-1.0, None)
    for order in batches:
        model.train()
        for rows in order:
            batch = tokenizer.pad([inputs[row][0] for row in rows], return_tensors="pt")
            if tagging:
                targets = torch.full_like(batch["input_ids"], -100)
                for target, row in zip(targets, rows):
                    target[inputs[row][1]] = torch.tensor([labels.index(label) for label in train.labels[row]])
            else:
                targets = torch.tensor([labels.index(train.labels[row]) for row in rows])
            logits = model(**batch).logits
            torch.nn.functional.cross_entropy(logits.reshape(-1, len(labels)), targets.reshape(-1)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.param_groups[0]["lr"] = lr * (1 - step / total)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
        now = score(dev)
        if now > best[0]:
            best = (now, {name: tensor.clone() for name, tensor in model.state_dict().items()})
    model.load_state_dict(best[1])
    return best[0], {tag: score(test) for tag, test in tests.items()}


def read_some(path, kind, limit):
    """Read the sentences that ``--limit`` takes."""
    data = READERS[kind](path)
    rows = np.arange(limit) * len(data.texts) // limit if len(data.texts) > limit else range(len(data.texts))
    return Labelled([data.texts[row] for row in rows], [data.labels[row] for row in rows])


@pytest.mark.parametrize("task", ["sib200", "pos"])
def test_finetuning_by_an_independent_script(eval_data, exported, tmp_path, task):
    """With the same seed and order it ends with the same scores, tag by tag."""
    settings = {**QUICK, "accumulate": 1, "max_length": 300, "limit": 96}
    (result,) = evaluate(exported, eval_data, tmp_path, [task], **settings)
    assert len({score for _, score in result.curves["42"]}) >= 2, "the model learns"
    kind = TASKS[task].kind
    train, dev = (read_some(eval_data / task / "eng_Latn" / f"{split}.tsv", kind, 96) for split in ("train", "dev"))
    tests = {tag: read_some(eval_data / task / tag / "test.tsv", kind, 96) for tag in result.scores}
    best, scores = by_a_plain_loop(exported, kind, train, dev, tests, 42, 3e-3, 3, 300)
    assert max(score for _, score in result.curves["42"]) == pytest.approx(best)
    assert {tag: found["f1"][0] for tag, found in result.scores.items()} == pytest.approx(scores) and len(scores) == 4
    # Determinism, and the control: another seed is another run.
    (again,) = evaluate(exported, eval_data, tmp_path / "again", [task], **settings)
    assert again.scores == result.scores and again.curves == result.curves
    (other,) = evaluate(exported, eval_data, tmp_path / "again", [task], **{**settings, "seeds": (43,)})
    assert other.curves["43"] != result.curves["42"]


@pytest.mark.parametrize(
    "task, model",
    [("sib200", "small_encoder"), ("taxi1500", "exported"), ("pos", "exported"), ("ner", "small_encoder")],
)
def test_real_data(shared, request, tmp_path, task, model):
    """Sixteen sentences of the published sets, one epoch, a published encoder or a small one: the plain loop's
    numbers."""
    encoder = request.getfixturevalue(model)
    source, other = (
        ("pcm_Latn", "hau_Latn") if task == "ner" else ("eng_Latn", "hye_Armn" if task != "sib200" else "deu_Latn")
    )
    settings = {"epochs": 1, "lr": 1e-4, "batch_size": 8, "accumulate": 1, "seeds": (42,), "max_length": 300}
    (result,) = evaluate(
        encoder, shared / "data" / "eval", tmp_path, [task], source=source, langs=[source, other], limit=16, **settings
    )
    kind = TASKS[task].kind
    folder = task_folder(TASKS[task], shared / "data" / "eval", tmp_path / ".cache" / "data")
    files = {tag: find_labelled(folder)[0][LangScript.parse(tag)] for tag in (source, other)}

    tests = {tag: read_some(parts["test"], kind, 16) for tag, parts in files.items()}
    train, dev = (read_some(files[source][split], kind, 16) for split in ("train", "dev"))
    _, scores = by_a_plain_loop(encoder, kind, train, dev, tests, 42, 1e-4, 1, 300)
    metric = "f1_words" if kind == "tagging" else "f1"
    assert {tag: found[metric][0] for tag, found in result.scores.items()} == pytest.approx(scores)


def test_accumulation_is_one_large_batch(eval_data, exported, monkeypatch):
    """Two micro-batches of four sentences train as eight at once; the authors' way, resetting every step, does not."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    words = READERS["tagging"](eval_data / "pos" / "eng_Latn" / "train.tsv")
    train = Labelled(words.texts[:24], words.labels[:24])
    labels = sorted({label for row in train.labels for label in row})

    def fresh():
        torch.manual_seed(7)
        no_dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"), 0.0)
        return AutoModelForTokenClassification.from_pretrained(exported, num_labels=len(labels), **no_dropout)

    monkeypatch.setattr(finetuning, "new_model", lambda *args: fresh())
    settings = Settings(lr=1e-2, epochs=1, batch_size=4, accumulate=2, max_length=64)
    tuned = finetune(str(exported), tokenizer, kind="tagging", train=train, dev=train, settings=settings, seed=5)
    examples = encode(train, tokenizer, labels, "tagging", 64).examples
    batches = training_batches([len(example.ids) for example in examples], 4, 5, 0)

    def by_hand(reset_every_step):
        model = fresh().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
        updates = -(-len(batches) // 2)
        for update in range(updates):
            parts = batches[2 * update : 2 * update + 2]
            for part in parts[-1:] if reset_every_step else [sum(parts, [])]:
                batch = [examples[row] for row in part]
                width = max(len(example.ids) for example in batch)
                ids = torch.tensor([example.ids + [1] * (width - len(example.ids)) for example in batch])
                targets = torch.tensor([example.targets + [-100] * (width - len(example.targets)) for example in batch])
                logits = model(ids, attention_mask=ids.ne(1).long()).logits
                torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.param_groups[0]["lr"] = 1e-2 * (1 - update / updates)
            optimizer.step()
            optimizer.zero_grad()
        return model.state_dict()

    right, wrong, ours = by_hand(False), by_hand(True), tuned.model.state_dict()
    assert all(torch.allclose(ours[name], right[name], atol=2e-4) for name in right)
    assert any((ours[name] - wrong[name]).abs().max() > 5e-3 for name in wrong)


def test_words_keep_their_labels(exported):
    """Labels sit on first pieces; long sentences are split between words; a word without a piece still has its
    place."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    words = ["Please", "\u200b", "enter", "administrations", "unverschämterweise", "now", "x" * 60]
    data = Labelled([words, ["one"]], [["A", "B", "A", "B", "C", "A", "B"], ["A"]])
    for limit in (200, 12):
        encoded = encode(data, tokenizer, ["A", "B"], "tagging", limit)
        assert encoded.unknown == {"C": 1} and encoded.long == (limit == 12)
        assert all(
            len(example.ids) <= limit and len(example.ids) == len(example.targets) for example in encoded.examples
        )
        assert all(example.ids[0] == 0 and example.ids[-1] == 2 for example in encoded.examples)
        targets = [target for example in encoded.examples if example.sentence == 0 for target in example.targets]
        assert [target for target in targets if target != -100] == [0, 1, 0, 1, -1, 0, 1]
        first = {word: tokenizer(word, add_special_tokens=False)["input_ids"][:1] for word in words}
        at_label = [
            token for example in encoded.examples if example.sentence == 0
            for token, target in zip(example.ids, example.targets) if target != -100
        ]  # fmt: skip
        assert at_label == [(first[word] or [tokenizer.unk_token_id])[0] for word in words]
        model = finetuning.new_model(str(exported), "tagging", ["A", "B"], 1)
        found = predict(model, encoded, ["A", "B"], "tagging", 1)
        assert [len(row) for row in found] == [7, 1] and {label for row in found for label in row} <= {"A", "B"}
