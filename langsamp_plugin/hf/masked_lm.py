"""A Hugging Face masked LM with the two tables: ``o_i = h_i + E_lang + E_script`` goes into the head.

It reads and writes the folders of ``langsamp export``: the backbone and head lie there as a stock XLM-R that any class
loads, the tables beside it in ``langsamp.safetensors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor, nn
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM
from transformers.modeling_outputs import MaskedLMOutput

from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.convert.tables_file import (
    TABLES_FILENAME,
    UNFOLDED_BIAS,
    load_tables,
    read_table_tensors,
    save_tables,
)
from langsamp_plugin.lang_script import LangScript, LanguageTable, ScriptTable, Tables
from langsamp_plugin.modules.ignored import IGNORED
from langsamp_plugin.modules.tag_embedding import TagEmbedding

TABLES = ("lang_embedding.", "script_embedding.")


class LangSampConfig(XLMRobertaConfig):
    """XLM-R's configuration and the codes of the two tables in id order; other classes read it as XLM-R's.

    Args:
        languages, scripts: the codes; none leaves a table out.
        **kwargs: those of ``XLMRobertaConfig``.
    """

    def __init__(self, languages: Sequence[str] = (), scripts: Sequence[str] = (), **kwargs: Any):
        super().__init__(**kwargs)
        self.languages = list(languages)
        self.scripts = list(scripts)


class LangSampForMaskedLM(XLMRobertaForMaskedLM):
    """XLM-R's masked LM whose head can be told the language and script of each sentence.

    Without ids it is the stock model. ``from_pretrained`` takes a folder of ``langsamp export``, or what
    :meth:`save_pretrained` wrote.

    Attributes:
        tables: the inventories, or ``None``.
    """

    config_class = LangSampConfig

    def __init__(self, config: LangSampConfig):
        super().__init__(config)
        self.lang_embedding: Optional[TagEmbedding] = None
        self.script_embedding: Optional[TagEmbedding] = None
        self._set_tables(getattr(config, "languages", ()), getattr(config, "scripts", ()))

    def _set_tables(self, languages: Sequence[str], scripts: Sequence[str]) -> None:
        width = self.config.hidden_size
        self.config.languages, self.config.scripts = list(languages), list(scripts)
        self.lang_embedding = TagEmbedding(list(languages), width) if languages else None
        self.script_embedding = TagEmbedding(list(scripts), width) if scripts else None

    @property
    def tables(self) -> Tables:
        """The inventories; an empty one for a table that the model does not have."""
        return Tables(LanguageTable(self.config.languages, "the model"), ScriptTable(self.config.scripts, "the model"))

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, **kwargs: Any) -> LangSampForMaskedLM:
        """Load a folder; its tables, if it has some, too.

        Raises:
            ValueError: the model is of another architecture, or the file of tables is damaged.
        """
        kind = LangSampConfig.get_config_dict(folder)[0].get("model_type")
        if kind != "xlm-roberta":
            raise ValueError(f"{folder} has model_type {kind!r}, but this class is for xlm-roberta")
        config = kwargs.pop("config", None) or LangSampConfig.from_pretrained(folder)
        # The tables are not in the file that the stock class reads, so the model is first made without them.
        config.languages, config.scripts = [], []
        model = super().from_pretrained(folder, *args, config=config, **kwargs)
        if (Path(folder) / TABLES_FILENAME).is_file():
            tables = load_tables(folder)
            model._set_tables(tables.languages, tables.scripts)
            with torch.no_grad():
                for module, weight in (
                    (model.lang_embedding, tables.lang_weight),
                    (model.script_embedding, tables.script_weight),
                ):
                    if module is not None:
                        module.weight.copy_(weight)
                        module.to(model.device, model.dtype)
                bias = read_table_tensors(Path(folder) / TABLES_FILENAME).get(UNFOLDED_BIAS)
                if bias is not None:  # one tag is folded into the stock head; here it comes from the tables
                    model.lm_head.dense.bias.copy_(bias)
        return model

    def save_pretrained(self, folder: Any, *args: Any, **kwargs: Any) -> None:
        """Write a folder that the stock classes load, with the tables beside the model."""
        state = kwargs.pop("state_dict", None) or self.state_dict()
        backbone = {name: tensor for name, tensor in state.items() if not name.startswith(TABLES)}
        # The second name of the head's bias as a tensor of its own: transformers 4 sets the bias to zero without it.
        backbone["lm_head.decoder.bias"] = backbone["lm_head.bias"].clone()
        super().save_pretrained(folder, *args, state_dict=backbone, **kwargs)
        empty = torch.empty(0, self.config.hidden_size)
        weights = [state[f"{name}weight"].detach().cpu() if f"{name}weight" in state else empty for name in TABLES]
        save_tables(TagTables(*self.tables, *weights), folder)

    def tag_ids(self, tags: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ``(lang_ids, script_ids)``, int64 (B,), of a tag per sentence; ``und_Zyyy`` is unknown.

        Raises:
            ValueError: a tag is malformed or a table lacks its code.
        """
        ids = [self.tables.ids(LangScript.from_spelling(tag)) for tag in tags]
        lang_ids, script_ids = torch.tensor(ids, dtype=torch.long, device=self.device).reshape(-1, 2).unbind(1)
        return lang_ids, script_ids

    def forward(
        self,
        input_ids: Optional[Tensor] = None,
        attention_mask: Optional[Tensor] = None,
        lang_ids: Optional[Tensor] = None,
        script_ids: Optional[Tensor] = None,
        labels: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Predict.

        Args:
            input_ids, attention_mask: int64 (B, T).
            lang_ids, script_ids: int64 (B,), -1 for unknown; ``None`` is unknown for all.
            labels: int64 (B, T), -100 where nothing is to be predicted.
            **kwargs: other arguments of ``XLMRobertaModel``.

        Returns:
            ``loss`` (with labels) and ``logits`` (B, T, vocabulary).
        """
        outputs = self.roberta(input_ids, attention_mask=attention_mask, **kwargs)
        features_BTC = outputs[0]
        for table, ids in ((self.lang_embedding, lang_ids), (self.script_embedding, script_ids)):
            if table is not None and ids is not None:
                features_BTC = features_BTC + table(ids).unsqueeze(1)
        logits_BTV = self.lm_head(features_BTC)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits_BTV.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        return MaskedLMOutput(
            loss=loss,
            logits=logits_BTV,
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )
