"""Saves and loads a masked LM with its two tables.

The tables are weights like all others: ``lang_embedding.weight`` and ``.codes`` in ``model.safetensors``, so the hub,
shards and the Trainer's resume handle them; stock classes ignore these names and load the rest. The codes are also in
``config.json``. :meth:`TaggedFolder.save_pretrained` additionally writes ``langsamp.safetensors``, ``languages.tsv``
and ``scripts.tsv``, which other commands of this package read. A folder of ``langsamp export`` has the tables only in
these files.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.utils.hub import cached_file

from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.convert.authors import AUTHORS_TABLES, is_authors_layout
from langsamp_plugin.convert.tables_file import (
    TABLES_FILENAME,
    UNFOLDED_BIAS,
    load_tables,
    read_authors_tables,
    read_table_tensors,
    save_tables,
)
from langsamp_plugin.hf.heads import find_head
from langsamp_plugin.lang_script import CODE_TABLES

TOKEN_TYPES = "roberta.embeddings.token_type_embeddings.weight"
TABLES = ("lang_embedding", "script_embedding")
CODES = ("languages", "scripts")
SIDE_FILES = (TABLES_FILENAME, *(kind.filename for kind in CODE_TABLES))
HUB = (
    "cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token", "use_auth_token",
)  # fmt: skip
"""Arguments of ``from_pretrained`` that locate a model's files."""
LOADING = ("attn_implementation", "dtype", "name_or_path", "quantization_config", "torch_dtype")
"""Loader arguments that configurations also have as attributes."""


if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Stock
else:  # a mixin: it precedes a class of transformers in the bases
    _Stock = object


