"""LangSAMP inside ``transformers``: a masked LM that knows the language; plain fine-tuning needs none of it."""

from langsamp_plugin.hf.masked_lm import LangSampConfig, LangSampForMaskedLM

__all__ = ["LangSampConfig", "LangSampForMaskedLM"]
