"""Write report.md, ablation.json and the pictures of an ablation from the results in its folder.

    python examples/ablation/report.py runs/ablation-small

A number is a mean over languages, then over the seeds of pretraining, ± the standard deviation over these. A difference
from vanilla is tested by resampling languages in pairs (the mean over seeds of each language), and shown per seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from outcome import Run, Scores, read_json
from tables import against, group_table, neutrality_table, paper_table, tag_table

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint


def draw_gains(run: Run, losses: Scores, path: Path) -> None:
    """Plot how much lower each language's loss is with both tables than with vanilla, over the size of its training
    text."""
    from matplotlib.figure import Figure

    with open(run.folder / "data-bin" / "stats.tsv", encoding="utf-8") as stream:
        tokens = {
            row["tag"]: int(row["tokens"]) for row in csv.DictReader(stream, delimiter="\t") if row["split"] == "train"
        }
    tags = [tag for tag in losses["both"][run.seeds[0]] if tag in tokens]
    gains = {
        tag: float(np.mean([losses["vanilla"][seed][tag] - losses["both"][seed][tag] for seed in run.seeds]))
        for tag in tags
    }
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for group, colour in (("tail", "#4477aa"), ("head", "#ee6677")):
        members = run.groups.members(group, tags)
        axes.scatter(
            [tokens[tag] for tag in members],
            [gains[tag] for tag in members],
            s=12,
            alpha=0.7,
            color=colour,
            lw=0,
            label=f"{group} ({len(members)})",
        )
    axes.axhline(0, color="0.3", lw=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("training tokens of the language")
    axes.set_ylabel("vanilla - both (bits per masked token)")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=150)


def conditions(run: Run) -> list[str]:
    """Describe the runs and their conditions, read from the checkpoints."""
    state = load_checkpoint(run.folder / "models" / f"both-{run.seeds[0]}" / "checkpoint_last.pt")
    config = state["cfg"]
    with open(run.folder / "data-bin" / "stats.tsv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    tokens = {split: sum(int(row["tokens"]) for row in rows if row["split"] == split) for split in ("train", "valid")}
    model, optimization = config["model"], config["optimization"]
    options = model if isinstance(model, dict) else vars(model)
    updates = state["optimizer_history"][-1]["num_updates"]
    batch = config["dataset"]["batch_size"]
    length = config["task"]["tokens_per_sample"]
    seconds = [state["extra_state"]["previous_training_time"]]
    for name in run.names:
        if name not in (f"both-{run.seeds[0]}", "untrained"):
            other = load_checkpoint(run.folder / "models" / name / "checkpoint_last.pt")
            seconds.append(other["extra_state"]["previous_training_time"])
    return [
        f"- Data: {len({row['tag'] for row in rows})} language-scripts, {tokens['train']:,} training tokens and "
        f"{tokens['valid']:,} held-out ones, "
        f"{len((run.folder / 'data-bin' / 'dict.txt').read_text(encoding='utf-8').rstrip().split(chr(10))) + 5:,} "
        "words.",
        f"- Model: {options['encoder_layers']} layers of width {options['encoder_embed_dim']}; "
        + (
            "from the published encoder that `--start` named."
            if "start/model.pt" in str(config["checkpoint"].get("finetune_from_model") or "")
            else "from random weights, the same ones for all four of a seed."
        ),
        f"- Training: {updates:,} updates of {batch} x {length} tokens "
        f"({updates * batch * length / tokens['train']:.2f} times the text's size), {config['optimizer']['_name']}, "
        f"lr {optimization['lr'][0]}, alpha {config['task']['multilang_sampling_alpha']}, seeds "
        f"{', '.join(map(str, run.seeds))}; {min(seconds) / 60:.1f} to {max(seconds) / 60:.1f} minutes per model.",
        f"- Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, torch "
        f"{version('torch')}, transformers {version('transformers')}.",
    ]


def verdict(losses: Scores) -> str:
    """Summarise the losses in a sentence."""
    tags = sorted(losses["both"][min(losses["both"])])
    return (
        f"Held-out loss with both tables minus vanilla's: **{against(losses, 'both', tags, 3)} bits** per masked token."
    )


def everything(run: Run, losses: Scores) -> dict[str, Any]:
    """Return the values from which the report's tables were made."""

    def of(folder: str, name: str = "") -> Any:
        paths = {model: run.folder / folder / (model + (name or ".json")) for model in run.names}
        return {model: read_json(path) for model, path in paths.items() if path.is_file()}

    neutrality = of("neutrality", "/neutrality.json")
    for found in neutrality.values():
        for side in ("model", "baseline"):
            (found.get(side) or {}).pop("pairs", None)
    retrieval = {task: run.results(task, "top10") for task in ("sr_bible", "sr_tatoeba")}
    return {
        "loss_bits": losses,
        "tag_swaps": {model: swaps["macro"] for model, swaps in of("tags").items()},
        "neutrality": neutrality,
        "frozen": of("frozen"),
        "top10": {task: scores for task, scores in retrieval.items() if scores},
    }


