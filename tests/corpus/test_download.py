"""Downloads from a server that does all it can to prevent them."""

import hashlib
import os
import random
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import HURRY, Hostile, serving

from vocalremix.corpus.download import fetch
from vocalremix.util.errors import InputError

CONTENT = b"PK\x03\x04" + random.Random(0).randbytes(500_000)
OTHER = b"PK\x03\x04" + random.Random(1).randbytes(500_000)


@pytest.fixture
def server():
    with serving(CONTENT) as hostile:
        yield hostile


def download(server: Hostile, folder: Path, content=CONTENT, url="", patience=HURRY, **more) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    fetch(url or server.url, sha256, folder / "archive.zip", (b"PK\x03\x04",), patience=patience, **more)
    assert (folder / "archive.zip").read_bytes() == content
    assert os.listdir(folder) == ["archive.zip"]


def refused(server: Hostile, folder: Path, message: str, **more) -> None:
    with pytest.raises(InputError, match=message) as caught:
        download(server, folder, **more)
    assert "\n" not in str(caught.value)
    assert not (folder / "archive.zip").exists()


def test_several_ranges_become_one_file(server, tmp_path, capsys):
    download(server, tmp_path)
    probe, *ranges = server.requests
    assert probe == "bytes=0-7"
    assert sorted(int(asked.split("=")[1].split("-")[0]) for asked in ranges) == [*range(0, len(CONTENT), 60_000)]
    # progress with rate and remaining time
    assert "archive.zip: 100%" in (said := capsys.readouterr().err) and "B/s]" in said and "<00:00" in said


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ranges", [True, False])
def test_connections_that_are_cut_anywhere(server, tmp_path, seed, ranges):
    server.cuts, server.ranges = random.Random(seed), ranges
    download(server, tmp_path, patience=replace(HURRY, attempts=30))
    assert len(server.requests) < 60
    assert not ranges or server.n_sent < 1.2 * len(CONTENT)


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_server_that_knows_no_ranges(server, tmp_path, tells_length):
    server.ranges, server.tells_length = False, tells_length
    download(server, tmp_path)
    assert server.requests == ["bytes=0-7", None]


def test_a_server_that_gives_no_range_but_the_first(server, tmp_path):
    server.after_bytes = (8, lambda: setattr(server, "ranges", False))
    download(server, tmp_path)


@pytest.mark.parametrize(("code", "headers"), [(429, {}), (500, {}), (503, {"Retry_After": "soon"})])
def test_passing_errors_pass(server, tmp_path, code, headers):
    server.status(code, 5, **headers)
    download(server, tmp_path)


def test_retry_after_is_obeyed(server, tmp_path, capsys):
    server.status(429, 1, Retry_After="1")
    download(server, tmp_path)
    assert "HTTP 429 Too Many Requests; trying again in 1.0 s" in capsys.readouterr().err


@pytest.mark.parametrize("when", ["7200", "Fri, 31 Dec 2199 23:59:59 GMT"])
def test_a_server_that_asks_for_hours_is_left_alone(server, tmp_path, when):
    server.status(503, 1, Retry_After=when)
    refused(server, tmp_path, r"archive\.zip: HTTP 503 .*, come back in \d+ min; run again then")
    assert len(server.requests) == 1


def test_errors_without_end_are_given_up(server, tmp_path):
    server.status(502, 1000)
    refused(server, tmp_path, r"HTTP 502 Bad Gateway, after 8 attempts; run again later")
    assert len(server.requests) == 8


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_refusals_are_final(server, tmp_path, code):
    server.status(code, 1)
    refused(server, tmp_path, f"HTTP {code} .*; is the address right")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content_type", "message"),
    [("text/html; charset=utf-8", "a web page, not an archive"), ("application/zip", "not an archive, it begins with")],
)
def test_a_web_page_is_no_archive(server, tmp_path, content_type, message):
    server.page(content_type)
    refused(server, tmp_path, message)
    assert os.listdir(tmp_path) == []


def test_redirects_are_followed_but_not_in_circles(server, tmp_path):
    download(server, tmp_path, url=server.url.replace("archive.zip", "moved"))
    (tmp_path / "archive.zip").unlink()
    refused(server, tmp_path, "circle: cannot be fetched", url=server.url.replace("archive.zip", "circle"))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("n_wrong", [1000, -1000])
