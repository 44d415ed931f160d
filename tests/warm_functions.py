"""Calls functions in forks of a process that has imported what they need."""

import functools
import os
import pickle
import tempfile
from pathlib import Path

from support import ROOT
from warm_commands import SOCKET, Command, start_server, wait_for_socket


@functools.cache
def server_with(*modules):
    """Return the address of a server that has imported these modules, too: a fork of the first one."""
    start_server()
    path = Path(tempfile.mkdtemp(prefix="warm")) / "socket"
    words = ["serve", str(path), str(os.getpid()), *modules]
    with open(os.devnull) as nothing:
        server = Command(words, ROOT, dict(os.environ), [nothing.fileno(), 1, 2], os.environ[SOCKET])
    wait_for_socket(path, server.is_alive)
    KEPT.append(server)
    return str(path)


KEPT = []
"""What keeps servers going."""


class Called:
    """A function of a module, called in a fork of a process that has imported these modules already."""

    def __init__(self, function, *arguments, modules=()):
        start_server()
        server = server_with(*modules) if modules else os.environ[SOCKET]
        self._folder = tempfile.TemporaryDirectory()
        self._result, self._output = (Path(self._folder.name) / name for name in ("result", "output"))
        self._result.write_bytes(pickle.dumps((function, arguments)))
        with open(os.devnull) as nothing, open(self._output, "w") as output:
            streams = [nothing.fileno(), output.fileno(), output.fileno()]
            self._command = Command(["call", str(self._result)], ROOT, dict(os.environ), streams, server)
        self.pid, self.kill, self.wait = self._command.pid, self._command.kill, self._command.wait
        self.is_alive = self._command.is_alive

    def result(self):
        """Wait for what the function returns; fail with its output if it ends otherwise."""
        status = self.wait()
        assert status == 0, f"ended with {status}:\n{self._output.read_text(errors='replace')[-8000:]}"
        return pickle.loads(self._result.read_bytes())
