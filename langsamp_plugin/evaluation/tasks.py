"""The six tasks of Glot500 and LangSAMP with their settings: the published protocol, and ours, which fixes its
errors."""

from __future__ import annotations

from typing import NamedTuple, Optional

RETRIEVAL, CLASSIFICATION, TAGGING = "retrieval", "classification", "tagging"
KINDS = (RETRIEVAL, CLASSIFICATION, TAGGING)
PUBLISHED, FIXED = "published", "fixed"
PROTOCOLS = (FIXED, PUBLISHED)


class Recipe(NamedTuple):
    """Behaviour of the fine-tuning loop; non-default values reproduce the authors' scripts.

    Args:
        clip: maximum gradient norm; 0 disables clipping.
        decay_by_batch: the learning rate falls as if every micro-batch were an update, so it ends above 0.
        reset_by_batch: gradients are reset before every micro-batch, so an update uses only the last one.
        mean_by_batch: the loss is averaged within each micro-batch instead of over all labels of an update.
        carry: micro-batches left over at the end of an epoch join the first update of the next epoch.
        decay_first: the learning rate falls before an update instead of after it.
        look_after_epochs: the dev set is also scored at the end of each epoch.
        random_order: batches are random, never grouped by length.
        second_end: inputs end in two ``</s>``.
        cut_long: tagged sentences longer than the model's limit are truncated instead of split between words.
        spans_on_dev: the dev score of tags is F1 over spans, also where tags have no spans (POS).
        never_zero: a dev score of 0 never counts as best: if all are 0, the last weights are used instead of the first.
    """

    clip: float = 1.0
    decay_by_batch: bool = False
    reset_by_batch: bool = False
    mean_by_batch: bool = False
    carry: bool = False
    decay_first: bool = False
    look_after_epochs: bool = True
    random_order: bool = False
    second_end: bool = False
    cut_long: bool = False
    spans_on_dev: bool = False
    never_zero: bool = False


class Settings(NamedTuple):
    """Settings of a task.

    Args:
        protocol: ``fixed`` or ``published``.
        layer: for retrieval: the block whose output is pooled; ``None`` is two thirds of the depth (8 of 12).
        max_length: number of tokens kept per sentence.
        most_pairs: for retrieval: maximum number of pairs per language, evenly spaced; 0 means all.
        min_pairs: languages with fewer sentences are not scored.
        lr: learning rate of AdamW, falling linearly.
        epochs: passes over the training data.
        batch_size: sentences per micro-batch.
        accumulate: micro-batches per update.
        eval_steps: updates between dev evaluations, in addition to the end of each epoch; 0 evaluates after epochs
            only.
        seeds: seeds, one fine-tuning run each.
        recipe: behaviour of the loop.
        precision: ``auto`` (bfloat16 on a GPU that has it, else float32), ``float32``, ``bfloat16`` or ``float16``.
    """

    protocol: str = FIXED
    layer: Optional[int] = None
    max_length: int = 512
    most_pairs: int = 0
    min_pairs: int = 20
    lr: float = 1e-5
    epochs: int = 40
    batch_size: int = 16
    accumulate: int = 1
    eval_steps: int = 0
    seeds: tuple[int, ...] = (42,)
    recipe: Recipe = Recipe()
    precision: str = "auto"


