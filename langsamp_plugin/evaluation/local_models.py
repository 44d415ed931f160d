"""Finds models by name: a folder, a fairseq checkpoint, or a model in the local Hugging Face cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.atomic import PathLike

CACHED_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class LocalModel(NamedTuple):
    """A model on this machine.

    Args:
        path: its folder, or a checkpoint.
        name: its default name in results.
        revision: commit of a cached model; empty for others.
    """

    path: Path
    name: str
    revision: str = ""


def find_model(model: PathLike, revision: Optional[str] = None) -> LocalModel:
    """Locate a model.

    Args:
        model: a path, or a name such as ``xlm-roberta-base``, which is looked up in the local cache and never
            downloaded.
        revision: branch, tag or commit of a cached model.

    Raises:
        FileNotFoundError: the model is neither.
    """
    path = Path(model)
    if path.exists():
        if revision:
            raise ValueError(f"--revision is for a model of the Hugging Face cache, but {model} is a path")
        return LocalModel(path, path.resolve().name)
    name = str(model)
    if CACHED_NAME.fullmatch(name):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError):
            folder = Path()
        if (folder / "config.json").is_file():
            return LocalModel(folder, name.split("/")[-1], folder.name)
    raise FileNotFoundError(
        f"model {model} is missing: name a Hugging Face folder, a fairseq checkpoint, or a model"
        + (f" with revision {revision}" if revision else "")
        + " that is in the local Hugging Face cache (hf download NAME puts it there)"
    )
