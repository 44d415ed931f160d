"""Write report.md of a quickstart run from the results in its folder.

Example: python scripts/quickstart_report.py runs/quickstart
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint

# Well-known related languages; the report shows the neighbours that the model found for those it was trained on.
SHOWN = [
    "bel", "ukr", "rus", "bul", "mkd", "srp", "hrv", "bos", "ces", "slk", "dan", "nob",
    "nno", "swe", "fin", "est", "hin", "mar", "nep", "ind", "msa", "por", "spa", "glg",
    "ita", "tur", "aze", "tat", "kaz", "kir", "deu", "nld",
]  # fmt: skip


def curve(folder: Path, column: str = "loss_bits") -> list[tuple[int, float]]:
    """Return (update, macro average over tags) of every validation."""
    points = []
    for path in folder.glob("*.tsv"):
        with open(path, encoding="utf-8") as stream:
            rows = {(row["kind"], row["name"]): row for row in csv.DictReader(stream, delimiter="\t")}
        points.append((int(path.stem), float(rows["macro", "macro"][column])))
    return sorted(points)


def draw_curve(points: list[tuple[int, float]], training: list[tuple[int, float]], path: Path) -> None:
    """Draw training and validation loss over updates."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=120)
    if training:
        axes.plot(*zip(*training), lw=1, color="0.65", label="training")
    axes.plot(*zip(*points), "o-", ms=4, label="held-out messages")
    axes.set_xlabel("update")
    axes.set_ylabel("loss (bits per masked token)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png")
    plt.close(figure)


