"""One large file over HTTP: in parallel ranges, retried and resumed, and under its name only when it is whole."""

import hashlib
import json
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never

import requests
import urllib3
from tqdm import tqdm

from vocalremix.disk import Need, require_space
from vocalremix.errors import InputError

READ_BYTES = 1 << 18
SLOWEST_BYTES_PER_S = 1000
PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How much is asked of a server, and how long it may fail; tests are in more of a hurry."""

    attempts: int = 10  # in a row that bring nothing
    backoff_s: float = 1.0  # doubled from attempt to attempt
    longest_wait_s: float = 300.0  # between two attempts
    timeout_s: float = 30.0  # without a byte, or at less than SLOWEST_BYTES_PER_S
    connections: int = 4
    segment_bytes: int = 1 << 28  # of one request
    save_bytes: int = 1 << 20  # how much a kill can cost each connection


def fetch(
    url: str,
    sha256: str,
    destination: Path,
    starts_with: Sequence[bytes],
    needs: Callable[[int], Sequence[Need]] = lambda n_bytes: (),
    patience: Patience | None = None,
) -> None:
    """Download `url` to `destination`; what has come of it stays beside, and the next call goes on from there.

    Several ranges are fetched at a time where the server allows; one that knows no ranges is asked for the whole file
    each time. A file that has changed on the server since its first bytes came is fetched anew. Dropped, silent and
    crawling connections and passing errors (429, 5xx, ...) are tried again, after the time in Retry-After or twice as
    long as the last time. Proxies and certificates are taken from the environment, as `requests` does.

    `starts_with` are the first bytes that such a file can have; `needs` tells from the file's size in bytes what else
    has to fit on disk, which is checked before the download begins. One process at a time may work on a destination.

    Raises InputError in one line for: a refusal, a web page in the file's place, another checksum (of which nothing
    is kept), too little room, and a server that fails again and again (of which everything is kept).
    """
    patience = patience or Patience()
    partial = _Partial(destination)
    in_ranges = True
    for _ in range(patience.attempts):
        server = _Server(url, patience)
        try:
            remote = server.probe(starts_with)
            if not (in_ranges and remote.ranges and partial.belongs_to(remote)):
                if partial.begun:
                    _tell(f"{url}: not what it was when this download began; starting anew")
                partial.discard()
            if remote.n_bytes is not None:
                still_to_come = max(remote.n_bytes - partial.n_bytes_on_disk, 0)
                require_space([Need("the archive", destination.parent, still_to_come), *needs(remote.n_bytes)])
            if in_ranges and remote.ranges:
                partial.begin(remote, patience.segment_bytes)
                _Transfer(server, remote, partial).run()
            else:
                _fetch_whole(server, remote, partial)
            break
        except _ChangedError:
            # some servers give a range of eight bytes and no other
            in_ranges = partial.n_bytes_here > 0
    else:
        raise InputError(f"{url}: the server gives now one file, now another; run again later to go on from here")
    _check(url, partial, sha256)
    partial.finish()


class _PassingError(Exception):
    """A request failed in a way that the next one need not; `wait_s` is what the server asks for."""

    def __init__(self, reason: str, wait_s: float | None = None):
        super().__init__(reason)
        self.wait_s = wait_s


class _ChangedError(Exception):
    """The server gives another file, or treats ranges in another way, than when this download began."""


class _StoppedError(Exception):
    """Another connection has met an error that ends the download."""


@dataclass(frozen=True)
class _Remote:
    n_bytes: int | None
    version: str | None  # ETag, or the date
    ranges: bool


@dataclass
class _Server:
    """Asks one server for one file, and tells troubles that pass from errors that stay."""

    url: str
    patience: Patience
    n_kept: int = 0  # bytes that no further trouble can undo
    stopping: threading.Event = field(default_factory=threading.Event)
    responses: set[requests.Response] = field(default_factory=set)

    def probe(self, starts_with: Sequence[bytes]) -> _Remote:
        attempts = _Attempts(self)
        while True:
            try:
                with self.get(0, 7) as response:
                    head = b"".join(self.pieces(response, 8))
                    if not head.startswith(tuple(starts_with)):
                        raise InputError(f"{self.url}: not an archive, it begins with {head!r}; is the address right?")
                    return self._describe(response)
            except _PassingError as trouble:
                attempts.failed(trouble)

    @contextmanager
    def get(
        self, first: int | None = None, last: int | None = None, version: str | None = None
    ) -> Iterator[requests.Response]:
        """The response to one request, for the bytes from `first` to and including `last`, or for all."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "vocalremix"}
        if first is not None:
            headers["Range"] = f"bytes={first}-{last}"
            # a weak ETag may not stand here (RFC 9110, 13.1.5)
            if version and not version.startswith("W/"):
                headers["If-Range"] = version
        try:
            response = requests.get(self.url, headers=headers, stream=True, timeout=self.patience.timeout_s)
        except requests.exceptions.SSLError as error:
            raise InputError(
                f"{self.url}: its certificate is not trusted ({_reason(error)}); the environment variable "
                "REQUESTS_CA_BUNDLE can name a file of certificates"
            ) from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise _PassingError(_reason(error)) from error
        except requests.RequestException as error:
            raise InputError(f"{self.url}: cannot be fetched ({_reason(error)})") from error
        with response:
            self.responses.add(response)
            try:
                self._refuse(response)
                yield response
            finally:
                self.responses.discard(response)

    def pieces(self, response: requests.Response, n_bytes: int | None) -> Iterator[bytes]:
        """What comes, as it comes, up to `n_bytes`; a _PassingError where it ends too early or hardly comes at all."""
        since, n_since, left = time.monotonic(), 0, n_bytes
        while left != 0:
            if self.stopping.is_set():
                raise _StoppedError
            try:
                # undecoded: the checksum is that of the file, not of what a server may have packed into it
                piece = response.raw.read1(READ_BYTES if left is None else min(left, READ_BYTES), decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _PassingError(_reason(error)) from error
            if not piece:
                if left is None:
                    return
                raise _PassingError(f"the connection ended {left} bytes too early")
            left = None if left is None else left - len(piece)
            yield piece
            n_since += len(piece)
            if (seconds := time.monotonic() - since) > self.patience.timeout_s:
                if n_since < SLOWEST_BYTES_PER_S * seconds:
                    raise _PassingError(f"{n_since} bytes in {seconds:.0f} s")
                since, n_since = time.monotonic(), 0

    def stop(self) -> None:
        """End all connections, those that wait for data too."""
        self.stopping.set()
        for response in self.responses.copy():
            with suppress(ValueError, RuntimeError):  # it has just ended
                response.raw.shutdown()

    def _refuse(self, response: requests.Response) -> None:
        status = f"HTTP {response.status_code} {response.reason}"
        if response.status_code in PASSING_STATUS:
            try:
                wait_s = urllib3.Retry().get_retry_after(response.raw)
            except urllib3.exceptions.InvalidHeader:
                wait_s = None
            raise _PassingError(status, wait_s)
        if response.status_code == 416:
            raise _ChangedError
        if response.status_code not in (200, 206):
            raise InputError(f"{self.url}: {status}; is the address right, and does it need no login?")
        if "html" in response.headers.get("Content-Type", ""):
            raise InputError(f"{self.url}: a web page, not an archive; open it in a browser to see what it says")

    def _describe(self, response: requests.Response) -> _Remote:
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        span = _content_range(response)
        if span is not None and span[0] == 0:
            return _Remote(span[1], version, ranges=True)
        length = response.headers.get("Content-Length", "") if response.status_code == 200 else ""
        return _Remote(int(length) if length.isdigit() else None, version, ranges=False)


class _Attempts:
    """Waits before the next attempt, longer each time, and gives up where one after the other brings nothing."""

    def __init__(self, server: _Server):
        self.server, self.n_failed, self.n_kept = server, 0, server.n_kept

    def failed(self, trouble: _PassingError) -> None:
        url, patience = self.server.url, self.server.patience
        if self.server.stopping.is_set():
            raise _StoppedError
        self.n_failed = 1 if self.server.n_kept > self.n_kept else self.n_failed + 1
        self.n_kept = self.server.n_kept
        if self.n_failed >= patience.attempts:
            raise InputError(f"{url}: {trouble}, after {self.n_failed} attempts; run again later to go on from here")
        wait_s = trouble.wait_s
        if wait_s is None:
            # apart from one another, or all connections would come back at the same moment
            longest_s = min(patience.backoff_s * 2 ** (self.n_failed - 1), patience.longest_wait_s)
            wait_s = random.uniform(0.5, 1) * longest_s
        if wait_s > patience.longest_wait_s:
            raise InputError(f"{url}: {trouble}, come back in {wait_s / 60:.0f} min; run again then to go on from here")
        _tell(f"{url}: {trouble}; trying again in {wait_s:.1f} s")
        if self.server.stopping.wait(wait_s):
            raise _StoppedError


class _Partial:
    """What is here of a file, and beside it, as JSON, of which version it is and which spans are still to come.

    Bytes are written before they are taken off the list, so a kill costs some of them and never leaves a hole.
    """

    def __init__(self, destination: Path):
        self.destination = destination
        self.file = destination.with_name(destination.name + ".part")
        self.journal = destination.with_name(destination.name + ".json")
        self.n_bytes: int | None = None
        self.version: str | None = None
        self.missing: list[list[int]] = []  # [start, stop]
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            state = json.loads(self.journal.read_text(encoding="utf-8"))
            if self.file.stat().st_size == state["n_bytes"]:
                self.n_bytes, self.version, self.missing = state["n_bytes"], state["version"], state["missing"]

    @property
    def begun(self) -> bool:
        return self.n_bytes is not None

    @property
    def n_bytes_here(self) -> int:
        return (self.n_bytes or 0) - sum(stop - start for start, stop in self.missing)

    @property
    def n_bytes_on_disk(self) -> int:
        return self.file.stat().st_blocks * 512 if self.file.exists() else 0

    def belongs_to(self, remote: _Remote) -> bool:
        return self.begun and (self.n_bytes, self.version) == (remote.n_bytes, remote.version)

    def discard(self) -> None:
        self.journal.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)
        self.n_bytes, self.version, self.missing = None, None, []

    def begin(self, remote: _Remote, segment_bytes: int) -> None:
        if self.begun or remote.n_bytes is None:
            return
        self.n_bytes, self.version = remote.n_bytes, remote.version
        starts = range(0, self.n_bytes, segment_bytes)
        self.missing = [[start, min(start + segment_bytes, self.n_bytes)] for start in starts]
        with self.file.open("wb") as file:
            file.truncate(self.n_bytes)
        self.save()

    def save(self) -> None:
        self.missing = [span for span in self.missing if span[0] < span[1]]
        state = {"version": self.version, "n_bytes": self.n_bytes, "missing": self.missing}
        beside = self.journal.with_suffix(".new")
        beside.write_text(json.dumps(state), encoding="utf-8")
        os.replace(beside, self.journal)

    def finish(self) -> None:
        os.replace(self.file, self.destination)
        self.journal.unlink(missing_ok=True)


