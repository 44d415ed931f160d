"""What a model can do and what its tables know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.commands.app import LANGS, analyze_app, app, split_list


@app.command()
def evaluate(
    model: Path = typer.Argument(..., help="Hugging Face folder."),
    data: Path = typer.Option(..., help="Folder of <tag>.txt with lines id<tab>text, the same id in every language."),
    out: Path = typer.Option(..., help="Folder for the results: OUT/<model>/<task>.json."),
    tasks: str = typer.Option("sr_bible", help="sr_bible: sentence retrieval against English."),
    layer: Optional[int] = typer.Option(
        None, help="Transformer block whose output is pooled; by default two thirds up (8 of 12)."
    ),
    min_pairs: int = typer.Option(20, min=1, help="Languages with fewer sentences are not scored."),
    langs: str = LANGS,
) -> None:
    """Score a model without fine-tuning it.

    Example: langsamp evaluate runs/hf --tasks sr_bible --data runs/corpus/aligned --out runs/results
    """
    from langsamp_plugin.atomic import atomic_write
    from langsamp_plugin.evaluation.retrieval import retrieval

    if tasks != "sr_bible":
        raise ValueError(f"--tasks must be sr_bible, but is {tasks!r}")
    result = retrieval(model, data, layer, split_list(langs), min_pairs)
    path = out / model.name / "sr_bible.json"
    with atomic_write(path) as stream:
        json.dump({"model": str(model), "data": str(data), **result}, stream, indent=1)
    mean = result["mean"]
    print(
        f"{path}: {len(result['by_tag'])} languages, block {result['layer']}, "
        f"top-1 {mean['top1']:.1f} %, top-10 {mean['top10']:.1f} % (chance {mean['chance10']:.1f} %)"
    )


@analyze_app.command("embeddings")
def analyze_embeddings(
    model: Path = typer.Argument(..., help="Checkpoint or exported folder."),
    out: Path = typer.Option(..., help="Folder for the picture and the tables."),
    neighbours: int = typer.Option(3, min=1, help="Neighbours per language."),
) -> None:
    """Draw the language embeddings and list each language's nearest neighbours.

    Example: langsamp analyze embeddings runs/hf --out runs/analysis
    """
    from langsamp_plugin.analysis.embeddings import analyze_embeddings as run

    agreement = run(model, out, neighbours)["agreement"]
    print(
        f"{out}: the nearest neighbour shares the script for {agreement['same_script']:.0f} % (chance {agreement['chance']:.0f} %)"
    )


@analyze_app.command("tags")
def analyze_tags(
    checkpoint: Path = typer.Argument(..., help="LangSAMP checkpoint of fairseq."),
    out: Path = typer.Option(..., help="JSON file to write."),
    data: Optional[Path] = typer.Option(None, help="Data folder; by default the one it was trained on."),
    split: str = typer.Option("valid", help="Split of the data."),
) -> None:
    """Measure the held-out loss with the right tag and with others in its place.

    Example: langsamp analyze tags runs/checkpoints/checkpoint_last.pt --out runs/tags.json
    """
    from langsamp_plugin.atomic import atomic_write
    from langsamp_plugin.evaluation.tag_swap import tag_swap

    result = tag_swap(checkpoint, data, split)
    with atomic_write(out) as stream:
        json.dump({"checkpoint": str(checkpoint), **result}, stream, indent=1)
    right = result["loss"]["right"]
    for name, loss in result["loss"].items():
        print(f"{name:<18} {loss:6.2f} bits  {loss - right:+.2f}")
