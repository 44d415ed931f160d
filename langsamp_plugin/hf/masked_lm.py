"""XLM-R's masked LM with the two tables: the head's input is ``o_i = h_i + E_lang + E_script``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from langsamp_plugin.hf.tagged import TaggedMaskedLM


class LangSampConfig(XLMRobertaConfig):
    """XLM-R's configuration with the codes of the two tables in id order; other classes read it as XLM-R's.

    Args:
        languages, scripts: the codes; an empty list omits a table.
        skip_logits: default of ``forward`` with labels: compute only the loss, without logits of all positions.
            ``None`` skips them in training.
        **kwargs: arguments of ``XLMRobertaConfig``.
    """

    def __init__(
        self,
        languages: Sequence[str] = (),
        scripts: Sequence[str] = (),
        skip_logits: Optional[bool] = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.languages = list(languages)
        self.scripts = list(scripts)
        self.skip_logits = skip_logits


class LangSampForMaskedLM(TaggedMaskedLM, XLMRobertaForMaskedLM):
    """XLM-R's masked LM whose head can use the language and script of each sentence.

    Without ids it is the stock model. ``from_pretrained`` loads a folder of ``langsamp export`` or ``save_pretrained``,
    or a stock XLM-R, to which ``config=LangSampConfig(languages=..., scripts=...)`` adds new tables.
    """

    config_class = LangSampConfig
