"""Tables of the study of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from outcome import Run, Scores
from study import ARMS, COLUMNS, METRICS, RETRIEVAL, UNTOUCHED, Metric, Study, neutrality, transfer_scores
from tables import spread

from langsamp_plugin.report.statistics import Difference, holm, spell_p

TITLES = {
    "vanilla": "vanilla", "lang": "+ language", "script": "+ script", "both": "+ both",
    "even": "+ both, tables at the backbone's rate", "pairs": "+ both and pairs", "shuffled": "+ both, shuffled tags",
    UNTOUCHED: "unchanged encoder",
}  # fmt: skip


def row(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def header(cells: Sequence[str]) -> list[str]:
    """Return the first lines of a table of numbers."""
    return [row(cells), "| --- |" + " ---: |" * (len(cells) - 1)]


def spell(gain: Optional[Difference], digits: int) -> str:
    """Return a difference with its interval."""
    if gain is None:
        return "-"
    text = f"{gain.mean:+.{digits}f}"
    if gain.low is None or gain.high is None:
        return text
    return f"{text} [{gain.low:+.{digits}f}, {gain.high:+.{digits}f}]"


def score_table(study: Study, length: int) -> list[str]:
    """Return the means over languages of all metrics, ± over seeds."""
    found = {metric: study.scores(metric, length) for metric in METRICS}
    lines = header(["", "seeds", *(metric.name for metric in METRICS)])
    for model in (UNTOUCHED, *ARMS):
        seeds = max((len(scores.get(model, {})) for scores in found.values()), default=0)
        if seeds:
            cells = [
                spread(values, metric.digits) if (values := study.mean(scores, model)) else "-"
                for metric, scores in found.items()
            ]
            lines.append(row([TITLES[model], "-" if model == UNTOUCHED else str(seeds), *cells]))
    return lines


def difference_table(study: Study, metric: Metric, length: int, against: str) -> list[str]:
    """Return the differences of all arms from a model, by group of languages; empty if there are none."""
    scores = study.scores(metric, length)
    lines = []
    for model in ARMS:
        if model != against and study.difference(scores, model, against) is not None:
            gains = [study.difference(scores, model, against, column) for column in COLUMNS]
            lines.append(row([TITLES[model], *(spell(gain, metric.digits) for gain in gains)]))
    if not lines:
        return []
    first = next(model for model in ARMS if study.mean(scores, model))
    tags = sorted(next(iter(scores[first].values())))
    counts = [f"{column} ({len(study.members(column, tags))})" for column in COLUMNS]
    return [*header(["", *counts]), *lines, ""]


def tests(study: Study) -> list[tuple[Metric, Difference]]:
    """Return the tests that encoder.md names, with Holm's correction."""
    length = max(study.runs)
    found = [(metric, study.difference(study.scores(metric, length), "both", "vanilla")) for metric in METRICS]
    there = [(metric, gain) for metric, gain in found if gain is not None]
    adjusted = holm([gain.p for _, gain in there])
    return [(metric, gain._replace(adjusted=value)) for (metric, gain), value in zip(there, adjusted)]


def test_table(study: Study) -> list[str]:
    """Return the seven tests."""
    lines = [row(["both - vanilla", "difference, 95 %", "p", "Holm", "about"]), "| --- | --- | ---: | ---: | --- |"]
    for metric, gain in tests(study):
        cells = [metric.name, spell(gain, metric.digits), spell_p(gain.p), spell_p(gain.adjusted), gain.method]
        lines.append(row(cells))
    return lines