class TaggedFolder(_Stock):
    """The reading and writing part of :class:`~langsamp_plugin.hf.tagged.TaggedMaskedLM`."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """Load a folder or a model from the hub, including its tables if there are any.

        Args:
            pretrained_model_name_or_path, *args, **kwargs: the stock class's.
            config: a configuration, which is not changed, or its location.

        Raises:
            ValueError: the model has another architecture, its tables are damaged, or ``config`` has other codes.
        """
        name, with_info = pretrained_model_name_or_path, kwargs.pop("output_loading_info", False)
        if name is None:
            return super().from_pretrained(None, *args, config=config, output_loading_info=with_info, **kwargs)
        hub = {key: kwargs[key] for key in HUB if key in kwargs}
        config, stored = cls._read_config(name, config, hub, kwargs)
        if any(getattr(config, codes, ()) for codes in CODES):
            head = "lm_head" if cls.config_class.model_type.startswith("xlm-roberta") else None
            kwargs.update(_beside_head(kwargs.get("device_map"), head))
            model, info = super().from_pretrained(name, *args, config=config, output_loading_info=True, **kwargs)
            missing = {key for key in info["missing_keys"] if key.partition(".")[0] in TABLES}
            side = _side_folder(name, hub) if missing else None
            if side is not None:
                model._read_side_files(side)
                info["missing_keys"] = type(info["missing_keys"])(set(info["missing_keys"]) - missing)
            elif missing and any(stored.values()) and not _is_backbone(model, info["missing_keys"]):
                raise ValueError(
                    f"{name} names {len(stored['languages'])} languages and {len(stored['scripts'])} scripts in "
                    f"config.json, but has no {' '.join(sorted(missing))}: save the model again"
                )
        else:
            # The file that the stock class reads has no tables, so the model is first built without them.
            model, info = super().from_pretrained(name, *args, config=config, output_loading_info=True, **kwargs)
            side = _side_folder(name, hub)
            if side is not None:
                model._read_side_files(side)
            elif is_authors_layout(info["unexpected_keys"]):
                model._read_published_layout(Path(cached_file(name, "config.json", **hub)).parent)
                for keys, names in (("unexpected_keys", AUTHORS_TABLES), ("missing_keys", (TOKEN_TYPES,))):
                    info[keys] = type(info[keys])(key for key in info[keys] if key not in names)
        return (model, info) if with_info else model

    @classmethod
    def _read_config(cls, name: Any, config: Any, hub: dict[str, Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Return our configuration, and the codes stored with the model."""
        kind = cls.config_class
        values = kind.get_config_dict(name, **hub)[0]
        if values.get("model_type") != kind.model_type:
            raise ValueError(
                f"{name} has model_type {values.get('model_type')!r}, but {cls.__name__} is for {kind.model_type}"
            )
        stored = {codes: list(values.get(codes) or ()) for codes in CODES}
        if isinstance(config, PretrainedConfig):
            config = copy.deepcopy(config)
        else:
            config = kind.from_pretrained(config or name, **hub)
            for key in [key for key in kwargs if hasattr(config, key) and key not in LOADING]:
                setattr(config, key, kwargs.pop(key))
        for codes in CODES:
            wanted = list(getattr(config, codes, ()))
            if wanted and stored[codes] and wanted != stored[codes]:
                raise ValueError(
                    f"config.{codes} has {len(wanted)} codes that are not the {len(stored[codes])} of {name}, in its "
                    "order: leave them out, or move the rows by code with `langsamp init --tables`"
                )
            setattr(config, codes, wanted or stored[codes])
        return config, stored

    def _read_published_layout(self, folder: Path) -> None:
        """Take the tables of the published model from its weights, and remove token types, which were initialised at
        random."""
        tables = read_authors_tables(folder, allow_pickle=True)  # without running code, like transformers
        assert tables is not None, "its names were just seen"
        self._set_tables(tables.languages, tables.scripts)
        with torch.no_grad():
            for name, (_, weight) in zip(TABLES, tables.both()):
                table = getattr(self, name)
                if table is not None:
                    table.weight.copy_(weight)
            self.base_model.embeddings.token_type_embeddings.weight.zero_()

    def _read_side_files(self, folder: Path) -> None:
        """Take the tables from a folder of ``langsamp export``."""
        tables = load_tables(folder)
        self._set_tables(tables.languages, tables.scripts)
        head = find_head(self)
        place = head.weight.device if not head.weight.is_meta else torch.device("cpu")
        with torch.no_grad():
            for name, (_, weight) in zip(TABLES, tables.both()):
                table = getattr(self, name)
                if table is not None:
                    table.to(place, head.weight.dtype).weight.copy_(weight)
            bias = read_table_tensors(folder / TABLES_FILENAME).get(UNFOLDED_BIAS)
            if bias is not None:  # the stock head has a folded tag; this model uses the tables instead
                if head.first is None or head.first.bias.is_meta:
                    raise ValueError(
                        f"{folder} has a tag folded into a head that is offloaded: load it without device_map, save it "
                        "again, and load that"
                    )
                head.first.bias.copy_(bias)

    def save_pretrained(
        self, save_directory: Any, is_main_process: bool = True, state_dict: Optional[dict[str, Tensor]] = None,
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Write a folder that stock classes can also load; only the main process writes."""
        state = dict(self.state_dict() if state_dict is None else state_dict)
        if "lm_head.bias" in state and "lm_head.decoder.bias" in state:
            # Store the head's bias under its second name as a separate tensor: transformers 4 would set it to zero.
            state["lm_head.decoder.bias"] = state["lm_head.bias"].clone()
        if is_main_process and any(f"{name}.weight" in state for name in TABLES):
            Path(save_directory).mkdir(parents=True, exist_ok=True)
            empty = torch.empty(0, self.config.hidden_size)
            weights = [
                state[f"{name}.weight"].detach().cpu() if f"{name}.weight" in state else empty for name in TABLES
            ]
            save_tables(TagTables(*self.tables, *weights), save_directory)
        return super().save_pretrained(save_directory, is_main_process, state, *args, **kwargs)

    def _get_files_timestamps(self, working_dir: Any) -> dict[str, float]:
        """Return the modification times of a folder's files without ours, so that ``push_to_hub=True`` also uploads
        ours."""
        times = super()._get_files_timestamps(working_dir)
        return {name: time for name, time in times.items() if name not in SIDE_FILES}


def _is_backbone(model: Any, missing: Collection[str]) -> bool:
    """Return whether a folder has no head; everything after the backbone is then initialised, as for a stock class."""
    prefix = f"{find_head(model).name}."
    return any(name.startswith(prefix) for name in missing)


def _side_folder(name: Any, hub: dict[str, Any]) -> Optional[Path]:
    """Return the folder with ``langsamp.safetensors``, downloaded from the hub if necessary; ``None`` without one."""
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    files = [cached_file(name, file, **hub, **quiet) for file in SIDE_FILES]
    return Path(files[0]).parent if files[0] is not None else None


def _beside_head(device_map: Any, head: Optional[str]) -> dict[str, Any]:
    """Return a ``device_map`` that also places the tables, on the head's device unless the head is offloaded."""
    if not isinstance(device_map, dict) or "" in device_map or any(name in device_map for name in TABLES):
        return {}
    place = device_map.get(head) if head is not None else None
    if place is None or str(place) in ("disk", "meta"):
        place = "cpu"
    return {"device_map": {**device_map, **dict.fromkeys(TABLES, place)}}
