"""Provenance of values: the machine, versions and command that computed them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from langsamp_plugin import __version__
from langsamp_plugin.atomic import PathLike
from langsamp_plugin.evaluation.cache import hash_of

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scikit-learn", "seqeval", "fairseq", "ve-fairseq")


def environment(device: Any = None, precision: str = "float32") -> dict[str, Any]:
    """Return a description of this process, to be stored with its results.

    Args:
        device: the torch device.
        precision: precision of the model.
    """
    import torch

    on_gpu = device is not None and device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"CPU, {os.cpu_count()} cores",
        "precision": precision,
        "python": platform.python_version(),
        "langsamp_plugin": __version__,
        "commit": code_commit(),
        "versions": dict(_versions()),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    """Return the versions of :data:`PACKAGES`; reading them takes as long as encoding a short language."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def code_commit() -> str:
    """Return the commit of this package if it runs from a Git checkout, else the empty string."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def summarise(made: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Merge the environments that computed some values into one record.

    Args:
        made: one :func:`environment` per value.

    Returns:
        ``computed``: each distinct environment once, with the times of its first and last value; and the fields of the
            environment itself, with differing values joined by ``; ``.
    """
    groups: dict[str, dict[str, Any]] = {}
    for part in made:
        fields = {name: value for name, value in part.items() if name != "finished"}
        group = groups.setdefault(hash_of(fields), {**fields, "first": part["finished"], "finished": part["finished"]})
        group["first"] = min(group["first"], part["finished"])
        group["finished"] = max(group["finished"], part["finished"])
    computed = sorted(groups.values(), key=lambda group: (group["first"], str(group)))
    if not computed:
        return {"computed": []}
    record: dict[str, Any] = {"computed": computed, "finished": max(group["finished"] for group in computed)}
    for name in ("device", "precision", "python", "langsamp_plugin", "commit", "command"):
        record[name] = "; ".join(dict.fromkeys(str(group[name]) for group in computed))
    record["versions"] = {
        package: "; ".join(
            dict.fromkeys(group["versions"][package] for group in computed if package in group["versions"])
        )
        for package in dict.fromkeys(package for group in computed for package in group["versions"])
    }
    return record


def origin(
    model: PathLike, *, model_hash: str, revision: str, data: PathLike, data_hashes: dict[str, str], train_hash: str
) -> dict[str, Any]:
    """Return the hashes of the model and the data."""
    return {
        "model": str(Path(model).resolve()),
        "revision": revision,
        "model_hash": model_hash,
        "data": str(Path(data).resolve()),
        "data_hash": hash_of(data_hashes),
        "data_hashes": data_hashes,
        "train_hash": train_hash,
    }
