"""LangSAMP for fairseq.

Importing the package registers its model, task, criterion and optimizer wherever fairseq is installed,
so that ``fairseq-train --user-dir`` finds them. The ``langsamp`` command skips that: it would
spend seconds on importing fairseq before it could print its help.
"""

import importlib.util
import sys
from pathlib import Path

__version__ = "0.1.0"


def register() -> None:
    """Register the fairseq components and let torch read fairseq checkpoints safely.

    Idempotent. Called on import where fairseq is installed; call it yourself where the ``langsamp``
    command's own process needs fairseq.
    """
    # All registries are imported here and not left to fairseq's scan of tasks/ and models/:
    # that scan is skipped when the package was already imported under another path.
    from langsamp_plugin import criterions, models, optim, tasks, training  # noqa: F401
    from langsamp_plugin.checkpoint.loading import allow_fairseq_checkpoints

    allow_fairseq_checkpoints()
    training.install()


if Path(sys.argv[0]).name != "langsamp" and importlib.util.find_spec("fairseq") is not None:
    register()
