"""A table of embeddings with rows identified by code."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from langsamp_plugin.lang_script import UNKNOWN_ID

logger = logging.getLogger(__name__)

INIT_STD = 0.02
"""Standard deviation of a new row, BERT's and the authors' choice (LangSAMP, section 3)."""


class TagEmbedding(nn.Module):
    """Embeddings of languages, or of scripts.

    The codes are stored with the rows as an integer buffer. It survives every tool that handles state dicts, including
    checkpoint averaging, so a row can always be found by its code.

    Args:
        codes: the codes in id order, all of one length.
        embed_dim: width of an embedding.

    Attributes:
        weight: float ``(len(codes), embed_dim)``, drawn from N(0, 0.02).
        codes: int32 ``(len(codes), code length)``, the characters of each row's code.
    """

    codes: Tensor

    def __init__(self, codes: Sequence[str], embed_dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(len(codes), embed_dim))
        self.register_buffer("codes", encode_codes(codes))
        self.reset_parameters(codes)

    def reset_parameters(self, codes: Sequence[str]) -> None:
        """Initialise the rows and write the codes; no effect on the meta device, which holds no values.

        A separate generator makes the backbone's initial weights independent of the tables.
        """
        if self.weight.is_meta:
            return
        seed = (torch.initial_seed() + self.codes.shape[1]) % 2**63
        drawn = torch.empty(self.weight.shape).normal_(std=INIT_STD, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            self.weight.copy_(drawn)
            self.codes.copy_(encode_codes(codes))

    def forward(self, ids: Tensor) -> Tensor:
        """Look up rows.

        Args:
            ids: int64 of any shape, each below ``len(codes)`` or :data:`~langsamp_plugin.lang_script.UNKNOWN_ID`.

        Returns:
            ``(*ids.shape, embed_dim)``; exactly zero, without a gradient, for the unknown id.

        Raises:
            ValueError: an id is out of range (checked only on the CPU, where it needs no synchronisation, and not in a
                compiled model).
        """
        if ids.device.type == "cpu" and ids.numel() and not torch.compiler.is_compiling():
            lowest, highest = extremes(ids)
            if lowest < UNKNOWN_ID or highest >= len(self.weight):
                raise ValueError(
                    f"ids must be < {len(self.weight)} (or {UNKNOWN_ID} for unknown), but are in [{lowest}, "
                    f"{highest}]: the data was tagged with another table; see `langsamp info DATA-BIN`"
                )
        known = ids != UNKNOWN_ID
        return nn.functional.embedding(ids.clamp_min(0), self.weight) * known.unsqueeze(-1).to(self.weight.dtype)

    def extra_repr(self) -> str:
        """Show the size of the table when the model is printed."""
        return f"{len(self.weight)}, {self.weight.shape[1]}"


def extremes(ids: Tensor) -> tuple[int, int]:
    """Return the lowest and the highest of some ids."""
    return int(ids.min()), int(ids.max())


def encode_codes(codes: Sequence[str]) -> Tensor:
    """Return codes as int32 ``(len(codes), code length)``."""
    return torch.tensor([[ord(character) for character in code] for code in codes], dtype=torch.int32)


def decode_codes(codes: Tensor) -> list[str]:
    """Undo :func:`encode_codes`."""
    return ["".join(map(chr, row)) for row in codes.tolist()]


class RowChanges(NamedTuple):
    """Result of :func:`move_rows`, for the log."""

    kept: list[str]
    new: list[str]
    dropped: list[str]


def move_rows(
    old: Tensor,
    old_codes: Sequence[str],
    new: Tensor,
    new_codes: Sequence[str],
    init: str = "random",
    donors: Mapping[str, str] | None = None,
) -> tuple[Tensor, RowChanges]:
    """Carry rows over to another inventory, matched by code.

    Args:
        old: ``(len(old_codes), C)``.
        old_codes: codes of the rows of ``old``.
        new: ``(len(new_codes), C)``, newly initialised rows; not changed.
        new_codes: codes of the rows of the result.
        init: a row that ``old`` lacks is ``random`` (as in ``new``) or the ``mean`` of the old rows.
        donors: code -> old code whose row it copies; takes precedence over ``init``. A code that is already in ``old``
            keeps its row, so that a run resumed with the same flags continues unchanged.

    Returns:
        The rows in the order of ``new_codes`` with the dtype of ``old``, and how each code was treated.

    Raises:
        ValueError: ``init`` is unknown, a donor is not in ``old``, or its code is not in ``new_codes``.
    """
    donors = dict(donors or {})
    if init not in ("random", "mean"):
        raise ValueError(f"new rows must start as random or mean, but {init!r} was given")
    row = {code: number for number, code in enumerate(old_codes)}
    added = [code for code in new_codes if code not in row]
    for code, donor in donors.items():
        if donor not in row:
            raise ValueError(
                f"donor {donor} for the new row {code} is not in the checkpoint, which has {len(row)} codes"
            )
        if code not in new_codes:
            raise ValueError(f"{code}, which is to start as {donor}, must be in this run's table, but is not")
    moved = new.to(dtype=old.dtype, device=old.device, copy=True)
    for number, code in enumerate(new_codes):
        if code in row:
            moved[number] = old[row[code]]
        elif code in donors:
            moved[number] = old[row[donors[code]]]
        elif init == "mean" and len(old):
            moved[number] = old.float().mean(0).to(old.dtype)
    wanted = set(new_codes)
    return moved, RowChanges(
        kept=[code for code in new_codes if code in row],
        new=added,
        dropped=[code for code in old_codes if code not in wanted],
    )
