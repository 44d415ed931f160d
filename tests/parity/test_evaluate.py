"""`langsamp evaluate` against a few plain lines that do the same, and what it says of data that are not as they should
be."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from support import QUICK, run

from langsamp_plugin.evaluation import features, finetuning_run
from langsamp_plugin.evaluation.encoding import keep_blocks, load_encoder, mean_pooled
from langsamp_plugin.evaluation.reading.aligned import read_aligned
from langsamp_plugin.evaluation.results import load_result
from langsamp_plugin.evaluation.run import evaluate
from langsamp_plugin.evaluation.tasks import TASKS

FEW = {**QUICK, "limit": 48}
KEPT = {**FEW, "keep_models": True}


def test_retrieval_by_an_independent_script(eval_data, exported, tmp_path):
    """transformers' own padding, one sentence at a time, gives the same accuracies, at both layers of one pass."""
    from transformers import AutoModel, AutoTokenizer

    (result,) = evaluate(exported, eval_data, tmp_path, ["sr_bible"], langs=["de", "hin_Deva"], layers=[2])
    assert sorted(result.scores) == ["deu_Latn", "hin_Deva"] and result.settings["layer"] == 1
    model, tokenizer = AutoModel.from_pretrained(exported).eval(), AutoTokenizer.from_pretrained(exported)

    def vector(text, layer):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        return torch.nn.functional.normalize(states.mean(0), dim=0)

    english = read_aligned(eval_data / "sr_bible" / "eng_Latn.txt")[0]
    for layer in (1, 2):
        for tag in ("deu_Latn", "hin_Deva"):
            other = read_aligned(eval_data / "sr_bible" / f"{tag}.txt")[0]
            names = sorted(set(english) & set(other))
            one, two = (torch.stack([vector(side[name], layer) for name in names]) for side in (english, other))
            similarity = one @ two.T
            assert result.sizes[tag] == len(names)
            for prefix, matrix in (("top", similarity), ("reverse", similarity.T)):
                rank = (matrix >= matrix.diagonal()[:, None]).sum(1)
                for k in (1, 5, 10):
                    expected = 100 * (rank <= k).float().mean().item()
                    found = result.by_layer[str(layer)][tag][f"{prefix}{k}"]
                    assert found == pytest.approx(expected, abs=100.01 / len(names))
    assert result.by_layer["1"] != result.by_layer["2"]
    assert result.scores["deu_Latn"]["top10"] == [result.by_layer["1"]["deu_Latn"]["top10"]]


def test_features_are_those_of_the_whole_model(eval_data, exported):
    model, tokenizer = load_encoder(exported)
    texts = list(read_aligned(eval_data / "sr_bible" / "hin_Deva.txt")[0].values())[:40]
    whole, _ = mean_pooled(texts, model, tokenizer, [0, 1, 2])
    for layer in (0, 1, 2):
        part, _ = load_encoder(exported)
        keep_blocks(part, layer)
        assert np.abs(mean_pooled(texts, part, tokenizer, [layer])[0][0] - whole[layer]).max() < 1e-6
        assert len(part.encoder.layer) == max(layer, 1)
    short, cut = mean_pooled(texts, model, tokenizer, [2], max_length=8)
    ids = [tokenizer(text, truncation=True, max_length=8)["input_ids"] for text in texts]
    assert cut == sum(len(tokenizer(text)["input_ids"]) > 8 for text in texts) > 10
    with torch.no_grad():
        expected = [
            model(torch.tensor([row]), output_hidden_states=True).hidden_states[2][0].mean(0).numpy() for row in ids
        ]
    assert np.abs(short[0] - np.stack(expected)).max() < 1e-5


