"""Errors a user can mend, and how they are shown: one line, exit code 2."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to mend it."""


def counted(number: int, noun: str) -> str:
    """A number and what it counts, as "1 song" or "2 songs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """For the outermost block of a program: an error that a user can mend is one line on stderr, exit code 2.

    These are InputError and what the system refuses (no room, no permission, ...). Where nobody reads the output any
    more, as in `vocalremix check DIR | head`, the program ends as one that SIGPIPE ends, without a word. Bars and
    messages that stderr does not take are lost, and nothing else.
    """
    if sys.stdin is None:
        sys.stdin = _nothing("r")
    with redirect_stderr(_mended(sys.stderr, lambda error: None)), redirect_stdout(_mended(sys.stdout, _end)):
        try:
            try:
                yield
            finally:
                sys.stdout.flush()
        except (InputError, OSError) as error:
            print(f"error: {' '.join(_said(error).split())}", file=sys.stderr)
            sys.exit(2)


def _said(error: InputError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _end(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        sys.exit(128 + signal.SIGPIPE)
    raise InputError(f"standard output: {error.strerror}") from error


def _mended(stream: TextIO | None, on_failure: Callable[[OSError], None]) -> TextIO:
    """The stream, which takes all names, also those that its encoding lacks, and calls `on_failure` once."""
    if stream is None:
        return _nothing("w")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, _Stream(stream, on_failure))


def _nothing(mode: str) -> TextIO:
    """A stream in place of a closed one, also for the programs that this one starts."""
    number = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(number, True)
    return cast(TextIO, open(number, mode, encoding="utf-8", closefd=False))


class _Stream:
    """A standard stream that calls `on_failure` where it cannot be written, and from then on takes everything."""

    def __init__(self, stream: TextIO, on_failure: Callable[[OSError], None]) -> None:
        self._stream, self._on_failure = stream, on_failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._insist(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._insist(self._stream.flush)

    def _insist(self, act: Callable[..., object], *arguments: str) -> None:
        try:
            act(*arguments)
        except OSError as error:
            # what is left in the buffer would fail once more at the end of the program
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._on_failure(error)
