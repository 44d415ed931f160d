"""The two rules about languages that the study of an encoder fixes before any result.

    python examples/ablation/languages.py CORPUS EVAL OUT [--all] [--langs TAGS]

**Which take part**: English, and each language-script with text in the corpus and test data in at least two of the six
    evaluation tasks. With ``--all`` each language-script of the corpus.

**What the encoder knew**: see :func:`known`. It needs only the scores of the unchanged encoder.

OUT gets ``languages.tsv`` (tag, head or tail, tasks) and ``texts/<tag>.txt``: the text of these languages in the corpus
and in all evaluation files, whose pieces `langsamp tokenizer trim` keeps.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.evaluation.plan import READERS, read_pairs
from langsamp_plugin.evaluation.reading.labelled import find_labelled
from langsamp_plugin.evaluation.reading.names import ENGLISH
from langsamp_plugin.evaluation.tasks import RETRIEVAL, TASKS
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress
from langsamp_plugin.report.groups import Groups

LEAST_TASKS = 2
SOURCES = (str(ENGLISH), "pcm_Latn")
"""Where a task's training data comes from: English, and for MasakhaNER, which has none, Nigerian Pidgin."""
KNOWN = 0.5
"""Share of the reachable score from which on a language counts as known well."""


def sentences(data: Path) -> Iterator[tuple[str, LangScript, list[str]]]:
    """Yield ``(task, tag, sentences)`` of each evaluation file, of English too; no sentences where only training data
    is."""
    for name, task in TASKS.items():
        folder = data / name
        if not folder.is_dir():
            continue
        if task.kind == RETRIEVAL:
            for tag, pairs in read_pairs(task, folder).pairs.items():
                yield name, tag, pairs.other
                yield name, ENGLISH, pairs.english
            continue
        for tag, splits in find_labelled(folder, task.wikipedia)[0].items():
            for split, path in splits.items():
                if split != "dev":
                    texts = READERS[task.kind](path).texts
                    lines = [text if isinstance(text, str) else " ".join(text) for text in texts]
                    yield (name if split == "test" else ""), tag, lines


def choose(corpus: set[str], tasks: Mapping[str, set[str]], everything: bool = False) -> list[str]:
    """Apply the rule.

    Args:
        corpus: tags with text in the corpus.
        tasks: tag -> tasks that have test data for it.
        everything: select all tags of the corpus.
    """
    enough = {tag for tag in corpus if everything or len(tasks.get(tag, ())) >= LEAST_TASKS}
    return sorted(enough | ({str(ENGLISH)} & corpus))


def known(
    retrieval: Mapping[str, list[tuple[float, float]]], topics: Mapping[str, float], chance: float
) -> dict[str, float]:
    """Return how well the unchanged encoder knew each language, from about 0 to 1; below :data:`KNOWN` is badly.

    It is the mean over the tasks that the language has of ``(score - chance) / (best - chance)``, at the block two
    thirds of the way up: top-1 of SR-T and of SR-B, whose best is 100, and SIB200 from English with frozen features,
    whose best is English's own score.

    Args:
        retrieval: tag -> ``(top-1 in percent, sentences to choose from)`` of each retrieval task.
        topics: tag -> macro F1 of SIB200 in percent.
        chance: macro F1 of the most frequent topic.
    """
    shares: dict[str, list[float]] = {}
    for tag, found in retrieval.items():
        shares[tag] = [(score - 100 / count) / (100 - 100 / count) for score, count in found]
    best = topics.get(str(ENGLISH), 100.0)
    for tag, score in topics.items():
        shares.setdefault(tag, []).append((score - chance) / max(best - chance, 1e-9))
    return {tag: float(np.mean(values)) for tag, values in shares.items() if values}


def main() -> None:
    """Write languages.tsv and texts/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of <tag>.txt")
    parser.add_argument("eval", type=Path, help="folder with one folder per task")
    parser.add_argument("out", type=Path)
    parser.add_argument("--all", action="store_true", help="all languages of the corpus")
    parser.add_argument("--langs", default="", help="only these of the corpus")
    options = parser.parse_args()
    wanted = [tag for tag in options.langs.split(",") if tag]
    files = {str(tag): path for tag, path in corpus_files(options.corpus, wanted).items()}
    tasks: dict[str, set[str]] = {}
    texts: dict[str, list[str]] = {}
    for name, tag, lines in sentences(options.eval):
        if name:
            tasks.setdefault(str(tag), set()).add(name)
        texts.setdefault(str(tag), []).extend(lines)
    chosen = choose(set(files), tasks, options.all)
    folder = options.out / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    for tag in progress(sorted({*chosen, *(set(SOURCES) & texts.keys())}), desc="texts", unit="language"):
        own = list(read_lines(files[tag])) if tag in chosen else []
        lines = dict.fromkeys([*own, *texts.get(tag, [])])
        (folder / f"{tag}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    groups = Groups()
    with atomic_write(options.out / "languages.tsv") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["tag", "group", "tasks"])
        for tag in chosen:
            group = "head" if groups.is_head(tag) else "tail"
            writer.writerow([tag, group, ",".join(sorted(tasks.get(tag, ())))])
    heads = sum(groups.is_head(tag) for tag in chosen)
    scripts = {tag.partition("_")[2] for tag in chosen}
    print(f"{len(chosen)} language-scripts: {heads} head, {len(chosen) - heads} tail, {len(scripts)} scripts")


if __name__ == "__main__":
    main()
