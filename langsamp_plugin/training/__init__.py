"""Patches to fairseq's trainer for long runs.

They make checkpoints survive crashes, handle SIGTERM, add remedies to errors, keep half precision exact across
restarts and its copies quick, average weights, and run ``--bf16`` without a TPU.
"""

from langsamp_plugin.training import (
    bfloat16,
    durable_checkpoints,
    ending,
    last_words,
    master_copies,
    master_weights,
    moving_average,
    not_finite,
    table_rate,
)


def install() -> None:
    """Apply all patches to fairseq. Idempotent."""
    bfloat16.install()
    durable_checkpoints.install()
    ending.install()
    not_finite.install()
    master_copies.install()
    master_weights.install()
    moving_average.install()
    table_rate.install()
    last_words.install()
