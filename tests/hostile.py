"""A web server on 127.0.0.1 that misbehaves as it is told, and archives for it to serve."""

import io
import random
import re
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from vocalremix.corpus.archive import obtain
from vocalremix.corpus.download import Patience
from vocalremix.util.errors import InputError

HURRY = Patience(
    attempts=8,
    backoff_s=0.01,
    longest_wait_s=2,
    timeout_s=5,
    connections=3,
    segment_bytes=60_000,
    save_bytes=8_000,
)


class Hostile:
    """What is served, and how; `faults` answer one request each before the file is served at all."""

    def __init__(self, content: bytes):
        self.content = content
        self.ranges = True
        self.version: str | None = '"one"'
        self.headers: dict[str, str] = {"Content-Type": "application/octet-stream"}
        self.tells_length = True
        self.obeys_if_range = True
        self.claims_n_bytes: int | None = None
        self.cuts: random.Random | None = None
        self.piece_bytes, self.pause_s = 16_384, 0.0
        self.faults: list[Callable[[Handler], None]] = []
        self.after_bytes: tuple[int, Callable[[], None]] | None = None
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.requests: list[str | None] = []
        self.versions: list[str | None] = []  # in If-Range
        self.n_sent = 0
        self.url = ""

    def status(self, code: int, n_times: int, **headers: str) -> None:
        """Answer with a status `n_times` before all goes well."""
        self.faults += [lambda handler: handler.answer(code, headers, b"no")] * n_times

    def page(self, content_type: str) -> None:
        """Answer with a web page for good."""
        body = b"<!doctype html><title>Too many users</title>"
        self.faults += [lambda handler: handler.answer(200, {"Content-Type": content_type}, body)] * 100

    def hang(self, n_times: int) -> None:
        """Take a request and never answer."""
        self.faults += [lambda handler: self.closing.wait(60)] * n_times

    def change(self, content: bytes, version: str | None) -> None:
        self.content, self.version = content, version


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hostile: Hostile

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        hostile = self.hostile
        with hostile.lock:
            hostile.requests.append(self.headers["Range"])
            hostile.versions.append(self.headers["If-Range"])
            fault = hostile.faults.pop(0) if hostile.faults else None
        with suppress(ConnectionError):
            if fault:
                fault(self)
                self.close_connection = True
            elif self.path == "/moved":
                self.answer(302, {"Location": "/archive.zip"}, b"")
            elif self.path == "/circle":
                self.answer(302, {"Location": "/circle"}, b"")
            else:
                self.serve()

    def answer(self, code: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def serve(self) -> None:
        hostile = self.hostile
        content, version = hostile.content, hostile.version
        first, last, n_claimed = 0, len(content) - 1, hostile.claims_n_bytes or len(content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        same = not hostile.obeys_if_range or self.headers["If-Range"] in (None, version)
        partial = bool(asked and hostile.ranges and same)
        if asked and partial:
            first, last = int(asked[1]), min(int(asked[2]), n_claimed - 1)
            if first >= len(content):
                return self.answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{n_claimed}")
            n_claimed = last + 1 - first
        else:
            self.send_response(200)
        if hostile.tells_length:
            self.send_header("Content-Length", str(n_claimed))
        else:
            self.close_connection = True
        if version:
            self.send_header("ETag", version)
        for name, value in hostile.headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = content[first : last + 1]
        if hostile.cuts and len(body) > 8:
            body = body[: hostile.cuts.randrange(2 * len(body))]
        for start in range(0, len(body), hostile.piece_bytes):
            piece = body[start : start + hostile.piece_bytes]
            self.count(len(piece))
            self.wfile.write(piece)
            if hostile.closing.wait(hostile.pause_s):
                break
        if len(body) < n_claimed:
            self.close_connection = True

    def count(self, n_bytes: int) -> None:
        hostile = self.hostile
        with hostile.lock:
            hostile.n_sent += n_bytes
            happens = hostile.after_bytes if hostile.after_bytes and hostile.n_sent >= hostile.after_bytes[0] else None
            if happens:
                hostile.after_bytes = None
        if happens:
            happens[1]()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed are no news."""


@contextmanager
def serving(content: bytes) -> Iterator[Hostile]:
    hostile = Hostile(content)
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"hostile": hostile}))
    hostile.url = f"http://127.0.0.1:{server.server_port}/archive.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hostile
    finally:
        hostile.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def songs_of_noise(n_songs: int, n_bytes: int) -> dict[str, bytes]:
    """Files that look like a corpus by their names."""
    names = [f"train/song {i}/{stem}.wav" for i in range(n_songs) for stem in ("vocals", "drums", "bass", "other")]
    return {name: random.Random(name).randbytes(n_bytes) for name in names}


def zipped(files: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(info, content)
    return packed.getvalue()


def tarred(files: dict[str, bytes], kinds: dict[str, bytes] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.type = (kinds or {}).get(name, tarfile.REGTYPE)
            if info.isreg():
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content.decode()
                archive.addfile(info)
    return packed.getvalue()


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def anything(_: Path) -> None:
    pass


def obtain_in_a_hurry(path: Path, url: str, sha256: str, scratch: Path, error: Path | None = None) -> None:
    """What a process of its own does in tests; a refusal is written to `error`."""
    with open("/dev/null", "w") as nowhere:
        sys.stderr = nowhere
        try:
            obtain(path, url, sha256, scratch, "train/*/vocals.wav", anything, patience=HURRY)
        except InputError as refusal:
            if error:
                error.write_text(str(refusal))
            raise


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds, at most a minute."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for a minute")
