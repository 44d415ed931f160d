"""Measure whether a few pairs improve languages that a real encoder knows badly, and how they affect others.

    python scripts/parallel_encoder.py ENCODER ../shared/data runs/parallel_encoder      # some minutes on one CPU core

ENCODER is a Hugging Face folder of XLM-R's form with its sentencepiece.bpe.model. The five languages are those of the
UDHR with the lowest scores in SR-T (Tatoeba against English, multilingual-e5-small, 50 sentences of each). Their pairs
are from the UDHR and, for two of them, from Django's messages, without any sentence of SR-T. The ten others, which have
no pairs, are every seventh of the remaining files of SR-T in alphabetical order, beginning with the fourth. The
vocabulary is trimmed to these texts, which changes no split and makes updates cheap. Both models are measured alike:
the encoder after one update at learning rate 0, and after the training. If run again, the script resumes.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

from logged_command import call

from langsamp_plugin.corpus.pair_layouts import find_parallel
from langsamp_plugin.lang_script import LangScript

ROOT = Path(__file__).resolve().parent.parent
FIVE = ("bre", "cha", "gsw", "hsb", "lat")


def ten_others(tatoeba: Path) -> list[str]:
    """Return the languages that have no pairs."""
    names = {path.name.split(".")[1].removesuffix("-eng") for path in tatoeba.glob("tatoeba.*-eng.eng")}
    return sorted(names - set(FIVE))[3::7][:10]


def write_texts(shared: Path, out: Path) -> None:
    """Write the pairs with ids of both sources, text of each language, and everything that will be encoded."""
    tatoeba = shared / "eval" / "sr_tatoeba"
    others = ten_others(tatoeba)
    made = out / "texts.tmp"
    shutil.rmtree(made, ignore_errors=True)
    for name in ("pairs", "corpus", "all"):
        (made / name).mkdir(parents=True)
    aligned = {LangScript(code, "Latn") for code in FIVE} | {LangScript("eng", "Latn")}
    for source, prefix in ((str(shared / "udhr"), "udhr"), ("django", "django")):
        found = find_parallel(source)
        for tag in found.streams:
            if tag in aligned or (prefix == "udhr" and tag.language in others):
                messages = [message for message in found.messages(tag) if message.text]
                for folder in ("corpus", "all"):
                    _append(made / folder / f"{tag}.txt", [message.text for message in messages])
                if tag in aligned:
                    _append(made / "pairs" / f"{tag}.txt", [f"{prefix}:{row.id}\t{row.text}" for row in messages])
    for code in (*FIVE, *others):
        for side in (code, "eng"):
            lines = (tatoeba / f"tatoeba.{code}-eng.{side}").read_text(encoding="utf-8").splitlines()
            _append(made / "all" / f"{LangScript.from_spelling(side)}.txt", lines)
    made.rename(out / "texts")


def _append(path: Path, lines: list[str]) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def prepare(encoder: Path, shared: Path, out: Path) -> None:
    """Make texts, vocabulary, starting checkpoint and data folder."""
    log, texts, model = out / "log.txt", out / "texts", out / "trimmed.model"
    if not texts.is_dir():
        write_texts(shared, out)
    if not model.is_file():
        old = encoder / "sentencepiece.bpe.model"
        call(log, "langsamp", "tokenizer", "trim", old, texts / "all", "--out", model)
    if not (out / "pairs").is_dir():
        tests = shared / "eval" / "sr_tatoeba"
        call(
            log, "langsamp", "pairs", texts / "pairs", "--out", out / "pairs", "--layout", "ids", "--held-out", 0,
            "--exclude", tests,
        )  # fmt: skip
    if not (out / "start" / "model.pt").is_file():
        call(log, "langsamp", "init", encoder, "--spm", model, "--out", out / "start" / "model.pt")
    call(
        log, "langsamp", "binarize", texts / "corpus", "--spm", model, "--out", out / "data-bin", "--pairs",
        out / "pairs", "--valid-lines", 2,
    )  # fmt: skip


def train(out: Path, encoder: Path, name: str, updates: int) -> Path:
    """Train for some updates, or one at learning rate 0; return the checkpoint."""
    folder = out / "models" / name
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    schedule = ("--lr", "5e-5", "--lr-scheduler", "polynomial_decay", "--warmup-updates", updates // 8)
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        call(
            folder / "train.log", "fairseq-train", out / "data-bin", "--user-dir", ROOT / "langsamp_plugin", "--cpu",
            "--task", "langsamp_masked_lm", "--arch", "langsamp_roberta", "--criterion", "langsamp_masked_lm",
            "--encoder-layers", config["num_hidden_layers"], "--encoder-embed-dim", config["hidden_size"],
            "--encoder-ffn-embed-dim", config["intermediate_size"],
            "--encoder-attention-heads", config["num_attention_heads"],
            "--layer-norm-eps", config["layer_norm_eps"], "--finetune-from-model", out / "start" / "model.pt",
            "--tokens-per-sample", 64, "--batch-size", 2, "--num-workers", 0, "--seed", 1, "--optimizer", "adam",
            "--align-share", 1, "--align-pairs", 32, "--align-alpha", 0.3, "--align-pivot", "eng_Latn",
            "--align-temperature", 0.05, "--align-weight", 10, "--disable-validation", "--no-epoch-checkpoints",
            "--log-format", "simple", "--log-interval", 5, "--save-interval", 100000, "--save-interval-updates", 20,
            "--keep-interval-updates", 1, "--max-update", max(1, updates), "--save-dir", folder,
            *((*schedule, "--total-num-update", updates) if updates else ("--lr", 0, "--lr-scheduler", "fixed")),
        )  # fmt: skip
        (folder / "done").touch()
    return folder / "checkpoint_last.pt"


def main() -> None:
    """Train, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("shared", type=Path, help="folder with udhr/ and eval/sr_tatoeba/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--limit", type=int, default=200, help="sentences of each language of SR-T")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args.out.mkdir(parents=True, exist_ok=True)
    prepare(args.encoder, args.shared, args.out)
    tatoeba = args.shared / "eval" / "sr_tatoeba"
    groups = {"pairs": FIVE, "none": ten_others(tatoeba)}
    langs = ",".join(code for group in groups.values() for code in group)
    scores = {}
    for name, updates in (("before", 0), ("after", args.updates)):
        call(
            args.out / "log.txt", "langsamp", "evaluate", train(args.out, args.encoder, name, updates), "--tasks",
            "sr_tatoeba", "--data", tatoeba, "--out", args.out / "results", "--name", name, "--limit", args.limit,
            "--langs", langs,
        )  # fmt: skip
        result = json.loads((args.out / "results" / name / "sr_tatoeba.json").read_text(encoding="utf-8"))["scores"]
        scores[name] = {LangScript.parse(tag).language: row for tag, row in result.items()}
    print(
        "| language | pairs | top-1 before | after | top-10 before | after |\n| --- | --- | ---: | ---: | ---: | ---: |"
    )
    for group, codes in groups.items():
        for code in (*codes, "mean"):
            of = codes if code == "mean" else [code]
            cells = [
                sum(scores[name][one][metric][0] for one in of) / len(of)
                for metric in ("top1", "top10")
                for name in ("before", "after")
            ]
            print(f"| {code} | {group} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
