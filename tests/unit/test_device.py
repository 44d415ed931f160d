"""Where and in what precision models run, by what torch says of the machine."""

import pytest
import torch

from langsamp_plugin import doctor
from langsamp_plugin.evaluation.device import Compute


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that emulates bfloat16, as RTX 6000, T4 and V100 do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)


def test_bfloat16_is_not_emulated(gpu, monkeypatch):
    assert Compute().where().type == "cuda" and Compute().finetuning_precision() == "float16"
    assert Compute("cpu").finetuning_precision() == "float32"
    assert Compute(precision="bfloat16").finetuning_precision() == "bfloat16", "the flag is the user's"
    assert Compute().finetuning_precision("float32") == "float32", "the published protocol"
    assert Compute().feature_precision() == "float32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert Compute().finetuning_precision() == "bfloat16"


def test_doctor_says_so_too(gpu, monkeypatch):
    class Card:
        name, total_memory = "Quadro RTX 6000", 24 * 2**30

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Card)
    lines = [result.text for result in doctor._torch(torch)]
    assert any("Quadro RTX 6000, 24 GiB, fp16, no bf16" in line for line in lines)


def test_devices_of_one_kind_share_results(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Compute("cuda:0").key("float32") == Compute("cuda:1").key("float32") != Compute("cpu").key("float32")
    with pytest.raises(ValueError, match="--device is 'cuda:2', but this machine has 2 GPUs"):
        Compute("cuda:2").where()
