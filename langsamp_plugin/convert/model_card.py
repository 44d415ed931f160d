"""The README.md of an exported folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.lang_script import UNKNOWN_LANGUAGE, LangScript

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
    scores: Optional[PathLike] = None,
) -> str:
    """Return the text of the card.

    Args:
        state: the fairseq checkpoint.
        config: the exported ``config.json``.
        tables: the two tables, or ``None``.
        folded: the tags that were folded: one into the head, several into biases of their own.
    """
    updates = (state.get("optimizer_history") or [{}])[-1].get("num_updates", "unknown")
    tags = (state.get("task_state") or {}).get("tags") or []
    lines = [
        "---",
        *_languages(tags),
        "license: other",
        "license_name: unspecified",
        "license_link: LICENSE",
        "library_name: transformers",
        "pipeline_tag: fill-mask",
        "tags: [langsamp, xlm-roberta, multilingual]",
        f"base_model: {base}"
        if (base := _base_model(state))
        else "# base_model: NAME-OF-THE-MODEL-THIS-ONE-STARTED-FROM",
        "---",
        "",
        "# A multilingual encoder trained with LangSAMP" if tables is not None else "# A multilingual encoder",
        "",
        f"XLM-R architecture, {config['num_hidden_layers']} layers, width {config['hidden_size']}, "
        f"{config['vocab_size']:,} tokens, trained for {updates} updates. Set the licence field above before you "
        "publish.",
        "",
        "## Use",
        "",
        "```python",
        "from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("THIS-FOLDER")',
        'model = AutoModel.from_pretrained("THIS-FOLDER")',
        "```",
        "",
        "The backbone needs no language ids, in fine-tuning or in inference.",
    ]
    if tables is not None:
        lines += [
            "",
            f"`langsamp.safetensors` has the language table ({len(tables.languages)} rows, named in `languages.tsv`) "
            f"and the script table ({len(tables.scripts)} rows, `scripts.tsv`) that were added to the output before "
            "the masked-LM head in pretraining.",
            f"The masked-LM head predicts for `{folded[0]}`: its embeddings are folded into the bias of the first "
            "layer."
            if len(folded) == 1
            else "The stock masked-LM head here works without them, as for text of unknown language; export with "
            "`--fold TAG` makes it predict for one language.",
        ]
    if len(folded) > 1:
        lines += [
            "",
            f"`heads/` has the bias of that layer for {len(folded)} tags, such as `{folded[0]}`; with one of them the "
            "stock masked LM predicts as LangSAMP does for that tag:",
            "",
            "```python",
            "from safetensors.torch import load_file",
            "from transformers import AutoModelForMaskedLM",
            "",
            'model = AutoModelForMaskedLM.from_pretrained("THIS-FOLDER")',
            f'model.load_state_dict(load_file("THIS-FOLDER/heads/{folded[0]}.safetensors"), strict=False)',
            "```",
        ]
    if tags:
        lines += ["", "## Languages", "", " ".join(tags)]
    pair_tags = (state.get("task_state") or {}).get("pair_tags") or []
    if pair_tags:
        lines += [
            "",
            "## Parallel text",
            "",
            f"Pairs of translations in {len(pair_tags)} languages were trained on, so that middle layers agree across "
            "them:",
            "",
            " ".join(pair_tags),
        ]
    settings = _settings(state)
    if settings:
        lines += [
            "",
            "## Training",
            "",
            "| setting | value |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in settings),
        ]
    if scores is not None:
        lines += ["", "## Scores", "", *_scores(scores)]
    return "\n".join([*lines, *CITATION]) + "\n"


def _languages(tags: Sequence[str]) -> list[str]:
    """Return the list of languages as a hub reads it: ISO 639 codes, quoted, as YAML takes ``no`` for a number."""
    codes = dict.fromkeys(LangScript.parse(tag).language for tag in tags)
    codes.pop(UNKNOWN_LANGUAGE, None)
    return ["language:", *(f'- "{code}"' for code in codes)] if codes else []


def _base_model(state: dict[str, Any]) -> Optional[str]:
    """Return the name of a hub's model that training started from, as far as the options name one."""
    options = (state.get("cfg") or {}).get("checkpoint")
    values = options if isinstance(options, dict) else vars(options) if options is not None else {}
    name = str(values.get("finetune_from_model") or "").lower()
    known = {"large": "FacebookAI/xlm-roberta-large", "base": "FacebookAI/xlm-roberta-base"}
    return next((full for size, full in known.items() if "xlm" in name and size in name), None)


def _scores(folder: PathLike) -> list[str]:
    """Return the tables of a report.

    Raises:
        FileNotFoundError: the folder has no report.
    """
    path = Path(folder) / "report.md"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: --scores takes a folder that `langsamp report` wrote")
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


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
