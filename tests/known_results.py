"""Results whose numbers are known."""

from langsamp_plugin.evaluation.results import Result

TAGS = ("deu_Latn", "rus_Cyrl", "ace_Latn", "ace_Arab")  # two heads, two tails


def result(model, values, task="sib200", **changes):
    """A result with a list of values (one per seed) per language."""
    fields = {
        "task": task, "model": model, "metric": "f1", "source": "eng_Latn", "seeds": [42, 43], "settings": {"lr": 1e-5},
        "scores": {tag: {"f1": row, "accuracy": row} for tag, row in zip(TAGS, values)}, "sizes": dict.fromkeys(TAGS,
        204),
        "not_scored": {}, "notes": [], "by_layer": {}, "curves": {}, "provenance": {"data_hash": "x"},
    }  # fmt: skip
    return Result(**{**fields, **changes})


ONE = result("base_line", [[80, 82], [60, 64], [20, 30], [10, 12]])


TWO = result("langsamp", [[82, 84], [59, 63], [30, 40], [20, 24]])


def rows_of(report):
    return {(row.model, group): part for row in report.summary for group, part in row.cells.items()}
