"""Zero-shot tasks and the tables made of their results."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.commands.app import LANGS, app, finite, numbers, split_list

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
    """Score a model on the zero-shot tasks.

    The authors' settings are the default. Run again, it resumes.

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
    """Turn results into the paper's tables and pictures.

    The first model is the one that others are compared with.

    Example: langsamp report runs/results/baseline runs/results/langsamp --out runs/report
    """
    from langsamp_plugin.report.report import Groups, Report, load_results

    made = Report(load_results(results), Groups.load(groups) if groups else None)
    files = made.save(out)
    print(made.text())
    for note in made.notes()[:NOTES]:
        print(f"note: {note}")
    print(f"{files[0]} and {len(files) - 1} more files")
