"""What a long run needs of fairseq's trainer and fairseq does not have: checkpoints that outlive a crash, SIGTERM."""

from langsamp_plugin.training import durable_checkpoints, ending


def install() -> None:
    """Put both into fairseq. Idempotent."""
    durable_checkpoints.install()
    ending.install()
