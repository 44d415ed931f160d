"""The fairseq tasks of the plugin; importing registers them."""

from langsamp_plugin.tasks.langsamp_masked_lm import LangSampMaskedLMTask

__all__ = ["LangSampMaskedLMTask"]
