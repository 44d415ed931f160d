"""What a long run needs of fairseq's trainer and fairseq does not have: checkpoints that outlive a crash, SIGTERM, errors."""

from langsamp_plugin.training import durable_checkpoints, ending, not_finite


def install() -> None:
    """Put all of it into fairseq. Idempotent."""
    durable_checkpoints.install()
    ending.install()
    not_finite.install()
