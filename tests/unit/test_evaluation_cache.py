"""What is computed once, what again, what a result records about its origin, and what stays on disk."""

import json
import platform
import shutil
from types import SimpleNamespace

import pytest
import torch
from small_encoder import SIZE, save_encoder, save_topics, save_verses

from langsamp_plugin.checkpoint import loading, options
from langsamp_plugin.convert import export
from langsamp_plugin.evaluation import cache, features, finetuning_run, provenance, retrieval_run, run
from langsamp_plugin.evaluation.cache import Cache
from langsamp_plugin.evaluation.cost import Speed, model_size
from langsamp_plugin.evaluation.results import load_result
from langsamp_plugin.evaluation.run import evaluate, model_folder, prepare, reckon

TUNED = {"epochs": 1, "seeds": (1, 2), "batch_size": 16, "device": "cpu"}


@pytest.fixture
def inputs(tmp_path):
    save_topics(save_verses(tmp_path / "data"))
    return save_encoder(tmp_path / "model"), tmp_path / "data", tmp_path / "out"


@pytest.fixture
def encoded(monkeypatch):
    """The texts and layers of every call of the encoder."""
    calls = []
    real = features.mean_pooled

    def recorded(texts, model, tokenizer, layers, *rest, **named):
        calls.append((list(texts), list(layers)))
        return real(texts, model, tokenizer, layers, *rest, **named)

    monkeypatch.setattr(features, "mean_pooled", recorded)
    return calls


@pytest.fixture
def tuned(monkeypatch):
    """The seeds that were trained."""
    calls = []
    real = finetuning_run.finetune
    monkeypatch.setattr(
        finetuning_run, "finetune", lambda *args, **named: calls.append(named["seed"]) or real(*args, **named)
    )
    return calls


def test_the_origin_is_that_of_the_computation(inputs, encoded, tuned, monkeypatch):
    """A second process with another Python finds everything: what it writes is still of the first."""
    model, data, out = inputs
    tasks = ["sr_bible", "sib200"]
    first = evaluate(model, data, out, tasks, langs=["deu_Latn"], **TUNED)
    encoded.clear(), tuned.clear()
    monkeypatch.setattr(platform, "python_version", lambda: "9.9.9")
    monkeypatch.setattr(provenance, "_versions", lambda: dict.fromkeys(provenance.PACKAGES, "0.0"))
    second = evaluate(model, data, out, tasks, langs=["deu_Latn"], **TUNED)
    assert not encoded and not tuned
    assert [result.provenance for result in second] == [result.provenance for result in first]
    # The values that the second run adds have their own origin, and the result names both.
    more = evaluate(model, data, out, tasks, langs=["rus_Cyrl"], **TUNED)
    assert len(encoded) == 1
    for task, result in zip(tasks, more):
        joined = load_result(out / "model" / f"{task}.json").provenance
        assert {part["python"] for part in joined["computed"]} == {first[0].provenance["python"], "9.9.9"}
        assert result.provenance["versions"]["torch"].endswith("0.0")


def test_what_a_value_depends_on(inputs, encoded, tuned, monkeypatch):
    """Another version of the methods or of the tokenizers, precision or batch: nothing of the old is taken."""
    model, data, out = inputs

    def again(**changes):
        encoded.clear(), tuned.clear()
        evaluate(model, data, out, ["sr_bible", "sib200"], **{**TUNED, "seeds": (1,), **changes})
        return bool(encoded), bool(tuned)

    assert again() == (True, True)
    assert again(batch_tokens=256) == again(precision="bfloat16") == (True, True)
    assert len(list((out / "model").glob("sib200*.json"))) == len(list((out / "model").glob("sr_bible*.json"))) == 3
    for path in (out / "model").glob("*.json"):
        found = json.loads(path.read_text())["settings"]
        assert found["device"] == "cpu" and found["precision"] in ("float32", "bfloat16") and found["batch_tokens"]
    with monkeypatch.context() as patch:
        patch.setattr(cache, "VERSION", cache.VERSION + 1)
        assert again() == (True, True)
    import transformers

    monkeypatch.setattr(transformers, "__version__", "77.0")
    assert again() == (True, True)


def test_an_exported_checkpoint_depends_on_what_its_tokenizer_holds(tmp_path, monkeypatch):
    """By contents, not by name: of --spm, and of the data folder's files."""
    made = []
    monkeypatch.setattr(
        export, "export", lambda model, target, spm=None: made.append(target) or target.mkdir(parents=True)
    )
    monkeypatch.setattr(loading, "load_checkpoint", lambda path: {})
    monkeypatch.setattr(options, "training_data_folder", lambda state: tmp_path / "data")
    (tmp_path / "data" / "tokenizer").mkdir(parents=True)
    checkpoint = tmp_path / "run" / "last.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"weights")
    store, spm = Cache(tmp_path / "cache"), tmp_path / "own.model"
    for number, name in enumerate(("own.model", "data/dict.txt", "data/tokenizer/tokenizer.json"), 1):
        for contents in ("one", "two", "two"):
            (tmp_path / name).write_text(contents)
            model_folder(checkpoint, store, spm)
        assert len(made) == len(set(made)) == 2 * number
    model_folder(checkpoint, store, None)
    assert len(made) == 7


