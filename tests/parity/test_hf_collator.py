"""The collator: masks, tags, padding, columns."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from hf_models import make_model
from transformers import Trainer, TrainingArguments

from langsamp_plugin.hf import LangSampCollator


class Tokenizer:
    mask_token_id, pad_token_id, all_special_ids = 59, 1, [0, 1, 2, 3, 59]

    def __len__(self):
        return 60


TAGS = ["deu_Latn", "hin_Deva", "und_Zyyy"]


def features(count=30, length=40, **columns):
    rng = np.random.default_rng(0)
    rows = [[0, *rng.integers(4, 59, size=length - number % 5).tolist(), 2] for number in range(count)]
    return [{"input_ids": row, "tag": TAGS[number % 3], **columns} for number, row in enumerate(rows)]


def test_masks_are_a_function_of_seed_epoch_and_row():
    made = LangSampCollator(Tokenizer(), make_model(), seed=5)
    rows = features()
    batch, again = made(rows), made(rows[::-1])
    for name in ("input_ids", "labels", "lang_ids"):
        assert torch.equal(batch[name], again[name].flip(0))
    alone = made([rows[3]])
    width = len(rows[3]["input_ids"])
    assert torch.equal(alone["labels"][0], batch["labels"][3, :width])
    made.set_epoch(2)
    assert not torch.equal(made(rows)["labels"], batch["labels"])
    assert not torch.equal(LangSampCollator(Tokenizer(), make_model(), seed=6)(rows)["labels"], batch["labels"])


def test_shares_of_masks():
    batch = LangSampCollator(Tokenizer(), make_model())(features(400))
    tokens = np.array([row["input_ids"] + [1] * (42 - len(row["input_ids"])) for row in features(400)])
    special = np.isin(tokens, Tokenizer.all_special_ids)
    predicted = batch["labels"].numpy() != -100
    assert not predicted[special].any() and abs(predicted.sum() / (~special).sum() - 0.15) < 0.005
    assert (batch["labels"].numpy()[predicted] == tokens[predicted]).all()
    assert (batch["input_ids"].numpy()[~predicted] == tokens[~predicted]).all()
    seen = batch["input_ids"].numpy()[predicted]
    assert abs((seen == 59).mean() - 0.8) < 0.03 and abs((seen == tokens[predicted]).mean() - 0.1) < 0.02
    assert torch.equal(batch["attention_mask"], torch.tensor(tokens != 1).long())


def test_tags_in_each_form():
    model = make_model()
    made = LangSampCollator(Tokenizer(), model, pad_to_multiple_of=16)
    batch = made(features(6))
    assert batch["input_ids"].shape == (6, 48)
    assert batch["lang_ids"].tolist() == [0, 1, -1] * 2 and batch["script_ids"].tolist() == [0, 1, -1] * 2
    ids = {name: batch[name].tolist() for name in ("lang_ids", "script_ids")}
    forms = {
        "language, script": lambda n: {"language": TAGS[n % 3][:3], "script": TAGS[n % 3][4:]},
        "ids": lambda n: {name: values[n] for name, values in ids.items()},
        "another spelling": lambda n: {"tag": ["de", "hi", "und_Zyyy"][n % 3]},
    }
    for name, form in forms.items():
        other = made([{"input_ids": row["input_ids"], **form(n)} for n, row in enumerate(features(6))])
        assert all(torch.equal(other[key], batch[key]) for key in batch), name
    dropped = LangSampCollator(Tokenizer(), model, tag_dropout=0.5)(features(600))
    known = dropped["script_ids"].ge(0).float().mean()
    assert abs(known - 1 / 3) < 0.06 and torch.equal(dropped["script_ids"].ge(0), dropped["lang_ids"].ge(0))
    assert "lang_ids" not in LangSampCollator(Tokenizer(), make_model(languages=[], scripts=[]))(features(2))


def test_bad_input_is_told_before_training():
    model = make_model()
    made = LangSampCollator(Tokenizer(), model)
    with pytest.raises(ValueError, match="each feature must have a tag"):
        made([{"input_ids": [0, 5, 2]}])
    with pytest.raises(ValueError, match="'fra' is not among the 3 codes of the model"):
        made([{"input_ids": [0, 5, 2], "tag": "fra_Latn"}])
    with pytest.raises(ValueError, match="input_ids must be < 60"):
        made([{"input_ids": [0, 60, 2], "tag": "deu_Latn"}])
    with pytest.raises(ValueError, match="must have the model's vocabulary of 50 ids, but has 60"):
        LangSampCollator(Tokenizer(), make_model(vocab_size=50))
    with pytest.raises(ValueError, match="must have a mask_token"):
        LangSampCollator(type("NoMask", (Tokenizer,), {"mask_token_id": None})(), model)
    with pytest.raises(ValueError, match="tag_dropout must be between 0 and 1"):
        LangSampCollator(Tokenizer(), model, tag_dropout=2)


def test_columns_survive_the_trainer(tmp_path):
    model = make_model()
    made = LangSampCollator(Tokenizer(), model)
    rows = [{**row, "text": "left out"} for row in features(16, length=20)]
    for columns in (("tag",), ("language", "script")):
        data = [{**row, "language": row["tag"][:3], "script": row["tag"][4:]} for row in rows]
        data = [{name: row[name] for name in ("input_ids", "text", *columns)} for row in data]
        args = TrainingArguments(
            str(tmp_path), max_steps=2, per_device_train_batch_size=4, use_cpu=True, report_to=[], disable_tqdm=True
        )
        before = model.lang_embedding.weight.detach().clone()
        Trainer(model, args, made, Dataset.from_list(data), callbacks=[made.callback]).train()
        assert not torch.equal(model.lang_embedding.weight, before)
