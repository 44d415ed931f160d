"""Both protocols of fine-tuning: the published one against the authors' loops, written down again in a few lines."""

import numpy as np
import pytest
import torch
from small_encoder import WORDS, save_encoder, sentences
from transformers import get_linear_schedule_with_warmup

from langsamp_plugin.evaluation import finetuning
from langsamp_plugin.evaluation.encoding import load_tokenizer
from langsamp_plugin.evaluation.examples import POOL, POOLS, encode, training_batches
from langsamp_plugin.evaluation.finetuning import BestWeights, finetune, new_model, update_groups
from langsamp_plugin.evaluation.reading.labelled import Labelled
from langsamp_plugin.evaluation.tasks import FIXED, PUBLISHED, TASKS, Recipe, Settings


def companions(batches_of_epochs, row):
    return {other for batches in batches_of_epochs for batch in batches if row in batch for other in batch} - {row}


def test_small_sets_are_never_sorted_by_length():
    """SIB-200's 701 sentences would be one pool, whose slices are the same in every epoch."""
    lengths = [int(length) for length in np.random.default_rng(0).integers(8, 120, 701)]
    epochs = [training_batches(lengths, 16, 42, epoch) for epoch in range(40)]
    assert all(sorted(sum(batches, [])) == list(range(701)) for batches in epochs)
    assert len(companions(epochs, 7)) > 350, "405 are expected with random batches, and 33 with sorted ones"
    large = [int(length) for length in np.random.default_rng(0).integers(8, 120, 16 * POOL * POOLS)]
    spread = [max(large[row] for row in batch) - min(large[row] for row in batch) for batch in training_batches(
        large, 16, 42, 0
    )]  # fmt: skip
    assert np.mean(spread) < 5, "large sets are, since there each epoch has other pools"
    for task in ("taxi1500", "sib200", "ner", "pos"):
        assert (
            TASKS[task].protocol(PUBLISHED).recipe.random_order and not TASKS[task].protocol(FIXED).recipe.random_order
        )
    spread = [max(large[row] for row in batch) - min(large[row] for row in batch) for batch in training_batches(
        large, 16, 42, 0, random_order=True
    )]  # fmt: skip
    assert np.mean(spread) > 50