class _Transfer:
    """Fills the spans that are missing, over several connections."""

    def __init__(self, server: _Server, remote: _Remote, partial: _Partial):
        self.server, self.remote, self.partial = server, remote, partial
        self.waiting = list(reversed(partial.missing))
        self.lock = threading.Lock()
        self.n_unsaved = 0

    def run(self) -> None:
        n_connections = min(self.server.patience.connections, len(self.waiting))
        if not n_connections:
            return
        self.bar = _bar(self.partial.destination.name, self.remote.n_bytes, initial=self.partial.n_bytes_here)
        descriptor = os.open(self.partial.file, os.O_WRONLY)
        try:
            with self.bar, ThreadPoolExecutor(n_connections) as pool:
                futures = [pool.submit(self._work, descriptor) for _ in range(n_connections)]
                try:
                    for future in as_completed(futures):
                        future.result()
                except BaseException:
                    self.server.stop()
                    raise
        finally:
            os.close(descriptor)
            self.partial.save()

    def _work(self, descriptor: int) -> None:
        attempts = _Attempts(self.server)
        with suppress(_StoppedError):
            while span := self._next():
                while span[0] < span[1]:
                    try:
                        self._read(span, descriptor)
                    except _PassingError as trouble:
                        attempts.failed(trouble)

    def _next(self) -> list[int] | None:
        with self.lock:
            return self.waiting.pop() if self.waiting else None

    def _read(self, span: list[int], descriptor: int) -> None:
        with self.server.get(span[0], span[1] - 1, self.remote.version) as response:
            version = response.headers.get("ETag") or response.headers.get("Last-Modified")
            if _content_range(response) != (span[0], self.remote.n_bytes) or version != self.remote.version:
                raise _ChangedError
            for piece in self.server.pieces(response, span[1] - span[0]):
                _write(descriptor, piece, span[0])
                self._keep(span, len(piece))

    def _keep(self, span: list[int], n_bytes: int) -> None:
        with self.lock:
            span[0] += n_bytes
            self.server.n_kept += n_bytes
            self.n_unsaved += n_bytes
            self.bar.update(n_bytes)
            if self.n_unsaved >= self.server.patience.save_bytes:
                self.partial.save()
                self.n_unsaved = 0


