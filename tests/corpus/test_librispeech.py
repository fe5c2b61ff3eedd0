import hashlib
import io
import os
import subprocess

import numpy as np
import pandas as pd
import pytest
import soundfile
from hostile import serving, tarred, tree
from scipy.signal import resample_poly

from vocalremix.audio import writing
from vocalremix.audio.writing import map_pcm16
from vocalremix.corpus.librispeech import obtain_librispeech, resample_corpus, utterances, write_listing
from vocalremix.util.errors import InputError


def write(path, seconds=0.5, sample_rate=16000, channels=1, peak=0.5, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal((int(seconds * sample_rate), channels))
    soundfile.write(path, peak * noise / np.abs(noise).max(), sample_rate)


def test_speakers_of_librispeech_and_of_any_folder(tmp_path):
    write(tmp_path / "dev-clean" / "84" / "121123" / "84-121123-0001.flac")
    write(tmp_path / "dev-clean" / "84" / "121123" / "84-121123-0000.flac")
    write(tmp_path / "home" / "ann" / "hello.wav")
    (tmp_path / "dev-clean" / "84" / "121123" / "84-121123.trans.txt").write_text("text")
    found = [(utterance.speaker, utterance.name) for utterance in utterances(tmp_path)]
    assert found == [
        ("84", "dev-clean/84/121123/84-121123-0000.flac"),
        ("84", "dev-clean/84/121123/84-121123-0001.flac"),
        ("ann", "home/ann/hello.wav"),
    ]


def test_one_file_per_speaker_and_a_table_that_finds_every_utterance(tmp_path):
    write(tmp_path / "source" / "ann" / "a.flac", seconds=0.5, peak=0.5)
    write(tmp_path / "source" / "ann" / "b.wav", sample_rate=22050, seed=1)
    write(tmp_path / "source" / "bob" / "c.wav", seconds=1, sample_rate=44100, seed=2)
    resample_corpus(tmp_path / "source", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    assert sorted(os.listdir(tmp_path / "speech")) == ["ann.wav", "bob.wav", "utterances.csv"]
    table = check_table(tmp_path / "speech")
    assert table.columns.tolist() == ["speaker", "utterance", "start_sample", "n_samples", "peak"]
    assert table["n_samples"].tolist() == [22050, 22050, 44100]
    assert table["start_sample"].tolist() == [0, 22050, 0]
    assert len(map_pcm16(tmp_path / "speech" / "ann.wav")) == 22050 + 22050


def check_table(speech):
    table = pd.read_csv(speech / "utterances.csv", keep_default_na=False)
    for row in table.itertuples():
        stored = map_pcm16(speech / f"{row.speaker}.wav")[row.start_sample :][: row.n_samples]
        assert np.abs(stored / 32768).max() == row.peak
    return table


def test_a_speaker_may_pass_the_4_gib_of_wav(tmp_path, monkeypatch):
    write(tmp_path / "source" / "ann" / "a.wav")
    write(tmp_path / "source" / "ann" / "b.wav", seed=1)
    write(tmp_path / "source" / "bob" / "a.wav")
    write(tmp_path / "source" / "cy" / "a.wav")
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "source" / "cy" / "a.wav", "-q:a", "0", "-write_xing", "0"]
    subprocess.run([*command, tmp_path / "source" / "cy" / "length_untold.mp3"], check=True)
    monkeypatch.setattr(writing, "WAV_BYTES", 2 * 22050)
    resample_corpus(tmp_path / "source", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    formats = {path.stem: soundfile.info(path).format for path in (tmp_path / "speech").glob("*.wav")}
    assert formats == {"ann": "RF64", "bob": "WAV", "cy": "RF64"}
    assert check_table(tmp_path / "speech")["start_sample"].tolist() == [0, 22050, 0, 0, 22050]


@pytest.mark.parametrize("speaker", ["NA", "None", "nan", "007"])
def test_a_speaker_may_have_any_name(tmp_path, speaker):
    write(tmp_path / "source" / speaker / "a.wav")
    resample_corpus(tmp_path / "source", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    assert (tmp_path / "speech" / f"{speaker}.wav").is_file()
    (row,) = (tmp_path / "speech" / "utterances.csv").read_text().splitlines()[1:]
    assert row.startswith(f"{speaker},{speaker}/a.wav,0,22050,")


def test_a_listing_names_every_file_and_its_size(tmp_path):
    write(tmp_path / "source" / "ann" / "a.wav", seconds=0.5)
    write_listing(tmp_path / "source", tmp_path / "listed")
    assert (tmp_path / "listed" / "listing.csv").read_text() == "speaker,utterance,n_bytes\nann,ann/a.wav,16044\n"


def test_resampling_agrees_with_scipy(tmp_path):
    seconds = np.arange(16000) / 16000
    speech = 0.2 * np.sin(2 * np.pi * 300 * seconds) + 0.2 * np.sin(2 * np.pi * 3000 * seconds)
    (tmp_path / "source").mkdir()
    soundfile.write(tmp_path / "source" / "a.wav", speech, 16000)
    resample_corpus(tmp_path / "source", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    stored = map_pcm16(tmp_path / "speech" / "source.wav")[:, 0] / 32768
    np.testing.assert_allclose(stored[2000:-2000], resample_poly(speech, 441, 160)[2000:-2000], atol=2e-3)


def test_several_channels_are_averaged(tmp_path):
    (tmp_path / "ann").mkdir()
    soundfile.write(tmp_path / "ann" / "a.wav", np.tile([0.5, -0.25], (44100, 1)), 44100)
    resample_corpus(tmp_path / "ann", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    np.testing.assert_allclose(map_pcm16(tmp_path / "speech" / "ann.wav") / 32768, 0.125, atol=1e-4)


def test_overshoot_is_scaled_and_not_clipped(tmp_path):
    square = np.where(np.arange(16000) // 40 % 2, 1.0, -1.0) * (1 - 2**-15)
    (tmp_path / "ann").mkdir()
    soundfile.write(tmp_path / "ann" / "a.wav", square, 16000)
    resample_corpus(tmp_path / "ann", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    stored = map_pcm16(tmp_path / "speech" / "ann.wav")[:, 0]
    assert np.abs(stored.astype(int)).max() == 32767
    assert np.sum(np.abs(stored.astype(int)) > 32700) < 0.02 * len(stored)


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no speech found; corpus\.speech\.path"):
        resample_corpus(tmp_path, tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    write(tmp_path / "source" / "ann" / "a.wav")
    (tmp_path / "source" / "ann" / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"b\.wav: not an audio file"):
        resample_corpus(tmp_path / "source", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    soundfile.write(tmp_path / "source" / "ann" / "b.wav", np.zeros(1000), 16000)
    with pytest.raises(InputError, match=r"b\.wav: silent"):
        resample_corpus(tmp_path / "source", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    soundfile.write(tmp_path / "source" / "ann" / "b.wav", np.full(1000, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"b\.wav: holds NaN"):
        resample_corpus(tmp_path / "source", tmp_path / "speech", scratch=tmp_path / "scratch", jobs=1)
    assert sorted(os.listdir(tmp_path)) == ["scratch", "source"]
    assert not os.listdir(tmp_path / "scratch")


def test_real_librispeech(real_data):
    found = utterances(real_data / "LibriSpeech")
    assert len(found) == 70
    assert len({utterance.speaker for utterance in found}) == 50
    assert all(utterance.path.parts[-3] == utterance.speaker for utterance in found)


def flac(n_samples: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, n_samples), 16000, format="FLAC")
    return file.getvalue()


@pytest.mark.parametrize(("first", "message"), [(flac(800), None), (b"fLaC", r"84-121-0000\.flac: not a FLAC")])
def test_a_part_of_librispeech_is_fetched_and_checked(tmp_path, first, message):
    files = {"84/121/84-121-0000.flac": first, "84/121/84-121.trans.txt": b"text", "174/5/174-5-0000.flac": flac(900)}
    packed = tarred({f"LibriSpeech/dev-clean/{name}": content for name, content in files.items()})
    with serving(packed) as server:
        arguments = (
            tmp_path / "dev-clean",
            server.url,
            hashlib.sha256(packed).hexdigest(),
            tmp_path / "scratch",
            False,
        )
        if message is None:
            obtain_librispeech(*arguments)
            assert tree(tmp_path) == {f"dev-clean/{name}": content for name, content in files.items()}
        else:
            with pytest.raises(InputError, match=message):
                obtain_librispeech(*arguments)
            assert os.listdir(tmp_path) == ["scratch"]


def test_a_new_utterance_costs_its_speaker_only(tmp_path):
    for speaker in ("ann", "bob", "cy"):
        write(tmp_path / "source" / speaker / "a.wav")

    def resampled(name):
        resample_corpus(tmp_path / "source", tmp_path / name, scratch=tmp_path / "scratch", jobs=1)
        return {path.name: path.stat().st_ino for path in (tmp_path / name).glob("*.wav")}

    before = resampled("before")
    write(tmp_path / "source" / "bob" / "b.wav")
    after = resampled("after")
    assert {name for name in after if after[name] != before[name]} == {"bob.wav"}
    resample_corpus(tmp_path / "source", tmp_path / "anew", scratch=tmp_path / "other", jobs=2)
    for name in (*after, "utterances.csv"):
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "anew" / name).read_bytes()
