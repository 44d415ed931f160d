"""Patches to fairseq's trainer for long runs: checkpoints that outlive a crash, SIGTERM, errors that say what to do."""

from langsamp_plugin.training import durable_checkpoints, ending, not_finite


def install() -> None:
    """Put all of it into fairseq. Idempotent."""
    durable_checkpoints.install()
    ending.install()
    not_finite.install()
