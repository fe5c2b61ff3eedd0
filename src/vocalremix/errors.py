"""Errors a user can mend, and how they are shown: one line, exit code 2."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to mend it."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an InputError into one line on stderr and exit code 2, for the outermost block of a program."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
