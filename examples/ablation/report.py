"""Write report.md, ablation.json and the pictures of an ablation from what its steps left in the folder.

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
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.report.groups import Groups
from langsamp_plugin.report.published import PUBLISHED_ROWS
from langsamp_plugin.report.statistics import Resamples

RESAMPLES = Resamples()
MODELS = ("vanilla", "lang", "script", "both")
TITLES = {"vanilla": "vanilla", "lang": "+ language", "script": "+ script", "both": "+ both", "untrained": "untrained"}
Scores = dict[str, dict[int, dict[str, float]]]
"""model -> seed -> tag -> value."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def name_parts(name: str) -> tuple[str, int]:
    """Return model and seed of ``both-1``; the untrained one has seed 0."""
    model, _, seed = name.partition("-")
    return model, int(seed or 0)


class Run:
    """What an ablation left in its folder.

    Args:
        folder: the ``--out`` of run.sh.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.names = sorted(path.parent.name for path in (folder / "models").glob("*/done"))
        self.seeds = sorted({seed for _, seed in map(name_parts, self.names) if seed})
        self.groups = Groups()

    def each(self, read: Any) -> dict[str, dict[int, Any]]:
        """Return ``read(name)`` of every model and seed."""
        found: dict[str, dict[int, Any]] = {}
        for name in self.names:
            model, seed = name_parts(name)
            value = read(name)
            if value is not None:
                found.setdefault(model, {})[seed] = value
        return found

    def losses(self) -> Scores:
        """Held-out bits per masked token, the last validation of each."""

        def read(name: str) -> dict[str, float]:
            last = max((self.folder / "models" / name / "validation").glob("*.tsv"), key=lambda path: int(path.stem))
            with open(last, encoding="utf-8") as stream:
                rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["kind"] == "tag"]
            return {row["name"]: float(row["loss_bits"]) for row in rows}

        return self.each(read)

    def results(self, task: str, metric: str) -> Scores:
        """Scores of ``langsamp evaluate``."""

        def read(name: str) -> Any:
            path = self.folder / "results" / name / f"{task}.json"
            if not path.is_file():
                return None
            return {tag: float(np.mean(scores[metric])) for tag, scores in read_json(path)["scores"].items()}

        return self.each(read)

    def frozen(self, task: str, way: str) -> Scores:
        """Macro F1 of frozen features."""
        return self.each(lambda name: read_json(self.folder / "frozen" / f"{name}.json").get(task, {}).get(way) or None)


def mean(values: dict[str, float], tags: Sequence[str]) -> float:
    """Return the mean over some languages."""
    return float(np.mean([values[tag] for tag in tags]))


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean over seeds, and their standard deviation where there are several."""
    text = f"{np.mean(values):.{digits}f}"
    return f"{text} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else text


def against(scores: Scores, model: str, tags: Sequence[str], digits: int) -> str:
    """Return the difference from vanilla, its 95 % interval over languages, and the difference of each seed."""
    seeds = sorted(scores[model].keys() & scores["vanilla"].keys())
    gains = np.array([[scores[model][seed][tag] - scores["vanilla"][seed][tag] for tag in tags] for seed in seeds])
    by_tag = gains.mean(0)
    low, high = np.percentile(RESAMPLES.weights(len(by_tag)) @ by_tag, [2.5, 97.5])
    each = ", ".join(f"{gain:+.{digits}f}" for gain in gains.mean(1))
    return f"{by_tag.mean():+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]" + (
        f" (seeds: {each})" if len(seeds) > 1 else ""
    )


def group_table(run: Run, scores: Scores, digits: int, chance: str = "") -> list[str]:
    """Return a table of the paper's groups, with the difference from vanilla over all languages."""
    if not scores:
        return []
    tags = sorted(set.intersection(*(set(values) for seeds in scores.values() for values in seeds.values())))
    groups = {name: run.groups.members(name, tags) for name in run.groups.names}
    lines = [
        "| | "
        + " | ".join(f"{name} ({len(members)})" for name, members in groups.items())
        + " | all, against vanilla |",
        "| --- |" + " ---: |" * len(groups) + " --- |",
    ]
    for model in (*MODELS, "untrained"):
        if model in scores:
            cells = [
                spread([mean(values, members) for values in scores[model].values()], digits) if members else "-"
                for members in groups.values()
            ]
            last = against(scores, model, tags, digits) if model in MODELS[1:] else ""
            lines.append(f"| {TITLES[model]} | {' | '.join(cells)} | {last} |")
    if chance:
        lines.append(f"| chance | {' | '.join(['', '', '', '', chance])} | |")
    return lines


def tag_table(run: Run) -> list[str]:
    """Return what a wrong tag costs."""
    found = run.each(lambda name: read_json(path) if (path := run.folder / "tags" / f"{name}.json").is_file() else None)
    swaps = list(next(iter(next(iter(found.values())).values()))["macro"])
    lines = ["| | " + " | ".join(swaps) + " |", "| --- |" + " ---: |" * len(swaps)]
    for model in MODELS:
        if model in found:
            seeds = found[model].values()
            cells = [
                spread([seed["macro"][swap] - (seed["macro"]["right"] if number else 0) for seed in seeds], 3)
                for number, swap in enumerate(swaps)
            ]
            lines.append(
                f"| {TITLES[model]} | "
                + " | ".join([cells[0], *(f"+{cell}".replace("+-", "-") for cell in cells[1:])])
                + " |"
            )
    return lines


