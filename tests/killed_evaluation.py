"""An evaluation that kills itself where KILLED_IN says; without it, the plain evaluation.

python killed_evaluation.py MODEL DATA OUT
"""

import io
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from langsamp_plugin.evaluation import features, finetuning, finetuning_run, results
from langsamp_plugin.evaluation.run import evaluate


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(owner, name, call, halfway=None, when=lambda *arguments: True):
    """Kill this process at a call that counts: before it, or in the midst of what ``halfway`` does instead."""
    real = getattr(owner, name)
    count = 0

    def counted(*arguments, **named):
        nonlocal count
        count += when(*arguments)
        if count == call and when(*arguments):
            if halfway is not None:
                halfway(real, *arguments, **named)
            die()
        return real(*arguments, **named)

    setattr(owner, name, counted)


def half_an_array(real, stream, array, **named):
    written = io.BytesIO()
    np.lib.format.write_array(written, array)
    stream.write(written.getvalue()[: len(written.getvalue()) // 2])
    stream.flush()


def half_a_result(real, result, path):
    def half(value, stream, **named):
        text = json.dumps(value)
        stream.write(text[: len(text) // 2])
        stream.flush()
        die()

    results.json.dump = half
    real(result, path)


def half_a_folder(real, folder, **named):
    next(path for path in sorted(Path(folder).iterdir()) if path.suffix == ".safetensors").unlink()


PHASES = {
    "encoding": (features, "mean_pooled", 2),
    "storing vectors": (np, "save", 1, half_an_array),
    "fine-tuning": (finetuning._Loop, "step", 2),
    "storing weights": (PreTrainedModel, "save_pretrained", 1, lambda real, *rest, **named: real(*rest, **named)),
    "scoring": (finetuning_run, "predict", 2),
    "removing weights": (
        finetuning_run.shutil, "rmtree", 1, half_a_folder, lambda folder: Path(folder).name[0] != "."
    ),
    "writing": (results, "_write", 2, half_a_result),
}  # fmt: skip
"""Where a run is killed that resumes what the one before it left."""

if __name__ == "__main__":
    model, data, out = sys.argv[1:]
    phase = os.environ.get("KILLED_IN")
    if phase:
        die_at(*PHASES[phase])
    evaluate(model, data, out, ["sr_bible", "sib200"], epochs=1, seeds=(1, 2), batch_size=16)
