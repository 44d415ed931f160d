"""Checkpoints as fairseq 0.12.2 writes them, with second names of the weights of each block."""

import re
import shutil

import fairseq
import pytest
import torch
from safetensors.torch import load_file
from small_step import build
from support import run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.convert.export import export
from langsamp_plugin.convert.verification import verify_folder
from langsamp_plugin.errors import VerificationError
from langsamp_plugin.info import describe
from langsamp_plugin.modules.second_names import second_names
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

BODY = "encoder.sentence_encoder."


@pytest.fixture(scope="module")
def official(trained, tmp_path_factory):
    """A checkpoint with the copies, zero as after a training from scratch."""
    state = torch.load(trained, weights_only=True)
    weights = state["model"]
    for layer in (f"{BODY}layers.{number}." for number in range(2)):
        for part, rows in (("in_proj", 96), ("out_proj", 32), ("fc1", 64), ("fc2", 32)):
            width = 64 if part == "fc2" else 32
            weights[f"{layer}{part}_weight"], weights[f"{layer}{part}_bias"] = (
                torch.zeros(rows, width),
                torch.zeros(rows),
            )
    path = tmp_path_factory.mktemp("official") / "checkpoint.pt"
    torch.save(state, path)
    return path


def test_copies_are_dropped(trained, official, tmp_path):
    weights = torch.load(official, weights_only=True)["model"]
    assert len(second_names(weights)) == 16
    assert load_checkpoint(official)["model"].keys() == load_checkpoint(trained)["model"].keys()
    export(official, tmp_path / "one", verify=True)
    export(trained, tmp_path / "other")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "other"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_copies_alone_are_no_weights():
    """Where the real ones are missing nothing is dropped, so that the error names what is there."""
    assert second_names([f"{BODY}layers.0.fc1_weight", f"{BODY}layers.0.fc1.weight"]) == []


def test_info_does_not_count_them(trained, official):
    one, other = (re.search(r"([\d,]+) parameters", next(iter(describe(path))))[1] for path in (trained, official))
    assert one == other


def test_copies_are_not_trained(monkeypatch):
    """They get no gradient: several GPUs would wait for it, and the optimizer would keep a state for nothing."""
    layer = fairseq.modules.transformer_layer.TransformerEncoderLayerBase
    plain = layer.__init__

    def with_copies(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        for name in ("out_proj", "fc1", "fc2"):
            real = self.self_attn.out_proj if name == "out_proj" else getattr(self, name)
            for part in ("weight", "bias"):
                setattr(self, f"{name}_{part}", torch.nn.Parameter(torch.zeros_like(getattr(real, part))))

    monkeypatch.setattr(layer, "__init__", with_copies)
    weights = dict(build().named_parameters())
    copies = second_names(weights)
    assert len(copies) >= 12 and {name for name, weight in weights.items() if not weight.requires_grad} == {*copies}


@pytest.mark.parametrize("flag", ["--finetune-from-model", "--restore-file"])
def test_training_starts_from_it(demo, official, tmp_path, flag):
    more = ["--reset-optimizer", "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler"]
    log = run(
        *train_command(demo / "data-bin", tmp_path / "save", 22, flag, official, *more * (flag == "--restore-file"))
    )
    assert "num_updates 22" in log


def test_stock_roberta_base_exports(demo, tmp_path):
    """What fairseq-train makes without this plugin, under fairseq 0.12.2 with the second names of its weights."""
    data = tmp_path / "data"
    shutil.copytree(demo / "data-bin" / "deu_Latn", data)
    shutil.copy(demo / "data-bin" / "dict.txt", data)
    command = [
        *train_command(data, tmp_path / "save", 3, arch="roberta_base", task="masked_lm"), "--max-positions", 64,
        "--sample-break-mode", "none", "--data-buffer-size", 0,  # see langsamp_plugin/data/prefetching.py
    ]  # fmt: skip
    place = command.index("--user-dir")
    del command[place : place + 2]
    run(*command, timeout=300)  # the installed command, in a process that has not met this package
    checkpoint = tmp_path / "save" / "checkpoint_last.pt"
    weights = torch.load(checkpoint, weights_only=True)["model"]
    if fairseq.__version__ == "0.12.2":
        assert len(second_names(weights)) == 16
    found = export(checkpoint, tmp_path / "hf", spm=demo / "spm.model", verify=True).verification
    assert max(row.difference for row in found.rows) < 1e-5
    # Control: the verification sees one weight that is not the checkpoint's.
    state = torch.load(checkpoint, weights_only=True)
    state["model"][f"{BODY}layers.1.fc1.bias"][0] += 1
    torch.save(state, checkpoint)
    found = verify_folder(load_roberta(checkpoint), Tokenizer(demo / "spm.model"), tmp_path / "hf")
    with pytest.raises(VerificationError):
        found.check()
