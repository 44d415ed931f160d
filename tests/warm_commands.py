"""Runs commands as forks of a process that has imported torch, fairseq and transformers, which takes seconds each time.

A server listens on a socket. Whoever wants a command sends its words, folder and environment with the three standard
streams, and gets its process number and then its status. A command is killed when whoever wants it has ended.
``run_warm`` starts the server when it is first needed; all workers of pytest-xdist share it.
"""

import atexit
import contextlib
import faulthandler
import json
import os
import pickle
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import warm_start

SOCKET = "WARM_COMMANDS"
PYTHON = "WARM_PYTHON"
"""Environment variables: the server's address, and the interpreter by which a command starts others warm."""
PRELOADED = (
    *warm_start.TRAINING, "matplotlib.figure", "pandas", "pyarrow.parquet", "safetensors.torch", "scipy.stats",
    "sentencepiece", "sklearn", "tokenizers", "transformers.models.xlm_roberta.modeling_xlm_roberta", "typer",
)  # fmt: skip
AS_MODULE = ["-m", "fairseq_cli.train"]
NAMES = ("langsamp", "fairseq-train", "fairseq-hydra-train", "fairseq-preprocess", "python")


def can_run(command):
    """Return whether a fork does what the command would."""
    name, *arguments = command
    if name == "python" and arguments:
        return arguments[0] == "-c" or arguments[:2] == AS_MODULE or not arguments[0].startswith("-")
    return name in NAMES


class CompiledOnce:
    """Has what numba compiles for UMAP, 20 seconds, kept on disk, as UMAP itself asks for a part of it.

    Stands in ``sys.meta_path``, where it sees that UMAP is going to be imported.
    """

    def find_spec(self, name, *rest):
        if name == "umap":
            import functools

            import numba

            sys.meta_path.remove(self)
            numba.njit = functools.wraps(numba.njit)(lambda *args, _njit=numba.njit, **options: _njit(
                *args, **{"cache": True, **options}
            ))  # fmt: skip


def be(command, folder, environment, session):
    """Be the command, from its first line to its exit."""
    if session:
        os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = environment.get(PYTHON, sys.executable)
    if command[0] in OWN:
        return OWN[command[0]](*command[1:])
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
    if arguments[:2] == AS_MODULE:
        sys.path.insert(0, os.getcwd())
        del sys.modules[arguments[1]]  # of the program there is one copy, and it is __main__
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
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
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{process} ".encode())
    if connection in select.select([connection, os.pidfd_open(process)], [], [])[0]:  # nobody waits for it any more
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{status} ".encode())


def call(path):
    """Call a function of a module and keep its result."""
    function, arguments = pickle.loads(Path(path).read_bytes())
    Path(path).write_bytes(pickle.dumps(function(*arguments)))


def serve(path, owner, *modules):
    """Import what commands import, then answer until the process with the number ``owner`` ends."""
    end = os.pidfd_open(int(owner))  # the owner may end while this imports
    sys.meta_path.insert(0, CompiledOnce())
    warm_start.import_all(modules)
    if "fairseq_cli.train" in modules:
        warm_start.read_training_options()
    if "typer" in modules:
        warm_start.read_a_command_line()
    warm_start.before_forks()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{path}.bound")
    listener.listen(8)
    os.rename(f"{path}.bound", path)  # whoever finds it can connect
    while True:
        ready, _, _ = select.select([listener, end], [], [])
        if end in ready:
            shutil.rmtree(Path(path).parent, ignore_errors=True)
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


def serve_accidents(*modules):
    """Answer the tests of accidents, see accident_server.py."""
    import accident_server

    accident_server.serve(*modules)


OWN = {"serve": serve, "call": call, "accidents": serve_accidents}  # commands of the tests alone


class Command:
    """A command that a server runs.

    Args:
        command: its words.
        folder: where it runs.
        environment: all of its environment.
        streams: the numbers of its standard input, output and errors.
        server: the server's address.
        session: whether it has a separate session.
    """

    def __init__(self, command, folder, environment, streams, server, session=False):
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.connect(server)
        message = {"command": command, "folder": str(folder), "environment": environment, "session": session}
        socket.send_fds(self._connection, [json.dumps(message).encode()], streams)
        self.pid = self._number()

    def is_alive(self, seconds=0):
        """Whether it still runs after as many seconds."""
        return not select.select([self._connection], [], [], seconds)[0]

    def wait(self):
        """Wait for the status; it is negative after a signal."""
        return self._number()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def _number(self):
        text = b""
        while not text.endswith(b" "):
            part = self._connection.recv(1)
            assert part, "the server of warm commands ended"
            text += part
        return int(text)


def ask(command, folder, environment, streams):
    """Have the server run a command and return its status; signals to this process reach the command."""
    asked = Command(command, folder, environment, streams, os.environ[SOCKET])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: os.kill(asked.pid, number))
    return asked.wait()


def begin_server():
    """Start the server of this pytest, unless it has one; it ends with pytest."""
    if SOCKET in os.environ:
        return
    shared = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    owner = os.getppid() if shared else os.getpid()
    path = Path(tempfile.gettempdir()) / f"warm{shared or secrets.token_hex(8)}" / "socket"
    os.environ[SOCKET] = str(path)
    with contextlib.suppress(FileExistsError):  # another worker has started it
        path.parent.mkdir(mode=0o700)
        server = subprocess.Popen([sys.executable, __file__, "serve", str(path), str(owner)], stdin=subprocess.DEVNULL)
        start_server.is_alive = lambda: server.poll() is None


def start_server():
    """Wait until the server answers; start it if necessary."""
    begin_server()
    wait_for_socket(Path(os.environ[SOCKET]), start_server.is_alive)


start_server.is_alive = lambda: True


def wait_for_socket(path, is_alive):
    end = time.monotonic() + 120
    while not path.exists():
        assert is_alive() and time.monotonic() < end, "the server of warm commands ended"
        time.sleep(0.05)


def run_warm(command, folder, environment, server=None):
    """Run a command to its end, by another server if given; return its status and what it printed."""
    start_server()
    with open(os.devnull) as nothing, tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        streams = [nothing.fileno(), output.fileno(), output.fileno()]
        status = Command(command, folder, environment, streams, server or os.environ[SOCKET]).wait()
        output.seek(0)
        return status, output.read()


def client(*command):
    """Return the words of a process that has a command run, for those that start several at once."""
    start_server()
    return [sys.executable, __file__, "ask", *map(str, command)]


if __name__ == "__main__":
    own, *words = sys.argv[1:]
    if own == "serve":
        sys.exit(serve(*words, *PRELOADED))
    elif can_run(words):
        sys.exit(ask(words, os.getcwd(), dict(os.environ), [0, 1, 2]))
    os.execvp(sys.executable if words[0] == "python" else words[0], words)
