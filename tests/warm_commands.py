"""Runs commands as forks of a process that has imported torch, fairseq and transformers, which takes seconds each time.

A server listens on a socket. Whoever wants a command sends its words, folder and environment with the three standard
streams, and gets its status. ``run_warm`` starts the server of this process when it is first needed.
"""

import atexit
import contextlib
import faulthandler
import gc
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SOCKET = "WARM_COMMANDS"
"""The environment variable with the server's address."""
PRELOADED = (
    "fairseq_cli.train", "matplotlib.figure", "pandas", "safetensors.torch", "scipy.stats", "sentencepiece", "sklearn",
    "tokenizers", "transformers.models.xlm_roberta.modeling_xlm_roberta", "typer",
)  # fmt: skip


def can_run(command):
    """Return whether a fork does what the command would."""
    name, *arguments = command
    if name == "python" and arguments:
        return arguments[0] == "-c" or not arguments[0].startswith("-")
    return name in ("langsamp", "fairseq-train", "fairseq-hydra-train", "fairseq-preprocess")


def be(command, folder, environment):
    """Be the command, from its first line to its exit."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # What an installed command has: its own folder, and nothing of the tests.
    sys.path[:] = [path for path in sys.path if not path.endswith("tests")]
    name, *arguments = command
    sys.argv = [name, *arguments]
    if name == "langsamp":
        from langsamp_plugin.cli import main

        sys.exit(main())
    if name == "fairseq-train":
        from fairseq_cli.train import cli_main

        sys.exit(cli_main())
    if name == "fairseq-preprocess":
        from fairseq_cli.preprocess import cli_main

        sys.exit(cli_main())
    if name == "fairseq-hydra-train":
        from fairseq_cli.hydra_train import cli_main

        sys.exit(cli_main())
    import runpy

    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(arguments[1], {"__name__": "__main__"})
        return
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
    runpy.run_path(arguments[0], run_name="__main__")


def end(message):
    """Be a command and end with its status, without destructors of C++: their threads were not forked."""
    faulthandler.enable()
    status = 0
    try:
        be(**message)
    except SystemExit as found:
        status = found.code
        if not isinstance(status, (int, type(None))):
            print(status, file=sys.stderr)
            status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def answer(connection):
    """Run one command and send its status."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    process = os.fork()
    if process == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        end(json.loads(message))
    for stream in streams:
        os.close(stream)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(str(status).encode())


def read_options():
    """Read a training command's flags once: hydra's parser, which fairseq uses, is much faster the second time."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    command = ["data", "--task", "masked_lm", "--criterion", "masked_lm", "--arch", "roberta_base", "--optimizer",
               "adam"]  # fmt: skip
    convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), input_args=command))


def serve(path):
    """Import what commands import, then answer until standard input ends."""
    import importlib

    for name in PRELOADED:
        importlib.import_module(name)
    read_options()
    gc.collect()
    gc.freeze()  # forks do not look through what was imported here, which would copy its memory
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(8)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            answer(connection)
            os._exit(0)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def ask(command, folder, environment, streams):
    """Have the server run a command and return its status."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(os.environ[SOCKET])
    message = json.dumps({"command": command, "folder": str(folder), "environment": environment})
    socket.send_fds(connection, [message.encode()], streams)
    return int(connection.recv(16))


def start_server():
    """Start the server of this process, unless it has one; it ends with this process."""
    if SOCKET in os.environ and Path(os.environ[SOCKET]).exists():
        return
    path = Path(tempfile.mkdtemp(prefix="warm")) / "socket"
    server = subprocess.Popen([sys.executable, __file__, "serve", str(path)], stdin=subprocess.PIPE)
    while not path.exists():
        assert server.poll() is None, "the server of warm commands ended"
        time.sleep(0.05)
    os.environ[SOCKET] = str(path)
    start_server.process = server


def run_warm(command, folder, environment):
    """Run a command to its end; return its status and what it printed."""
    start_server()
    with open(os.devnull) as nothing, tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        status = ask(command, folder, environment, [nothing.fileno(), output.fileno(), output.fileno()])
        output.seek(0)
        return status, output.read()


def client(*command):
    """Return the words of a process that has a command run, for those that start several at once."""
    start_server()
    return [sys.executable, __file__, "ask", *map(str, command)]


def for_scripts():
    """Return the environment in which a bash script's commands are warm: functions stand before what PATH has."""
    start_server()
    functions = Path(os.environ[SOCKET]).with_name("functions.sh")
    lines = [
        f'{name}() {{ {sys.executable} {__file__} ask {name} "$@" ; }}'
        for name in ("langsamp", "fairseq-train", "fairseq-hydra-train", "python")
    ]
    functions.write_text("\n".join(lines) + "\n")
    return {**os.environ, "BASH_ENV": str(functions)}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    elif can_run(sys.argv[2:]):
        sys.exit(ask(sys.argv[2:], os.getcwd(), dict(os.environ), [0, 1, 2]))
    else:
        os.execvp(sys.argv[2], sys.argv[2:])
