"""The example runs on Megatron-Core alone, and does what Megatron-LM's loop asks of it."""

import importlib.util
import sys
import types
from argparse import ArgumentParser, Namespace

import pytest
import torch
from support import ROOT, run

pytest.importorskip("megatron.core", reason="needs the extra megatron")

from megatron_ranks import run_program

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.megatron.cpu import on_cpu
from langsamp_plugin.megatron.import_model import import_to_megatron
from langsamp_plugin.megatron.parallel import alone
from langsamp_plugin.megatron.sizes import transformer_config

PROGRAM = ROOT / "examples" / "megatron" / "pretrain_langsamp.py"


@pytest.fixture(scope="module")
def start(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("start") / "start"
    import_to_megatron(trained, out)
    return out


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("pretrain_langsamp", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_and_resumes_and_the_result_is_exported(demo, trained, start, tmp_path):
    command = [
        PROGRAM, "--core-only", "--data", demo / "data-bin", "--load", start, "--save", tmp_path / "run",
        "--micro-batch", 4, "--global-batch", 8, "--seq-length", 32, "--lr", 1e-3, "--tag-dropout", 0.1,
        "--multilang-sampling-alpha", 0.3,
    ]  # fmt: skip
    first = run_program(*command, "--iterations", 2)
    assert "step 1: " in first and "step 2: " in first
    second = run_program(*command, "--iterations", 3)
    assert "2 steps, 16 samples" in second and "step 3: " in second and "step 1: " not in second
    text = run_program("langsamp", "megatron", "export", tmp_path / "run", "--out", tmp_path / "hf", "--verify")
    assert "block 2" in text and "token ids" in text and "DIFFERENT" not in text
    assert (tmp_path / "hf" / "languages.tsv").is_file() and load_checkpoint(trained)


@pytest.fixture
def megatron_lm(demo, start, monkeypatch):
    """Stand-ins for what the example uses of Megatron-LM, which is not a package: its flags and its configuration."""
    args = Namespace(
        langsamp_start=str(start), data_path=[str(demo / "data-bin")], seq_length=32, seed=3, mask_prob=0.15,
        multilang_sampling="alpha", multilang_sampling_alpha=1.0, multilang_sampling_scale=30.0, tag_dropout=0.0,
        make_vocab_size_divisible_by=128, tensor_model_parallel_size=1, num_layers=2, hidden_size=32,
        ffn_hidden_size=64, num_attention_heads=2, micro_batch_size=4,
    )  # fmt: skip
    training, arguments = types.ModuleType("megatron.training"), types.ModuleType("megatron.training.arguments")
    training.get_args = lambda: args

    def config_of(found):
        from langsamp_plugin.megatron.record import read_record

        sizes = read_record(start / "release").sizes
        return transformer_config(sizes, use_cpu_initialization=True, hidden_dropout=0.0, attention_dropout=0.0)

    arguments.core_transformer_config_from_args = config_of
    monkeypatch.setitem(sys.modules, "megatron.training", training)
    monkeypatch.setitem(sys.modules, "megatron.training.arguments", arguments)
    return args


def test_the_five_functions(example, megatron_lm, trained):
    train, valid, test = example.train_valid_test_datasets_provider([100, 20, 0])
    assert (len(train), len(valid), test) == (100, 20, None)
    loader = torch.utils.data.DataLoader(train, batch_size=4)
    with alone(), on_cpu():
        model = example.model_provider()
        assert model.padded_words % 128 == 0
        losses, loss_func = example.forward_step(iter(loader), model)
        total, count, log = loss_func(losses)
        total.backward()
        batch = next(iter(loader))
        assert count == (batch["labels"] >= 0).sum() > 0 and log["lm loss"].tolist() == [total.item(), count.item()]
        found = example.get_batch(iter(loader))
    assert all(torch.equal(found[name], batch[name]) for name in example.KEYS)
    assert model.lang_embedding.weight.grad.any() and model.embedding.word_embeddings.weight.grad.any()
    flags = example.extra_args_provider(ArgumentParser()).parse_args(["--langsamp-start", "x", "--tag-dropout", "0.5"])
    assert flags.tag_dropout == 0.5 and flags.multilang_sampling == "alpha"


def test_flags_of_another_model_are_refused(example, megatron_lm):
    megatron_lm.num_layers, megatron_lm.seq_length = 12, 1024
    with alone(), pytest.raises(ValueError, match=r"use --num-layers 2 --seq-length 512 or less"):
        example.model_provider()


def test_the_recipes_pass_flags_that_fit(tmp_path):
    """The script without a launcher prints what it would start; sizes are those of the published models."""
    from langsamp_plugin.megatron.sizes import XLMR_BASE, XLMR_LARGE, XLMR_XL

    for name, sizes in (("base", XLMR_BASE), ("large", XLMR_LARGE), ("xl", XLMR_XL)):
        text = run("env", "LAUNCH=echo", "TP=8", "bash", ROOT / "examples/megatron/train.sh", name, "d", "s", tmp_path)
        for flag, value in (
            ("--num-layers", sizes.layers), ("--hidden-size", sizes.width), ("--ffn-hidden-size", sizes.inner),
            ("--num-attention-heads", sizes.heads), ("--load", "s --finetune"), ("--tensor-model-parallel-size", 8),
        ):  # fmt: skip
            assert f"{flag} {value} " in text
        assert "--sequence-parallel" in text and "--no-bias-gelu-fusion" in text
    assert "usage: bash train.sh" in run("bash", ROOT / "examples/megatron/train.sh", expect=2)
