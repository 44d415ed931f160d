"""The README.md of an exported folder: its model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.convert.card_fields import UNKNOWN_LICENSE, CardFields, card_head

CITATION = [
    "",
    "## Citation",
    "",
    "```bibtex",
    "@inproceedings{liu-etal-2025-langsamp,",
    "  title     = {{LangSAMP}: Language-Script Aware Multilingual Pretraining},",
    '  author    = {Liu, Yihong and Ye, Haotian and Ma, Chunlan and Wang, Mingyang and Sch{\\"u}tze, Hinrich},',
    "  booktitle = {Proceedings of the 63rd Annual Meeting of the Association for Computational Linguistics},",
    "  year      = {2025},",
    "  eprint    = {2409.18199},",
    "  archivePrefix = {arXiv},",
    "}",
    "```",
]
SETTINGS = {
    "task": ["tokens_per_sample", "mask_prob", "multilang_sampling", "multilang_sampling_alpha", "tag_dropout", "seed"],
    "dataset": ["batch_size", "max_tokens"],
    "optimization": ["lr", "update_freq", "clip_norm"],
    "optimizer": ["_name", "adam_betas", "adam_eps", "weight_decay"],
    "common": ["fp16", "bf16"],
    "distributed_training": ["distributed_world_size"],
}
PAIR_SETTINGS = ("align_share", "align_pairs", "align_objective", "align_layer", "align_weight", "align_temperature")


def model_card(
    state: dict[str, Any],
    config: dict[str, Any],
    tables: Optional[TagTables],
    *,
    folded: Sequence[str] = (),
    layout: str = "stock",
    fields: CardFields = CardFields(),
) -> str:
    """Return the text of the card.

    Args:
        state: the fairseq checkpoint.
        config: the exported ``config.json``.
        tables: the two tables, or ``None``.
        folded: the folded tags: a single one is in the head, several have separate bias files.
        layout: ``stock`` or ``authors``, as in the export.
        fields: user-supplied fields.
    """
    tags = (state.get("task_state") or {}).get("tags") or []
    scores = fields.score_tables()
    return (
        "\n".join(
            [
                *card_head(state, tags, fields),
                *_what_it_is(state, config, tables, fields),
                *_how_to_use(layout),
                *(_about_tables(tables, folded, layout) if tables is not None else []),
                *(_about_heads(folded) if len(folded) > 1 else []),
                *(_section("Languages", [" ".join(tags)]) if tags else []),
                *_about_pairs(state),
                *_about_training(state),
                *(_section("Scores", scores) if scores else []),
                *CITATION,
            ]
        )
        + "\n"
    )


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _what_it_is(
    state: dict[str, Any], config: dict[str, Any], tables: Optional[TagTables], fields: CardFields
) -> list[str]:
    history = (state.get("optimizer_history") or [{}])[-1]
    sentence = (
        f"XLM-R architecture, {config['num_hidden_layers']} layers, width {config['hidden_size']}, "
        f"{config['vocab_size']:,} tokens, trained for {history.get('num_updates', 'unknown')} updates."
    )
    if fields.license_id == UNKNOWN_LICENSE:
        sentence += " Set the licence field above before you publish."
    title = "# A multilingual encoder trained with LangSAMP" if tables is not None else "# A multilingual encoder"
    return ["", title, "", sentence]


def _how_to_use(layout: str) -> list[str]:
    lines = [
        "```python",
        "from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("THIS-FOLDER")',
        'model = AutoModel.from_pretrained("THIS-FOLDER")',
        "```",
        "",
        "The backbone needs no language ids, in fine-tuning or in inference.",
    ]
    if layout == "authors":
        lines = [
            "```python",
            "from langsamp_plugin.hf import LangSampForMaskedLM",
            "",
            'model = LangSampForMaskedLM.from_pretrained("THIS-FOLDER")',
            "```",
            "",
            "The class `XLMRobertaDecoupledForMaskedLM` of the paper's authors also loads it. The folder has no "
            "token-type row: a stock class initialises one at random.",
        ]
    return _section("Use", lines)


def _about_tables(tables: TagTables, folded: Sequence[str], layout: str) -> list[str]:
    if layout == "authors":
        return [
            "",
            "The weights include the language table and the script table, which are added to the output before the "
            "masked-LM head. Their rows follow the published inventory by position.",
        ]
    return [
        "",
        f"`langsamp.safetensors` contains the language table ({len(tables.languages)} rows, named in `languages.tsv`) "
        f"and the script table ({len(tables.scripts)} rows, `scripts.tsv`), which pretraining added to the output "
        "before the masked-LM head.",
        f"The masked-LM head predicts for `{folded[0]}`: its embeddings are folded into the bias of the first layer."
        if len(folded) == 1
        else "The stock masked-LM head ignores them and predicts as for text of unknown language. Export with `--fold "
        "TAG` to make it predict for one language.",
    ]


def _about_heads(folded: Sequence[str]) -> list[str]:
    return [
        "",
        f"`heads/` contains the bias of that layer for {len(folded)} tags, such as `{folded[0]}`. With one of them, "
        "the stock masked LM predicts as LangSAMP does for that tag:",
        "",
        "```python",
        "from safetensors.torch import load_file",
        "from transformers import AutoModelForMaskedLM",
        "",
        'model = AutoModelForMaskedLM.from_pretrained("THIS-FOLDER")',
        f'model.load_state_dict(load_file("THIS-FOLDER/heads/{folded[0]}.safetensors"), strict=False)',
        "```",
    ]


def _about_pairs(state: dict[str, Any]) -> list[str]:
    tags = (state.get("task_state") or {}).get("pair_tags") or []
    if not tags:
        return []
    said = f"Training also used pairs of translations in {len(tags)} languages, to align middle layers:"
    return _section("Parallel text", [said, "", " ".join(tags)])


def _about_training(state: dict[str, Any]) -> list[str]:
    rows = [f"| {name} | {value} |" for name, value in _settings(state)]
    return _section("Training", ["| setting | value |", "| --- | --- |", *rows]) if rows else []


def _settings(state: dict[str, Any]) -> list[tuple[str, Any]]:
    config = state.get("cfg") or {}
    with_pairs = bool((state.get("task_state") or {}).get("pair_tags"))
    rows = []
    for section, names in (*SETTINGS.items(), ("task", PAIR_SETTINGS if with_pairs else ())):
        part = config.get(section)
        options = part if isinstance(part, dict) else vars(part) if part is not None else {}
        rows += [
            (name if name != "_name" else section, options[name]) for name in names if options.get(name) is not None
        ]
    return rows
