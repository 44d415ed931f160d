"""Builds a fairseq model from a checkpoint alone, without a data folder."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, NamedTuple

from langsamp_plugin.checkpoint.options import architecture
from langsamp_plugin.checkpoint.tables import checkpoint_tables
from langsamp_plugin.checkpoint.weight_names import EMBEDDING
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


class _Task(NamedTuple):
    """The part of a task that a model uses."""

    source_dictionary: Any
    tables: Any


def build_model(state: dict[str, Any], tokenizer: Tokenizer) -> Any:
    """Return a ``LangSampRobertaModel`` with the weights of a checkpoint, in evaluation mode and float32.

    Args:
        state: a LangSAMP, ``roberta`` or ``xlmr`` checkpoint of fairseq.
        tokenizer: its vocabulary.

    Raises:
        ModuleNotFoundError: fairseq is not installed.
        ValueError: the sizes of vocabulary and checkpoint differ.
    """
    try:
        from fairseq.data import Dictionary
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"this needs fairseq, which is not installed: {error}") from error
    import langsamp_plugin

    langsamp_plugin.register()
    from langsamp_plugin.models.langsamp_roberta import LangSampRobertaModel

    weights = state["model"]
    if len(weights[EMBEDDING]) != tokenizer.vocab_size:
        raise ValueError(
            f"the model has {len(weights[EMBEDDING]):,} word embeddings, but {tokenizer.path} makes "
            f"{tokenizer.vocab_size:,} tokens"
        )
    dictionary = Dictionary()
    for piece in tokenizer.pieces:
        dictionary.add_symbol(piece)
    dictionary.add_symbol("<mask>")
    tables = checkpoint_tables(state)
    inventory = None if tables is None else Tables(tables.languages, tables.scripts)
    options = {**architecture(state), "compile": False}  # compiling is not worthwhile for a few sentences
    if tables is not None:
        options["embed_tags"] = tables.embed_tags
    model = LangSampRobertaModel.build_model(Namespace(**options), _Task(dictionary, inventory))
    model.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    )
    return model.eval()
