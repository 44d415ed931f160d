"""The examples run as their READMEs say, on small data."""

import json
import sys
import tarfile

from support import ROOT, run

from langsamp_plugin.convert.export import export


def test_finetune_with_the_stock_trainer(trained, shared, tmp_path):
    export(trained, tmp_path / "hf")
    with tarfile.open(shared / "data" / "eval" / "sib200" / "sib200.tar.xz") as archive:
        wanted = [member for member in archive if member.name.split("/")[1:2] in (["eng_Latn"], ["deu_Latn"])]
        archive.extractall(tmp_path, wanted, filter="data")
    output = run(
        sys.executable, ROOT / "examples" / "finetune_hf" / "finetune.py", tmp_path / "hf", "--data",
        tmp_path / "sib200",
        "--epochs", 2, "--lr", "1e-3", "--langs", "eng_Latn,deu_Latn", "--out", tmp_path / "out",
    )  # fmt: skip
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["f1"]
    assert set(scores) == {"eng_Latn", "deu_Latn"} and all(0 < score < 100 for score in scores.values())
    assert "eng_Latn" in output and "langsamp_plugin" not in (ROOT / "examples/finetune_hf/finetune.py").read_text()


def test_extend_xlmr(demo, exported, tmp_path):
    (tmp_path / "corpus").mkdir()
    for tag in ("deu_Latn", "hin_Deva"):
        text = (demo / "corpus" / "train" / f"{tag}.txt").read_bytes()
        (tmp_path / "corpus" / f"{tag}.txt").write_bytes(text)
    script = ROOT / "examples" / "extend_xlmr" / "extend.sh"
    output = run("bash", script, exported, tmp_path / "corpus", tmp_path / "out", 600, warm_script=True)
    assert "new pieces" in output and "logits of old pieces" in output and "next: train from" in output
    assert "every index and buffer is whole" in run("langsamp", "info", tmp_path / "out" / "data-bin")
    assert "bash extend.sh XLM-R-FOLDER CORPUS OUT" in run("bash", script, expect=2)
