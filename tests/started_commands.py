"""Commands that are watched and stopped while they run, as forks of a process that has imported what they need."""

import os
import signal
import subprocess
import threading

from warm_commands import SOCKET, Command, start_server


class Started:
    """A command in a separate session, to be used like a :class:`subprocess.Popen`.

    Args:
        command: its words.
        folder: where it runs.
        log: a file for its output; without one, this is read from :attr:`stdout`.
    """

    def __init__(self, command, folder, log=None):
        start_server()
        self.stdout, self.returncode = None, None
        if log is None:
            ours, theirs = os.pipe()
            self.stdout = open(ours, encoding="utf-8")  # noqa: SIM115 - whoever started it reads it to its end
        else:
            theirs = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        with open(os.devnull) as nothing:
            streams = [nothing.fileno(), theirs, theirs]
            words = list(map(str, command))
            self._command = Command(words, folder, dict(os.environ), streams, os.environ[SOCKET], session=True)
        os.close(theirs)
        self.pid = self._command.pid

    def poll(self):
        """Return the status if it has ended."""
        if self.returncode is None and not self._command.is_alive():
            self.returncode = self._command.wait()
        return self.returncode

    def wait(self, timeout=120):
        """Return the status when it has ended."""
        if self.returncode is None and self._command.is_alive(timeout):
            raise subprocess.TimeoutExpired("a warm command", timeout)
        return self.poll()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=120):
        """Return the rest of its output when it has ended."""
        limit = threading.Timer(timeout, self.kill)
        limit.start()
        output = self.stdout.read()
        limit.cancel()
        self.wait(timeout)
        return output, None
