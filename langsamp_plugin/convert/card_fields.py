"""User-supplied fields of a model card, and the YAML header that model hubs read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.lang_script import UNKNOWN_LANGUAGE, LangScript

UNKNOWN_LICENSE = "unknown"
"""The hub's word for an unspecified licence."""
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,95}")
_MODEL = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")


class CardFields(NamedTuple):
    """Fields of a model card that the checkpoint does not contain.

    Args:
        license_id: the hub's identifier of the licence, such as ``mit`` or ``cc-by-4.0``.
        base_model: name on the hub of the model that training started from; by default the XLM-R model that the
            checkpoint's options name.
        scores: a folder written by ``langsamp report``; the card shows its tables.
    """

    license_id: str = UNKNOWN_LICENSE
    base_model: Optional[str] = None
    scores: Optional[PathLike] = None

    def check(self) -> None:
        """Validate all fields before any work begins.

        Raises:
            FileNotFoundError: ``scores`` has no report.
            ValueError: a hub would reject the licence or the name.
        """
        if not _LICENSE.fullmatch(self.license_id):
            raise ValueError(
                "--license must be a licence identifier of the hub, such as mit, apache-2.0, cc-by-4.0 or other, but "
                f"is {self.license_id!r}"
            )
        if self.base_model is not None and not _MODEL.fullmatch(self.base_model):
            raise ValueError(
                f"--base-model must be the name of a model on the hub, such as FacebookAI/xlm-roberta-base, but is "
                f"{self.base_model!r}"
            )
        self.score_tables()

    def score_tables(self) -> list[str]:
        """Return the lines of the report's tables."""
        if self.scores is None:
            return []
        path = Path(self.scores) / "report.md"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: --scores takes a folder that `langsamp report` wrote")
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def card_head(state: dict[str, Any], tags: Sequence[str], fields: CardFields) -> list[str]:
    """Return the lines of the YAML header of a card.

    Args:
        state: the fairseq checkpoint.
        tags: what it was trained on.
        fields: what the user says.
    """
    base = fields.base_model or _named_xlmr(state)
    return [
        "---",
        *_languages(tags),
        f"license: {fields.license_id}",
        "library_name: transformers",
        "pipeline_tag: fill-mask",
        "tags:",
        *(f"- {tag}" for tag in ("langsamp", "xlm-roberta", "multilingual")),
        *([f"base_model: {base}"] if base else []),
        "---",
    ]


def _languages(tags: Sequence[str]) -> list[str]:
    """Return the list of languages as a hub reads it: quoted ISO 639 codes, because YAML reads a bare ``no`` as
    false."""
    codes = dict.fromkeys(LangScript.parse(tag).language for tag in tags)
    codes.pop(UNKNOWN_LANGUAGE, None)
    return ["language:", *(f'- "{code}"' for code in codes)] if codes else []


def _named_xlmr(state: dict[str, Any]) -> Optional[str]:
    """Return the name of the XLM-R model that training started from, if the options name one."""
    options = (state.get("cfg") or {}).get("checkpoint")
    values = options if isinstance(options, dict) else vars(options) if options is not None else {}
    name = str(values.get("finetune_from_model") or "").lower()
    known = {"large": "FacebookAI/xlm-roberta-large", "base": "FacebookAI/xlm-roberta-base"}
    return next((full for size, full in known.items() if "xlm" in name and size in name), None)
