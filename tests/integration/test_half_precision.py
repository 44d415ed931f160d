"""fp16 on the CPU, by --memory-efficient-fp16: the path with loss scaling, overflows and their end."""

import pytest
import torch
from fairseq import options
from support import run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint

HALF = ("--fp16", "--memory-efficient-fp16")
# fairseq makes a tensor on the GPU after an overflow, even if it trains on a CPU.
ON_CPU = (
    "import torch, sys; torch.Tensor.cuda = lambda self, *_, **__: self; from fairseq_cli.train import cli_main; "
    "cli_main()"
)


def train(*arguments, before="", **kwargs):
    command = train_command(*arguments)
    return run("python", "-c", before + ON_CPU, *command[1:], **kwargs)


def losses(output):
    return [float(part.split(",")[0]) for part in output.split(" loss=")[1:]]


def test_a_run_that_overflows_recovers(demo, tmp_path):
    """At a scale that is far too high the first updates are left out, and then it trains."""
    output = train(demo / "data-bin", tmp_path, 20, *HALF, "--fp16-init-scale", 2**24)
    assert output.count("gradient overflow detected") >= 2
    state = load_checkpoint(tmp_path / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 20 and losses(output)[-1] < losses(output)[0] - 0.5
    assert all(torch.isfinite(weight).all() for weight in state["model"].values() if weight.is_floating_point())
    table = state["model"]["encoder.lang_embedding.weight"]  # fairseq stores it as float32
    assert torch.equal(table.half().float(), table), "it was trained in fp16"
    # It resumes from there, with the scale that it had found.
    output = train(demo / "data-bin", tmp_path, 24, *HALF, "--fp16-init-scale", 2**24)
    assert "Loaded checkpoint" in output and "gradient overflow detected" not in output


def test_the_smallest_loss_scale_is_explained(demo, tmp_path):
    output = train(
        demo / "data-bin", tmp_path, 20, *HALF, "--fp16-init-scale", 2**26, "--min-loss-scale", 2**25, expect=1
    )
    last = output.strip().splitlines()[-1]
    assert "update 1 overflows fp16 at the smallest loss scale" in last
    assert "a lower --lr (it is 0.002), or a longer --warmup-updates, or --clip-norm 1.0 (it is off), or --bf16" in last


def test_not_a_number(demo, tmp_path):
    """Nothing of a bad update reaches the checkpoint, and a checkpoint that has one is told from an exploding loss."""
    data = demo / "data-bin"
    run(*train_command(data, tmp_path, 3))
    path = tmp_path / "checkpoint_last.pt"
    good = path.read_bytes()
    output = run(*train_command(data, tmp_path, 30, "--lr", "1e18"), expect=1)
    last = output.strip().splitlines()[-1]
    assert "are infinite or not a number" in last and path.read_bytes() == good
    state = load_checkpoint(path)
    state["model"]["encoder.lm_head.bias"][7] = float("nan")
    torch.save(state, tmp_path / "beside")  # what was loaded is mapped from the file
    (tmp_path / "beside").rename(path)
    output = run(*train_command(data, tmp_path, 30), expect=1)
    assert "update 4 are infinite or not a number, because weights are not finite (encoder.lm_head.bias" in output


@pytest.mark.parametrize("name", ["lang_embedding", "script_embedding"])
def test_the_tables_learn_in_half_precision_what_they_learn_in_full(demo, tmp_path, name):
    plain = ("--dropout", 0, "--attention-dropout", 0)
    for folder, more in (("half", HALF), ("full", ())):
        if not (tmp_path.parent / folder / "checkpoint_last.pt").is_file():
            train(demo / "data-bin", tmp_path.parent / folder, 12, *plain, *more)
    half, full = (load_checkpoint(tmp_path.parent / part / "checkpoint_last.pt")["model"] for part in ("half", "full"))
    key = f"encoder.{name}.weight"
    assert torch.nn.functional.cosine_similarity(half[key].float().flatten(), full[key].flatten(), dim=0) > 0.999


MASTERS = ("--fp16", "--fp16-no-flatten-grads", "--optimizer", "fused_adamw", "--fp16-scale-window", 3)
FLAT = ("--fp16", "--optimizer", "fused_adamw", "--fp16-scale-window", 3)
# Master weights in one tensor are made on the current GPU.
FLAT_ON_CPU = "import torch; torch.cuda.current_device = lambda: None\n"
STOCK = "import langsamp_plugin.training.master_weights as m; m.masters = lambda optimizer: iter(())\n"


def differing(one, other, name=""):
    """Names of the tensors and numbers that two states do not share."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [name]
    if isinstance(one, dict):
        assert one.keys() == other.keys(), name
        return [part for key in one for part in differing(one[key], other[key], f"{name}.{key}")]
    return [] if one == other else [name]


def states(*folders):
    found = [load_checkpoint(folder / "checkpoint_last.pt") for folder in folders]
    return [{part: state[part] for part in ("model", "last_optimizer_state")} for state in found]


@pytest.mark.parametrize(
    ("flags", "before"),
    [
        (MASTERS, ""),
        (FLAT, FLAT_ON_CPU),
        ((*HALF, "--fp16-scale-window", 3), ""),
    ],
    ids=["masters", "flat masters", "memory efficient"],
)
def test_a_run_in_half_precision_resumes_where_it_was(demo, tmp_path, flags, before):
    """12 updates against 5 and 7: weights, moments, and the scale, which grows every third update and overflows
    once."""
    flags = (*flags, "--fp16-init-scale", 2**20)
    train(demo / "data-bin", tmp_path / "whole", 12, *flags, before=before)
    train(demo / "data-bin", tmp_path / "parts", 5, *flags, before=before)
    output = train(demo / "data-bin", tmp_path / "parts", 12, *flags, before=before)
    assert "Loaded checkpoint" in output
    whole, parts = states(tmp_path / "whole", tmp_path / "parts")
    assert differing(whole, parts) == []
    if before or flags[0:2] == MASTERS[:2]:
        table = whole["model"]["encoder.lang_embedding.weight"]
        assert not torch.equal(table.half().float(), table), "the weights that the optimizer works on"


def test_without_master_weights_a_resumed_run_ends_elsewhere(demo, tmp_path):
    """The control: fairseq's own checkpoints."""
    train(demo / "data-bin", tmp_path / "whole", 12, *MASTERS, before=STOCK)
    for updates in (5, 12):
        train(demo / "data-bin", tmp_path / "parts", updates, *MASTERS, before=STOCK)
    whole, parts = states(tmp_path / "whole", tmp_path / "parts")
    assert len(differing(whole["model"], parts["model"])) > 20
    table = whole["model"]["encoder.lang_embedding.weight"]
    assert torch.equal(table.half().float(), table)


def test_a_run_changes_its_precision(demo, tmp_path):
    """From float32 to masters in one tensor, to one for each weight, to float32: each resumes with weights and
    moments."""
    plain = ("--optimizer", "fused_adamw")
    for updates, flags, before in ((4, plain, ""), (6, FLAT, FLAT_ON_CPU), (8, MASTERS, ""), (10, plain, "")):
        before_it = states(tmp_path)[0] if updates > 4 else None
        output = train(demo / "data-bin", tmp_path, updates, *flags, "--lr", "1e-9", before=before)
        assert ("trained in another precision" in output) == (updates in (6, 10))
        if before_it:
            # At this learning rate nothing moves: what a precision does not keep would show.
            after = states(tmp_path)[0]
            for name, weight in before_it["model"].items():
                assert torch.allclose(after["model"][name], weight, rtol=0, atol=1e-7), (updates, name)
    steps = {int(values["step"]) for values in states(tmp_path)[0]["last_optimizer_state"]["state"].values()}
    assert steps == {10}
    output = train(demo / "data-bin", tmp_path, 12, *HALF, expect=1)
    assert "the checkpoint's optimizer is FairseqAdam, but this run's is MemoryEfficientFP16Optimizer" in output
    assert "--reset-optimizer" in output.strip().splitlines()[-1]


def test_bfloat16_needs_no_tpu(demo, tmp_path):
    """It trains in bf16 where no TPU is, and resumes bit for bit: 12 updates against 5 and 7."""
    command = [*map(str, train_command(demo / "data-bin", tmp_path, 12, "--bf16"))][1:]
    parse = options.parse_args_and_arch
    assert not parse(options.get_training_parser(), input_args=command).tpu
    assert parse.__wrapped__(options.get_training_parser(), input_args=command).tpu, "the control: fairseq itself"
    for folder, updates in (("whole", 12), ("parts", 5), ("parts", 12)):
        run(*train_command(demo / "data-bin", tmp_path / folder, updates, "--bf16"))
    whole, parts = states(tmp_path / "whole", tmp_path / "parts")
    assert differing(whole, parts) == []
    run(*train_command(demo / "data-bin", tmp_path / "fp32", 12))
    full = states(tmp_path / "fp32")[0]
    name = "encoder.lang_embedding.weight"
    assert 0 < (whole["model"][name] - full["model"][name]).abs().max() < 0.1, "close to fp32, and not the same"


@pytest.mark.parametrize("flags", [MASTERS, HALF, ("--bf16",)], ids=["masters", "memory efficient", "bf16"])
def test_frozen_weights_are_saved_as_they_were_loaded(demo, tmp_path, flags):
    """They have no master, so a checkpoint had them rounded: an encoder that stays as it is, and a head on it."""
    start = tmp_path / "start" / "checkpoint_last.pt"
    train(demo / "data-bin", start.parent, 2)
    frozen = ("--freeze-encoder", "--finetune-from-model", start, *flags)
    for updates in (2, 4):
        output = train(demo / "data-bin", tmp_path / "head", updates, *frozen)
    assert "Loaded checkpoint" in output and "checkpoint_last.pt (epoch 1 @ 2 updates)" in output, "it resumed"
    before, after = (load_checkpoint(path)["model"] for path in (start, tmp_path / "head" / "checkpoint_last.pt"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any("sentence_encoder" in name or name.endswith("lm_head.weight") for name in changed)
    weight = before["encoder.sentence_encoder.embed_tokens.weight"]
    assert not torch.equal(weight.bfloat16().float(), weight), "rounding would show"