def test_english_is_encoded_once(inputs, encoded):
    """Not again for other languages, and not again for other layers."""
    model, data, out = inputs
    english = [line.split("\t")[1] for line in (data / "sr_bible" / "eng_Latn.txt").read_text().splitlines()]
    evaluate(model, data, out, ["sr_bible"], langs=["deu_Latn"], layers=[1])
    assert [layers for _, layers in encoded] == [[1, 2]] * 2 and set(encoded[0][0]) == set(english)
    encoded.clear()
    evaluate(model, data, out, ["sr_bible"], langs=["deu_Latn", "rus_Cyrl"])
    ((texts, layers),) = encoded
    assert layers == [2] and not set(texts) & set(english)
    encoded.clear()
    evaluate(model, data, out, ["sr_bible"], langs=["deu_Latn"], layers=[1, 3])
    assert [layers for _, layers in encoded] == [[3]] * 2


def test_the_bar_counts_each_sentence_once(inputs, monkeypatch):
    """Encoded now or found in the cache: it ends at its total."""
    model, data, out = inputs
    bars = []
    real = retrieval_run.progress
    monkeypatch.setattr(retrieval_run, "progress", lambda **how: bars.append(real(**how)) or bars[-1])
    for langs in (["deu_Latn"], ["deu_Latn", "rus_Cyrl"], ["rus_Cyrl"]):
        evaluate(model, data, out, ["sr_bible"], langs=langs)
    assert [(bar.n, bar.total) for bar in bars] == [(60, 60), (90, 90), (60, 60)]


def test_fine_tuned_weights_go_when_they_are_scored(inputs, monkeypatch):
    """One model on the disk at a time, none at the end; ``keep_models`` keeps them; --dry-run says how much it is."""
    model, data, out = inputs
    folder = out / ".cache" / "finetuned"
    seen, sizes = [], []
    real = finetuning_run.predict

    def watched(*args):
        models = [path for path in folder.iterdir() if path.name[0] != "."]
        seen.append(len(models))
        sizes.append(sum(path.stat().st_size for path in models[0].rglob("*.safetensors")))
        return real(*args)

    monkeypatch.setattr(finetuning_run, "predict", watched)
    evaluate(model, data, out, ["sib200"], **TUNED)
    assert seen == [1] * 6 and not list(folder.glob("*"))
    kept = {"keep_models": True}
    evaluate(model, data, out, ["sib200"], name="kept", **kept, **{**TUNED, "seeds": (3, 4)})
    assert len(list(folder.glob("*"))) == 2
    # What a killed removal leaves is not taken for a model.
    for left in folder.glob("*"):
        (left / "config.json").unlink()
    (more,) = evaluate(model, data, out, ["sib200"], name="kept", batch_tokens=512, **{**TUNED, "seeds": (3,)})
    shutil.rmtree(out / ".cache" / "scores")
    (again,) = evaluate(model, data, out, ["sib200"], name="kept", batch_tokens=512, **{**TUNED, "seeds": (3,)})
    assert again.scores == more.scores
    prepared = prepare(model, data, out, ["sib200", "sr_bible"], **TUNED)
    (dropped, vectors), (keeping, _) = reckon(prepared), reckon(prepared, **kept)
    assert dropped.disk == pytest.approx(sizes[0], rel=0.5) and dropped.kept == 0
    assert keeping.disk == keeping.kept == pytest.approx(2 * sizes[0], rel=0.5)
    shutil.rmtree(out)
    evaluate(model, data, out, ["sr_bible"])
    stored = sum(path.stat().st_size for path in (out / ".cache" / "features").rglob("*.npy"))
    assert vectors.disk == vectors.kept == pytest.approx(stored, rel=0.5) and stored > 0
    assert torch.get_default_dtype() == torch.float32


def test_what_is_reckoned_by_hand(inputs, monkeypatch):
    """Tokens of every pass and parameters of every update, divided by the measured speeds."""
    model, data, out = inputs
    speed = Speed(forward=1e6, trained=1e5, updated=1e7)
    monkeypatch.setattr(run, "measured_speed", lambda *model: speed)
    monkeypatch.setattr(run, "READING", float("inf"))
    monkeypatch.setattr(run, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    tokens = {}
    for split in ("train", "dev", "test"):
        paths = (data / "sib200").glob(f"*/{split}.tsv")
        rows = [line for path in paths for line in path.read_text().splitlines()[1:]]
        tokens[split] = sum(len(row.split("\t")[2].split()) + 2 for row in rows)
    (cost,) = reckon(prepare(model, data, out, ["sib200"], **{**TUNED, "epochs": 3}))
    assert (cost.trainings, cost.languages) == (2, 3)
    assert cost.tokens_trained == 2 * 3 * tokens["train"]
    assert cost.tokens_forward == 2 * (3 * tokens["dev"] + tokens["test"])
    size = model_size(model)
    blocks = 3 * (4 * 32 * 32 + 2 * 32 * 64 + 9 * 32 + 64)
    assert size.blocks == blocks and size.parameters == blocks + (SIZE + 100) * 32
    updates = 2 * 3 * 3  # seeds, epochs, batches of 16 of 48 sentences
    expected = blocks * (cost.tokens_trained / 1e5 + cost.tokens_forward / 1e6) + updates * size.parameters / 1e7
    assert cost.seconds == pytest.approx(expected)