def training_losses(logdir: Path) -> list[tuple[int, float]]:
    """Read the training loss that fairseq wrote for TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not (logdir / "train_inner").is_dir():  # fewer updates than --log-interval
        return []
    events = EventAccumulator(str(logdir / "train_inner")).Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def loss_section(before: float, points: list[tuple[int, float]]) -> list[str]:
    """Report how far the loss fell."""
    after = points[-1][1]
    return [
        "## Held-out loss",
        "",
        f"{before:.2f} bits per masked token before training, {after:.2f} after {points[-1][0]} updates: "
        f"**{after - before:+.2f} bits** (mean over language-scripts, each counting the same).",
        "",
        "![loss curve](loss.png)",
    ]


def tag_section(tags: dict[str, Any]) -> list[str]:
    """Show the held-out loss under right and wrong tags."""
    right = tags["loss"]["right"]
    rows = [f"| {name} | {loss:.2f} | {loss - right:+.2f} |" for name, loss in tags["loss"].items()]
    return [
        "## What the tables learned",
        "",
        "The same held-out text, predicted with other tags than its own (a wrong one is drawn once per "
        "language-script):",
        "",
        "| tag | loss (bits) | against right |",
        "| --- | ---: | ---: |",
        *rows,
        "",
        f"{tags['masked_tokens']:,} masked tokens.",
    ]


def neighbour_section(embeddings: dict[str, Any]) -> list[str]:
    """Show agreement of scripts and the neighbours of well-known languages."""
    agreement, nearest = embeddings["agreement"], embeddings["neighbours"]
    lines = [
        "## The map of languages",
        "",
        "The nearest neighbour of a language, by cosine of the language embeddings, shares its script for "
        f"**{agreement['same_script']:.0f} %** of {embeddings['languages']} languages (chance "
        f"{agreement['chance']:.0f} %)",
    ]
    if "same_script_nonlatin" in agreement:
        lines[-1] += (
            f"; among those not in Latin script that have a peer, {agreement['same_script_nonlatin']:.0f} % "
            f"(chance {agreement['chance_nonlatin']:.0f} %)"
        )
    if "same_family" in agreement:
        lines[-1] += (
            f". It is of the same family for {agreement['same_family']:.0f} % of those whose family is known "
            f"(chance {agreement['chance_family']:.0f} %)"
        )
    lines[-1] += (
        ". All neighbours: `analysis/language_neighbours.tsv`; UMAP, families and scripts, to explore: "
        "`analysis/map.html`."
    )
    codes = [code for code in SHOWN if code in nearest] or sorted(nearest)[:20]
    lines += ["", "| language | nearest (cosine) |", "| --- | --- |"]
    lines += [
        f"| {code} | " + ", ".join(f"{name} {value:.2f}" for name, value in nearest[code]) + " |" for code in codes
    ]
    return [*lines, "", "![principal components of the language embeddings](analysis/language_pca_script.png)"]


def mean(result: dict[str, Any], metric: str) -> float:
    """Return the mean of a metric over languages."""
    values = [scores[metric][0] for scores in result["scores"].values()]
    return sum(values) / len(values)


def retrieval_section(
    trained: dict[str, Any], untrained: dict[str, Any], margins: list[tuple[int, float]]
) -> list[str]:
    """Show what pairs did: retrieval next to its two controls, and the margin in each validation."""
    rows = [
        f"| {name} | {mean(result, 'top1'):.1f} | {mean(result, 'top5'):.1f} | {mean(result, 'top10'):.1f} |"
        for name, result in (("trained", trained), ("untrained, same initial weights", untrained))
    ]
    gap = mean(trained, "top10") - mean(untrained, "top10")
    if margins and gap > 0:
        verdict = (
            f"**With pairs of translations the model retrieves {gap:.1f} points better than its own random "
            "initialisation.** A model of this size that has no pairs retrieves worse than that: its tables hold what "
            "is specific to a language, but nothing pulls translations together. Margin of cosines on held-out pairs, "
            "mean over languages: "
            + ", ".join(f"{margin:.2f} after {updates} updates" for updates, margin in margins)
            + "."
        )
    elif gap < 0:
        verdict = (
            f"**The trained model retrieves worse than its own random initialisation ({gap:+.1f} points).** Untrained "
            "vectors are bags of random word vectors and match the words that languages share; a few minutes of "
            "training on a small corpus do not make up for losing that. Retrieval does not count as evidence at this "
            "size."
        )
    else:
        verdict = (
            f"The trained model is {gap:+.1f} points from its own random initialisation: at this size, no evidence."
        )
    pairs = list(trained["sizes"].values())
    return [
        "## What pairs did: sentence retrieval against English" if margins else "## Sentence retrieval against English",
        "",
        f"Held-out messages, {min(pairs)} to {max(pairs)} candidates, {len(pairs)} language-scripts "
        f"({len(trained['not_scored'])} more have too few), block {trained['settings']['layer']}, mean pooling, "
        "cosine; accuracy in %.",
        "",
        "| model | top-1 | top-5 | top-10 |",
        "| --- | ---: | ---: | ---: |",
        *rows,
        f"| chance | | | {mean(trained, 'chance10'):.1f} |",
        "",
        verdict,
    ]


def conditions(run: Path, seconds: int) -> list[str]:
    """Describe the run and its conditions."""
    state = load_checkpoint(run / "checkpoints" / "checkpoint_last.pt")
    with open(run / "data-bin" / "stats.tsv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    counts = {
        split: (
            sum(row["split"] == split for row in rows),
            sum(int(row["tokens"]) for row in rows if row["split"] == split),
        )
        for split in ("train", "valid")
    }
    config = state["cfg"]
    scripts = {row["tag"].split("_")[1] for row in rows}
    lines = [
        "## Conditions",
        "",
        f"- Data: {counts['train'][0]} language-scripts in {len(scripts)} scripts, {counts['train'][1]:,} training "
        f"tokens, {counts['valid'][1]:,} held-out tokens ({(run / 'settings').read_text(encoding='utf-8').strip()}).",
        f"- Model: `langsamp_roberta_tiny` (4 layers, width 192), {len(state['task_state']['languages'])} language and "
        f"{len(state['task_state']['scripts'])} script embeddings, from random weights.",
        f"- Training: {state['optimizer_history'][-1]['num_updates']} updates of {config['dataset']['batch_size']} x "
        f"{config['task']['tokens_per_sample']} tokens, Adam, lr {config['optimization']['lr'][0]} "
        f"(tables: {config['task']['tables_lr_scale']:g} times that), alpha "
        f"{config['task']['multilang_sampling_alpha']}, seed {config['common']['seed']}.",
        f"- Machine: {os.cpu_count()} cores ({platform.processor() or platform.machine()}), Python "
        f"{platform.python_version()}, torch {version('torch')}, transformers {version('transformers')}.",
    ]
    if share := config["task"].get("align_share"):
        lines.insert(
            -1,
            f"- Pairs: in {share:.0%} of the updates, {config['task']['align_pairs']} sentences and their translations "
            f"(into {config['task']['align_pivot']} where there is one).",
        )
    if seconds:
        lines.append(f"- Time of this run of the script: {seconds // 60} min {seconds % 60} s, installation aside.")
    return lines


def main() -> None:
    """Write the report and print its main figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--seconds", type=int, default=0, help="how long the run took")
    args = parser.parse_args()
    run: Path = args.run
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # importing fairseq enables every logger
    before = curve(run / "untrained" / "validation")[-1][1]
    points = [(0, before), *curve(run / "checkpoints" / "validation")]
    draw_curve(points, training_losses(run / "tensorboard"), run / "loss.png")
    embeddings = read_json(run / "analysis" / "embeddings.json")
    tags = read_json(run / "tags.json")
    sections = [
        [
            "# Quickstart: a tiny LangSAMP model",
            "",
            "A demonstration that every part works, minutes of training on a small corpus; no claim about the method.",
        ],
        loss_section(before, points),
        tag_section(tags),
        neighbour_section(embeddings),
    ]
    files = [run / "results" / model / "sr_bible.json" for model in ("hf", "hf_untrained")]
    retrieval = [read_json(path) for path in files if path.is_file()]
    if retrieval:
        trained, untrained = retrieval
        sections.append(retrieval_section(trained, untrained, curve(run / "checkpoints" / "alignment", "margin")))
    else:
        sections.append(
            ["## Sentence retrieval", "", "Not measured: a corpus of your own has no aligned sentences to retrieve."]
        )
    sections.append(conditions(run, args.seconds))
    with atomic_write(run / "report.md") as stream:
        stream.write("\n\n".join("\n".join(section) for section in sections) + "\n")
    right = tags["loss"]["right"]
    print(f"held-out loss      {before:.2f} -> {points[-1][1]:.2f} bits")
    print(f"language replaced  {tags['loss']['language replaced'] - right:+.2f} bits")
    print(f"both replaced      {tags['loss']['both replaced'] - right:+.2f} bits")
    print(
        f"neighbours         {embeddings['agreement']['same_script']:.0f} % share the script (chance "
        f"{embeddings['agreement']['chance']:.0f} %)"
    )
    if retrieval:
        print(
            f"retrieval          {mean(trained, 'top10'):.0f} % in the top 10 "
            f"(untrained {mean(untrained, 'top10'):.0f} %, chance {mean(trained, 'chance10'):.0f} %)"
        )
    columns = shutil.get_terminal_size().columns
    print("-" * min(columns, 72))
    shown = run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run
    print(f"report   {shown / 'report.md'}")
    print(f"picture  {shown / 'analysis' / 'language_pca_script.png'}")
    print(f"model    {shown / 'hf'}  (AutoModel, AutoModelForMaskedLM, AutoTokenizer)")


if __name__ == "__main__":
    main()
