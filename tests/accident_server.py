"""A process that has imported everything and forks a command for each request: a run costs tenths of a second.

Requests are JSON lines on standard input. What to run is answered by the process number, ``{"wait": pid}`` by the exit
status (negative: the signal that killed it); ``"warm"`` runs a command in this process, so that its forks need not
import anything.
"""

import atexit
import ctypes
import json
import logging
import os
import resource
import signal
import sys
import time
from pathlib import Path

import warm_start

CAPABILITIES_VERSION_3 = 0x20080522
OVERRIDES = sum(1 << number for number in (0, 1, 2, 3, 7))  # CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, SETUID
PATIENCE_S = 0.1
"""How long a command retries before it reports the owner of a lock; shorter than usual, as many are refused here."""
WRITES = ("fsync", "replace", "rename", "link", "mkdir")
"""Functions of ``os`` that are called where something gets written: a run can be stopped at any of them."""


def be_nobody_special():
    """Give up what lets root write into the folders of others."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    for part in (0, 1):  # effective, permitted; 2 is inheritable, and there is a second word of each
        data[part] &= ~OVERRIDES & 0xFFFFFFFF
    assert libc.capset(header, data) == 0, os.strerror(ctypes.get_errno())


def fill(folder, room):
    """Take all space of a file system but ``room`` bytes."""
    found = os.statvfs(folder)
    size = found.f_bavail * found.f_frsize - room
    if size > 0:
        with open(Path(folder) / "ballast", "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)


def after_the_try(request):
    """Let the accident happen when the place has been tried: fill the disk, or stop or be slow at the N-th call that
    writes."""
    from langsamp_plugin import atomic, place

    seen = [-1]
    stock = place.try_place

    def try_place(*arguments):
        stock(*arguments)
        if seen[0] < 0:
            seen[0] = 0
            if "fill" in request:
                fill(*request["fill"])

    place.try_place = atomic.try_place = try_place

    def counting(name):
        real = getattr(os, name)

        def call(*arguments, **options):
            if seen[0] >= 0 and _place_of(arguments[0]).startswith(request["place"]):
                seen[0] += 1
                if seen[0] == request.get("stop"):
                    Path(request["stopped"]).write_text("")
                    while not os.path.exists(request["go"]):
                        time.sleep(0.01)
                elif seen[0] == request.get("slow"):
                    time.sleep(request["pause"])
                elif "count" in request:
                    Path(request["count"]).write_text(str(seen[0]))
            return real(*arguments, **options)

        setattr(os, name, call)

    for name in WRITES:
        counting(name)


def _place_of(target):
    """Return the path of a path or of an open file."""
    return os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)


def child(request):
    """Be the command."""
    descriptor = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    if "limit" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"],) * 2)
    if request.get("nobody"):
        be_nobody_special()
    after_the_try(request)
    try:
        if sys.argv[0] == "langsamp":
            from langsamp_plugin.cli import main
        else:
            from fairseq_cli.train import cli_main as main
        main()
        return 0
    except SystemExit as ended:
        if ended.code is not None and not isinstance(ended.code, int):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        return 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


def warm(request):
    """Run a command in this process."""
    before = sys.stdout, sys.stderr, os.getcwd(), sys.argv
    with open(request["output"], "w") as sys.stdout:
        sys.stderr = sys.stdout
        os.chdir(request["cwd"])
        sys.argv = request["argv"]
        try:
            from langsamp_plugin.cli import main

            main()
        except SystemExit as ended:
            return ended.code or 0
        finally:
            sys.stdout, sys.stderr, folder, sys.argv = before
            os.chdir(folder)


def leave_out_training():
    """Forget that fairseq's program was imported: it prints the log, and the plugin makes a line of its tracebacks."""
    sys.modules.pop("fairseq_cli.train", None)
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)


def serve(*modules):
    """Be a fork of the server of warm_commands.py, which has imported most."""
    if "fairseq_cli.train" not in modules:
        leave_out_training()
    warm_start.import_all(modules)
    sys.modules["langsamp_plugin.lock"].PATIENCE_S = PATIENCE_S
    if "fairseq_cli.train" in modules:
        warm_start.read_training_options()
    else:
        warm_start.build_command_line_once()
        warm_start.normalise_once()
        warm_start.leave_out_umap()
        warm_start.draw_empty_pictures()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    warm_start.before_forks()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            status = os.waitpid(request["wait"], 0)[1]
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        if "warm" in request:  # here: what it imports and compiles is there in all forks that follow
            print(warm(request), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            status = child(request)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        print(pid, flush=True)
