"""Training from the YAML of examples/pretrain gives what the flags give."""

import torch
import yaml
from support import ROOT, run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint

SMALL = {
    "encoder_layers": 2, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 64, "encoder_attention_heads": 2,
}  # fmt: skip


def test_yaml_and_flags_give_the_same_weights(demo, tmp_path):
    run(
        "fairseq-hydra-train", "--config-dir", ROOT / "examples" / "pretrain", "--config-name", "langsamp_base",
        f"common.user_dir={ROOT / 'langsamp_plugin'}", f"task.data={demo / 'data-bin'}",
        *(f"+model.{name}={value}" for name, value in SMALL.items()), "common.cpu=true", "common.fp16=false",
        "common.seed=3",
        "task.tokens_per_sample=32", "task.multilang_sampling=alpha", "task.multilang_sampling_alpha=1.0",
        "dataset.batch_size=16", "dataset.num_workers=0", "optimization.update_freq=[1]", "optimization.clip_norm=0.0",
        "optimization.lr=[0.002]", "lr_scheduler._name=fixed", "~lr_scheduler.total_num_update",
        "optimization.max_update=3",
        f"checkpoint.save_dir={tmp_path / 'yaml'}", f"hydra.run.dir={tmp_path / 'hydra'}",
    )  # fmt: skip
    run(*train_command(demo / "data-bin", tmp_path / "flags", 3))
    one, two = (load_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("yaml", "flags"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_yaml_has_the_papers_settings():
    config = yaml.safe_load((ROOT / "examples" / "pretrain" / "langsamp_base.yaml").read_text())
    assert config["dataset"]["batch_size"] * config["optimization"]["update_freq"][0] * 4 == 1024
    assert config["optimization"]["lr"] == [5e-5] and config["optimization"]["clip_norm"] == 1.0
    assert config["task"]["tokens_per_sample"] == 512 and config["task"]["multilang_sampling_alpha"] == 0.3
    assert config["common"] == {"user_dir": "???", "fp16": True, "seed": 42, "log_format": "json", "log_interval": 100}
