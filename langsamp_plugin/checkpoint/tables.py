"""The two trained tables and the codes of their rows."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.checkpoint.weight_names import EMBEDDING, table_prefix
from langsamp_plugin.lang_script import CODE_TABLES, UNKNOWN_ID, CodeTable, LangScript
from langsamp_plugin.modules.tag_embedding import decode_codes


class TagTables(NamedTuple):
    """Trained embeddings and the codes of their rows; a disabled table has no rows.

    Args:
        languages, scripts: the codes in id order.
        lang_weight, script_weight: float ``(codes, C)``.
    """

    languages: CodeTable
    scripts: CodeTable
    lang_weight: Tensor
    script_weight: Tensor

    def both(self) -> tuple[tuple[CodeTable, Tensor], tuple[CodeTable, Tensor]]:
        """Return ``(codes, weight)`` of each table, in the order of the parts of a tag."""
        return (self.languages, self.lang_weight), (self.scripts, self.script_weight)

    def embedding(self, tag: LangScript) -> Tensor:
        """Return ``E_lang + E_script`` of a tag, ``(C,)``; an unknown code, or a table without rows, adds zero.

        Raises:
            ValueError: a table lacks the code.
        """
        total = torch.zeros_like(self.lang_weight[:1].sum(0))
        for (codes, weight), code in zip(self.both(), tag):
            if not len(weight):
                continue
            code = codes.aliases.get(code, code) if code not in codes else code
            if code not in (*codes, codes.unknown):  # an error of CodeTable.id would advise those who train
                raise ValueError(
                    f"{code!r} of {tag} is not among the {len(codes)} {codes.noun}s of this model "
                    f"({' '.join(codes[:8])}{' ...' if len(codes) > 8 else ''}): use one of these, or und_Zyyy for "
                    "unknown, which adds nothing"
                )
            if codes.id(code) != UNKNOWN_ID:
                total = total + weight[codes.id(code)]
        return total

    @property
    def embed_tags(self) -> str:
        """The value of ``--embed-tags`` that a model with these tables has."""
        if len(self.languages) and len(self.scripts):
            return "both"
        return "lang" if len(self.languages) else "script"


def checkpoint_tables(state: dict[str, Any]) -> Optional[TagTables]:
    """Return the tables of a loaded checkpoint, ``None`` if it has neither."""
    weights = state["model"]
    codes: list[CodeTable] = []
    rows: list[Tensor] = []
    for kind in CODE_TABLES:
        prefix = table_prefix(kind)
        if f"{prefix}weight" in weights:
            codes.append(kind(decode_codes(weights[f"{prefix}codes"]), "the checkpoint"))
            rows.append(weights[f"{prefix}weight"])
        else:
            codes.append(kind([]))
            rows.append(torch.empty(0, weights[EMBEDDING].shape[1]))
    return TagTables(codes[0], codes[1], rows[0], rows[1]) if any(map(len, codes)) else None
