"""XLM-R's masked LM with the two tables: ``o_i = h_i + E_lang + E_script`` goes into the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from langsamp_plugin.hf.tagged import TaggedMaskedLM


class LangSampConfig(XLMRobertaConfig):
    """XLM-R's configuration and the codes of the two tables in id order; other classes read it as XLM-R's.

    Args:
        languages, scripts: the codes; none leaves a table out.
        skip_logits: what ``forward`` does with labels where it is not told: make no logits of all positions beside the
            loss. ``None`` skips them in training.
        **kwargs: those of ``XLMRobertaConfig``.
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
    """XLM-R's masked LM whose head can be told the language and script of each sentence.

    Without ids it is the stock model. ``from_pretrained`` takes a folder of ``langsamp export``, what
    ``save_pretrained`` wrote, or a stock XLM-R, to which ``config=LangSampConfig(languages=..., scripts=...)`` gives
    new tables.
    """

    config_class = LangSampConfig
