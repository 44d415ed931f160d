"""What goes wrong: conversions that do not compute what they should, and input whose file must be named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class VerificationError(Exception):
    """A conversion does not compute what it was made from; nobody's wrong input, so the command line ends with status 1."""


@contextmanager
def error_context(path: object) -> Iterator[None]:
    """Put a file's name before what is said to be wrong in it.

    Raises:
        ValueError: the block raised one, or found something nested too deeply to read.
    """
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error
