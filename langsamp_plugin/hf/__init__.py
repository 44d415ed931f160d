"""LangSAMP in ``transformers``: masked LMs that use the language; plain fine-tuning does not need this."""

from langsamp_plugin.hf.any_masked_lm import add_tags, fold_tag, load_tagged
from langsamp_plugin.hf.collator import LangSampCollator
from langsamp_plugin.hf.data_bin import DataBin
from langsamp_plugin.hf.masked_lm import LangSampConfig, LangSampForMaskedLM
from langsamp_plugin.hf.trainer import LangSampTrainer

__all__ = [
    "DataBin",
    "LangSampCollator",
    "LangSampConfig",
    "LangSampForMaskedLM",
    "LangSampTrainer",
    "add_tags",
    "fold_tag",
    "load_tagged",
]
