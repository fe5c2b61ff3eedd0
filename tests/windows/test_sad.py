import json

import numpy as np
import pytest
import soundfile
import torch

from vocalremix.audio.reading import read
from vocalremix.audio.writing import write_pcm16
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS
from vocalremix.windows.sad import index_corpus, salient_starts

RATE = 1000  # small windows keep the tests fast; the rules know nothing of 44.1 kHz


def naive(waveform, rule):
    """Both rules word by word, chunk by chunk, with scipy-free arithmetic of Python."""
    windows = {start: waveform[:, start : start + 6000] for start in range(0, waveform.shape[1] - 5999, 3000)}

    def quantile(values):
        position = 0.15 * (len(values) - 1)
        low, high = sorted(values)[int(position)], sorted(values)[int(position) + 1]
        return max(low + (position - int(position)) * (high - low), 1e-3)

    def energy(samples):
        return sum(float(sample) ** 2 for sample in samples.ravel())

    def passes(values, threshold):
        return sum(value > threshold for value in values) > 5

    kept = []
    track = [energy(window[:, i : i + 600]) or 1e-5 for window in windows.values() for i in range(0, 6000, 600)]
    for number, (start, window) in enumerate(windows.items()):
        if rule == "paper":
            keep = passes(track[10 * number : 10 * number + 10], quantile(track))
        else:
            rms = [[(energy(row[i : i + 600]) / 600) ** 0.5 or 1e-5 for i in range(0, 6000, 600)] for row in window]
            keep = all(passes(values, quantile(values)) for values in rms)
        if keep:
            kept.append(start)
    return kept


@pytest.mark.parametrize("rule", ["amanteur", "paper"])
def test_both_rules_word_by_word(rule):
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.choice([0, 1e-4, 2e-3, 0.1], (2, 120)), 600, axis=1)
    waveform = (envelope * rng.uniform(-1, 1, (2, 72000))).astype(np.float32)[:, :-10]
    starts = salient_starts(waveform, RATE, rule)
    assert starts == naive(waveform, rule)
    assert 3 < len(starts) < 22


def test_matches_golden_on_real_songs(golden, real_data):
    songs = json.loads((golden / "sad_vocals.json").read_text())
    assert len(songs) == 7
    for name, expected in songs.items():
        waveform, _ = read(real_data / "everything_is_remixed" / name / "vocals.flac")
        assert waveform.shape[1] == expected["n_samples"]
        assert salient_starts(waveform) == expected["start_samples"], name


@pytest.mark.parametrize("rule", ["amanteur", "paper"])
def test_gated_noise(rule):
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 30 * RATE))
    waveform[:, 12 * RATE : 21 * RATE] = 0
    starts = salient_starts(waveform, RATE, rule)
    assert starts == [0, 3000, 6000, 21000, 24000]
    assert salient_starts(torch.from_numpy(waveform), RATE, rule) == starts


def test_one_silent_channel_fails_the_amanteur_rule_only():
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 6 * RATE))
    waveform[1] = 0
    assert salient_starts(waveform, RATE, "amanteur") == []
    assert salient_starts(waveform, RATE, "paper") == [0]


def test_only_whole_windows():
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 9 * RATE))
    assert salient_starts(waveform, RATE) == [0, 3000]
    assert salient_starts(waveform[:, :-1], RATE) == [0]
    assert salient_starts(waveform[:, :5999], RATE) == []
    assert salient_starts(waveform, RATE, window_s=2, step_s=0.5) == list(range(0, 7001, 500))


@pytest.fixture
def music(tmp_path):
    rng = np.random.default_rng(0)
    for song in ("train/A", "train/B", "valid/C", "test/D"):
        folder = tmp_path / song
        folder.mkdir(parents=True)
        for stem in STEMS:
            write_pcm16(folder / f"{stem}.wav", 0.1 * rng.standard_normal((2, 88200)))
    return tmp_path


def test_index_names_every_window(music, tmp_path):
    write_pcm16(music / "train" / "B" / "vocals.wav", np.zeros((2, 88200)))
    windows = index_corpus(music, "vocals", window_s=1, step_s=0.5, scratch=tmp_path / "scratch", jobs=1)
    assert windows.columns.tolist() == ["part", "song", "copy", "start_sample"]
    expected = [(part, song, "", start) for part, song in (("test", "D"), ("train", "A"), ("valid", "C"))
                for start in (0, 22050, 44100)]  # fmt: skip
    assert list(windows.itertuples(index=False, name=None)) == expected
    assert windows.equals(index_corpus(music, "vocals", window_s=1, step_s=0.5, scratch=tmp_path / "other", jobs=2))


def test_an_empty_index_is_refused(music, tmp_path):
    with pytest.raises(InputError, match=r"train: empty index: no window of 6 s has enough bass"):
        index_corpus(music, "bass", scratch=tmp_path / "scratch", jobs=1)
    soundfile.write(music / "valid" / "C" / "vocals.wav", np.zeros((88200, 2)), 44100)
    with pytest.raises(InputError, match=r"valid: empty index.*vocals.*sad\.window_s"):
        index_corpus(music, "vocals", window_s=1, scratch=tmp_path / "scratch", jobs=1)
