"""Makes a transformers masked LM a LangSAMP model: the head's input is ``o_i = h_i + E_lang + E_script``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

from langsamp_plugin.hf.heads import find_head
from langsamp_plugin.hf.loss import tied_input, token_losses
from langsamp_plugin.hf.tagged_folder import TABLES, TaggedFolder
from langsamp_plugin.lang_script import (
    UNKNOWN_ID,
    UNKNOWN_LANGUAGE,
    UNKNOWN_SCRIPT,
    LangScript,
    LanguageTable,
    ScriptTable,
    Tables,
)
from langsamp_plugin.modules.head_loss import TokenLosses
from langsamp_plugin.modules.ignored import IGNORED
from langsamp_plugin.modules.tag_embedding import TagEmbedding, decode_codes

Ids = tuple[Optional[Tensor], Optional[Tensor]]
ABSENT = object()
OWN = ("lang_ids", "script_ids", "tag", "language", "script", "num_items_in_batch", "skip_logits")
"""Keyword-only arguments of ``forward`` that stock classes lack. The Trainer drops columns that are not arguments, so
it keeps the columns that a collator reads."""


# torch 2.6 cannot tell an export from a compilation; logits are made at once in both there.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class TaggedMaskedLM(TaggedFolder):
    """A mixin that precedes a masked LM's class in the bases; see
    :func:`langsamp_plugin.hf.any_masked_lm.tagged_class`.

    The two tables are modules of the model, so everything that handles weights also handles them: the Trainer's
    checkpoints, sharding, ``device_map``, dtypes. Without ids it is the stock model.

    Attributes:
        lang_embedding, script_embedding: the tables, or ``None``.
        tables: the inventories.
    """

    accepts_loss_kwargs = True  # for the Trainer: forward divides by num_items_in_batch

    lang_embedding: Optional[TagEmbedding]
    script_embedding: Optional[TagEmbedding]
    config: Any

    def __init__(self, config: Any, *args: Any, **kwargs: Any):
        super().__init__(config, *args, **kwargs)
        self._set_tables(getattr(config, "languages", ()), getattr(config, "scripts", ()))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Append our arguments to the stock signature of ``forward``, which the Trainer inspects."""
        super().__init_subclass__(**kwargs)
        stock: Any = next((base for base in cls.__mro__[1:] if _is_stock(base)), None)
        if stock is None:
            return
        parameters = list(inspect.signature(stock.forward).parameters.values())
        cls._positional = [
            parameter.name for parameter in parameters[1:] if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]
        named = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        others = [parameter for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
        named += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in OWN]

        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            return self._forward(args, kwargs)

        forward.__doc__ = TaggedMaskedLM._forward.__doc__
        forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*named, *(others or [inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])]
        )
        cls.forward = forward

    def _set_tables(self, languages: Sequence[str], scripts: Sequence[str]) -> None:
        """Replace both tables by randomly initialised ones; a table without codes is omitted."""
        head = find_head(self)
        width = self.config.hidden_size
        self.config.languages, self.config.scripts = list(languages), list(scripts)
        self.lang_embedding = TagEmbedding(list(languages), width) if languages else None
        self.script_embedding = TagEmbedding(list(scripts), width) if scripts else None
        for table in (self.lang_embedding, self.script_embedding):
            if table is not None and not head.weight.is_meta:
                table.to(head.weight.device, head.weight.dtype)

    @property
    def tables(self) -> Tables:
        """The inventories, empty for a table that the model lacks."""
        return Tables(LanguageTable(self.config.languages, "the model"), ScriptTable(self.config.scripts, "the model"))

    def tag_ids(self, tags: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ``(lang_ids, script_ids)``, int64 (B,), for one tag per sentence; ``und_Zyyy`` is unknown.

        Raises:
            ValueError: a tag is malformed or a table lacks its code.
        """
        ids = [_ids(self.tables, tag) for tag in tags]
        lang_ids, script_ids = torch.tensor(ids, dtype=torch.long, device=self.device).reshape(-1, 2).unbind(1)
        return lang_ids, script_ids

    def _forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Predict.

        Args:
            input_ids, attention_mask, ...: the stock class's arguments in order; others by keyword.
            labels: int64 (B, T), -100 at positions that are not predicted.
            lang_ids, script_ids: int64 (B,), -1 for unknown; ``None`` is unknown for all.
            tag: instead of ids, a tag such as ``deu_Latn`` for each sentence.
            language, script: instead of ids, two codes for each sentence.
            num_items_in_batch: divisor of the summed loss; by default the number of masked positions.
            skip_logits: compute only the loss, at masked positions, without logits; defaults to ``config.skip_logits``,
                and if that is not set, to true in training with labels.

        Returns:
            ``MaskedLMOutput`` with ``loss`` (with labels) and ``logits`` (B, T, V), or a tuple without
            ``return_dict``.

        Raises:
            ValueError: ids have the wrong shape, or the model has no tables.
        """
        named = dict(zip(self._positional, args))
        if len(args) > len(self._positional) or named.keys() & kwargs.keys():
            raise TypeError(f"forward takes {', '.join(self._positional)} by position, each at most once")
        named.update(kwargs)
        ids = (named.pop("lang_ids", None), named.pop("script_ids", None))
        tags, languages, scripts = (named.pop(name, None) for name in ("tag", "language", "script"))
        if tags is None and languages is not None and scripts is not None:
            tags = [f"{language}_{script}" for language, script in zip(languages, scripts)]
        if tags is not None and ids == (None, None):
            ids = self.tag_ids(tags)
        items, skip = named.pop("num_items_in_batch", None), named.pop("skip_logits", None)
        if named.get("labels") is None and ids == (None, None):
            return super().forward(**named)
        labels = named.pop("labels", None)
        if skip is None:
            skip = getattr(self.config, "skip_logits", None)
        if skip is None:
            skip = self.training
        return self._predict(named, ids, labels, items, bool(skip) and labels is not None)

    def _predict(
        self, named: dict[str, Any], ids: Ids, labels_BT: Optional[Tensor], items: Any, skip_logits: bool
    ) -> Any:
        head = find_head(self)
        as_tuple = not _return_dict(named.pop("return_dict", None), self.config)
        # The weights of an offloaded head are available only inside its call.
        blocks = labels_BT is not None and not head.weight.is_meta and not is_exporting()
        tied = tied_input(self, head, labels_BT, named) if blocks and labels_BT is not None else None
        outputs = self.base_model(**named, return_dict=True)
        features_BTC = outputs[0]
        tags_BC = self.tag_rows(features_BTC, ids)
        loss = logits_BTV = None
        if not skip_logits or not blocks:
            logits_BTV = head.predict(features_BTC if tags_BC is None else features_BTC + tags_BC.unsqueeze(1))
        if labels_BT is not None:
            if labels_BT.shape != features_BTC.shape[:2]:
                raise ValueError(
                    f"labels must be (B, T) = {tuple(features_BTC.shape[:2])}, but are {tuple(labels_BT.shape)}"
                )
            labels_BT = labels_BT.to(features_BTC.device)
            if logits_BTV is not None and not blocks:
                total = cross_entropy(logits_BTV.flatten(0, 1), labels_BT.flatten(), reduction="sum")
            else:
                total = token_losses(head, features_BTC, tags_BC, labels_BT, tied).total
            count = (labels_BT != IGNORED).sum() if items is None else items
            loss = total / (count.to(total.device) if isinstance(count, Tensor) else count)
        result = MaskedLMOutput(
            loss=loss,
            logits=None if skip_logits else logits_BTV,
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )
        return result.to_tuple() if as_tuple else result

    def token_losses(
        self, labels: Tensor, lang_ids: Optional[Tensor] = None, script_ids: Optional[Tensor] = None, **inputs: Any
    ) -> TokenLosses:
        """Return the loss of each masked position, in row-major order, for sums per language.

        Args:
            labels, lang_ids, script_ids: as for ``forward``.
            **inputs: arguments of the backbone.
        """
        features_BTC = self.base_model(**inputs, return_dict=True)[0]
        tags_BC = self.tag_rows(features_BTC, (lang_ids, script_ids))
        return token_losses(find_head(self), features_BTC, tags_BC, labels, None)

    def tag_rows(self, features_BTC: Tensor, ids: Ids) -> Optional[Tensor]:
        """Return ``E_lang + E_script`` (B, C) on the device of the features, ``None`` without ids.

        Raises:
            ValueError: ids have the wrong shape, or the model has no tables.
        """
        tables = (self.lang_embedding, self.script_embedding)
        if ids != (None, None) and tables == (None, None):
            raise ValueError(
                "lang_ids and script_ids must be left out, because the model has no tables: load a folder of `langsamp "
                "export`, or add tables with add_tags"
            )
        tags_BC: Optional[Tensor] = None
        for noun, table, ids_B in zip(("lang", "script"), tables, ids):
            if ids_B is None or table is None:
                continue
            if ids_B.shape != features_BTC.shape[:1] or ids_B.is_floating_point():
                raise ValueError(
                    f"{noun}_ids must be whole numbers of shape (B,) = ({len(features_BTC)},), but are {ids_B.dtype} "
                    f"{tuple(ids_B.shape)}: pass one id per sentence, as returned by `model.tag_ids`"
                )
            rows_BC = table(ids_B.to(table.weight.device)).to(features_BTC)
            tags_BC = rows_BC if tags_BC is None else tags_BC + rows_BC
        return tags_BC

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the rows of a table that a folder lacks; otherwise as the stock class."""
        if module is getattr(self, "lang_embedding", ABSENT):
            self.lang_embedding.reset_parameters(self.config.languages)  # type: ignore[union-attr]
        elif module is getattr(self, "script_embedding", ABSENT):
            self.script_embedding.reset_parameters(self.config.scripts)  # type: ignore[union-attr]
        else:
            super()._init_weights(module)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights, as the Trainer does when it resumes.

        Raises:
            ValueError: the order of a table's rows differs.
        """
        for name in TABLES:
            table, codes = getattr(self, name), state_dict.get(f"{name}.codes")
            if table is not None and codes is not None and decode_codes(codes) != decode_codes(table.codes):
                raise ValueError(
                    f"{name} must have the model's {len(table.codes)} codes in their order, but has {len(codes)} "
                    "others: build the model with the tables of the resumed run"
                )
        return super().load_state_dict(state_dict, *args, **kwargs)


def _ids(tables: Tables, tag: str) -> tuple[int, ...]:
    """Return the rows of a tag; an error lists codes of the model, because users here have no file to append to."""
    ids = []
    for codes, code in zip(tables, LangScript.from_spelling(tag)):
        if len(codes) and code not in codes and code not in (UNKNOWN_LANGUAGE, UNKNOWN_SCRIPT):
            raise ValueError(
                f"{code!r} of {tag} is not among the {len(codes)} {codes.noun}s of this model "
                f"({' '.join(codes[:8])}{' ...' if len(codes) > 8 else ''}; all of them are in "
                f"model.config.{codes.noun}s): use one of these, or und_Zyyy for unknown, which adds nothing"
            )
        ids.append(codes.id(code) if len(codes) else UNKNOWN_ID)
    return tuple(ids)


def _is_stock(base: type) -> bool:
    return issubclass(base, PreTrainedModel) and "forward" in vars(base) and not issubclass(base, TaggedMaskedLM)


def _return_dict(wanted: Optional[bool], config: Any) -> bool:
    if wanted is not None:
        return wanted
    return bool(getattr(config, "return_dict", True)) and not getattr(config, "torchscript", False)
