"""One large file over HTTP: in parallel ranges, retried and resumed, and under its name only when it is whole.

No program does that as safely: aria2c gives up at the 429 and 500 of a busy server, does not read Retry-After and joins
two versions of a file that changes meanwhile; curl and pooch have one connection, and pooch does not resume.
"""

import asyncio
import hashlib
import json
import os
import random
import re
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

import aiohttp
import certifi
import urllib3
from tqdm import tqdm

from vocalremix.util.errors import InputError
from vocalremix.util.files import publish

SLOWEST_BYTES_PER_S = 1000
PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How much is asked of a server, and how long it may fail; tests are in more of a hurry."""

    attempts: int = 10  # in a row that bring nothing
    backoff_s: float = 1.0  # doubled from attempt to attempt
    longest_wait_s: float = 300.0  # between two attempts
    timeout_s: float = 30.0  # at less than SLOWEST_BYTES_PER_S
    connections: int = 4
    segment_bytes: int = 1 << 28  # of one request
    save_bytes: int = 1 << 20  # how much a kill can cost


def fetch(
    url: str,
    sha256: str,
    destination: Path,
    starts_with: tuple[bytes, ...],
    make_room: Callable[[int, int], None] = lambda n_bytes, n_to_come: None,
    patience: Patience | None = None,
) -> None:
    """Download `url` to `destination`; what has come of it stays beside, and the next call goes on from there.

    A server that knows no ranges is asked for the whole file each time. A file that changes on the server is fetched
    anew. Lost and slow connections and passing errors (429, 5xx, ...) are tried again, after the time in Retry-After or
    twice as long as the last time. The environment names proxies (HTTPS_PROXY, ...) and certificates
    (REQUESTS_CA_BUNDLE). `starts_with` are the first bytes that such a file can have. `make_room` is told the file's
    size, and how much of it is still to come, before it comes. One process at a time may work on a destination.

    Raises InputError in one line for: a refusal, a web page in the file's place, another checksum (of which nothing
    is kept), and a server that fails again and again (of which everything is kept).
    """
    download = _Download(url, destination, patience or Patience())
    try:
        asyncio.run(download.run(starts_with, make_room))
    except aiohttp.ClientError as error:
        hint = (
            "; REQUESTS_CA_BUNDLE can name a file of certificates" if isinstance(error, aiohttp.ClientSSLError) else ""
        )
        raise InputError(f"{url}: cannot be fetched ({_reason(error)}){hint}") from error
    tqdm.write(f"{destination.name}: comparing checksums", file=sys.stderr)
    n_bytes = download.file.stat().st_size
    with download.file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        download.discard()
        raise InputError(
            f"{url}: the sha256 of its {n_bytes} bytes is {found}, not {sha256}; they are deleted; run again to fetch "
            "them anew, and if that does not help, name another url"
        )
    os.replace(download.file, destination)
    download.journal.unlink(missing_ok=True)


class _PassingError(Exception):
    """A request failed in a way that the next one need not; `wait_s` is what the server asks for."""

    wait_s: float | None = None


class _ChangedError(Exception):
    """The server gives another file, or treats ranges in another way, than when this download began."""


class _Remote(NamedTuple):
    n_bytes: int | None
    version: str | None  # ETag, or the date
    ranges: bool


class _Download:
    """What is here of a file, and beside it, as JSON, of which version it is and which spans are still to come.

    Bytes are written before they are taken off the list, so a kill costs some of them and never leaves a hole.
    """

    def __init__(self, url: str, destination: Path, patience: Patience):
        self.url, self.patience, self.name = url, patience, destination.name
        self.file, self.journal = (destination.with_name(f"{self.name}.{end}") for end in ("part", "json"))
        self.remote: _Remote | None = None
        self.missing: list[list[int]] = []  # [start, stop]
        self.n_kept = self.n_saved = 0  # bytes that no trouble can undo: none where the server knows no ranges
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            state = json.loads(self.journal.read_text(encoding="utf-8"))
            if self.file.stat().st_size == state["remote"][0]:
                self.remote, self.missing = _Remote(*state["remote"]), state["missing"]
                self.n_kept = state["remote"][0] - sum(stop - start for start, stop in self.missing)

    async def run(self, starts_with: tuple[bytes, ...], make_room: Callable[[int, int], None]) -> None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where()
        try:
            certificates = ssl.create_default_context()
            certificates.load_verify_locations(*((None, bundle) if os.path.isdir(bundle) else (bundle, None)))
        except OSError as error:
            raise InputError(f"REQUESTS_CA_BUNDLE: {bundle}: no readable file of certificates") from error
        async with aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(ssl=certificates),
            headers={"Accept-Encoding": "identity", "User-Agent": "vocalremix"},
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=True,
        ) as self.session:
            in_ranges = True
            for _ in range(self.patience.attempts):
                with suppress(_ChangedError):
                    remote = await self._insist(partial(self._probe, starts_with))
                    await self._transfer(remote._replace(ranges=remote.ranges and in_ranges), make_room)
                    return
                # some servers give a range of eight bytes and no other
                in_ranges = self.n_kept > 0
        raise InputError(f"{self.url}: the server gives now one file, now another; run again later to go on from here")

    async def _insist(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request until it goes well, or one attempt after the other brings nothing."""
        n_failed, n_kept, patience = 0, self.n_kept, self.patience
        while True:
            try:
                return await request()
            except aiohttp.ClientSSLError:
                raise
            except (_PassingError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as trouble:
                reason, wait_s = _reason(trouble), getattr(trouble, "wait_s", None)
            n_failed, n_kept = 1 if self.n_kept > n_kept else n_failed + 1, self.n_kept
            if n_failed >= patience.attempts:
                raise InputError(f"{self.url}: {reason}, after {n_failed} attempts; run again later to go on from here")
            if wait_s is None:
                # apart from one another, or all connections would come back at the same moment
                wait_s = random.uniform(0.5, 1) * min(patience.backoff_s * 2 ** (n_failed - 1), patience.longest_wait_s)
            if wait_s > patience.longest_wait_s:
                raise InputError(f"{self.url}: {reason}, come back in {wait_s / 60:.0f} min; run again then to go on")
            tqdm.write(f"{self.url}: {reason}; trying again in {wait_s:.1f} s", file=sys.stderr)
            await asyncio.sleep(wait_s)

    @asynccontextmanager
    async def _get(self, **headers: str) -> AsyncIterator[tuple[aiohttp.ClientResponse, asyncio.Timeout]]:
        async with (
            asyncio.timeout(self.patience.timeout_s) as limit,
            self.session.get(self.url, headers=headers) as response,
        ):
            status = f"HTTP {response.status} {response.reason}"
            if response.status in PASSING_STATUS:
                trouble = _PassingError(status)
                with suppress(KeyError, urllib3.exceptions.InvalidHeader):
                    trouble.wait_s = urllib3.Retry().parse_retry_after(response.headers["Retry-After"])
                raise trouble
            if response.status == 416:
                raise _ChangedError
            if response.status not in (200, 206):
                raise InputError(f"{self.url}: {status}; is the address right, and does it need no login?")
            if "html" in response.headers.get("Content-Type", ""):
                raise InputError(f"{self.url}: a web page, not an archive; open it in a browser to see what it says")
            yield response, limit

    async def _probe(self, starts_with: tuple[bytes, ...]) -> _Remote:
        async with self._get(Range="bytes=0-7") as (response, _):
            head = b""
            while len(head) < 8 and (piece := await response.content.read(8 - len(head))):
                head += piece
            if not head.startswith(starts_with):
                raise InputError(f"{self.url}: not an archive, it begins with {head!r}; is the address right?")
            return _described(response, 0)

    async def _transfer(self, remote: _Remote, make_room: Callable[[int, int], None]) -> None:
        """Fill the spans that are missing, over several connections."""
        if self.remote not in (None, remote):
            tqdm.write(f"{self.url}: not what it was when this download began; starting anew", file=sys.stderr)
            self.discard()
        if remote.n_bytes is not None:
            make_room(remote.n_bytes, remote.n_bytes - self.n_kept)
        if self.remote is None:
            n_bytes = sys.maxsize if remote.n_bytes is None else remote.n_bytes
            step = self.patience.segment_bytes if remote.ranges else sys.maxsize
            self.remote, self.missing = remote, [[i, min(i + step, n_bytes)] for i in range(0, n_bytes, step)]
            with self.file.open("wb") as file:
                file.truncate(remote.n_bytes if remote.ranges else 0)
        waiting = self.missing[::-1]

        async def work() -> None:
            while waiting:
                await self._insist(partial(self._fill, waiting.pop(), remote, descriptor, bar))

        descriptor = os.open(self.file, os.O_WRONLY)
        try:
            with tqdm(total=remote.n_bytes, initial=self.n_kept, desc=self.name, unit="B", unit_scale=True) as bar:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.patience.connections):
                        group.create_task(work())
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            os.close(descriptor)
            self._save()

    async def _fill(self, span: list[int], remote: _Remote, descriptor: int, bar: "tqdm[NoReturn]") -> None:
        headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if remote.ranges else {}
        # a weak ETag may not stand here (RFC 9110, 13.1.5)
        if remote.ranges and remote.version and not remote.version.startswith("W/"):
            headers["If-Range"] = remote.version
        async with self._get(**headers) as (response, limit):
            if not remote.ranges:
                span[0] = 0
                os.ftruncate(descriptor, 0)
                bar.reset()
            elif _described(response, span[0]) != remote:
                raise _ChangedError
            in_time = span[0]
            async for piece in response.content.iter_any():
                rest = memoryview(piece)[: span[1] - span[0]]
                while rest:
                    n_written = os.pwrite(descriptor, rest, span[0])
                    span[0], rest = span[0] + n_written, rest[n_written:]
                    self.n_kept += n_written if remote.ranges else 0
                bar.update(len(piece))
                if self.n_kept - self.n_saved >= self.patience.save_bytes:
                    self._save()
                if span[0] == span[1]:
                    return
                if span[0] - in_time >= SLOWEST_BYTES_PER_S * self.patience.timeout_s:
                    in_time = span[0]
                    limit.reschedule(asyncio.get_running_loop().time() + self.patience.timeout_s)
        if remote.n_bytes is not None:
            raise _PassingError(f"the connection ended {span[1] - span[0]} bytes too early")

    def _save(self) -> None:
        self.n_saved = self.n_kept
        if self.remote and self.remote.ranges:
            missing = [span for span in self.missing if span[0] < span[1]]
            with publish(self.journal) as beside:
                beside.write_text(json.dumps({"remote": self.remote, "missing": missing}), encoding="utf-8")

    def discard(self) -> None:
        self.journal.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)
        self.remote, self.missing, self.n_kept = None, [], 0


def _described(response: aiohttp.ClientResponse, start: int) -> _Remote:
    """The file, which the response holds from `start` on, or as a whole where the server knows no ranges."""
    version = response.headers.get("ETag") or response.headers.get("Last-Modified")
    span = re.fullmatch(rf"bytes {start}-\d+/(\d+)", response.headers.get("Content-Range", "").strip())
    if response.status == 206:
        return _Remote(int(span[1]) if span else None, version, ranges=span is not None)
    return _Remote(response.content_length, version, ranges=False)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"timed out, under {SLOWEST_BYTES_PER_S} bytes/s"
    return " ".join(str(error).split()) or type(error).__name__
