"""fairseq-train that writes each update's loss into a file as it is: its log rounds to three digits.

python recorded_training.py FILE [FLAG...]
"""

import sys
from pathlib import Path

from fairseq_cli.train import cli_main

import langsamp_plugin  # noqa: F401
from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion

stock = LangSampMaskedLMCriterion.reduce_metrics
file = Path(sys.argv.pop(1))


def recording(logging_outputs):
    """Also write the mean over all workers, in nats."""
    loss, size = (sum(float(log[name]) for log in logging_outputs) for name in ("loss", "sample_size"))
    with open(file, "a") as stream:
        print(loss / size, file=stream)
    stock(logging_outputs)


LangSampMaskedLMCriterion.reduce_metrics = staticmethod(recording)
cli_main()