def layer_tables(study: Study, name: str, length: int) -> list[str]:
    """Return a retrieval task at every block: the mean of each model, and each arm's difference from vanilla for all
    languages, tail and head; empty if no arm has it."""
    run = study.runs[length]
    layers, before = run.layers(*RETRIEVAL[name]), study.encoder.layers(*RETRIEVAL[name])
    full: dict[int, Scores] = {layer: {**scores, **before.get(layer, {})} for layer, scores in sorted(layers.items())}
    models = [model for model in (UNTOUCHED, *ARMS) if any(scores.get(model) for scores in full.values())]
    if not any(model in ARMS for model in models):
        return []
    lines = header(["block", *(TITLES[model] for model in models)])
    for layer, scores in full.items():
        means = [study.mean(scores, model) for model in models]
        lines.append(row([str(layer), *(spread(values, 2) if values else "-" for values in means)]))
    arms = [model for model in models if model not in (UNTOUCHED, "vanilla")]
    for column in ("all", "tail", "head") if "vanilla" in models and arms else ():
        lines += ["", f"Differences from vanilla, {'all languages' if column == 'all' else column}:", ""]
        lines += header(["block", *(TITLES[model] for model in arms)])
        for layer, scores in full.items():
            gains = [study.difference(scores, model, "vanilla", column) for model in arms]
            lines.append(row([str(layer), *(spell(gain, 2) for gain in gains)]))
    return lines


def neutrality_table(study: Study, run: Run) -> list[str]:
    """Return cosine with its controls."""
    found = {**neutrality(study.encoder), **neutrality(run)}
    names = {"cosine": 3, "unrelated": 3, "margin": 3, "top1": 1, "probe": 1}
    lines = header(
        ["", "cosine of parallel", "not parallel", "margin", "retrieval top-1, %", "probe of the language, %"]
    )
    for model in (UNTOUCHED, *ARMS):
        if model in found:
            values = [spread([seed[name] for seed in found[model].values()], digits) for name, digits in names.items()]
            lines.append(row([TITLES[model], *values]))
    return lines if any(model in found for model in ARMS) else []


def transfer_table(study: Study, run: Run) -> list[str]:
    """Return SIB200 from English and from the nearest source, and the difference over languages."""
    ways = transfer_scores(run)
    lines = header(["", "from English", "from the nearest", "nearest - English"])
    for model in ARMS:
        if model in ways["nearest"]:
            pair: Scores = {"english": ways["english"][model], "nearest": ways["nearest"][model]}
            cells = [spread(study.mean(pair, way), 2) for way in ("english", "nearest")]
            lines.append(row([TITLES[model], *cells, spell(study.difference(pair, "nearest", "english"), 2)]))
    return lines if len(lines) > 2 else []


def finetuned_table(study: Study, run: Run) -> list[str]:
    """Return macro F1, entity F1 or F1 over words of fine-tuned models, ± over seeds of pretraining."""
    tasks = {"Taxi1500": "taxi1500", "SIB200": "sib200", "NER": "ner", "POS": "pos"}
    found = {name: run.results(task, "f1") for name, task in tasks.items()}
    lines = header(["", *tasks])
    for model in ARMS:
        means = [study.mean(scores, model) for scores in found.values()]
        if any(means):
            lines.append(row([TITLES[model], *(spread(values, 2) if values else "-" for values in means)]))
    return lines if len(lines) > 2 else []


def length_table(study: Study) -> list[str]:
    """Return ``both - vanilla`` and ``even - both`` at each length: the explanations by length and learning rate."""
    lines = header(
        ["", *(f"{what}, {length} updates" for what in ("both - vanilla", "even - both") for length in study.runs)]
    )
    for metric in METRICS:
        cells = [
            spell(study.difference(study.scores(metric, length), model, against), metric.digits)
            for model, against in (("both", "vanilla"), ("even", "both"))
            for length in study.runs
        ]
        lines.append(row([metric.name, *cells]))
    return lines


def direction(study: Study) -> list[str]:
    """Compare both arms with each other, with the control and with the encoder, in one sentence per metric."""
    length = max(study.runs)
    lines = []
    for metric in METRICS:
        scores = study.scores(metric, length)
        parts = []
        for model, against in (("both", "vanilla"), ("shuffled", "vanilla"), ("both", UNTOUCHED)):
            gain = study.difference(scores, model, against)
            if gain is not None:
                better = "better" if gain.mean * metric.sign > 0 else "worse"
                clear = gain.low is not None and gain.high is not None and not gain.low <= 0 <= gain.high
                amount = f"by {abs(gain.mean):.{metric.digits}f}{'' if clear else ' (0 is in the interval)'}"
                parts.append(
                    f"{model} is {better} than {against} {amount}" if gain.mean else f"{model} equals {against}"
                )
        if parts:
            lines.append(f"- {metric.name}: {'; '.join(parts)}.")
    return lines
