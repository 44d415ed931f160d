"""Starts ``fairseq-train`` as a fork of a process that has imported fairseq already, which takes five seconds each
time."""

import multiprocessing
import os
import sys
import tempfile

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["fairseq_cli.train"])


def train_here(arguments, output, folder, environment):
    """Be fairseq-train: its command line, output and environment."""
    descriptor = os.open(output, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["fairseq-train", *arguments]
    # What an installed command has: its own folder, and nothing of the tests.
    sys.path[:] = [path for path in sys.path if not path.endswith("tests")]
    from fairseq_cli.train import cli_main

    cli_main()


def fairseq_train(arguments, folder, environment):
    """Run it to its end; return its status and what it printed."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
        process = FORKS.Process(target=train_here, args=(arguments, output.name, folder, environment))
        process.start()
        process.join()
        return process.exitcode, output.read()
