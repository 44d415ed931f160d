"""Stands in the way of a command in a README and runs it with its sizes turned down: ``small_scale.py NAME
ARGUMENT...``.

What is appended replaces what a README says; what needs a GPU is left out. Everything else is run as it stands.
"""

import os
import sys
from pathlib import Path

from warm_commands import SOCKET, ask, can_run
from warm_scripts import for_scripts

BIN = Path(sys.executable).parent
SIZES = "--encoder-layers 2 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64 --encoder-attention-heads 2"
TRAINING = f"--cpu {SIZES} --tokens-per-sample 32 --batch-size 4 --update-freq 1 --max-update 2 --num-workers 0"
APPENDED = {
    "fairseq-train": TRAINING,
    "fairseq-hydra-train": "common.cpu=true common.fp16=false task.tokens_per_sample=32 "
    "dataset.batch_size=4 dataset.num_workers=0 "
    "optimization.update_freq=[1] optimization.max_update=2 +model.encoder_layers=2 +model.encoder_embed_dim=32 "
    "+model.encoder_ffn_embed_dim=64 +model.encoder_attention_heads=2",
    "langsamp evaluate": "--limit 24 --seeds 42 --epochs 1",
    "langsamp analyze sources": "--candidates eng_Latn,rus_Cyrl,hin_Deva --seeds 42 --epochs 1 --limit 24",
    "langsamp tokenizer extend": "--vocab-size 600",
    "langsamp tokenizer train": "--vocab-size 600",
    "python finetune.py": "--epochs 1",
    "python pretrain.py": "--tokens-per-sample 32 --batch-size 4 --max-update 2 --use_cpu --report_to none",
    "python train.py": "--words 2002 --shapes 2x16 --updates 1 --sides langsamp",
    "python passes.py": "--precisions fp32 --ways plain,blocks",
    "python head.py": "--words 2000 --width 16 --tokens 16 --ways blocks --megabytes 16",
    "python pretrain_langsamp.py": "--iterations 2 --seq-length 32",
    "run.sh": "--updates 6",
}
GPU_ONLY = {"--fp16", "--bf16"}


def main():
    name, *arguments = sys.argv[1:]
    if name == "bash" and arguments and Path(arguments[0]).name == "run.sh":
        environment = for_scripts() if SOCKET in os.environ else dict(os.environ)
        os.execve("/bin/bash", ["bash", *arguments, *APPENDED["run.sh"].split()], environment)
    if name == "bash":
        os.execv("/bin/bash", ["bash", *arguments])
    kept = [argument for argument in arguments if argument not in GPU_ONLY]
    script = Path(arguments[0]).name if arguments else ""
    keys = (name, f"{name} {' '.join(arguments[:1])}", f"{name} {' '.join(arguments[:2])}", f"{name} {script}")
    more = next((APPENDED[key] for key in keys if key in APPENDED), "")
    if "--list" in kept or "--help" in kept:
        more = ""
    if SOCKET in os.environ and can_run([name, *kept]):
        sys.exit(ask([name, *kept, *more.split()], os.getcwd(), dict(os.environ), [0, 1, 2]))
    os.execv(BIN / name, [str(BIN / name), *kept, *more.split()])


if __name__ == "__main__":
    main()
