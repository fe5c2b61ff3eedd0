"""Errors a user can mend, and how they are shown: one line, exit code 2."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to mend it."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """For the outermost block of a program: an error that a user can mend is one line on stderr, exit code 2.

    These are InputError and what the system refuses (no room, no permission, ...). Where nobody reads the output any
    more, as in `vocalremix check DIR | head`, the program ends as one that SIGPIPE ends, without a word.
    """
    _mend_streams()
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # what is left in the buffer would fail once more at the end of the program
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (InputError, OSError) as error:
        print(f"error: {' '.join(_said(error).split())}", file=sys.stderr)
        sys.exit(2)


def _said(error: InputError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _mend_streams() -> None:
    """Closed streams take and give nothing; a name that the terminal's encoding lacks is shown with escapes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
