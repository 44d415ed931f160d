"""What a model can do and what its tables know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.commands.app import LANGS, analyze_app, app, finite, numbers, split_list

NOTES = 5


@app.command()
def evaluate(
    model: Optional[Path] = typer.Argument(None, help="Hugging Face folder of any encoder, or checkpoint of fairseq."),
    tasks: str = typer.Option("sr_bible,sr_tatoeba,taxi1500,sib200,ner,pos", help="Tasks, separated by commas."),
    data: Optional[Path] = typer.Option(None, help="Folder with a folder per task, or of the one task."),
    out: Optional[Path] = typer.Option(None, help="Folder for results, OUT/<model>/<task>.json, and a cache."),
    list_: bool = typer.Option(
        False, "--list", help="Say of each task what it is, its settings, and where data are to be had."
    ),
    name: Optional[str] = typer.Option(None, help="The model's name in results; by default that of its folder."),
    source: str = typer.Option("eng_Latn", help="Language to fine-tune on."),
    seeds: Optional[str] = typer.Option(
        None, help="Seeds of fine-tuning, separated by commas; the authors' by default."
    ),
    limit: int = typer.Option(0, min=0, help="Take so many sentences of each file, for a quick look; 0 takes all."),
    layer: Optional[int] = typer.Option(None, help="Block for retrieval; by default two thirds up (8 of 12)."),
    layers: str = typer.Option("", help="Further blocks to score in the same pass, separated by commas."),
    max_length: Optional[int] = typer.Option(None, min=8, help="Tokens kept of a sentence."),
    min_pairs: Optional[int] = typer.Option(None, min=1, help="Retrieval: languages with fewer pairs are not scored."),
    lr: Optional[float] = typer.Option(None, min=0, callback=finite, help="Learning rate."),
    epochs: Optional[int] = typer.Option(None, min=1, help="Passes over the training data."),
    batch_size: Optional[int] = typer.Option(None, min=1, help="Sentences per micro-batch."),
    accumulate: Optional[int] = typer.Option(None, min=1, help="Micro-batches per update."),
    eval_steps: Optional[int] = typer.Option(
        None, min=0, help="Updates between looks at the dev set; 0 looks after epochs."
    ),
    spm: Optional[Path] = typer.Option(None, help="Of a checkpoint: its SentencePiece model."),
    langs: str = LANGS,
) -> None:
    """Score a model on the six zero-shot tasks, with the authors' settings by default; run again, it goes on.

    Example: langsamp evaluate runs/hf --tasks sr_tatoeba,sib200 --data eval --out runs/results
    """
    from langsamp_plugin.evaluation.tasks import TASKS, describe_tasks

    if list_:
        print(describe_tasks())
        return
    if model is None or data is None or out is None:
        raise ValueError("name the model, --data and --out; `langsamp evaluate --list` explains the tasks")
    from langsamp_plugin.evaluation.run import evaluate as run

    changes = {
        "layer": layer, "max_length": max_length, "min_pairs": min_pairs, "lr": lr, "epochs": epochs, "batch_size": batch_size,
        "accumulate": accumulate, "eval_steps": eval_steps, "seeds": numbers("--seeds", seeds) if seeds else None,
    }  # fmt: skip
    results = run(
        model,
        data,
        out,
        split_list(tasks),
        name,
        source,
        split_list(langs),
        limit,
        numbers("--layers", layers),
        spm,
        **changes,
    )
    for result in results:
        task = TASKS[result.task]
        runs = f", {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
        print(
            f"{out / result.model / result.task}.json: {task.title}, {len(result.scores)} languages{runs}, {task.metric} {result.mean(task.metric):.1f} %"
        )
        for tag, why in result.not_scored.items():
            print(f"  not scored: {tag}, {why}")
        for note in result.notes[:NOTES]:
            print(f"  note: {note}")
        if len(result.notes) > NOTES:
            print(f"  and {len(result.notes) - NOTES} more notes in the file")


@app.command()
def report(
    results: list[Path] = typer.Argument(
        ..., help="Folders of models below an evaluation's --out, or single JSON files."
    ),
    out: Path = typer.Option(..., help="Folder for report.md, CSV, LaTeX and pictures."),
    groups: Optional[Path] = typer.Option(
        None, help="TSV with the columns lang_script and head; by default head is what XLM-R was trained on."
    ),
) -> None:
    """Turn results into the paper's tables; the first model is the one that others are compared with.

    Example: langsamp report runs/results/baseline runs/results/langsamp --out runs/report
    """
    from langsamp_plugin.report.report import Groups, Report, load_results

    made = Report(load_results(results), Groups.load(groups) if groups else None)
    files = made.save(out)
    print(made.text())
    for note in made.notes()[:NOTES]:
        print(f"note: {note}")
    print(f"{files[0]} and {len(files) - 1} more files")


@analyze_app.command("embeddings")
def analyze_embeddings(
    model: Path = typer.Argument(..., help="Checkpoint or exported folder."),
    out: Path = typer.Option(..., help="Folder for maps (PNG, SVG, map.html), tables and projector files."),
    neighbours: int = typer.Option(3, min=1, help="Neighbours per language."),
    families: Optional[Path] = typer.Option(
        None, help="TSV with the columns language and family, instead of the built-in list."
    ),
) -> None:
    """Draw the language and script embeddings and list each one's nearest neighbours.

    Example: langsamp analyze embeddings runs/hf --out runs/analysis
    """
    from langsamp_plugin.analysis.embeddings import analyze_embeddings as run

    result = run(model, out, neighbours, families)
    for what, shared, chance in (
        ("script", "same_script", "chance"),
        ("script, of those not in Latin script", "same_script_nonlatin", "chance_nonlatin"),
        ("family", "same_family", "chance_family"),
    ):
        found = result.get("agreement", {})
        if shared in found:
            print(f"nearest neighbour shares the {what}: {found[shared]:.0f} % (chance {found[chance]:.0f} %)")
    print(f"{out / 'map.html'}: open it in a browser; the same maps as PNG and SVG, and tables, beside it")


@analyze_app.command("neutrality")
def analyze_neutrality(
    model: Path = typer.Argument(..., help="Hugging Face folder of any encoder, or checkpoint of fairseq."),
    data: Path = typer.Option(..., help="Parallel sentences: <tag>.txt with id<tab>text, or <tag>/test.tsv (SIB-200)."),
    out: Path = typer.Option(..., help="Folder for CSV, JSON and heat maps."),
    baseline: Optional[Path] = typer.Option(None, help="Model to compare with: the improvement of each pair is drawn."),
    layer: Optional[int] = typer.Option(
        None, help="Block whose states are pooled; by default two thirds up (8 of 12)."
    ),
    limit: int = typer.Option(0, min=0, help="Take so many sentences; 0 takes all."),
    langs: str = typer.Option(
        "", help="Tags, separated by commas; by default the paper's ten, as far as they are there."
    ),
) -> None:
    """Measure how alike parallel sentences are between languages, beside what a collapsed space would show.

    Example: langsamp analyze neutrality runs/hf --baseline runs/hf_vanilla --data eval/sib200 --out runs/neutrality
    """
    from langsamp_plugin.analysis.neutrality import analyze_neutrality as run

    result = run(model, data, out, baseline, split_list(langs), layer, limit)
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
        f"{out}: {len(result['languages'])} languages, {result['sentences']} sentences; the probe's chance is {chance:.1f} %"
    )
    if result["missing"]:
        print(f"not in the data: {' '.join(result['missing'])}")


@analyze_app.command("sources")
def analyze_sources(
    model: Path = typer.Argument(..., help="Checkpoint or exported folder, with tables."),
    task: str = typer.Option(..., help="Task that is fine-tuned: taxi1500, sib200, ner or pos."),
    data: Path = typer.Option(..., help="As for langsamp evaluate."),
    out: Path = typer.Option(..., help="Folder for sources.tsv, and with --run for results."),
    candidates: str = typer.Option("", help="Source languages to choose from; by default all that have training data."),
    script: bool = typer.Option(False, "--script", help="Compare language plus script embeddings."),
    run: bool = typer.Option(False, "--run", help="Fine-tune on English and on each distinct source, and compare."),
    seeds: Optional[str] = typer.Option(
        None, help="Seeds of fine-tuning, separated by commas; the authors' by default."
    ),
    epochs: Optional[int] = typer.Option(None, min=1, help="Passes over the training data."),
    lr: Optional[float] = typer.Option(None, min=0, callback=finite, help="Learning rate."),
    limit: int = typer.Option(0, min=0, help="Take so many sentences of each file; 0 takes all."),
    langs: str = LANGS,
) -> None:
    """Choose for each target the source language whose embedding is nearest, and see whether it beats English.

    Example: langsamp analyze sources runs/hf --task sib200 --data eval --out runs/sources --run
    """
    from langsamp_plugin.analysis.sources import analyze_sources as choose
    from langsamp_plugin.report.report import Report

    changes = {"seeds": numbers("--seeds", seeds) if seeds else None, "epochs": epochs, "lr": lr}
    choices, unknown, results = choose(
        model, task, data, out, split_list(candidates), split_list(langs), script, run, limit, **changes
    )
    for choice in choices:
        print(f"{choice.target!s:<10} {choice.source!s:<10} {choice.cosine:6.3f}")
    if unknown:
        print(f"not in the model's table, or no other candidate: {' '.join(map(str, unknown))}")
    if results:
        print(Report(results).text())
    print(
        f"{out / 'sources.tsv'}: {len(choices)} targets, {len({choice.source for choice in choices})} distinct sources"
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
    from langsamp_plugin.analysis.tag_swap import tag_swap
    from langsamp_plugin.atomic import atomic_write

    result = tag_swap(checkpoint, data, split)
    with atomic_write(out) as stream:
        json.dump({"checkpoint": str(checkpoint), **result}, stream, indent=1)
    right = result["loss"]["right"]
    for name, loss in result["loss"].items():
        print(f"{name:<18} {loss:6.2f} bits  {loss - right:+.2f}")
