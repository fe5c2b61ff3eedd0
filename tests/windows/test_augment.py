import os
import shutil

import numpy as np
import pandas as pd
import pytest

from vocalremix.audio.writing import map_pcm16, write_pcm16
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS
from vocalremix.windows import augment
from vocalremix.windows.augment import make_copies
from vocalremix.windows.sad import index_corpus, salient_starts

RATE = 44100
SAD = {"window_s": 1.0, "step_s": 0.5}
N_SAMPLES = 3 * RATE


def write_song(folder, **stems):
    folder.mkdir(parents=True)
    for stem in STEMS:
        write_pcm16(folder / f"{stem}.wav", stems.get(stem, np.zeros((2, N_SAMPLES))))


def sine(hz):
    """A sine that grows, because SAD finds no chunk of a constant one above the others."""
    phase = 2 * np.pi * hz * np.arange(N_SAMPLES) / RATE
    return np.linspace(0.2, 0.4, N_SAMPLES) * np.stack([np.sin(phase), np.cos(phase)])


def clicks():
    """A burst of noise every half second."""
    rng = np.random.default_rng(0)
    signal = np.zeros((2, N_SAMPLES))
    for start in range(RATE // 4, N_SAMPLES, RATE // 2):
        signal[:, start : start + 1000] = 0.5 * rng.standard_normal((2, 1000)).clip(-1, 1)
    return signal


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    root = tmp_path_factory.mktemp("music")
    for song in ("train/A", "valid/C", "test/D"):
        write_song(root / song, vocals=sine(440) + 0.1 * clicks(), drums=clicks(), other=0.5 * clicks())
    write_song(root / "train" / "B")
    return root


@pytest.fixture(scope="module")
def windows(music, tmp_path_factory):
    return index_corpus(music, "vocals", **SAD, scratch=tmp_path_factory.mktemp("index"), jobs=1)


@pytest.fixture(scope="module")
def copies(music, windows, tmp_path_factory):
    root = tmp_path_factory.mktemp("augmented") / "copies"
    scratch = tmp_path_factory.mktemp("scratch")
    make_copies(music, windows, root, [-2, 2], [0.9, 1.1], [-1, 1], "vocals", **SAD, scratch=scratch, jobs=2)
    return root


def peak_hz(path):
    samples = map_pcm16(path)[RATE // 2 : RATE // 2 + RATE, 0] * np.hanning(RATE)
    return np.argmax(np.abs(np.fft.rfft(samples)))


def test_only_train_and_valid_songs_with_windows_are_copied(copies):
    names = ["pitch_+2", "pitch_-2", "tempo_0.9", "tempo_1.1"]
    folders = sorted(str(path.relative_to(copies)) for path in copies.glob("*/*/*"))
    assert folders == [f"{song}/{name}" for song in ("train/A", "valid/C") for name in names]
    table = pd.read_csv(copies / "windows.csv")
    assert table.columns.tolist() == ["part", "song", "copy", "start_sample"]
    assert set(zip(table["part"], table["song"], strict=True)) == {("train", "A"), ("valid", "C")}
    assert set(table["copy"]) == {*names, "shift_-1", "shift_+1"}


@pytest.mark.parametrize(("copy", "tempo"), [("pitch_-2", 1), ("pitch_+2", 1), ("tempo_0.9", 0.9), ("tempo_1.1", 1.1)])
def test_lengths_follow_the_tempo_and_are_equal(copies, copy, tempo):
    lengths = {len(map_pcm16(copies / "train" / "A" / copy / f"{stem}.wav")) for stem in STEMS}
    assert len(lengths) == 1
    assert lengths.pop() == pytest.approx(N_SAMPLES / tempo, abs=1)


@pytest.mark.parametrize(("copy", "semitones"), [("pitch_-2", -2), ("pitch_+2", 2), ("tempo_0.9", 0), ("tempo_1.1", 0)])
def test_pitch_moves_by_semitones_and_stays_with_tempo(copies, copy, semitones):
    found_hz = peak_hz(copies / "train" / "A" / copy / "vocals.wav")
    assert found_hz == pytest.approx(440 * 2 ** (semitones / 12), abs=1.5)


@pytest.mark.parametrize("copy", ["pitch_-2", "pitch_+2", "tempo_0.9", "tempo_1.1"])
def test_stems_stay_in_step(copies, copy):
    """`other` is half of `drums` before, so it has to be half of it after, but for rounding; out of step it is not."""
    drums = map_pcm16(copies / "train" / "A" / copy / "drums.wav") / 32768
    other = map_pcm16(copies / "train" / "A" / copy / "other.wav") / 32768
    assert np.abs(drums).max() > 0.2
    assert np.linalg.norm(other - 0.5 * drums) < 0.1 * np.linalg.norm(other)
    assert np.linalg.norm(other[50:] - 0.5 * drums[:-50]) > np.linalg.norm(other)


def test_silent_stems_stay_silent(copies):
    assert not map_pcm16(copies / "train" / "A" / "pitch_+2" / "bass.wav").any()


def test_windows_of_audio_copies_are_their_own(copies):
    table = pd.read_csv(copies / "windows.csv")
    for copy in ("pitch_+2", "tempo_0.9"):
        waveform = map_pcm16(copies / "valid" / "C" / copy / "vocals.wav").T / 32768
        found = table[(table["song"] == "C") & (table["copy"] == copy)]["start_sample"].tolist()
        assert found == salient_starts(waveform, **SAD)
        assert found


def test_a_shift_is_an_offset_into_the_song(copies, music):
    """Reading a row with zeros outside the song equals a window of the song rolled by one second."""
    table = pd.read_csv(copies / "windows.csv")
    song = map_pcm16(music / "train" / "A" / "vocals.wav").T
    for copy, shift in (("shift_+1", RATE), ("shift_-1", -RATE)):
        rolled = np.roll(song, shift, axis=1)
        rolled[:, slice(0, RATE) if shift > 0 else slice(-RATE, None)] = 0
        starts = salient_starts(rolled / 32768, **SAD)
        found = table[(table["song"] == "A") & (table["copy"] == copy)]["start_sample"]
        assert found.tolist() == [start - shift for start in starts]
        padded = np.pad(song, ((0, 0), (2 * RATE, 2 * RATE)))
        for start, row in zip(starts, found, strict=True):
            read = padded[:, row + 2 * RATE : row + 3 * RATE]
            np.testing.assert_array_equal(read, rolled[:, start : start + RATE])


def test_loud_stems_are_turned_down_together(tmp_path):
    square = np.sign(sine(200)) * np.linspace(0.9, 0.999, N_SAMPLES)
    for song in ("train/A", "valid/B", "test/C"):
        write_song(tmp_path / "music" / song, vocals=square, drums=0.1 * square)
    windows = index_corpus(tmp_path / "music", "vocals", **SAD, scratch=tmp_path / "scratch", jobs=1)
    copies = tmp_path / "copies"
    make_copies(tmp_path / "music", windows, copies, [2], [], [], "vocals", **SAD, scratch=tmp_path / "scratch", jobs=1)
    folder = tmp_path / "copies" / "train" / "A" / "pitch_+2"
    vocals, drums = (map_pcm16(folder / f"{stem}.wav").astype(int) for stem in ("vocals", "drums"))
    assert np.abs(vocals).max() == 32767
    assert np.sum(np.abs(vocals) > 32700) < 0.01 * vocals.size
    assert np.linalg.norm(drums) / np.linalg.norm(vocals) == pytest.approx(0.1, rel=0.01)


def test_without_rubberband_the_message_says_how_to_get_it(music, windows, tmp_path, monkeypatch):
    monkeypatch.setattr(augment.shutil, "which", lambda program: None)
    with pytest.raises(InputError, match="rubberband is not installed; install it: apt-get install rubberband-cli"):
        make_copies(music, windows, tmp_path / "copies", [2], [], [], "vocals", scratch=tmp_path / "scratch", jobs=1)
    assert os.listdir(tmp_path) == []
    make_copies(music, windows, tmp_path / "shifts", [], [], [1], "vocals", **SAD, scratch=tmp_path / "scratch", jobs=1)
    assert os.listdir(tmp_path / "shifts") == ["windows.csv"]


def test_a_new_song_costs_itself_only_and_another_rule_no_audio(music, tmp_path):
    """What is kept is recognised by its inode, and the result is that of a run with nothing kept."""
    shutil.copytree(music, tmp_path / "music")

    def copied(name, step_s=0.5, scratch="scratch"):
        songs = index_corpus(tmp_path / "music", "vocals", window_s=1, step_s=step_s, scratch=tmp_path / "i", jobs=1)
        options = {"window_s": 1, "step_s": step_s, "scratch": tmp_path / scratch, "jobs": 1}
        make_copies(tmp_path / "music", songs, tmp_path / name, [2], [], [1], "vocals", **options)
        found = sorted((tmp_path / name).rglob("*.wav"))
        return {str(path.relative_to(tmp_path / name)): path.stat().st_ino for path in found}

    before = copied("before")
    shutil.copytree(tmp_path / "music/train/A", tmp_path / "music/train/new")
    after = copied("after")
    assert {path for path in after if path not in before} == {f"train/new/pitch_+2/{stem}.wav" for stem in STEMS}
    assert copied("finer", step_s=0.25) == after
    assert copied("again") == after
    anew = copied("anew", scratch="other")
    assert anew.keys() == after.keys()
    for path in [*anew, "windows.csv"]:
        assert (tmp_path / "again" / path).read_bytes() == (tmp_path / "anew" / path).read_bytes()
