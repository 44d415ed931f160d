"""LangSAMP inside ``transformers``: a masked LM that knows the language; plain fine-tuning needs none of it."""

from langsamp_plugin.hf.masked_lm import LangSampConfig, LangSampForMaskedLM
from langsamp_plugin.hf.pseudo_perplexity import pseudo_perplexity

__all__ = ["LangSampConfig", "LangSampForMaskedLM", "pseudo_perplexity"]
