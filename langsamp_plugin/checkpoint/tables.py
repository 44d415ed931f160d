"""The two trained tables, wherever they lie: in a fairseq checkpoint or in an exported folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.hf_folder import read_config, read_safetensors
from langsamp_plugin.checkpoint.key_map import EMBEDDING
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.lang_script import UNKNOWN_ID, CodeTable, LangScript, LanguageTable, ScriptTable
from langsamp_plugin.modules.tag_embedding import decode_codes

FILENAME = "langsamp.safetensors"
UNFOLDED_BIAS = "lm_head.dense.bias"
"""In that file only where a tag was folded into the head: the bias without it, so that nothing is lost."""


class TagTables(NamedTuple):
    """Trained embeddings and the codes of their rows; a table that was switched off has no rows.

    Args:
        languages, scripts: the codes in id order.
        lang_weight, script_weight: float ``(codes, C)``.
    """

    languages: CodeTable
    scripts: CodeTable
    lang_weight: Tensor
    script_weight: Tensor

    def embedding(self, tag: LangScript) -> Tensor:
        """Return ``E_lang + E_script`` of a tag, ``(C,)``; an unknown code, or a table without rows, adds zero.

        Raises:
            ValueError: a table lacks the code.
        """
        total = torch.zeros_like(self.lang_weight[:1].sum(0))
        for codes, weight, code in (
            (self.languages, self.lang_weight, tag.language),
            (self.scripts, self.script_weight, tag.script),
        ):
            if len(weight) and codes.id(code) != UNKNOWN_ID:
                total = total + weight[codes.id(code)]
        return total

    def save(self, folder: PathLike, unfolded_bias: Optional[Tensor] = None) -> None:
        """Write ``langsamp.safetensors``, ``languages.tsv`` and ``scripts.tsv``.

        Args:
            folder: where to.
            unfolded_bias: the bias of the head's first layer, where the model in the folder has a tag folded into it.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        tensors = {"lang_embedding.weight": self.lang_weight, "script_embedding.weight": self.script_weight}
        if unfolded_bias is not None:
            tensors[UNFOLDED_BIAS] = unfolded_bias
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            folder / FILENAME,
            metadata={"format": "pt"},
        )
        for codes, kind in ((self.languages, LanguageTable), (self.scripts, ScriptTable)):
            codes.save(folder / kind.filename)


def checkpoint_tables(state: dict[str, Any]) -> Optional[TagTables]:
    """Return the tables of a loaded checkpoint, ``None`` where it has neither."""
    weights = state["model"]
    width = weights[EMBEDDING].shape[1]
    parts = []
    for noun, kind in (("lang", LanguageTable), ("script", ScriptTable)):
        weight = weights.get(f"encoder.{noun}_embedding.weight")
        if weight is None:
            parts.append((kind([]), torch.empty(0, width)))
        else:
            parts.append((kind(decode_codes(weights[f"encoder.{noun}_embedding.codes"]), "the checkpoint"), weight))
    (languages, lang_weight), (scripts, script_weight) = parts
    if not len(languages) and not len(scripts):
        return None
    return TagTables(languages, scripts, lang_weight, script_weight)


def load_tables(model: PathLike) -> TagTables:
    """Read the tables of a checkpoint file or an exported folder.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: the model has no tables, or a file is damaged.
    """
    path = Path(model)
    if not path.exists():
        raise FileNotFoundError(f"model {path} is missing")
    if path.is_file():
        tables = checkpoint_tables(load_roberta(path))
        if tables is None:
            raise ValueError(f"{path} has no language and no script table: it was not trained with LangSAMP")
        return tables
    if not (path / FILENAME).is_file():
        raise ValueError(f"{path} has no {FILENAME}: it was not exported from a LangSAMP checkpoint")
    tensors = read_tensors(path / FILENAME)
    lang_weight, script_weight = tensors["lang_embedding.weight"], tensors["script_embedding.weight"]
    width = read_config(path).get("hidden_size")
    for weight in (lang_weight, script_weight):
        if len(weight) and weight.shape[1] != width:
            raise ValueError(f"{path / FILENAME} has a table of width {weight.shape[1]}, but the model has {width}")
    codes = []
    for kind, weight in ((LanguageTable, lang_weight), (ScriptTable, script_weight)):
        if len(weight) and not (path / kind.filename).is_file():
            raise FileNotFoundError(f"{path / kind.filename} is missing: it names the rows of {FILENAME}")
        codes.append(kind.load(path / kind.filename) if len(weight) else kind([]))
        if len(codes[-1]) != len(weight):
            raise ValueError(
                f"{path / kind.filename} must have {len(weight)} codes, one per row, but has {len(codes[-1])}"
            )
    return TagTables(codes[0], codes[1], lang_weight.float(), script_weight.float())


def read_tensors(path: PathLike) -> dict[str, Tensor]:
    """Read ``langsamp.safetensors`` as it is stored.

    Raises:
        ValueError: it is damaged, or lacks a table.
    """
    tensors = read_safetensors(Path(path))
    for name in ("lang_embedding.weight", "script_embedding.weight"):
        if name not in tensors:
            raise ValueError(f"{path} is damaged: it has no {name}")
        if tensors[name].dim() != 2 or not tensors[name].is_floating_point():
            raise ValueError(f"{path} is damaged: {name} is no matrix of numbers")
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"{path}: {name} has values that are no numbers: training has diverged")
    return tensors
