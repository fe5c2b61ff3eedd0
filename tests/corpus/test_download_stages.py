"""The two download stages, from the settings of a profile to data/, with archives from a server of ours."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile import Hostile, serving, tarred, tree, zipped
from test_librispeech import flac
from test_moisesdb import write_song
from test_musdb import musdb18hq

from vocalremix.config.params import load
from vocalremix.corpus import songs
from vocalremix.util.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def archive(server: Hostile, **more: Any) -> dict[str, Any]:
    return {"url": server.url, "sha256": hashlib.sha256(server.content).hexdigest(), **more}


class Checkout:
    """A repository with the stages and the thesis profile, whose data come from elsewhere."""

    def __init__(self, root: Path, music: dict[str, Any], speech: dict[str, Any]):
        self.root = root
        shutil.copytree(ROOT / "stages", root / "stages")
        (root / "profiles").mkdir()
        params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"profile": "thesis"}
        profile = yaml.safe_load((ROOT / "profiles/thesis.yaml").read_text())
        profile["corpus"] = {"music": music, "speech": speech}
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        (root / "profiles" / "thesis.yaml").write_text(yaml.safe_dump(profile))

    def run(self, stage: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, str(self.root / "stages" / f"{stage}.py")]
        return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_songs_and_speech_are_fetched_and_more_songs_added(tmp_path: Path) -> None:
    speech_files = {"84/121/84-121-0000.flac": flac(800), "174/5/174-5-0000.flac": flac(900)}
    write_song(tmp_path / "moisesdb" / "moisesdb_v0.1", "uuid-1")
    packed_speech = tarred({f"LibriSpeech/dev-clean/{name}": content for name, content in speech_files.items()})
    with serving(zipped(musdb18hq())) as music, serving(packed_speech) as speech:
        checkout = Checkout(
            tmp_path / "checkout",
            {"source": "musdb", "path": "sources/musdb18hq", "download": archive(music)}
            | {"moisesdb": str(tmp_path / "moisesdb")},
            {"source": "folder", "path": "sources/dev-clean", "download": archive(speech, keep_archive=True)},
        )
        for stage in ("download_music", "download_speech", "resample_speech"):
            done = checkout.run(stage)
            assert done.returncode == 0, done.stderr
    data = checkout.root / "data" / "thesis"
    assert [(song.part, song.name) for song in songs(data / "music")] == [
        ("test", "AM Contra - Heart"),
        ("train", "A - B"),
        ("train", "uuid-1"),
        ("valid", "ANiMAL - Rockshow"),
    ]
    assert tree(checkout.root / "sources" / "dev-clean") == speech_files
    assert (checkout.root / "sources" / "archive.zip").read_bytes() == packed_speech
    assert sorted(os.listdir(data / "speech")) == ["174.wav", "84.wav", "utterances.csv"]
    assert os.listdir(checkout.root / "scratch") == ["thesis"], "speakers for the next run; archives are gone"


def thesis(folder: Path, change: dict[str, Any]) -> Checkout:
    return Checkout(folder, {"source": "musdb", "path": "x"} | change, {"source": "folder", "path": "y"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"download": {"url": "musdb18hq.zip", "sha256": "0" * 64}}, "corpus.music.download.url: string should match"),
        ({"download": {"url": "http://x/y.zip", "sha256": "123"}}, "corpus.music.download.sha256: string should match"),
        ({"download": {"url": "http://x/y.zip"}}, "corpus.music.download.sha256: missing key"),
        ({"download": True}, "corpus.music.download: expected keys and values, got True"),
        ({"source": "musdb7s", "download": "often"}, "corpus.music.download: input should be a valid boolean"),
    ],
)
def test_settings_are_checked(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"thesis.yaml: {message}")):
        load(thesis(tmp_path / "checkout", change).root)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"moisesdb": "nowhere"}, "nowhere: no songs of MoisesDB"), ({}, "MUSDB18 has to be here, unpacked")],
)
def test_what_cannot_be_ends_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    checkout = thesis(tmp_path / "checkout", change)
    done = checkout.run("download_music")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and message in line
    assert not (checkout.root / "data" / "thesis" / "music").exists()
