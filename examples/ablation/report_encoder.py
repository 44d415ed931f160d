"""Write report.md, study.json and pictures of the study of an encoder from a folder, complete or not.

python examples/ablation/report_encoder.py runs/ablation-encoder
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from languages import KNOWN
from outcome import Run
from study import ARMS, METRICS, RETRIEVAL, UNTOUCHED, Study, neutrality
from tables import paper_table, tag_table
from tables_encoder import (
    TITLES,
    difference_table,
    direction,
    finetuned_table,
    layer_tables,
    length_table,
    neutrality_table,
    score_table,
    test_table,
    transfer_table,
)

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint

COLOURS = ("#4477aa", "#66ccee", "#228833", "#ee6677", "#ccbb44", "#aa3377", "#bbbbbb")


def draw_layers(study: Study, length: int, path: Path) -> None:
    """Draw both retrieval tasks over the blocks, arms as lines, the unchanged encoder dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for place, (name, (task, metric)) in enumerate(RETRIEVAL.items()):
        axes = figure.add_subplot(1, 2, place + 1)
        for run, models, style in ((study.runs[length], ARMS, "-"), (study.encoder, (UNTOUCHED,), "--")):
            layers = run.layers(task, metric)
            for number, model in enumerate(models):
                points = [
                    (layer, sum(means) / len(means))
                    for layer, scores in sorted(layers.items())
                    if (means := study.mean(scores, model))
                ]
                if points:
                    colour = "black" if model == UNTOUCHED else COLOURS[number]
                    axes.plot(*zip(*points), style, color=colour, lw=1.3, label=TITLES[model])
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("block")
        axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=7)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=150)


