"""Runs a retrieval task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langsamp_plugin.evaluation.cache import Cache, hash_texts
from langsamp_plugin.evaluation.device import Compute
from langsamp_plugin.evaluation.encoding import depth, keep_blocks, load_encoder, longest_input
from langsamp_plugin.evaluation.features import FeatureStore
from langsamp_plugin.evaluation.plan import TaskPlan
from langsamp_plugin.evaluation.provenance import origin, summarise
from langsamp_plugin.evaluation.reading.names import ENGLISH
from langsamp_plugin.evaluation.results import Result
from langsamp_plugin.evaluation.retrieval import retrieval_scores
from langsamp_plugin.progress import progress


def run_retrieval(
    plan: TaskPlan, *, folder: Path, model_hash: str, revision: str, name: str, cache: Cache, layers: Sequence[int],
    compute: Compute,
) -> Result:  # fmt: skip
    """Encode every language once and compare it with English.

    Args:
        plan: the task with its data.
        folder: the model's folder.
        model_hash: hash of its files.
        revision: commit of a cached model.
        name: name of the model in the result.
        cache: where vectors are stored.
        layers: additional blocks to score.
        compute: device, precision and batch size.

    Raises:
        ValueError: a layer does not exist, or vectors are not finite.
    """
    model, tokenizer = load_encoder(folder, compute.where())
    main = plan.settings.layer if plan.settings.layer is not None else round(depth(model) * 8 / 12)
    wanted = sorted({main, *layers})
    if not 0 <= wanted[0] <= wanted[-1] <= depth(model):
        raise ValueError(f"--layer must be between 0 and {depth(model)}, but is {','.join(map(str, wanted))}")
    keep_blocks(model, wanted[-1])
    max_length = longest_input(model, tokenizer, plan.settings.max_length)
    # English is encoded once for all languages, because their sentences overlap.
    english = sorted({text for tag in plan.tags for text in plan.pairs[tag].english})
    total = len(english) + sum(len(plan.pairs[tag].other) for tag in plan.tags)
    cut: dict[str, int] = {}
    by_layer: dict[str, dict[str, dict[str, float]]] = {str(layer): {} for layer in wanted}
    with progress(total=total, desc=plan.task.name, unit="sentence") as bar:
        store = FeatureStore(
            cache, model=model, tokenizer=tokenizer, model_hash=model_hash, max_length=max_length, compute=compute,
            on_batch=bar.update,
        )  # fmt: skip
        row, queries, cut[str(ENGLISH)] = store.english(english, wanted)
        for tag in plan.tags:
            pairs = plan.pairs[tag]
            index, cut[str(tag)] = store.vectors(pairs.other, wanted)
            rows = [row[text] for text in pairs.english]
            for place, layer in enumerate(wanted):
                by_layer[str(layer)][str(tag)] = retrieval_scores(queries[place][rows], index[place])
    data_hashes = {str(tag): hash_texts(*plan.pairs[tag]) for tag in plan.tags}
    record = origin(
        folder, model_hash=model_hash, revision=revision, data=plan.folder, data_hashes=data_hashes, train_hash=""
    )
    settings: dict[str, Any] = {
        "protocol": plan.settings.protocol, "max_length": plan.settings.max_length,
        "min_pairs": plan.settings.min_pairs,
        "most_pairs": plan.settings.most_pairs, "layer": main, "pooling": "mean", "limit": plan.limit,
        "device": compute.where().type, "precision": store.precision, "batch_tokens": compute.batch_tokens,
    }  # fmt: skip
    notes = [
        f"{count} sentences of {tag} are longer than {max_length} tokens and were truncated"
        for tag, count in cut.items()
        if count
    ]
    return Result(
        task=plan.task.name, model=name, metric=plan.task.metric, source=str(ENGLISH), seeds=[], settings=settings,
        scores={
            tag: {metric: [value] for metric, value in found.items()} for tag, found in by_layer[str(main)].items()
        },
        sizes={str(tag): len(plan.pairs[tag].other) for tag in plan.tags}, not_scored=plan.not_scored,
        notes=[*plan.notes, *notes], by_layer=by_layer if len(wanted) > 1 else {}, curves={},
        provenance={**record, **summarise(store.made)}, title=plan.task.title,
    )  # fmt: skip