def test_a_wrong_length_is_found_out(server, tmp_path, ranges, n_wrong):
    server.ranges, server.claims_n_bytes = ranges, len(CONTENT) + n_wrong
    refused(server, tmp_path, "sha256" if n_wrong < 0 else "attempts|now one file, now another|too early")
    assert len(server.requests) < 60
    server.claims_n_bytes = None
    download(server, tmp_path)


@pytest.mark.parametrize("ranges", [True, False])
def test_another_checksum_leaves_nothing(server, tmp_path, ranges):
    server.ranges = ranges
    refused(
        server, tmp_path, r"sha256 of its 500004 bytes is [0-9a-f]{64}, not [0-9a-f]{64}; they are del", content=OTHER
    )
    assert os.listdir(tmp_path) == []


def interrupted(server: Hostile, folder: Path) -> None:
    """A download of which about half has come when the server goes down for good."""
    server.after_bytes = (len(CONTENT) // 2, lambda: server.status(503, 1000))
    refused(server, folder, "HTTP 503")
    server.faults.clear()
    server.requests.clear()
    assert sorted(os.listdir(folder)) == ["archive.zip.json", "archive.zip.part"]


def test_the_next_run_fetches_only_the_rest(server, tmp_path):
    interrupted(server, tmp_path)
    download(server, tmp_path)
    assert server.n_sent < 1.05 * len(CONTENT)


@pytest.mark.parametrize("version", ['"two"', 'W/"two"', None, '"one"'])
def test_a_file_that_changed_between_two_runs_is_not_spliced(server, tmp_path, version, capsys):
    interrupted(server, tmp_path)
    server.change(OTHER, version)
    if version == '"one"':  # the server hides it
        refused(server, tmp_path, "sha256", content=OTHER)
    download(server, tmp_path, content=OTHER)
    assert version == '"one"' or "starting anew" in capsys.readouterr().err


@pytest.mark.parametrize(("version", "sent"), [('"one"', '"one"'), ('W/"one"', None), (None, None)])
def test_ranges_are_asked_for_of_one_version(server, tmp_path, version, sent):
    """A weak ETag may not stand in If-Range (RFC 9110, 13.1.5)."""
    server.version = version
    download(server, tmp_path)
    assert server.versions[0] is None and set(server.versions[1:]) == {sent}


@pytest.mark.parametrize("obeys_if_range", [True, False])
@pytest.mark.parametrize("version", ['"two"', 'W/"two"'])
def test_a_file_that_changes_while_it_is_fetched(server, tmp_path, version, obeys_if_range):
    server.obeys_if_range = obeys_if_range
    server.after_bytes = (len(CONTENT) // 2, lambda: server.change(OTHER, version))
    download(server, tmp_path, content=OTHER)


def test_a_damaged_note_of_what_is_here_means_to_start_anew(server, tmp_path):
    interrupted(server, tmp_path)
    (tmp_path / "archive.zip.json").write_text('{"version": ')
    download(server, tmp_path)


def test_silent_servers_are_asked_again(server, tmp_path):
    patience = replace(HURRY, timeout_s=0.4)
    server.hang(2)
    download(server, tmp_path, patience=patience)
    (tmp_path / "archive.zip").unlink()
    server.hang(100)
    refused(
        server, tmp_path, r"timed out, under 1000 bytes/s, after 2 attempts", patience=replace(patience, attempts=2)
    )


def test_crawling_connections_are_left(server, tmp_path):
    server.piece_bytes, server.pause_s, server.ranges = 4, 0.05, False
    patience = replace(HURRY, timeout_s=0.4, attempts=2)
    refused(server, tmp_path, r"timed out, under 1000 bytes/s, after 2 attempts", patience=patience)


def test_nobody_there(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x.zip"
    refused(Hostile(b""), tmp_path, r"x\.zip: Cannot connect to host 127\.0\.0\.1.*, after 8 attempts", url=url)


def test_certificates_that_are_not_there(server, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    refused(server, tmp_path, r"REQUESTS_CA_BUNDLE: .*none\.pem: no readable file of certificates")
