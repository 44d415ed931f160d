"""The weights that fairseq 0.12.2 stores under two names."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SECOND_NAME = re.compile(r"(.*\blayers\.\d+\.)(?:in_proj|out_proj|fc1|fc2)_(?:weight|bias)")
_REAL_NAMES = ("self_attn.q_proj.weight", "fc1.weight")


def second_names(fairseq_names: Iterable[str]) -> list[str]:
    """Return the names of duplicate weights that fairseq 0.12.2 stores for a block.

    Its encoder layer registers eight copies per block for torch's fast path. They are zero in a model trained from
    scratch and outdated in a resumed one, so they must never be read. fairseq recreates them when it loads a model.

    Args:
        fairseq_names: a state dict, or its names.
    """
    names = set(fairseq_names)
    found = []
    for name in names:
        match = _SECOND_NAME.fullmatch(name)
        if match is not None and all(f"{match.group(1)}{real}" in names for real in _REAL_NAMES):
            found.append(name)
    return sorted(found)
