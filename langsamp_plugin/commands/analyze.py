"""Commands that analyse a trained model's tables and layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.atomic import atomic_folder, atomic_write
from langsamp_plugin.commands.app import (
    LANGS,
    OVERWRITE,
    OVERWRITE_FILES,
    analyze_app,
    finite,
    numbers,
    replaces,
    split_list,
    writes_own,
)


@analyze_app.command("embeddings")
@replaces("map.html")
def analyze_embeddings(
    model: Path = typer.Argument(..., help="Checkpoint or exported folder."),
    out: Path = typer.Option(..., help="Folder for maps (PNG, SVG, map.html), tables and projector files."),
    neighbours: int = typer.Option(3, min=1, help="Neighbours per language."),
    families: Optional[Path] = typer.Option(
        None, help="TSV with the columns language and family, to replace the built-in list."
    ),
    overwrite: bool = OVERWRITE,
) -> None:
    """Draw the two tables and list nearest neighbours.

    Example: langsamp analyze embeddings runs/hf --out runs/analysis
    """
    from langsamp_plugin.analysis.embeddings import analyze_embeddings as run

    with atomic_folder(out, "map.html", overwrite) as folder:
        result = run(model, folder, neighbours, families)
    for noun, shared, chance in (
        ("script", "same_script", "chance"),
        ("script, among non-Latin scripts", "same_script_nonlatin", "chance_nonlatin"),
        ("family", "same_family", "chance_family"),
    ):
        found = result.get("agreement", {})
        if shared in found:
            print(f"nearest neighbour shares the {noun}: {found[shared]:.0f} % (chance {found[chance]:.0f} %)")
    print(f"{out / 'map.html'}: open it in a browser; the maps as PNG and SVG and the tables are next to it")


@analyze_app.command("neutrality")
@writes_own("neutrality.csv", "neutrality.json", "neutrality.png", "neutrality.svg", begin="one,other,")
def analyze_neutrality(
    model: Path = typer.Argument(..., help="Hugging Face folder of any encoder, or checkpoint of fairseq."),
    data: Path = typer.Option(..., help="Parallel sentences: <tag>.txt with id<tab>text, or <tag>/test.tsv (SIB-200)."),
    out: Path = typer.Option(..., help="Folder for CSV, JSON and heat maps."),
    baseline: Optional[Path] = typer.Option(None, help="Model to compare with; the improvement of each pair is drawn."),
    layer: Optional[int] = typer.Option(
        None, help="Block whose states are pooled; by default two thirds of the depth (8 of 12)."
    ),
    baseline_layer: Optional[int] = typer.Option(None, help="The baseline's block; by default --layer."),
    limit: int = typer.Option(0, min=0, help="At most N sentences; 0 means all."),
    langs: str = typer.Option(
        "", help="Tags, separated by commas; by default those of the paper's ten that the data contain."
    ),
    overwrite: bool = OVERWRITE_FILES,
) -> None:
    """Measure how similar parallel sentences are across languages.

    Controls distinguish neutrality from a collapsed space.

    Example: langsamp analyze neutrality runs/hf --baseline runs/hf_vanilla --data eval/sib200 --out runs/neutrality
    """
    from langsamp_plugin.analysis.neutrality import analyze_neutrality as run

    if baseline_layer is not None and baseline is None:
        raise ValueError("--baseline-layer needs --baseline: name a model to compare with, or omit the flag")
    result = run(
        model, data, out, baseline=baseline, langs=split_list(langs), layer=layer, baseline_layer=baseline_layer,
        limit=limit,
    )  # fmt: skip
    print(f"{'':<28} {'cosine':>8} {'not parallel':>13} {'margin':>8} {'top-1':>7} {'probe':>7}")
    for name, path in (("model", model), ("baseline", baseline)):
        found = result[name]
        if found is not None and path is not None:
            print(
                f"{path.name[-28:]:<28} {found['cosine']:>8.3f} {found['unrelated']:>13.3f} {found['margin']:>8.3f} "
                f"{found['top1']:>6.1f}% {found['probe']:>6.1f}%"
            )
    chance = 100 / len(result["languages"])
    print(
        f"{out}: {len(result['languages'])} languages, {result['sentences']} sentences; the probe's chance is "
        f"{chance:.1f} %"
    )
    if result["missing"]:
        print(f"not in the data: {' '.join(result['missing'])}")


@analyze_app.command("sources")
@writes_own("sources.tsv", begin="target\tsource\t")
def analyze_sources(
    model: Path = typer.Argument(..., help="Checkpoint or exported folder with tables."),
    task: str = typer.Option(..., help="Fine-tuned task: taxi1500, sib200, ner or pos."),
    data: Path = typer.Option(..., help="As for langsamp evaluate."),
    out: Path = typer.Option(..., help="Folder for sources.tsv and, with --run, results."),
    candidates: str = typer.Option("", help="Source languages to choose from; by default all with training data."),
    script: bool = typer.Option(False, "--script", help="Compare sums of language and script embeddings."),
    run: bool = typer.Option(False, "--run", help="Fine-tune on English and on each distinct source, and compare."),
    seeds: Optional[str] = typer.Option(
        None, help="Seeds of fine-tuning, separated by commas; the authors' by default."
    ),
    epochs: Optional[int] = typer.Option(None, min=1, help="Passes over the training data."),
    lr: Optional[float] = typer.Option(None, min=0, callback=finite, help="Learning rate."),
    limit: int = typer.Option(0, min=0, help="At most N sentences of each file; 0 means all."),
    langs: str = LANGS,
    overwrite: bool = OVERWRITE_FILES,
) -> None:
    """Choose a source language for each target by its embedding.

    With --run, test whether it beats English.

    Example: langsamp analyze sources runs/hf --task sib200 --data eval --out runs/sources --run
    """
    from langsamp_plugin.analysis.source_languages import analyze_sources as choose
    from langsamp_plugin.report.report import Report
    from langsamp_plugin.report.text import report_text

    changes = {"seeds": numbers("--seeds", seeds) if seeds else None, "epochs": epochs, "lr": lr}
    choices, unknown, results, notes = choose(
        model, task, data, out, candidates=split_list(candidates), langs=split_list(langs), with_script=script, run=run,
        limit=limit, **changes,
    )  # fmt: skip
    for choice in choices:
        print(f"{choice.target!s:<10} {choice.source!s:<10} {choice.cosine:6.3f}")
    if unknown:
        print(f"not in the model's training data, or without another candidate: {' '.join(map(str, unknown))}")
    if results:
        print(report_text(Report(results)))
    for note in notes:
        print(f"note: {note}")
    print(
        f"{out / 'sources.tsv'}: {len(choices)} targets, {len({choice.source for choice in choices})} distinct sources"
    )


@analyze_app.command("tags")
@writes_own(begin='{\n "checkpoint": ')
def analyze_tags(
    checkpoint: Path = typer.Argument(..., help="LangSAMP checkpoint of fairseq, or Hugging Face folder with tables."),
    out: Path = typer.Option(..., help="JSON file to write."),
    data: Optional[Path] = typer.Option(None, help="Data folder; by default the one that a checkpoint was trained on."),
    split: str = typer.Option("valid", help="Split of the data."),
    tokens_per_sample: int = typer.Option(
        0, min=0, help="Tokens per block for a folder; 0 means 512, or fewer if its model has fewer positions."
    ),
    blocks: int = typer.Option(0, min=0, help="At most N blocks of text per tag; 0 means all."),
    device: str = typer.Option("", help="cpu, cuda or cuda:N; by default a GPU if there is one."),
    overwrite: bool = OVERWRITE_FILES,
) -> None:
    """Measure the held-out loss with right and wrong tags.

    Example: langsamp analyze tags runs/checkpoints/checkpoint_last.pt --out runs/tags.json
    """
    from langsamp_plugin.analysis.tag_swap import tag_swap

    result = tag_swap(checkpoint, data, split, blocks=blocks, device=device, tokens_per_sample=tokens_per_sample)
    with atomic_write(out) as stream:
        json.dump({"checkpoint": str(checkpoint), **result}, stream, indent=1)
    right = result["loss"]["right"]
    for name, loss in result["loss"].items():
        print(f"{name:<18} {loss:6.2f} bits  {loss - right:+.2f}")
