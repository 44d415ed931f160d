"""Races: two runs of a command with different options into one place.

Each run pauses somewhere in its writing, like on a slow disk, for longer than the other one waits for its place.
Without the pause, a run as small as these would end in time for the other to follow it, and no writing would overlap.
"""

import hashlib
import os
import random
import shutil
import time

from accident_outputs import contents, hidden
from accident_server import PATIENCE_S

from langsamp_plugin.checkpoint.loading import load_checkpoint

VARIANTS = {
    "fairseq-train": (("--save-interval-updates", "1"), ("--save-interval-updates", "1", "--lr", "1e-2")),
    "export": ((), ("--half", "float16")),
    "binarize": ((), ("--valid-lines", "0")),
}
"""Options that two runs of a race differ in, so that what is found tells which one wrote it."""
PAUSE_S = 2 * PATIENCE_S
"""How long the slow write takes."""


def outcome(out):
    """Return what a run's options show in: weights of all checkpoints or tokens, by hash, and the names of all
    files."""
    checkpoints = sorted(out.glob("checkpoint*.pt"))
    if checkpoints:
        weights = {path.name: load_checkpoint(path)["model"] for path in checkpoints}
        return {
            (file, name): hashlib.blake2b(tensor.numpy().tobytes()).hexdigest()
            for file, tensors in weights.items()
            for name, tensor in tensors.items()
        }
    return {
        name: value if name.endswith((".safetensors", ".bin", ".idx")) else None
        for name, value in contents(out).items()
    }


def race(bench, name, folder, rounds):
    """Let two runs with different options write into one place, repeatedly.

    Args:
        bench: runs the commands.
        name: of the command.
        folder: an empty one.
        rounds: how often.

    Returns:
        How often the one was told of the other, and how often they ran one after the other.
    """
    chance = random.Random(3)
    known, writes = [], []
    for number, more in enumerate(VARIANTS[name]):
        count = folder / f"count{number}"
        done = bench.run(name, folder / f"alone{number}", *more, count=str(count))
        assert done.status == 0, done.output[-2000:]
        known.append(outcome(folder / f"alone{number}"))
        writes.append(int(count.read_text()))
    assert known[0] != known[1], "the options show in nothing"
    found = {"told": 0, "one after the other": 0}
    for number in range(rounds):
        place = folder / f"round{number}"
        place.mkdir()
        order = chance.sample((0, 1), 2)
        started = []
        for which in order:
            slow = chance.randint(1, writes[which])
            started.append(bench.start(name, place / "out", *VARIANTS[name][which], slow=slow, pause=PAUSE_S))
            time.sleep(chance.uniform(0, 0.03))
        done = [bench.wait(one) for one in started]
        winners = [which for which, run in zip(order, done) if run.status == 0]
        assert winners, [run.output[-800:] for run in done]
        for place_of_other, run in enumerate(done):
            if run.status != 0:
                first = started[1 - place_of_other][1]
                assert run.status == 1 and f"is being written by process {first} on " in run.last, run.output[-800:]
        assert outcome(place / "out") in [known[which] for which in winners], f"round {number}: a mixture"
        assert not hidden(place) and os.listdir(place) == ["out"]
        found["told" if len(winners) == 1 else "one after the other"] += 1
        shutil.rmtree(place)
    return found
