"""LangSAMP for fairseq: an embedding of the language and one of the script, added to the output of XLM-R's blocks.

Importing the package registers its model, task, criterion and optimizer wherever fairseq is installed,
so that ``fairseq-train --user-dir`` finds them. The ``langsamp`` command skips that: it would
spend seconds on importing fairseq before it could print its help.

Where to start, in the order in which data flows:

- the tag of a text and the tables of codes: :mod:`langsamp_plugin.lang_script`
- raw text: :mod:`langsamp_plugin.corpus`; vocabularies: :mod:`langsamp_plugin.vocabulary`
- what training reads: :mod:`langsamp_plugin.data.binarizer`, :mod:`langsamp_plugin.data.block_dataset`,
  :mod:`langsamp_plugin.data.sampling`, :mod:`langsamp_plugin.data.masking`
- the two tables: :mod:`langsamp_plugin.modules.tag_embedding`; the loss: :mod:`langsamp_plugin.modules.head_loss`; the
  model, in the order of its tensors: :mod:`langsamp_plugin.models.langsamp_roberta`
- checkpoints: :mod:`langsamp_plugin.checkpoint`; to Hugging Face and back: :mod:`langsamp_plugin.convert`
- a masked LM for ``transformers`` that uses the language: :mod:`langsamp_plugin.hf`
- the same on Megatron-Core: :mod:`langsamp_plugin.megatron.model`, :mod:`langsamp_plugin.megatron.import_model`
- zero-shot evaluation: :mod:`langsamp_plugin.evaluation.tasks`, :mod:`langsamp_plugin.evaluation.run`; its tables:
  :mod:`langsamp_plugin.report`; analyses of the tables: :mod:`langsamp_plugin.analysis`
- the ``langsamp`` command: :mod:`langsamp_plugin.cli`, :mod:`langsamp_plugin.commands`
"""

import importlib.util

from langsamp_plugin.interruption import end_at_once, started_as_command

__version__ = "0.1.0"


def register() -> None:
    """Register the fairseq components and let torch read fairseq checkpoints safely.

    Idempotent. Called on import where fairseq is installed; call it yourself where the ``langsamp``
    command's own process needs fairseq.
    """
    # Import all registries here instead of relying on fairseq's scan of tasks/ and models/:
    # that scan is skipped when the package was already imported under another path.
    from langsamp_plugin import criterions, models, optim, tasks, training  # noqa: F401
    from langsamp_plugin.checkpoint.loading import allow_fairseq_checkpoints

    allow_fairseq_checkpoints()
    training.install()


if started_as_command():
    end_at_once()  # the imports below take seconds; after them, the command itself handles signals and cleans up
elif importlib.util.find_spec("fairseq") is not None:
    register()
