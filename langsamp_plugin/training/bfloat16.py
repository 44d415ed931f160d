"""Makes ``--bf16`` work on GPUs and CPUs: fairseq's command line takes the flag as a sign of a TPU."""

from __future__ import annotations

from functools import wraps
from importlib.util import find_spec
from typing import Any

from fairseq import options


def install() -> None:
    """Patch fairseq's parser to ask for a TPU only if torch_xla is installed. Idempotent."""
    original = options.parse_args_and_arch
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def parse_args_and_arch(*args: Any, **kwargs: Any) -> Any:
        parsed = original(*args, **kwargs)
        namespace = parsed[0] if isinstance(parsed, tuple) else parsed  # a tuple with parse_known
        if getattr(namespace, "bf16", False) and find_spec("torch_xla") is None:
            namespace.tpu = False
        return parsed

    options.parse_args_and_arch = parse_args_and_arch
