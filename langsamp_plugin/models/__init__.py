"""The fairseq models of the plugin; importing registers them."""

from langsamp_plugin.models.langsamp_roberta import LangSampRobertaModel

__all__ = ["LangSampRobertaModel"]
