"""The ``langsamp`` command: function signatures define the command line, docstrings the help.

Heavy imports are inside the functions, so that ``--help`` is fast. Exit status: 0 done, 1 failed,
2 wrong use or bad input, 128 + number of the signal that ended it: 130 SIGINT, 143 SIGTERM.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys

import typer

from langsamp_plugin import __version__
from langsamp_plugin.commands import analyze, binarize, convert, corpus, evaluate, info, megatron, pairs, vocabulary  # noqa: F401 - registers
from langsamp_plugin.commands.app import app
from langsamp_plugin.doctor import EXTRAS, outdated
from langsamp_plugin.errors import REMEDIES, InUseError, StorageError, VerificationError, storage_errno
from langsamp_plugin.interruption import InterruptedBySignal, signals_raised


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit()


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Everything around training with LangSAMP; training itself is fairseq-train.

    Every command takes --debug, which shows the traceback of an error.
    """


def main() -> None:
    """Run a command; errors are one line, and ``--debug`` shows the traceback."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # Importing fairseq enables every logger and prints advice about speech in the middle of a command's output.
    for name in ("fairseq", "gensim", "numba", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with signals_raised():
            status = app(
                args=[part for part in arguments if part != "--debug"], prog_name="langsamp", standalone_mode=False
            )
    except (Exception, KeyboardInterrupt, InterruptedBySignal) as error:
        if debug:
            raise
        status, message = _explain(error)
        print(f"langsamp: {_printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(status or 0)


def _explain(error: BaseException) -> tuple[int, str]:
    """Return exit status and message for an error."""
    # Duck typing instead of the class: some versions of typer bundle their own copy of click.
    if hasattr(error, "format_message"):
        return 2, f"{error.format_message().rstrip('.')}; see `langsamp --help`"
    if isinstance(error, (typer.Abort, KeyboardInterrupt)):
        error = InterruptedBySignal(signal.SIGINT)
    if isinstance(error, InterruptedBySignal):
        return error.status, str(error)
    number = storage_errno(error)
    if number is not None and not isinstance(error, StorageError):
        place = getattr(error, "filename", None) or "a file"
        error = StorageError(number, place)
    wrong_path = isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
    if isinstance(error, ValueError) or (wrong_path and not getattr(error, "filename", None)):
        return 2, str(error)
    if isinstance(error, OSError):
        return 2 if wrong_path else 1, _explain_system(error)
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        return (
            1,
            f"this needs {error.name}, which is not installed: pip install 'langsamp-plugin[{EXTRAS[error.name]}]'",
        )
    if isinstance(error, (ModuleNotFoundError, VerificationError, InUseError)):
        return 1, str(error)
    found = f"unexpected {type(error).__name__}: {error}"
    old = next(iter(outdated()), None)  # its functions may lack an argument
    if old is not None:
        return 1, f"{found}; {old.name} must be {old.wanted} or newer, but is {old.installed}: {old.remedy}"
    return 1, f"{found} (run again with --debug and report it)"


def _explain_system(error: OSError) -> str:
    """Return the system's reason with the file's name, and a remedy if there is a general one."""
    reason = str(error.strerror or error)
    if isinstance(error, StorageError) or not error.filename:
        return reason
    remedy = ""
    if error.errno in (errno.EACCES, errno.EPERM):
        remedy = ": ask its owner for permission, or choose another"
    elif error.errno in (errno.EMFILE, errno.EROFS, errno.EIO):
        remedy = f": {REMEDIES[error.errno]}"
    return f"{os.fspath(error.filename)}: {reason}{remedy}"


def _printable(text: str) -> str:
    """Return text with control characters escaped: file names can contain them, and a terminal would interpret them."""
    return "".join(part if part.isprintable() else ascii(part)[1:-1] for part in text)


if __name__ == "__main__":
    main()