def _fetch_whole(server: _Server, remote: _Remote, partial: _Partial) -> None:
    attempts = _Attempts(server)
    while True:
        try:
            with (
                server.get() as response,
                partial.file.open("wb") as file,
                _bar(partial.destination.name, remote.n_bytes) as bar,
            ):
                for piece in server.pieces(response, remote.n_bytes):
                    file.write(piece)
                    bar.update(len(piece))
                return
        except _PassingError as trouble:
            attempts.failed(trouble)


def _check(url: str, partial: _Partial, sha256: str) -> None:
    digest = hashlib.sha256()
    n_bytes = partial.file.stat().st_size
    with partial.file.open("rb") as content, _bar("check", n_bytes) as bar:
        while piece := content.read(1 << 20):
            digest.update(piece)
            bar.update(len(piece))
    if digest.hexdigest() != sha256:
        partial.discard()
        raise InputError(
            f"{url}: the sha256 of its {n_bytes} bytes is {digest.hexdigest()}, not {sha256}; they are deleted; run "
            "again to fetch them anew, and if that does not help, name another url"
        )


def _content_range(response: requests.Response) -> tuple[int, int] | None:
    """First byte of the range that is sent, and length of the whole file, where both are told."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "").strip())
    return (int(match[1]), int(match[2])) if match and response.status_code == 206 else None


def _write(descriptor: int, piece: bytes, position: int) -> None:
    rest = memoryview(piece)
    while rest:
        n_written = os.pwrite(descriptor, rest, position)
        rest, position = rest[n_written:], position + n_written


def _reason(error: Exception) -> str:
    """The innermost of what libraries wrapped into one another, in one line."""
    inner: BaseException = error
    while isinstance(inner, Exception) and (deeper := _wrapped(inner)):
        inner = deeper
    return " ".join(str(inner).split()) or type(inner).__name__


def _wrapped(error: Exception) -> BaseException | None:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return reason
    return next((part for part in error.args if isinstance(part, BaseException)), None)


def _bar(name: str, n_bytes: int | None, initial: int = 0) -> "tqdm[Never]":
    return tqdm(total=n_bytes, initial=initial, desc=name, unit="B", unit_scale=True)


def _tell(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
