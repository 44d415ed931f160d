"""The six tasks of Glot500 and LangSAMP, and the authors' settings for each (LangSAMP, section 4; Glot500, section 4)."""

from __future__ import annotations

from typing import NamedTuple, Optional

RETRIEVAL, CLASSIFICATION, TAGGING = "retrieval", "classification", "tagging"


class Settings(NamedTuple):
    """How a task is run.

    Args:
        layer: for retrieval: the block whose output is pooled; ``None`` is two thirds up, as block 8 is of 12.
        max_length: tokens that are kept of a sentence.
        lr: learning rate of AdamW, falling linearly to 0.
        epochs: passes over the training data.
        batch_size: sentences per micro-batch.
        accumulate: micro-batches per update.
        eval_steps: updates between two looks at the dev set, besides the end of each epoch; 0 for epochs alone.
        seeds: one fine-tuning run each.
        min_pairs: languages with fewer sentences are not scored.
    """

    layer: Optional[int] = None
    max_length: int = 512
    lr: float = 1e-5
    epochs: int = 40
    batch_size: int = 16
    accumulate: int = 1
    eval_steps: int = 0
    seeds: tuple[int, ...] = (42,)
    min_pairs: int = 20


class Task(NamedTuple):
    """What a user must know of a task.

    Args:
        name: as on the command line.
        title: as in the paper's tables.
        kind: ``retrieval``, ``classification`` or ``tagging``.
        metric: the one that tables show.
        languages: language-scripts in the paper (tail/head).
        settings: the authors'.
        layout: of the data, below ``--data``.
        source: where to get them.
        licence: of the data, as their source states it.
        citation: whom to cite.
    """

    name: str
    title: str
    kind: str
    metric: str
    languages: str
    settings: Settings
    layout: str
    source: str
    licence: str
    citation: str


WORDS = Settings(
    max_length=256, lr=2e-5, epochs=10, batch_size=8, accumulate=4, eval_steps=1000, seeds=(42, 43, 44, 45, 46)
)
"""The authors tag names and parts of speech with the same settings."""

TASKS = {
    task.name: task
    for task in (
        Task(
            "sr_bible", "SR-B", RETRIEVAL, "top10", "369 (275/94)", Settings(),
            "sr_bible/<tag>.txt: verse-id<tab>text, eng_Latn.txt among them, the same ids in every language",
            "built from Bible texts, see github.com/cisnlp/Glot500",
            "per translation; often not open, so the set is not distributed as a whole",
            "Imani et al., Glot500 (ACL 2023)",
        ),
        Task(
            "sr_tatoeba", "SR-T", RETRIEVAL, "top10", "98 (28/70)", Settings(),
            "sr_tatoeba/tatoeba.<l3>-eng.<l3> and tatoeba.<l3>-eng.eng, line n translates line n",
            "github.com/facebookresearch/LASER, data/tatoeba/v1",
            "Tatoeba: CC BY 2.0 FR (see the site's terms)",
            "Artetxe and Schwenk, Massively multilingual sentence embeddings (TACL 2019)",
        ),
        Task(
            "taxi1500", "Taxi1500", CLASSIFICATION, "f1", "354 (264/90)",
            Settings(max_length=100, seeds=(42, 43, 44, 45)),
            "taxi1500/<tag>/{train,dev,test}.tsv with a header: id, label, text",
            "github.com/cisnlp/Taxi1500",
            "labels Apache-2.0; Bible texts per translation",
            "Ma et al., Taxi1500 (2023)",
        ),
        Task(
            "sib200", "SIB200", CLASSIFICATION, "f1", "172 (94/78)",
            Settings(max_length=160, seeds=(42, 43, 44, 45, 46)),
            "sib200/<tag>/{train,dev,test}.tsv with a header: index_id, category, text",
            "github.com/dadelani/sib-200, data/annotated",
            "Apache-2.0; the sentences are FLORES-200's (CC BY-SA 4.0)",
            "Adelani et al., SIB-200 (EACL 2024)",
        ),
        Task(
            "ner", "NER", TAGGING, "f1", "164 (75/89)",
            WORDS,
            "ner/<tag>/{train,dev,test}.{txt,tsv}: a token and its label a line, a blank line between sentences",
            "WikiANN, github.com/afshinrahimi/mmner; African languages: github.com/masakhane-io/masakhane-ner",
            "WikiANN: of Wikipedia, CC BY-SA; MasakhaNER: CC BY-NC 4.0",
            "Pan et al., Cross-lingual name tagging (ACL 2017); Adelani et al., MasakhaNER 2.0 (EMNLP 2022)",
        ),
        Task(
            "pos", "POS", TAGGING, "f1", "91 (28/63)",
            WORDS,
            "pos/<tag>/{train,dev,test}.{tsv,txt}: a token and its label a line, a blank line between sentences",
            "Universal Dependencies, universaldependencies.org",
            "per treebank, mostly CC BY-SA 4.0, some non-commercial",
            "de Marneffe et al., Universal Dependencies (CL 2021)",
        ),
    )
}  # fmt: skip


def describe_tasks() -> str:
    """Return what ``langsamp evaluate --list`` prints."""
    lines = []
    for task in TASKS.values():
        settings = task.settings
        how = (
            f"mean over the tokens of block 8 of 12, at most {settings.max_length} tokens, cosine; top-1, 5 and 10, both ways"
            if task.kind == RETRIEVAL
            else f"fine-tuned on English: lr {settings.lr:g}, {settings.epochs} epochs, batch {settings.batch_size}"
            + (f" x {settings.accumulate}" if settings.accumulate > 1 else "")
            + f", at most {settings.max_length} tokens, seeds {' '.join(map(str, settings.seeds))}"
        )
        lines += [
            f"{task.name} ({task.title}): {task.kind}, {task.languages} language-scripts (tail/head) in the paper",
            f"  protocol  {how}",
            f"  layout    {task.layout}",
            f"  data      {task.source}",
            f"  licence   {task.licence}",
            f"  cite      {task.citation}",
        ]
    return "\n".join([*lines, "A packed <task>/<task>.tar.xz (or .tar.gz) is unpacked on first use."])
