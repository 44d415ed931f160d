"""Adds the two tables to any masked LM of transformers: BERT, ModernBERT (mmBERT), DeBERTa-v2, EuroBERT, XLM-R."""

from __future__ import annotations

import copy
import inspect
from functools import cache
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel, XLMRobertaForMaskedLM

from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.hf.heads import find_head
from langsamp_plugin.hf.masked_lm import LangSampForMaskedLM
from langsamp_plugin.hf.tagged import OWN, TaggedMaskedLM
from langsamp_plugin.hf.tagged_folder import TABLES
from langsamp_plugin.lang_script import LangScript, Tables

PREFIX, SUFFIX = "LangSamp", "ForMaskedLM"


@cache
def tagged_class(stock: type[PreTrainedModel]) -> Any:
    """Return the class of a stock masked LM with the two tables, such as ``LangSampBertForMaskedLM``."""
    if issubclass(stock, TaggedMaskedLM):
        return stock
    if stock is XLMRobertaForMaskedLM:
        return LangSampForMaskedLM
    taken = [name for name in OWN if name in inspect.signature(stock.forward).parameters]
    if taken:
        raise ValueError(f"{stock.__name__} must not have arguments of these names itself, but has: {' '.join(taken)}")
    name = PREFIX + stock.__name__
    text = f"``{stock.__name__}`` whose head can use the language and script of each sentence."
    return type(name, (TaggedMaskedLM, stock), {"__module__": __name__, "__qualname__": name, "__doc__": text})


def __getattr__(name: str) -> Any:
    """Create a class that a pickled or copied model requests by name."""
    stock = getattr(transformers, name[len(PREFIX) :], None)
    if name.startswith(PREFIX) and name.endswith(SUFFIX) and isinstance(stock, type):
        return tagged_class(stock)
    raise AttributeError(f"module {__name__} has no attribute {name}")


def add_tags(model: Any, tables: Tables) -> Any:
    """Add new, randomly initialised tables to a masked LM in place.

    Args:
        model: a model of a stock class with a head that :func:`~langsamp_plugin.hf.heads.find_head` knows.
        tables: the inventories, such as ``Tables.glot500()`` or ``Tables.load("data-bin")``.

    Returns:
        The model, whose ``forward`` now takes ``lang_ids`` and ``script_ids``.

    Raises:
        ValueError: the model has no known head, or already has tables.
    """
    find_head(model)
    if any(getattr(model, name, None) is not None for name in TABLES):
        raise ValueError("the model must have no tables yet, but has: move rows by code with `langsamp init --tables`")
    kind: Any = type(model)
    model.__class__ = tagged_class(kind)
    model._set_tables(tables.languages, tables.scripts)
    return model


def load_tagged(folder: Any, *args: Any, **kwargs: Any) -> Any:
    """Load a masked LM of any architecture with its tables, like the class's ``from_pretrained``.

    Raises:
        ValueError: transformers has no masked LM of this architecture.
    """
    hub = {name: kwargs[name] for name in ("revision", "token", "cache_dir", "subfolder") if name in kwargs}
    config = AutoConfig.from_pretrained(folder, **hub)
    if type(config) not in AutoModelForMaskedLM._model_mapping:
        raise ValueError(f"{folder} must be a masked LM of transformers, but its model_type is {config.model_type!r}")
    return tagged_class(AutoModelForMaskedLM._model_mapping[type(config)]).from_pretrained(folder, *args, **kwargs)


def fold_tag(model: Any, tag: str) -> Any:
    """Fold a tag's embeddings into the head's first bias and return a stock model with the same predictions.

    Args:
        model: a model with tables.
        tag: such as ``deu_Latn``.

    Raises:
        ValueError: the head does not begin with a linear layer that has a bias, or a table lacks a code.
    """
    first = find_head(model).first
    if first is None:
        raise ValueError(
            f"the head of {type(model).__name__} must begin with a linear layer with a bias, but does not: a tag "
            "cannot be folded into it; keep the tables and pass lang_ids and script_ids"
        )
    width = model.config.hidden_size
    rows = [getattr(model, name).weight if getattr(model, name) is not None else None for name in TABLES]
    weights = [torch.empty(0, width) if row is None else row.detach().double().cpu() for row in rows]
    shift_C = TagTables(*model.tables, *weights).embedding(LangScript.from_spelling(tag)).double()
    stock = copy.deepcopy(model)
    stock.__class__ = next(
        base
        for base in type(model).__mro__
        if issubclass(base, PreTrainedModel) and not issubclass(base, TaggedMaskedLM)
    )
    for name in TABLES:
        delattr(stock, name)
    for codes in ("languages", "scripts"):
        delattr(stock.config, codes)
    first = find_head(stock).first
    assert first is not None, "checked above"
    with torch.no_grad():
        moved_C = first.weight.double().cpu() @ shift_C
        first.bias.add_(moved_C.to(first.bias))
    return stock
