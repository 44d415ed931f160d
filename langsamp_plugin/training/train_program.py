"""Finds the functions of fairseq's training program, however it was started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

NAME = "fairseq_cli.train"


def train_namespaces() -> list[dict[str, Any]]:
    """Return the globals of each loaded copy of ``fairseq_cli.train``; set a name to replace a function.

    Under ``python -m fairseq_cli.train``, and in its spawned workers, there is a copy named ``__main__``.
    """
    modules = [
        sys.modules.get(NAME),
        *(sys.modules[name] for name in ("__main__", "__mp_main__") if name in sys.modules),
    ]
    found: list[dict[str, Any]] = []
    for module in modules:
        if module is None or not (module.__name__ == NAME or _is_train(module)):
            continue
        # A spawned worker runs functions whose globals are no longer those of the module.
        names = getattr(module.main, "__globals__", vars(module))
        if all(names is not other for other in found):
            found.append(names)
    return found


def _is_train(module: Any) -> bool:
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None) or ""
    by_name = spec is not None and spec.name == NAME
    return hasattr(module, "main") and (by_name or Path(file).parts[-2:] == ("fairseq_cli", "train.py"))
