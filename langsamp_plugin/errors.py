"""Failures that are nobody's wrong input; the command line ends with status 1 for them."""


class VerificationError(Exception):
    """A conversion does not compute what it was made from."""