def test_updates_of_both_protocols_on_sib200():
    """1,760 updates of both; the published learning rate ends at half of where it began."""
    published, fixed = (TASKS["sib200"].protocol(name) for name in (PUBLISHED, FIXED))
    for settings, batches in ((published, 88), (fixed, 44)):
        groups = update_groups([20] * 701, settings, 42)
        assert sum(map(len, groups)) == 1760 and {sum(map(len, updates)) for updates in groups} == {batches}
    assert published.lr == fixed.lr == 1e-5 and published.recipe.clip == 0.0 and fixed.recipe.clip == 1.0
    assert [TASKS["pos"].main_metric(name) for name in (PUBLISHED, FIXED)] == ["f1_spans", "f1"]
    assert TASKS["ner"].main_metric(PUBLISHED) == TASKS["ner"].metric
    assert published.seeds == (42, 43, 44, 45, 46) and TASKS["taxi1500"].protocol(PUBLISHED).seeds == (42, 43, 44, 45)
    assert TASKS["ner"].protocol(PUBLISHED).seeds == TASKS["pos"].protocol(PUBLISHED).seeds == (1,)
    assert {TASKS[name].protocol(PUBLISHED).precision for name in ("sib200", "taxi1500", "ner", "pos")} == {"float32"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(
        tmp_path_factory.mktemp("encoder") / "model", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


TEXTS = sentences(37, 5)
TOPICS = Labelled(TEXTS, ["odd" if int(text.split()[0][4:]) % 2 else "even" for text in TEXTS])
TAGGED = Labelled(
    [text.split() for text in TEXTS], [["NOUN" if int(w[4:]) % 3 else "VERB" for w in t.split()] for t in TEXTS]
)


def by_the_authors(model, kind, examples, settings, batches_of_epochs):
    """The loops of evaluate_sib_all.py and run_tag.py: what they reset, divide, step and clip, and when."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, eps=1e-8, weight_decay=0.0)
    count, parts = len(batches_of_epochs[0]), settings.accumulate
    total = count * len(batches_of_epochs) if kind == "classification" else count // parts * len(batches_of_epochs)
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, total)
    rates = []
    model.train()
    for batches in batches_of_epochs:
        for step, rows in enumerate(batches):
            batch = [examples[row] for row in rows]
            width = max(len(example.ids) for example in batch)
            ids = torch.tensor([example.ids + [1] * (width - len(example.ids)) for example in batch])
            if kind == "classification":
                model.zero_grad()
                labels = torch.tensor([example.targets[0] for example in batch])
            else:
                labels = torch.tensor([example.targets + [-100] * (width - len(example.targets)) for example in batch])
            loss = model(ids, attention_mask=ids.ne(1).long(), labels=labels).loss / parts
            loss.backward()
            last = step + 1 == len(batches)
            if kind == "classification" and ((step + 1) % parts == 0 or last):
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                scheduler.step()
            elif kind == "tagging" and (step + 1) % parts == 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scheduler.step()
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                model.zero_grad()
    return rates


@pytest.mark.parametrize("task, data, labels", [
    ("sib200", TOPICS, ["even", "odd"]), ("ner", TAGGED, ["NOUN", "VERB"])
])  # fmt: skip
def test_the_published_protocol_is_the_authors_loop(encoder, monkeypatch, task, data, labels):
    """Weights after three epochs of ten micro-batches; the corrected protocol ends elsewhere."""
    tokenizer, kind = load_tokenizer(encoder), TASKS[task].kind
    settings = TASKS[task].protocol(PUBLISHED)._replace(lr=1e-3, epochs=3, batch_size=4)
    rising = iter(range(1, 100))
    monkeypatch.setattr(finetuning, "score_split", lambda *args: dict.fromkeys(("f1", "f1_spans"), float(next(rising))))
    rates = []
    real = finetuning._Loop.step

    def step(loop, group):
        real(loop, group)
        rates.append(loop.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(finetuning._Loop, "step", step)

    def ours(settings):
        return finetune(str(encoder), tokenizer, kind=kind, train=data, dev=data, settings=settings, seed=3).model

    found = ours(settings).state_dict()
    examples = encode(data, tokenizer, labels, kind, 98, settings.recipe).examples
    lengths = [len(example.ids) for example in examples]
    order = [training_batches(lengths, 4, 3, epoch, random_order=True) for epoch in range(3)]
    reference = new_model(str(encoder), kind, labels, 3)
    expected = by_the_authors(reference, kind, examples, settings, order)
    assert rates == pytest.approx(expected) and len(rates) == (15 if kind == "classification" else 6)
    # The published rate of classification ends above half of where it began, that of tagging at 0.
    assert rates[-1] == pytest.approx(1e-3 * 16 / 30 if kind == "classification" else 0.0)
    weights = reference.state_dict()
    assert all(torch.allclose(found[name], weights[name], atol=1e-5) for name in weights)
    fixed = ours(settings._replace(recipe=Recipe(random_order=True))).state_dict()
    assert max(float((fixed[name] - weights[name]).abs().max()) for name in weights) > 1e-3


@pytest.mark.parametrize("protocol", [FIXED, PUBLISHED])
def test_which_checkpoint_is_the_best(encoder, monkeypatch, protocol):
    """The first of equals; where all dev scores are 0, the authors' tagging script tests the last weights."""
    kept = []
    monkeypatch.setattr(finetuning, "score_split", lambda *args: {"f1": 5.0, "f1_spans": 0.0})
    real = BestWeights.offer

    def offer(best, score, model):
        kept.append((score, model.state_dict()["classifier.bias"].clone()))
        real(best, score, model)

    monkeypatch.setattr(BestWeights, "offer", offer)
    settings = TASKS["pos"].protocol(protocol)._replace(lr=1e-3, epochs=2, batch_size=4, accumulate=1, eval_steps=5)
    tuned = finetune(
        str(encoder), load_tokenizer(encoder), kind="tagging", train=TAGGED, dev=TAGGED, settings=settings, seed=3
    )
    scores, biases = zip(*kept)
    assert set(scores) == ({5.0} if protocol == FIXED else {0.0}) and len(scores) == 4
    assert torch.equal(tuned.model.classifier.bias, biases[0 if protocol == FIXED else -1])
    assert not torch.equal(biases[0], biases[-1])


def test_when_dev_is_looked_at(encoder, monkeypatch):
    """After each epoch and every ``eval_steps``; the published tagging looks only every ``eval_steps``."""
    monkeypatch.setattr(finetuning, "score_split", lambda *args: {"f1": 1.0, "f1_spans": 1.0})
    looks = {}
    for protocol in (FIXED, PUBLISHED):
        settings = TASKS["pos"].protocol(protocol)._replace(epochs=2, batch_size=4, accumulate=1, eval_steps=8)
        tuned = finetune(
            str(encoder), load_tokenizer(encoder), kind="tagging", train=TAGGED, dev=TAGGED, settings=settings, seed=3
        )
        looks[protocol] = [update for update, _ in tuned.curve]
    assert looks == {FIXED: [8, 10, 16, 20], PUBLISHED: [8, 16]}


def test_inputs_of_both_protocols(encoder):
    """The published tagging ends in two ``</s>`` and cuts what is too long, which is split between words here."""
    tokenizer, words = load_tokenizer(encoder), WORDS[:12]
    data = Labelled([words], [["NOUN"] * 12])
    published = encode(data, tokenizer, ["NOUN"], "tagging", 10, TASKS["pos"].protocol(PUBLISHED).recipe)
    fixed = encode(data, tokenizer, ["NOUN"], "tagging", 10)
    assert [example.ids for example in published.examples] == [[0, *range(4, 11), 2, 2]] and published.long == 1
    assert [example.ids for example in fixed.examples] == [[0, *range(4, 12), 2], [0, *range(12, 16), 2]]
    assert Settings().recipe == Recipe()
