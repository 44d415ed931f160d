"""Commands for zero-shot tasks and their reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import typer

from langsamp_plugin.atomic import atomic_folder
from langsamp_plugin.commands.app import LANGS, OVERWRITE, app, finite, joins_folder, numbers, replaces, split_list

NOTES = 5


@app.command()
@joins_folder
def evaluate(
    model: Optional[str] = typer.Argument(
        None, help="Hugging Face folder of any encoder, fairseq checkpoint, or name of a model in the local cache."
    ),
    tasks: str = typer.Option(
        "sr_bible,sr_tatoeba,taxi1500,sib200,ner,pos",
        help="Tasks, separated by commas; a .json file defines a custom task.",
    ),
    data: Optional[Path] = typer.Option(None, help="Folder with one folder per task, or the folder of a single task."),
    out: Optional[Path] = typer.Option(None, help="Folder for results (OUT/<model>/<task>.json) and a cache."),
    list_: bool = typer.Option(False, "--list", help="Describe each task, its settings, and the source of its data."),
    protocol: str = typer.Option(
        "fixed", help="fixed, or published: as in the authors' scripts, including their errors."
    ),
    languages: str = typer.Option(
        "", help="all, paper (the published lists), or a file with one tag per line; published defaults to paper."
    ),
    name: Optional[str] = typer.Option(None, help="The model's name in results; by default the name of its folder."),
    revision: Optional[str] = typer.Option(None, help="Branch, tag or commit of a model in the local cache."),
    source: str = typer.Option("eng_Latn", help="Language to fine-tune on."),
    seeds: Optional[str] = typer.Option(
        None, help="Seeds of fine-tuning, separated by commas; the protocol's by default."
    ),
    limit: int = typer.Option(0, min=0, help="At most N sentences per file, for a quick test; 0 means all."),
    layer: Optional[int] = typer.Option(
        None, help="Block for retrieval; by default two thirds of the depth (8 of 12)."
    ),
    layers: str = typer.Option("", help="Additional blocks to score in the same pass, separated by commas."),
    max_length: Optional[int] = typer.Option(None, min=8, help="Maximum number of tokens per sentence."),
    min_pairs: Optional[int] = typer.Option(None, min=1, help="Retrieval: skip languages with fewer pairs."),
    most_pairs: Optional[int] = typer.Option(None, min=0, help="Retrieval: at most N pairs per language; 0 means all."),
    lr: Optional[float] = typer.Option(None, min=0, callback=finite, help="Learning rate."),
    epochs: Optional[int] = typer.Option(None, min=1, help="Passes over the training data."),
    batch_size: Optional[int] = typer.Option(None, min=1, help="Sentences per micro-batch."),
    accumulate: Optional[int] = typer.Option(None, min=1, help="Micro-batches per update."),
    eval_steps: Optional[int] = typer.Option(
        None, min=0, help="Updates between dev evaluations; 0 evaluates after epochs."
    ),
    spm: Optional[Path] = typer.Option(None, help="SentencePiece model of a checkpoint."),
    device: str = typer.Option("", help="cpu, cuda or cuda:N; by default a GPU if there is one."),
    precision: str = typer.Option("auto", help="auto, float32, bfloat16 or float16."),
    batch_tokens: int = typer.Option(4096, min=16, help="Tokens per batch for encoding and testing."),
    keep_models: bool = typer.Option(False, "--keep-models", help="Keep fine-tuned weights in the cache."),
    log_samples: bool = typer.Option(False, "--log-samples", help="Write predictions per sentence as JSON lines."),
    prune: bool = typer.Option(False, "--prune", help="Remove results of languages that are no longer in the data."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the plan with its cost, without running it."),
    langs: str = LANGS,
) -> None:
    """Score a model on the zero-shot tasks.

    If run again, it resumes.

    Example: langsamp evaluate runs/hf --tasks sr_tatoeba,sib200 --data eval --out runs/results
    """
    from langsamp_plugin.evaluation.tasks import describe_tasks

    if list_:
        print(describe_tasks())
        return
    if model is None or data is None or out is None:
        raise ValueError("name the model, --data and --out; `langsamp evaluate --list` explains the tasks")
    options: dict[str, Any] = {
        "name": name, "revision": revision, "source": source, "langs": split_list(langs), "languages": languages,
        "protocol": protocol, "limit": limit, "spm": spm, "device": device, "precision": precision,
        "batch_tokens": batch_tokens, "layer": layer, "max_length": max_length, "min_pairs": min_pairs,
        "most_pairs": most_pairs, "lr": lr, "epochs": epochs, "batch_size": batch_size, "accumulate": accumulate,
        "eval_steps": eval_steps, "seeds": numbers("--seeds", seeds) if seeds else None,
    }  # fmt: skip
    further = numbers("--layers", layers)
    if dry_run:
        _show_plan(model, data, out, split_list(tasks), further, keep_models, options)
        return
    from langsamp_plugin.evaluation.run import evaluate as run

    left_out: dict[str, str] = {}
    results = run(
        model, data, out, split_list(tasks), layers=further, keep_models=keep_models, log_samples=log_samples,
        left_out=left_out, prune=prune, **options,
    )  # fmt: skip
    for result in results:
        _show_result(result, out)
    for task, why in left_out.items():
        print(f"{task} was not run: {why}")


def _show_plan(
    model: str,
    data: Path,
    out: Path,
    tasks: list[str],
    layers: tuple[int, ...],
    keep_models: bool,
    options: dict[str, Any],
) -> None:
    """Print the plan and its cost."""
    from langsamp_plugin.evaluation.cost import describe_costs
    from langsamp_plugin.evaluation.run import prepare, reckon
    from langsamp_plugin.evaluation.tasks import describe_settings

    prepared = prepare(model, data, out, tasks, **options)
    for plan in prepared.plans:
        print(f"{plan.task.name}: {len(plan.tags)} languages, {describe_settings(plan.task, plan.settings)}")
        for tag, why in list(plan.not_scored.items())[:NOTES]:
            print(f"  not scored: {tag}, {why}")
        if len(plan.not_scored) > NOTES:
            print(f"  and {len(plan.not_scored) - NOTES} more that are not scored")
    for task, why in prepared.left_out.items():
        print(f"{task} would not run: {why}")
    print(describe_costs(reckon(prepared, layers, keep_models)))


def _show_result(result: Any, out: Path) -> None:
    """Print a result in one line, with notes."""
    from langsamp_plugin.evaluation.paper_languages import of_the_paper, paper_languages

    runs = f", {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
    known = paper_languages().get(result.task)
    share = f" ({of_the_paper(result.task, result.scores)} of the paper's {len(known)})" if known else ""
    print(
        f"{out / result.model}: {result.title}, {len(result.scores)} languages{runs}{share}, {result.metric} "
        f"{result.mean(result.metric):.1f} %"
    )
    for tag, why in list(result.not_scored.items())[:NOTES]:
        print(f"  not scored: {tag}, {why}")
    if len(result.not_scored) > NOTES:
        print(f"  and {len(result.not_scored) - NOTES} more not scored, listed in the file")
    for note in result.notes[:NOTES]:
        print(f"  note: {note}")
    if len(result.notes) > NOTES:
        print(f"  and {len(result.notes) - NOTES} more notes in the file")


@app.command()
@replaces("report.md")
def report(
    results: list[Path] = typer.Argument(
        ..., help="Folders of models in an evaluation's --out, or individual JSON files."
    ),
    out: Path = typer.Option(..., help="Folder for report.md, CSV, LaTeX and pictures."),
    baseline: Optional[str] = typer.Option(None, help="Model that the others are compared with; by default the first."),
    metric: str = typer.Option("", help="Other metrics to show, such as pos=f1_spans, separated by commas."),
    published: bool = typer.Option(False, "--published", help="Also show the paper's numbers."),
    groups: Optional[Path] = typer.Option(
        None, help="TSV of lang_script and head (1 or 0); by default the authors' list of each task."
    ),
    families: Optional[Path] = typer.Option(None, help="TSV with language and family, to replace the built-in list."),
    mteb: bool = typer.Option(False, "--mteb", help="Also write mteb's JSON and model card metadata."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Turn results into the paper's tables and pictures.

    Example: langsamp report runs/results/baseline runs/results/langsamp --out runs/report
    """
    from langsamp_plugin.analysis.families import read_families
    from langsamp_plugin.report.exchange import save_exchange
    from langsamp_plugin.report.files import save_report
    from langsamp_plugin.report.groups import Groups
    from langsamp_plugin.report.loading import load_results
    from langsamp_plugin.report.notes import report_notes
    from langsamp_plugin.report.report import Report
    from langsamp_plugin.report.text import report_text

    loaded = load_results(results)
    made = Report(
        loaded, Groups.load(groups) if groups else None, baseline=baseline, metrics=parse_metrics(metric),
        published=published, families=read_families(families) if families else None,
    )  # fmt: skip
    with atomic_folder(out, "report.md", overwrite) as folder:
        files = save_report(made, folder)
        if mteb:
            files += save_exchange(loaded, folder)
    print(report_text(made))
    for note in report_notes(made)[:NOTES]:
        print(f"note: {note}")
    print(f"{out / files[0].name} and {len(files) - 1} more files")


def parse_metrics(text: str) -> dict[str, str]:
    """Return task -> metric of ``pos=f1_spans,sr_bible=top1``.

    Raises:
        ValueError: a part is not ``task=metric``.
    """
    metrics = {}
    for part in split_list(text):
        task, equals, name = part.partition("=")
        if not equals or not task or not name:
            raise ValueError(f"--metric must be task=metric, such as pos=f1_spans, but is {part!r}")
        metrics[task] = name
    return metrics