def draw_gains(study: Study, length: int, path: Path) -> None:
    """Plot ``both - vanilla`` of each language over how well the unchanged encoder knew it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for place, metric in enumerate(METRICS[:3]):
        axes = figure.add_subplot(1, 3, place + 1)
        scores = study.scores(metric, length)
        for group, colour in (("tail", COLOURS[0]), ("head", COLOURS[3])):
            points = []
            for seed in study.seeds(scores, "both", "vanilla"):
                one, other = scores["vanilla"][seed], scores["both"][seed]
                tags = study.members(group, sorted(one.keys() & other.keys() & study.known.keys()))
                points += [(study.known[tag], other[tag] - one[tag]) for tag in tags]
            if points:
                axes.scatter(*zip(*points), s=9, alpha=0.6, color=colour, lw=0, label=group)
        axes.axhline(0, color="0.3", lw=0.8)
        axes.axvline(KNOWN, color="0.6", lw=0.8, ls=":")
        axes.set_title(metric.name, fontsize=10)
        axes.set_xlabel("what the encoder knew")
    axes.legend(frameon=False, fontsize=8)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=150)


def conditions(study: Study) -> list[str]:
    """Describe the runs and their conditions, read from a checkpoint."""
    run = study.runs[max(study.runs)]
    state = load_checkpoint(run.folder / "models" / run.names[0] / "checkpoint_last.pt")
    config = state["cfg"]
    options = config["model"] if isinstance(config["model"], dict) else vars(config["model"])
    batch = config["dataset"]["batch_size"] * config["optimization"]["update_freq"][0]
    log = (run.folder / "models" / run.names[0] / "train.log").read_text(encoding="utf-8", errors="replace")
    precision = "bf16" if config["common"]["bf16"] else "fp32"
    minutes = sum(map(float, re.findall(r"done training in ([0-9.]+) seconds", log))) / 60
    words = len(state["model"]["encoder.sentence_encoder.embed_tokens.weight"])
    heads = sum(language["group"] == "head" for language in study.languages)
    scripts = {language["tag"].partition("_")[2] for language in study.languages}
    badly = sum(value < KNOWN for value in study.known.values())
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return [
        f"- Languages: {len(study.languages)} language-scripts in {len(scripts)} scripts, {heads} head and "
        f"{len(study.languages) - heads} tail; the unchanged encoder knew {badly} badly and "
        f"{len(study.known) - badly} well.",
        f"- Model: {options['encoder_layers']} layers of width {options['encoder_embed_dim']}, "
        f"{words:,} words; from the encoder of `--start`.",
        f"- Training: {', '.join(map(str, study.runs))} updates of {batch} x {config['task']['tokens_per_sample']} "
        f"tokens in {precision}, lr {config['optimization']['lr'][0]}; {minutes:.1f} minutes for {run.names[0]} "
        f"of {max(study.runs)} updates.",
        f"- Machine: {gpu}{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, torch "
        f"{version('torch')}, transformers {version('transformers')}.",
    ]


def length_sections(study: Study, length: int) -> list[str]:
    """Return the tables of one length."""
    run: Run = study.runs[length]
    lines = [f"## {length} updates", "", *score_table(study, length), ""]
    for metric in METRICS:
        table = difference_table(study, metric, length, "vanilla")
        if table:
            lines += [f"### {metric.name}: differences from vanilla at {length} updates", "", *table]
    for name in RETRIEVAL:
        table = layer_tables(study, name, length)
        if table:
            lines += [f"### {name} at each block, {length} updates", "", *table, ""]
    draw_layers(study, length, study.folder / f"layers-{length}.png")
    lines += [f"![retrieval over blocks](layers-{length}.png)", ""]
    for what, table in (
        ("Neutrality", neutrality_table(study, run)),
        ("SIB200 from the nearest source", transfer_table(study, run)),
        ("Fine-tuned", finetuned_table(study, run)),
    ):
        if table:
            lines += [f"### {what} at {length} updates", "", *table, ""]
    if any((run.folder / "tags" / f"{name}.json").is_file() for name in run.names):
        lines += [f"### What a wrong tag costs at {length} updates, bits", "", *tag_table(run, ARMS, TITLES), ""]
    return lines


def against_encoder(study: Study) -> list[str]:
    """Return the differences from the unchanged encoder at the longest length."""
    lines = []
    for metric in METRICS:
        table = difference_table(study, metric, max(study.runs), UNTOUCHED)
        if table:
            lines += [f"### {metric.name}", "", *table]
    return lines


def report(study: Study) -> list[str]:
    """Return the lines of report.md."""
    longest, missing, best = max(study.runs), study.missing(), study.best()
    draw_gains(study, longest, study.folder / "gains.png")
    lines = ["# What LangSAMP does to a real encoder", ""]
    if missing:
        lines += [f"**Incomplete**: {len(missing)} training runs or measurements are missing, see the end.", ""]
    lines += [*conditions(study), "", "Rules that were fixed before any result: `encoder.md`, next to the scripts.", ""]
    lines += [
        "A number is a mean over languages, then over seeds, ± the standard deviation over these. In brackets the "
        "95 % interval of a difference, paired by seed and language: over seeds and languages where there are several "
        "seeds, otherwise over languages, and then it describes these runs only.", "",
        f"## The seven tests, at {longest} updates", "", *test_table(study), "", *direction(study), "",
        "## Three explanations: length, learning rate of the tables, block", "", *length_table(study), "",
        "The blocks are in the tables of each length.", "",
        "![gain over what the encoder knew](gains.png)", "",
    ]  # fmt: skip
    for length in reversed(study.runs):
        lines += length_sections(study, length)
    lines += [f"## Against the unchanged encoder, {longest} updates", "", *against_encoder(study)]
    lines += ["## The paper, XLM-R base on Glot500-c", "", *paper_table(), ""]
    if best is not None:
        arm, length, mean = best
        folder = study.runs[length].folder.name
        seed = min(study.seeds(study.scores(METRICS[0], length), arm, arm))
        lines += [
            "## The best model", "",
            f"{TITLES[arm]}, {length} updates: {mean:.2f} on average over SR-T, SR-B, SIB200 and the seeds. "
            f"Its seed {seed} with a card and scores:", "", "```bash",
            f"langsamp report {folder}/results/{arm}-{seed} untouched/results/untouched --out best-scores",
            f"langsamp export {folder}/models/{arm}-{seed}/checkpoint_last.pt --out best --scores best-scores --verify",
            "```", "",
        ]  # fmt: skip
    if missing:
        lines += ["## Missing", "", *(f"- {what}" for what in missing), ""]
    return lines


def everything(study: Study) -> dict[str, Any]:
    """Return the numbers of all tables, by language."""

    def of_run(length: int, run: Run) -> dict[str, Any]:
        return {
            "scores": {metric.name: study.scores(metric, length) for metric in METRICS},
            "layers": {name: run.layers(*which) for name, which in RETRIEVAL.items()},
            "neutrality": {
                model: {seed: {key: found[key] for key in found if key != "pairs"} for seed, found in seeds.items()}
                for model, seeds in neutrality(run).items()
            },
            "transfer": run.each(lambda name: run.stored("transfer", name) or None),
        }

    return {
        "languages": study.languages,
        "known": study.known,
        "updates": {length: of_run(length, run) for length, run in study.runs.items()},
        "missing": study.missing(),
    }


def main() -> None:
    """Write the report and print its first table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the --out of run.sh")
    study = Study(parser.parse_args().run)
    logging.getLogger().setLevel(logging.WARNING)  # importing fairseq enables every logger
    if not study.runs:
        print("no arm is trained yet")
        return
    with atomic_write(study.folder / "report.md") as stream:
        stream.write("\n".join(report(study)))
    with atomic_write(study.folder / "study.json") as stream:
        text = json.dumps(everything(study))
        json.dump(json.loads(text, parse_float=lambda number: round(float(number), 4)), stream)
    print("\n".join([*test_table(study), *direction(study), f"{study.folder / 'report.md'}"]))


if __name__ == "__main__":
    main()