def neutrality_table(run: Run) -> tuple[list[str], dict[str, Any]]:
    """Return how alike the languages' representations are, and one measurement for what it was made of."""
    found = run.each(lambda name: read_json(run.folder / "neutrality" / name / "neutrality.json"))
    columns = {"cosine": 3, "unrelated": 3, "margin": 3, "top1": 1, "probe": 1}
    lines = [
        "| | cosine of parallel | not parallel | margin | retrieval top-1, % | probe of the language, % |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model in (*MODELS, "untrained"):
        if model in found:
            cells = [
                spread([seed["model"][name] for seed in found[model].values()], digits)
                for name, digits in columns.items()
            ]
            lines.append(f"| {TITLES[model]} | {' | '.join(cells)} |")
    one = next(iter(found["both"].values()))
    count = len(one["languages"])
    lines.append(f"| chance | | | 0 | {100 / one['sentences']:.1f} | {100 / count:.1f} |")
    return lines, one


def paper_table() -> list[str]:
    """Return the paper's ablation."""
    rows = [row for row in PUBLISHED_ROWS if row.table == "ablation"]
    tasks = ("sr_bible", "sr_tatoeba", "taxi1500", "sib200")
    return [
        "| | SR-B | SR-T | Taxi1500 | SIB200 |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {row.model.partition(' (')[0]} | "
            + " | ".join(f"{row.values[task]['all']:.1f}" for task in tasks)
            + " |"
            for row in rows
        ),
    ]


def draw_gains(run: Run, losses: Scores, path: Path) -> None:
    """Draw per language how much lower the loss with both tables is than vanilla's, over its training text."""
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
    """Say what was run on what, from the checkpoints themselves."""
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
        f"{', '.join(map(str, run.seeds))}; {min(seconds) / 60:.1f} to {max(seconds) / 60:.1f} minutes a model.",
        f"- Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, torch "
        f"{version('torch')}, transformers {version('transformers')}.",
    ]


def verdict(losses: Scores) -> str:
    """Say in a sentence what came out of the losses."""
    tags = sorted(losses["both"][min(losses["both"])])
    return (
        f"Held-out loss with both tables, less vanilla's: **{against(losses, 'both', tags, 3)} bits** a masked token."
    )


def everything(run: Run, losses: Scores) -> dict[str, Any]:
    """Return what the report's tables were made of."""

    def of(folder: str, name: str = "") -> Any:
        paths = {model: run.folder / folder / (model + (name or ".json")) for model in run.names}
        return {model: read_json(path) for model, path in paths.items() if path.is_file()}

    neutrality = of("neutrality", "/neutrality.json")
    for found in neutrality.values():
        for side in ("model", "baseline"):
            (found.get(side) or {}).pop("pairs", None)
    retrieval = {task: run.results(task, "top10") for task in ("sr_bible", "sr_tatoeba")}
    finetuned = {task: run.results(task, "f1") for task in ("taxi1500", "sib200")}
    return {
        "loss_bits": losses,
        "tag_swaps": {model: swaps["macro"] for model, swaps in of("tags").items()},
        "neutrality": neutrality,
        "frozen": of("frozen"),
        "top10": {task: scores for task, scores in retrieval.items() if scores},
        "finetuned_f1": {task: scores for task, scores in finetuned.items() if scores},
    }


def main() -> None:
    """Write the report and print its first table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the --out of run.sh")
    run = Run(parser.parse_args().run)
    logging.getLogger().setLevel(logging.WARNING)  # importing fairseq opens every logger
    losses = run.losses()
    draw_gains(run, losses, run.folder / "gains.png")
    swaps = tag_table(run)
    neutral, one = neutrality_table(run)
    loss_table = group_table(run, losses, 3)
    sections = [
        "# LangSAMP against vanilla", "", verdict(losses), "", *conditions(run), "",
        "Means over languages, then over seeds of pretraining, ± the standard deviation over these. In brackets the "
        "95 % interval of",
        "the difference, languages resampled in pairs.", "",
        "## Held-out masked-LM loss, bits per masked token (lower is better)", "", *loss_table, "",
        "![gain per language](gains.png)", "",
        "## What a wrong tag costs", "",
        "The same held-out text under other tags than its own, in bits above the right tag's (first column), mean over "
        "languages.", "",
        *swaps, "",
        f"## Neutrality: {len(one['languages'])} languages, {one['sentences']} parallel sentences, block "
        f"{one['model']['layer']}", "",
        "Cosine alone also rises when a space collapses; a neutral model has a large margin, and a probe that cannot "
        "tell the",
        "language.", "", *neutral, "",
        f"![change against vanilla](neutrality/both-{run.seeds[0]}/neutrality.png)", "",
    ]  # fmt: skip
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
    for task, title, metric in (
        ("sr_bible", "SR-B", "top10"),
        ("sr_tatoeba", "SR-T", "top10"),
        ("taxi1500", "Taxi1500, fine-tuned", "f1"),
        ("sib200", "SIB-200, fine-tuned", "f1"),
    ):
        scores = run.results(task, metric)
        if scores:
            chance = ""
            if metric == "top10":
                by_tag = next(iter(run.results(task, "chance10")["both"].values()))
                chance = f"{np.mean(list(by_tag.values())):.1f}"
            sections += [
                f"## {title}: {'top-10 accuracy' if chance else 'macro F1'}, %",
                "",
                *group_table(run, scores, 1, chance),
                "",
            ]
    sections += [
        "Where a trained model retrieves worse than the untrained one, retrieval is no evidence for anything: "
        "untrained vectors are",
        "bags of random word vectors, and match the words that languages share.", "",
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
