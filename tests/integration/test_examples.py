"""The examples run as their READMEs say, on small data."""

import json
import os
import shutil

from support import ROOT, run


def test_finetune_with_the_stock_trainer(exported, eval_data, tmp_path):
    """A folder without test data and a label that was not trained end nothing; only the best weights are written."""
    script, data, out = ROOT / "examples" / "finetune_hf" / "finetune.py", tmp_path / "data", tmp_path / "out"
    shutil.copytree(eval_data / "sib200", data)
    (data / "hin_Deva" / "test.tsv").unlink()
    with open(data / "rus_Cyrl" / "test.tsv", "a", encoding="utf-8") as stream:
        stream.write('900\tmiddling\t"Слово ""нет""."\n')
    command = ["python", script, exported, "--data", data, "--epochs", 2, "--lr", "3e-3", "--batch-size", 32]
    output = run(*command, "--out", out)
    scores = json.loads((out / "scores.json").read_text())["f1"]
    assert set(scores) == {"eng_Latn", "deu_Latn", "rus_Cyrl"} and all(0 < score < 100 for score in scores.values())
    assert f"hin_Deva is left out: {data}/hin_Deva/test.tsv is missing" in output and "eng_Latn" in output
    assert [path.name for path in out.rglob("*.safetensors")] == ["model.safetensors"]
    assert not list(out.rglob("optimizer*"))
    assert "langsamp_plugin" not in script.read_text()
    # What cannot be read is said before anything is trained.
    (data / "deu_Latn" / "test.tsv").write_text("index_id\ttext\n1\tWort\n")
    output = run(*command, "--out", tmp_path / "none", expect=1)
    assert "deu_Latn/test.tsv must have rows with the columns index_id, category and text" in output
    assert not (tmp_path / "none").exists()


def test_measurements_are_made_anew_where_what_they_depend_on_changed(tmp_path, monkeypatch):
    """The ablation's results are kept with their settings: another limit, model or data, and they are not taken."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "ablation")
    from measure import content_digest, file_state, unless_there

    made = []
    (tmp_path / "model").write_text("weights")
    results = tmp_path / "results" / "one.json"
    results.parent.mkdir()

    def measure(limit):
        settings = {"checkpoint": file_state(tmp_path / "model"), "limit": limit}
        unless_there(results, "one", settings, lambda: made.append(limit) or {"score": limit})
        return json.loads(results.read_text())["score"]

    assert [measure(0), measure(0), measure(200), measure(200), measure(0)] == [0, 0, 200, 200, 0]
    assert made == [0, 200, 0]
    (tmp_path / "model").write_text("other weights")
    measure(0), measure(0)
    assert made == [0, 200, 0, 0]
    (results.parent / ".one.json.made").unlink()  # a measurement of an unknown origin
    measure(0)
    assert len(made) == 5
    before = file_state(tmp_path)
    (tmp_path / "more").write_text("x")
    assert file_state(tmp_path) != before
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))  # with other times
    os.utime(tmp_path.with_name("copy") / "more", (1, 1))
    assert content_digest(tmp_path.with_name("copy")) == content_digest(tmp_path)
    (tmp_path.with_name("copy") / "more").write_text("y")
    assert content_digest(tmp_path.with_name("copy")) != content_digest(tmp_path)


def test_extend_xlmr(demo, exported, tmp_path):
    (tmp_path / "corpus").mkdir()
    for tag in ("deu_Latn", "hin_Deva"):
        text = (demo / "corpus" / "train" / f"{tag}.txt").read_bytes()
        (tmp_path / "corpus" / f"{tag}.txt").write_bytes(text)
    script = ROOT / "examples" / "extend_xlmr" / "extend.sh"
    output = run("bash", script, exported, tmp_path / "corpus", tmp_path / "out", 600, warm_script=True)
    assert "new pieces" in output and "logits of old pieces" in output and "next: train from" in output
    assert "every index and buffer is complete" in run("langsamp", "info", tmp_path / "out" / "data-bin")
    assert "bash extend.sh XLM-R-FOLDER CORPUS OUT" in run("bash", script, expect=2)
