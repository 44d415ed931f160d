"""Patches to fairseq's trainer for long runs.

Checkpoints that outlive a crash, SIGTERM, errors that say what to do, half precision across restarts,
an average of weights.
"""

from langsamp_plugin.training import durable_checkpoints, ending, last_words, master_weights, moving_average, not_finite


def install() -> None:
    """Put all of it into fairseq. Idempotent."""
    durable_checkpoints.install()
    ending.install()
    not_finite.install()
    master_weights.install()
    moving_average.install()
    last_words.install()