def test_retrieval_on_a_real_encoder(shared, small_encoder, tmp_path):
    """Sentence by sentence with transformers alone, the ranks of both directions are the same."""
    from transformers import AutoModel, AutoTokenizer

    (result,) = evaluate(small_encoder, shared / "data" / "eval", tmp_path, ["sr_tatoeba"], langs=["tel"], limit=60)
    model, tokenizer = AutoModel.from_pretrained(small_encoder).eval(), AutoTokenizer.from_pretrained(small_encoder)
    sides = []
    for side in ("eng", "tel"):
        lines = (
            (shared / "data" / "eval" / "sr_tatoeba" / f"tatoeba.tel-eng.{side}")
            .read_text(encoding="utf-8")
            .split("\n")[:-1]
        )
        lines = [lines[row * len(lines) // 60] for row in range(60)]
        with torch.no_grad():
            states = [
                model(**tokenizer(line, return_tensors="pt"), output_hidden_states=True).hidden_states[8][0]
                for line in lines
            ]
        sides.append(torch.stack([torch.nn.functional.normalize(state.mean(0), dim=0) for state in states]))
    similarity = sides[0] @ sides[1].T
    for prefix, matrix in (("top", similarity), ("reverse", similarity.T)):
        rank = (matrix >= matrix.diagonal()[:, None]).sum(1)
        for k in (1, 5, 10):
            assert result.scores["tel_Telu"][f"{prefix}{k}"] == [pytest.approx(100 * (rank <= k).float().mean().item())]
    assert 50 < result.scores["tel_Telu"]["top1"][0] < 100


def test_nothing_is_done_twice_and_nothing_stale_is_used(eval_data, exported, tmp_path, monkeypatch):
    first = evaluate(exported, eval_data, tmp_path / "out", ["sr_bible", "pos"], langs=["deu_Latn"], **KEPT)
    calls = []
    real = finetuning_run.finetune
    monkeypatch.setattr(finetuning_run, "finetune", lambda *args, **kw: calls.append("tuned") or real(*args, **kw))
    real_pool = features.mean_pooled
    monkeypatch.setattr(
        features, "mean_pooled", lambda texts, *args, **kw: calls.append(len(texts)) or real_pool(texts, *args, **kw)
    )

    def again(**changes):
        calls.clear()
        return evaluate(
            exported, eval_data, tmp_path / "out", ["sr_bible", "pos"], **{**KEPT, "langs": ["deu_Latn"], **changes}
        )

    second = again()
    assert not calls and [result.scores for result in second] == [result.scores for result in first]
    # One more language is encoded and tested with the existing model.
    more = again(langs=["deu_Latn", "rus_Cyrl"])
    assert "tuned" not in calls and len(calls) >= 1 and set(more[1].scores) == {"deu_Latn", "rus_Cyrl"}
    assert more[1].scores["deu_Latn"] == first[1].scores["deu_Latn"]
    assert more[0].scores["deu_Latn"] == first[0].scores["deu_Latn"]
    # Other settings, other data, other weights: nothing of the old is used.
    again(lr=1e-4)
    assert calls == ["tuned"]
    changed = shutil.copytree(eval_data, tmp_path / "changed")
    path = changed / "pos" / "eng_Latn" / "train.tsv"
    path.write_text(re.sub(r"\t\w+", "\tOTHER", path.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    calls.clear()
    evaluate(exported, changed, tmp_path / "out", ["pos"], langs=["deu_Latn"], **FEW)
    assert calls == ["tuned"]
    other = shutil.copytree(exported, tmp_path / "other" / exported.name)
    from safetensors.torch import load_file, save_file

    tensors = load_file(other / "model.safetensors")
    tensors["roberta.encoder.layer.0.output.dense.bias"] = tensors["roberta.encoder.layer.0.output.dense.bias"] + 0.5
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="belongs to another model with the name hf: choose another --name"):
        evaluate(other, eval_data, tmp_path / "out", ["pos"], langs=["deu_Latn"], **FEW)
    calls.clear()
    evaluate(other, eval_data, tmp_path / "out", ["sr_bible", "pos"], name="other", langs=["deu_Latn"], **FEW)
    assert "tuned" in calls and len(calls) == 3


def test_an_interrupted_run_goes_on(eval_data, exported, tmp_path, monkeypatch):
    """Killed while testing the third language of the second seed: one model and two languages are not done again."""
    settings = {**FEW, "seeds": (42, 43)}
    (whole,) = evaluate(exported, eval_data, tmp_path / "whole", ["sib200"], **settings)
    real = finetuning_run.predict
    scored = []

    def interrupted(*args):
        scored.append(args)
        if len(scored) == stop:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(finetuning_run, "predict", interrupted)
    stop = 4 + 3  # four languages of the first seed, and the third of the second
    with pytest.raises(KeyboardInterrupt):
        evaluate(exported, eval_data, tmp_path / "parts", ["sib200"], **settings)
    assert not (tmp_path / "parts" / "hf" / "sib200.json").exists()
    scored.clear()
    stop = -1
    (result,) = evaluate(exported, eval_data, tmp_path / "parts", ["sib200"], **settings)
    assert len(scored) == 2 and result.scores == whole.scores and result.curves == whole.curves
    assert all(len(values) == 2 for scores in result.scores.values() for values in scores.values())


def test_what_is_not_as_it_should_be_is_said(eval_data, exported, tmp_path):
    broken = shutil.copytree(eval_data, tmp_path / "data")
    (broken / "sib200" / "deu_Latn" / "test.tsv").write_text("index_id\tcategory\ttext\n")
    (broken / "sib200" / "hin_Deva" / "test.tsv").unlink()
    russian = broken / "sib200" / "rus_Cyrl" / "test.tsv"
    lines = russian.read_text(encoding="utf-8").splitlines()
    russian.write_text("\n".join([lines[0], "x\tmiddling\t" + "слово " * 60, *lines[1:3]]) + "\n", encoding="utf-8")
    (result,) = evaluate(exported, broken, tmp_path / "out", ["sib200"], **FEW)
    assert re.search(r"deu_Latn/test\.tsv has no sentence with a label", result.not_scored["deu_Latn"])
    assert result.not_scored["hin_Deva"] == "it has no test file" and len(result.not_scored) == 2
    assert set(result.scores) == {"eng_Latn", "rus_Cyrl"}
    notes = "\n".join(result.notes)
    assert "1 of 3 sentences of rus_Cyrl are longer than 40 tokens and were truncated" in notes
    assert (
        "label middling, 1 times in rus_Cyrl, does not occur in the training data of eng_Latn and counts as wrong"
        in notes
    )
    (broken / "sr_bible" / "deu_Latn.txt").write_text("nowhere\ttext\n")
    (few,) = evaluate(exported, broken, tmp_path / "out", ["sr_bible"], min_pairs=90)
    assert few.not_scored["deu_Latn"] == "no sentence has an id that English has" and len(few.not_scored) >= 2
    # A file that cannot be read leaves out its language, and a task without source data is left out; both are listed.
    russian.write_text("1\tno text\n")
    left = {}
    (one,) = evaluate(exported, broken, tmp_path / "y", ["sib200"], left_out=left, **FEW)
    assert re.search(r"rus_Cyrl/test\.tsv, line 1", one.not_scored["rus_Cyrl"]) and not left
    shutil.rmtree(broken / "pos" / "eng_Latn")
    (one,) = evaluate(exported, broken, tmp_path / "y", ["sr_bible", "pos"], left_out=left, **FEW)
    assert one.task == "sr_bible"
    assert "no train file to fine-tune on; --source could be deu_Latn hin_Deva rus_Cyrl" in left["pos"]
    # What cannot be run at all is said before anything is.
    with pytest.raises(ValueError, match=r"can be scored: rus_Cyrl: .*rus_Cyrl/test\.tsv, line 1"):
        evaluate(exported, broken, tmp_path / "x", ["sib200"], langs=["rus_Cyrl"], **FEW)
    with pytest.raises(FileNotFoundError, match="--source could be deu_Latn hin_Deva rus_Cyrl"):
        evaluate(exported, broken, tmp_path / "x", ["pos"], **FEW)
    with pytest.raises(FileNotFoundError, match="has no fin_Latn"):
        evaluate(exported, eval_data, tmp_path / "x", ["sr_bible"], langs=["fi"])
    with pytest.raises(ValueError, match="--tasks must be one or more of sr_bible,.* but is xnli"):
        evaluate(exported, eval_data, tmp_path / "x", ["sr_bible", "xnli"])
    assert not (tmp_path / "x" / "hf").exists()
    (other,) = evaluate(exported, broken, tmp_path / "out", ["pos"], source="deu_Latn", **FEW)
    assert other.source == "deu_Latn" and "rus_Cyrl" in other.scores


def test_a_checkpoint_is_as_good_as_a_folder(eval_data, trained, exported, tmp_path):
    (one,) = evaluate(exported, eval_data, tmp_path, ["sr_bible"], limit=60)
    (other,) = evaluate(trained, eval_data, tmp_path, ["sr_bible"], limit=60)
    assert one.scores == other.scores and other.model == "checkpoint_last.pt" and one.settings["limit"] == 60


def test_commands(eval_data, exported, tmp_path):
    assert "sib200 (SIB200)" in run("langsamp", "evaluate", "--list")
    command = ("langsamp", "evaluate", exported, "--data", eval_data, "--out", tmp_path / "out", "--limit", 30)
    output = run(*command, "--tasks", "sr_bible,pos", "--epochs", 1, "--seeds", "1,2", "--layers", "1,2")
    assert "SR-B, 6 languages" in output and "POS, 4 languages, 2 seeds" in output
    result = load_result(tmp_path / "out" / "hf" / "pos.json")
    assert (
        result.seeds == [1, 2]
        and result.provenance["versions"]["torch"]
        and "--epochs 1" in result.provenance["command"]
    )
    assert json.loads((tmp_path / "out" / "hf" / "sr_bible.json").read_text())["by_layer"].keys() == {"1", "2"}
    for name in ("one", "two"):
        run(*command, "--tasks", "sr_bible,pos", "--epochs", 1, "--seeds", "1,2", "--name", name)
    output = run("langsamp", "report", tmp_path / "out" / "one", tmp_path / "out" / "two", "--out", tmp_path / "report")
    assert "two - one +0.00 [+0.00, +0.00], p = 1.0000" in output and "best of its column" in output
    assert {path.name for path in (tmp_path / "report").iterdir() if path.name[0] != "."} == {
        "report.md", "summary.csv", "differences.csv", "families.csv", "languages.csv", "summary.tex", "sr_bible.png",
        "pos.png",
    }  # fmt: skip
    assert TASKS["pos"].title in (tmp_path / "report" / "report.md").read_text()
