"""Export, evaluate and analyse one model of the study of an encoder; if run again, it resumes where it stopped.

    python examples/ablation/measure_encoder.py runs/ablation-encoder/updates-300 both-1 --data EVAL --limit 40

The folder has the layout of measure.py plus tagging/ and transfer/. Retrieval is scored at each layer.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path
from typing import Any

from frozen import Features, frozen_scores, task_files
from measure import content_digest, file_state, unless_there
from outcome import name_parts
from tagging import source_of, tagging
from transfer import source_selection

from langsamp_plugin.analysis.neutrality import ALSO, PAPER, analyze_neutrality
from langsamp_plugin.analysis.tag_swap import tag_swap
from langsamp_plugin.checkpoint.fresh_checkpoint import save_checkpoint
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.export import export
from langsamp_plugin.convert.hf_folder import read_config
from langsamp_plugin.evaluation.run import evaluate

PARTS = ("retrieval", "probes", "neutrality", "tags", "finetuning")
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
OPTIMIZER = "last_optimizer_state"
SWAP_BLOCKS = 4
"""Blocks per language under each wrong tag."""


def drop_optimizer(checkpoint: Path) -> None:
    """Keep only the weights of a finished training run, a third of its size."""
    for other in checkpoint.parent.glob("checkpoint_*.pt"):
        if other != checkpoint:
            other.unlink()
    state = load_checkpoint(checkpoint)
    if state.pop(OPTIMIZER, None) is not None:
        save_checkpoint(state, checkpoint)


def neutral_languages(folder: Path, langs: list[str]) -> list[str]:
    """Return those of the paper's ten languages that take part, or the first ten languages if fewer than three do."""
    spelled = [name for tag in PAPER for name in (tag, *ALSO.get(tag, ()))]
    there = [tag for tag in langs if (folder / tag / "test.tsv").is_file() or (folder / f"{tag}.txt").is_file()]
    paper = [tag for tag in spelled if tag in there]
    return paper if len(paper) >= 3 else there[:10]