class Task(NamedTuple):
    """Definition of a task.

    Args:
        name: name on the command line.
        title: title in the paper's tables.
        kind: ``retrieval``, ``classification`` or ``tagging``.
        metric: the metric that tables show.
        languages: language-scripts in the paper (tail/head).
        settings: our settings.
        layout: layout of the data within ``--data``.
        source: where to obtain the data.
        licence: licence of the data, as their source states it.
        citation: publication to cite.
        published: settings of the authors' scripts that differ.
        published_metric: the metric of the authors' table, if it differs.
        wikipedia: folders are named after codes of Wikipedias.
        folder: folder within ``--data``, if it differs from ``name``.
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
    published: Optional[Settings] = None
    published_metric: str = ""
    wikipedia: bool = False
    folder: str = ""

    def main_metric(self, protocol: str) -> str:
        """Return the metric that tables show for a protocol."""
        return self.published_metric if protocol == PUBLISHED and self.published_metric else self.metric

    def protocol(self, name: str) -> Settings:
        """Return the settings of a protocol.

        Raises:
            ValueError: the protocol is unknown.
        """
        if name not in PROTOCOLS:
            raise ValueError(f"--protocol must be one of {' '.join(PROTOCOLS)}, but is {name!r}")
        if name == PUBLISHED:
            return (self.published or self.settings)._replace(protocol=PUBLISHED)
        return self.settings


WORDS = Settings(
    max_length=256, lr=2e-5, epochs=10, batch_size=8, accumulate=4, eval_steps=1000, seeds=(42, 43, 44, 45, 46)
)
"""The authors use the same settings for NER and POS."""

PUBLISHED_WORDS = WORDS._replace(
    seeds=(1,), precision="float32",
    recipe=Recipe(mean_by_batch=True, carry=True, decay_first=True, look_after_epochs=False, random_order=True,
                  second_end=True, cut_long=True, spans_on_dev=True, never_zero=True),
)  # fmt: skip
"""Settings of evaluation/tagging/run_tag.py and evaluate_all_{ner,pos}.sh at cisnlp/LangSAMP."""

SENTENCES = Settings(max_length=160, seeds=(42, 43, 44, 45, 46))


def _published_sentences(settings: Settings) -> Settings:
    """Return the settings of evaluation/{sib200,taxi1500}/evaluate*.py at cisnlp/LangSAMP."""
    recipe = Recipe(clip=0.0, decay_by_batch=True, reset_by_batch=True, mean_by_batch=True, random_order=True)
    return settings._replace(batch_size=8, accumulate=2, recipe=recipe, precision="float32")


TASKS = {
    task.name: task
    for task in (
        Task(
            "sr_bible", "SR-B", RETRIEVAL, "top10", "369 (275/94)", Settings(most_pairs=500),
            "sr_bible/<tag>.txt: verse-id<tab>text, including eng_Latn.txt, with the same ids in every language; "
            "or bible.<tag>-eng_Latn.<tag> and bible.<tag>-eng_Latn.eng_Latn",
            "built from Bible texts, see github.com/cisnlp/Glot500",
            "per translation; often not open, so the complete set is not distributed",
            "Imani et al., Glot500 (ACL 2023)",
        ),
        Task(
            "sr_tatoeba", "SR-T", RETRIEVAL, "top10", "98 (28/70)", Settings(most_pairs=1000),
            "sr_tatoeba/tatoeba.<l3>-eng.<l3> and tatoeba.<l3>-eng.eng, line n translates line n; the same with tags",
            "github.com/facebookresearch/LASER, data/tatoeba/v1",
            "Tatoeba: CC BY 2.0 FR (see the site's terms)",
            "Artetxe and Schwenk, Massively multilingual sentence embeddings (TACL 2019)",
        ),
        Task(
            "taxi1500", "Taxi1500", CLASSIFICATION, "f1", "354 (264/90)",
            SENTENCES._replace(max_length=100, seeds=(42, 43, 44, 45)),
            "taxi1500/<tag>/{train,dev,test}.tsv or <tag>_{train,dev,test}.tsv with a header: id, label, text",
            "github.com/cisnlp/Taxi1500",
            "labels Apache-2.0; Bible texts per translation",
            "Ma et al., Taxi1500 (2023)",
            published=_published_sentences(SENTENCES._replace(max_length=100, seeds=(42, 43, 44, 45))),
        ),
        Task(
            "sib200", "SIB200", CLASSIFICATION, "f1", "172 (94/78)", SENTENCES,
            "sib200/<tag>/{train,dev,test}.tsv with a header: index_id, category, text",
            "github.com/dadelani/sib-200, data/annotated",
            "Apache-2.0; the sentences are FLORES-200's (CC BY-SA 4.0)",
            "Adelani et al., SIB-200 (EACL 2024)",
            published=_published_sentences(SENTENCES),
        ),
        Task(
            "ner", "NER", TAGGING, "f1", "164 (75/89)",
            WORDS,
            "ner/<tag>/{train,dev,test}[.txt,.tsv] or ner/{train,dev,test}-<tag>.tsv: one token and label per line, a "
            "blank line between sentences",
            "WikiANN, github.com/afshinrahimi/mmner; African languages: github.com/masakhane-io/masakhane-ner",
            "WikiANN: from Wikipedia, CC BY-SA; MasakhaNER: CC BY-NC 4.0",
            "Pan et al., Cross-lingual name tagging (ACL 2017); Adelani et al., MasakhaNER 2.0 (EMNLP 2022)",
            published=PUBLISHED_WORDS, wikipedia=True,
        ),
        Task(
            "pos", "POS", TAGGING, "f1", "91 (28/63)",
            WORDS,
            "pos/<tag>/{train,dev,test}[.tsv,.txt,.conllu]: one token and label per line, a blank line between "
            "sentences",
            "Universal Dependencies, universaldependencies.org",
            "per treebank, mostly CC BY-SA 4.0, some non-commercial",
            "de Marneffe et al., Universal Dependencies (CL 2021)",
            published=PUBLISHED_WORDS, published_metric="f1_spans",
        ),
    )
}  # fmt: skip


def describe_tasks() -> str:
    """Return what ``langsamp evaluate --list`` prints."""
    lines = []
    for task in TASKS.values():
        lines += [
            f"{task.name} ({task.title}): {task.kind}, {task.languages} language-scripts (tail/head) in the paper",
            f"  fixed     {describe_settings(task, task.settings)}",
            f"  published {describe_settings(task, task.protocol(PUBLISHED))}",
            f"  layout    {task.layout}",
            f"  data      {task.source}",
            f"  licence   {task.licence}",
            f"  cite      {task.citation}",
        ]
    return "\n".join([*lines, "A packed <task>/<task>.tar.xz (or .tar.gz) is unpacked on first use."])


def describe_settings(task: Task, settings: Settings) -> str:
    """Return a one-line description of a task's settings."""
    if task.kind == RETRIEVAL:
        most = f"at most {settings.most_pairs} pairs, " if settings.most_pairs else ""
        return (
            f"mean over the tokens of block 8 of 12, at most {settings.max_length} tokens, {most}cosine; "
            "top-1, 5 and 10, in both directions"
        )
    changed = [
        name.replace("_", " ")
        for name, value in settings.recipe._asdict().items()
        if value != Recipe._field_defaults[name] and name != "clip"
    ]
    return (
        f"fine-tuned on English: lr {settings.lr:g}, {settings.epochs} epochs, batch {settings.batch_size}"
        + (f" x {settings.accumulate}" if settings.accumulate > 1 else "")
        + f", at most {settings.max_length} tokens, seeds {' '.join(map(str, settings.seeds))}"
        + ("" if settings.recipe.clip else ", no clipping")
        + (f", {', '.join(changed)}" if changed else "")
    )
