"""The fairseq criterions of the plugin; importing registers them."""

from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion

__all__ = ["LangSampMaskedLMCriterion"]