class Measurements:
    """The measurements of one model.

    Args:
        out: folder of one length of training.
        name: the model, such as ``both-1``.
        data: folder with one folder per task.
        limit: sentences per evaluation file; 0 means all.
        langs: tags to score.
        precision: of encoding, ``float32`` or ``bfloat16``; neutrality and tag swaps are measured in float32.
    """

    def __init__(self, out: Path, name: str, data: Path, limit: int, langs: list[str], precision: str):
        self.out, self.name, self.data, self.limit, self.langs = out, name, data, limit, langs
        self.precision = precision
        self.checkpoint = out / "models" / name / "checkpoint_last.pt"
        self.folder, self.scratch = out / "hf" / name, out / "scratch" / name
        drop_optimizer(self.checkpoint)
        self.weights = {"checkpoint": file_state(self.checkpoint)}
        self.settings = {**self.weights, "limit": limit, "langs": langs, "precision": precision}
        self.features = Features(self.folder, precision)

    def settings_with(self, *tasks: str) -> dict[str, Any]:
        """Return what a measurement on these tasks depends on."""
        there = [task for task in tasks if (self.data / task).is_dir()]
        return {**self.settings, "data": {task: content_digest((self.data / task).resolve()) for task in there}}

    def export(self) -> None:
        """Write the Hugging Face folder."""
        unless_there(self.folder, f"export of {self.name}", self.weights, lambda: export(self.checkpoint, self.folder))

    def evaluate(self, task: str, **options: Any) -> None:
        """Score a task of `langsamp evaluate` and remove its cache."""

        def run() -> None:
            evaluate(
                self.folder,
                self.data,
                self.scratch,
                [task],
                name=self.name,
                limit=self.limit,
                langs=self.langs,
                precision=self.precision,
                **options,
            )
            path = self.out / "results" / self.name / f"{task}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.scratch / self.name / f"{task}.json").replace(path)
            shutil.rmtree(self.scratch)

        if (self.data / task).is_dir():
            path = self.out / "results" / self.name / f"{task}.json"
            unless_there(path, f"{task} with {self.name}", self.settings_with(task), run)

    def retrieval(self) -> None:
        """Score retrieval at each layer."""
        layers = list(range(1 + read_config(self.folder)["num_hidden_layers"]))
        for task in ("sr_tatoeba", "sr_bible"):
            self.evaluate(task, layers=layers)

    def finetuning(self) -> None:
        """Fine-tune on all tasks, as the paper does."""
        for task in ("taxi1500", "sib200", "ner", "pos"):
            if (self.data / task).is_dir():
                self.evaluate(task, source=source_of(task_files(self.data / task, [])))

    def neutrality(self) -> None:
        """Measure neutrality with its margin and probe."""
        folder = self.data / ("sib200" if (self.data / "sib200").is_dir() else "sr_bible")
        chosen = neutral_languages(folder, self.langs)

        def run() -> None:
            where = self.out / "neutrality" / self.name
            analyze_neutrality(self.folder, folder, where, langs=chosen, limit=self.limit, cache_folder=self.scratch)
            shutil.rmtree(self.scratch)

        if len(chosen) >= 3:
            path = self.out / "neutrality" / self.name / "neutrality.json"
            settings = {**self.settings_with(folder.name), "chosen": chosen}
            unless_there(path, f"neutrality of {self.name}", settings, run)

    def probes(self) -> None:
        """Score linear probes, and the sources that the model's own embeddings select."""
        langs = self.langs
        unless_there(
            self.out / "frozen" / f"{self.name}.json", f"frozen features of {self.name}",
            self.settings_with("sib200", "taxi1500"),
            lambda: frozen_scores(self.features, self.data, self.limit, langs, own=False),
        )  # fmt: skip
        unless_there(
            self.out / "tagging" / f"{self.name}.json", f"tagging with {self.name}",
            self.settings_with("ner", "pos"),
            lambda: tagging(self.features, self.data, self.limit, langs),
        )  # fmt: skip
        if name_parts(self.name)[0] not in ("vanilla", "script", "untouched") and (self.data / "sib200").is_dir():
            unless_there(
                self.out / "transfer" / f"{self.name}.json", f"source selection of {self.name}",
                self.settings_with("sib200"),
                lambda: source_selection(self.features, self.checkpoint, self.data / "sib200", self.limit, langs),
            )  # fmt: skip

    def tags(self) -> None:
        """Measure what wrong tags cost."""
        if name_parts(self.name)[0] not in ("vanilla", "untouched"):
            unless_there(
                self.out / "tags" / f"{self.name}.json", f"tag swaps of {self.name}", self.weights,
                lambda: tag_swap(self.checkpoint, blocks=SWAP_BLOCKS),
            )  # fmt: skip


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of one length of training, with models/ in it")
    parser.add_argument("name", help="the model")
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder per task")
    parser.add_argument("--limit", type=int, default=0, help="sentences per evaluation file; 0 means all")
    parser.add_argument("--langs", default="", help="tags to score")
    parser.add_argument(
        "--parts", default="retrieval,probes,neutrality,tags", help=f"what to measure, of {', '.join(PARTS)}"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="precision of encoding")
    options = parser.parse_args()
    if set(options.parts.split(",")) - set(PARTS):
        parser.error(f"--parts must be of {','.join(PARTS)}, but is {options.parts}")
    logging.getLogger().setLevel(logging.WARNING)  # importing fairseq enables every logger
    langs = [lang for lang in options.langs.split(",") if lang]
    precision = PRECISIONS[options.precision]
    measurements = Measurements(options.run, options.name, options.data, options.limit, langs, precision)
    measurements.export()
    for part in options.parts.split(","):
        getattr(measurements, part)()


if __name__ == "__main__":
    main()
