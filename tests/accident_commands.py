"""Commands on valid inputs, and what runs them as forks of a process that has imported everything."""

import json
import os
import time
from pathlib import Path
from typing import ClassVar, NamedTuple

import warm_commands
from support import ROOT, train_command
from warm_start import TRAINING

TAGS = "eng_Latn,deu_Latn,rus_Cyrl"


class Command(NamedTuple):
    """A command on valid inputs.

    Args:
        arguments: with ``{in}`` for the folder of inputs and ``{out}``.
        out: the name of its --out; with an ending it is a file.
        again: further arguments where an earlier output is to be replaced.
        resumes: a killed run leaves finished parts, from which the next run resumes.
    """

    arguments: str
    out: str = "out"
    again: str = ""
    resumes: bool = False


RETRIEVAL = "--data {in}/eval --min-pairs 2 --limit 20"


COMMANDS = {
    "corpus": Command("corpus {in}/mixed --out {out}", resumes=True),
    "check": Command("check {in}/mixed --out {out}", "out.tsv"),
    "pairs": Command("pairs {in}/eval/sr_bible --out {out}"),
    "tokenizer train": Command("tokenizer train {in}/corpus --vocab-size 300 --out {out}", "out.model", "--overwrite"),
    "tokenizer extend": Command(
        "tokenizer extend {in}/spm.model {in}/corpus --vocab-size 300 --out {out}", "out.model", "--overwrite"
    ),
    "tokenizer trim": Command("tokenizer trim {in}/spm.model {in}/corpus --out {out}", "out.model", "--overwrite"),
    "binarize": Command("binarize {in}/corpus --spm {in}/spm.model --out {out}", resumes=True),
    "init": Command("init {in}/last.pt --out {out}", "out.pt", "--overwrite"),
    "import": Command("import {in}/hf --out {out}", "out.pt", "--overwrite"),
    "export": Command("export {in}/last.pt --spm {in}/spm.model --out {out}"),
    "megatron import": Command("megatron import {in}/last.pt --spm {in}/spm.model --out {out}"),
    "megatron export": Command("megatron export {in}/megatron --out {out}"),
    "megatron index": Command("megatron index {in}/data-bin --out {out}"),
    "evaluate": Command(f"evaluate {{in}}/hf --tasks sr_bible {RETRIEVAL} --out {{out}}", resumes=True),
    "report": Command("report {in}/results --out {out}"),
    "analyze embeddings": Command("analyze embeddings {in}/hf --out {out}"),
    "analyze neutrality": Command(
        f"analyze neutrality {{in}}/hf --data {{in}}/parallel --langs {TAGS} --limit 20 --out {{out}}",
        resumes=True,
    ),
    "analyze sources": Command("analyze sources {in}/hf --task sib200 --data {in}/eval --out {out}", resumes=True),
    "analyze tags": Command("analyze tags {in}/last.pt --data {in}/data-bin --out {out}", "out.json"),
    "fairseq-train": Command("fairseq-train", resumes=True),
}


class Server:
    """Commands as forks of a process that has imported what they need (accident_server.py), itself a fork."""

    MODULES: ClassVar = {
        "langsamp": (
            "langsamp_plugin.cli", "torch", "transformers", "sentencepiece", "pyarrow.parquet", "matplotlib.figure",
            "langsamp_plugin.convert.init", "langsamp_plugin.convert.export", "langsamp_plugin.megatron.import_model",
            "langsamp_plugin.megatron.export_model",
            "langsamp_plugin.analysis.embeddings", "langsamp_plugin.evaluation.run",
            "langsamp_plugin.analysis.tag_swap",
            "langsamp_plugin.report.files", "textalloc",
        ),
        "fairseq-train": (*TRAINING, "langsamp_plugin"),
    }  # fmt: skip

    def __init__(self, kind):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        asks, answers = os.pipe(), os.pipe()
        self.requests, self.answers = os.fdopen(asks[1], "w"), os.fdopen(answers[0])
        warm_commands.start_server()
        self.process = warm_commands.Command(
            ["accidents", *self.MODULES[kind]], "/", environment, [asks[0], answers[1], 2],
            os.environ[warm_commands.SOCKET],
        )  # fmt: skip
        os.close(asks[0])
        os.close(answers[1])
        while (line := self.answers.readline()) != "ready\n":
            assert line, "the server ended"

    def ask(self, request):
        self.requests.write(json.dumps(request) + "\n")
        self.requests.flush()
        return int(self.answers.readline())

    def close(self):
        self.requests.close()
        self.process.wait()
        self.answers.close()


class Run(NamedTuple):
    """A run that has ended."""

    status: int
    output: str

    @property
    def last(self):
        """The last line."""
        return (self.output.splitlines() or [""])[-1]


class Bench:
    """Runs commands with one folder of inputs.

    Args:
        inputs: see gallery.py.
        work: a folder for outputs.
    """

    def __init__(self, inputs, work):
        self.inputs, self.work, self.servers, self.number = inputs, work, {}, 0

    def close(self):
        for server in self.servers.values():
            server.close()

    def start(self, name, out, *more, cwd=None, **accident):
        """Start a command; return what :meth:`wait` needs."""
        arguments = COMMANDS[name].arguments.format(**{"in": self.inputs, "out": out}).split()
        if name == "fairseq-train":
            argv = ["fairseq-train", *train_command(self.inputs / "data-bin", out, 3, "--disable-validation")[1:]]
        else:
            argv = ["langsamp", *arguments]
        kind = argv[0]
        if kind not in self.servers:
            self.servers[kind] = Server(kind)
        self.number += 1
        output = self.work / f"output{self.number}.txt"
        request = {"argv": [*map(str, argv), *more], "output": str(output), "cwd": str(cwd or self.work)}
        request["place"] = str(Path(os.path.realpath(out)).parent)
        return self.servers[kind], self.servers[kind].ask({**request, **accident}), output

    def warm(self, name, out):
        """Run a command in the server itself."""
        return self.start(name, out, warm=1)[1]

    def wait(self, started):
        server, pid, output = started
        return Run(server.ask({"wait": pid}), output.read_text(errors="replace"))

    def run(self, name, out, *more, **accident):
        return self.wait(self.start(name, out, *more, **accident))

    def stop(self, name, out, at, *more, **accident):
        """Start a command and return when it stands at the N-th call that writes; ``go`` lets it continue."""
        stopped, go = self.work / f"stopped{self.number}", self.work / f"go{self.number}"
        started = self.start(name, out, *more, stop=at, stopped=str(stopped), go=str(go), **accident)
        end = time.monotonic() + 60
        while not stopped.exists():
            alive = Path(f"/proc/{started[1]}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            assert alive and time.monotonic() < end, started[2].read_text()[-2000:]
            time.sleep(0.005)
        return started, go