def frozen_sections(run: Run) -> list[str]:
    """Return a section per task and way of training a classifier on frozen features."""
    sections = []
    for task, title in (("sib200", "SIB-200"), ("taxi1500", "Taxi1500")):
        chances = run.each(
            lambda name, task=task: read_json(run.folder / "frozen" / f"{name}.json").get(task, {}).get("chance")
        )
        for way, what in (("zero_shot", "trained on English"), ("own", "trained on the language itself")):
            scores = run.frozen(task, way)
            if scores and len(next(iter(scores["both"].values()))) > 1:
                chance = f"{next(iter(chances['both'].values())):.1f}"
                sections += [
                    f"## {title} with frozen features, {what}: macro F1, %",
                    "",
                    *group_table(run, scores, 1, chance),
                    "",
                ]
    return sections


def task_sections(run: Run) -> list[str]:
    """Return a section per task of ``langsamp evaluate``."""
    sections = []
    for task, title in (("sr_bible", "SR-B"), ("sr_tatoeba", "SR-T")):
        scores = run.results(task, "top10")
        if scores:
            by_tag = next(iter(run.results(task, "chance10")["both"].values()))
            chance = f"{np.mean(list(by_tag.values())):.1f}"
            sections += [f"## {title}: top-10 accuracy, %", "", *group_table(run, scores, 1, chance), ""]
    return sections


def main() -> None:
    """Write the report and print its first table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the --out of run.sh")
    run = Run(parser.parse_args().run)
    logging.getLogger().setLevel(logging.WARNING)  # importing fairseq enables every logger
    losses = run.losses()
    draw_gains(run, losses, run.folder / "gains.png")
    swaps = tag_table(run)
    neutral, one = neutrality_table(run)
    loss_table = group_table(run, losses, 3)
    sections = [
        "# LangSAMP against vanilla", "", verdict(losses), "", *conditions(run), "",
        "Means over languages, then over seeds of pretraining, ± the standard deviation over these. In "
        "brackets the 95 % interval of the difference, languages resampled in pairs.", "",
        "## Held-out masked-LM loss, bits per masked token (lower is better)", "", *loss_table, "",
        "![gain per language](gains.png)", "",
        "## What a wrong tag costs", "",
        "The same held-out text under other tags than its own, in bits above the right tag's (first column), mean over "
        "languages.", "",
        *swaps, "",
        f"## Neutrality: {len(one['languages'])} languages, {one['sentences']} parallel sentences, block "
        f"{one['model']['layer']}", "",
        "Cosine alone also rises when a space collapses; a neutral model has a large margin, and a probe cannot "
        "identify the language.", "", *neutral, "",
        f"![change against vanilla](neutrality/both-{run.seeds[0]}/neutrality.png)", "",
    ]  # fmt: skip
    sections += frozen_sections(run) + task_sections(run)
    sections += [
        "If a trained model retrieves worse than the untrained one, retrieval does not count as evidence: "
        "untrained vectors are bags of random word vectors, and match the words that languages share.", "",
        "## The paper, XLM-R base on Glot500-c", "", *paper_table(), "",
        f"![language embeddings of both, seed {run.seeds[0]}](embeddings/language_pca_script.png)", "",
    ]  # fmt: skip
    with atomic_write(run.folder / "report.md") as stream:
        stream.write("\n".join(sections))
    with atomic_write(run.folder / "ablation.json") as stream:
        text = json.dumps(everything(run, losses))
        json.dump(json.loads(text, parse_float=lambda number: round(float(number), 4)), stream)
    print("\n".join([*loss_table, "", verdict(losses), f"{run.folder / 'report.md'}"]))


if __name__ == "__main__":
    main()
