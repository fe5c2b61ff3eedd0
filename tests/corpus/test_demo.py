"""The demo corpus: layout, determinism, and what a listener would notice, measured by independent means."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal

from vocalremix.corpus.demo import make_music, make_speech
from vocalremix.corpus.demo.song import RANGE_SEMITONES, Note, SongPlan, contour, melody, plan_song
from vocalremix.corpus.demo.sound import CONSONANTS, VOWELS_HZ, Syllable, n_frames, sawtooth, time_varying_filter, utter
from vocalremix.corpus.demo.speech import speaker
from vocalremix.util.errors import InputError

RATE = 44100
DURATION_S = 18.0
PARTS = ("train", "train", "valid", "test")
STEMS = ("vocals", "drums", "bass", "other")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "music"
    make_music(root, n_train=2, n_valid=1, n_test=1, duration_s=DURATION_S, seed=3, jobs=1)
    return root


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "speech"
    make_speech(root, n_speakers=4, n_utterances=3, seed=3, jobs=1)
    return root


@pytest.fixture(scope="module")
def songs(music: Path) -> list[tuple[SongPlan, dict[str, np.ndarray]]]:
    found = []
    for index, part in enumerate(PARTS):
        plan = plan_song(3, index, DURATION_S)
        folder = music / part / plan.name
        found.append((plan, {stem: soundfile.read(folder / f"{stem}.wav")[0].T for stem in STEMS}))
    return found


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def frame_rms(waveform: np.ndarray, frame_s: float) -> np.ndarray:
    n = round(frame_s * RATE)
    return np.sqrt(np.mean(waveform[:, : waveform.shape[1] // n * n].reshape(2, -1, n) ** 2, axis=(0, 2)))


def autocorrelation_pitch_hz(waveform: np.ndarray, sample_rate: int, low_hz: float, high_hz: float) -> list[float]:
    """Pitch of the clearly periodic 50 ms frames of a mono waveform, by the first high peak of autocorrelation."""
    n = round(0.05 * sample_rate)
    pitches = []
    loud = 0.3 * np.sqrt(np.mean(waveform**2))
    shortest, longest = int(sample_rate / high_hz), int(sample_rate / low_hz)
    for start in range(0, len(waveform) - n - longest, n):
        frame = waveform[start : start + n + longest]
        if np.sqrt(np.mean(frame**2)) < loud:
            continue
        lags = np.arange(shortest, longest)
        head = frame[:n]
        score = np.array([np.dot(head, frame[k : k + n]) / np.linalg.norm(frame[k : k + n]) for k in lags])
        score /= np.linalg.norm(head)
        if score.max() > 0.85:
            pitches.append(sample_rate / lags[np.flatnonzero(score > 0.93 * score.max())[0]])
    return pitches


def test_layout_is_the_one_of_every_music_corpus(music: Path) -> None:
    folders = {(path.parts[-2], path.name) for path in music.glob("*/*")}
    assert sorted(part for part, _ in folders) == sorted(PARTS)
    assert len({name for _, name in folders}) == 4
    for part, name in folders:
        assert {path.name for path in (music / part / name).iterdir()} == {f"{stem}.wav" for stem in STEMS}
        for stem in STEMS:
            info = soundfile.info(music / part / name / f"{stem}.wav")
            assert (info.samplerate, info.channels, info.subtype) == (RATE, 2, "PCM_16")
            assert info.frames == round(DURATION_S * RATE)


def test_same_seed_same_bytes_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    for jobs in (1, 2):
        make_music(tmp_path / f"music{jobs}", 2, 0, 1, duration_s=6, seed=5, jobs=jobs)
        make_speech(tmp_path / f"speech{jobs}", 2, 2, seed=5, jobs=jobs)
    assert files(tmp_path / "music1") == files(tmp_path / "music2")
    assert files(tmp_path / "speech1") == files(tmp_path / "speech2")
    assert len(files(tmp_path / "music1")) == 12 and len(files(tmp_path / "speech1")) == 4


def test_another_seed_is_another_corpus(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_music(tmp_path / f"music{seed}", 1, 0, 0, duration_s=6, seed=seed, jobs=1)
        make_speech(tmp_path / f"speech{seed}", 1, 1, seed=seed, jobs=1)
    assert not set(files(tmp_path / "music0").values()) & set(files(tmp_path / "music1").values())
    assert not set(files(tmp_path / "speech0").values()) & set(files(tmp_path / "speech1").values())


def test_a_song_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    make_music(tmp_path / "one", 1, 0, 0, duration_s=6, seed=2, jobs=1)
    make_music(tmp_path / "two", 2, 0, 0, duration_s=6, seed=2, jobs=1)
    assert files(tmp_path / "one").items() < files(tmp_path / "two").items()


def test_nothing_clips_and_nothing_is_silent(songs: list[tuple[SongPlan, dict[str, np.ndarray]]]) -> None:
    for _, stems in songs:
        assert 0.5 < np.abs(sum(stems.values())).max() < 0.95
        for waveform in stems.values():
            assert 0.02 < np.abs(waveform).max() < 0.95
            assert abs(waveform.mean()) < 0.01


def test_vocals_stand_a_little_below_the_accompaniment(songs: list[tuple[SongPlan, dict[str, np.ndarray]]]) -> None:
    for _, stems in songs:
        accompaniment = stems["drums"] + stems["bass"] + stems["other"]
        ratio_db = 10 * np.log10(np.sum(stems["vocals"] ** 2) / np.sum(accompaniment**2))
        assert -4 < ratio_db < 0


def test_the_singer_rests_and_sings(songs: list[tuple[SongPlan, dict[str, np.ndarray]]]) -> None:
    for plan, stems in songs:
        level = frame_rms(stems["vocals"], 0.1)
        assert 0.4 < np.mean(level > 1e-2) < 0.9
        start_s, end_s = plan.rests[1]
        # the room and the consonant before the next phrase reach into the break a little
        assert level[round(10 * start_s) + 10 : round(10 * end_s) - 6].max() < 1e-3


def test_vocals_are_in_the_middle_and_other_is_wide(songs: list[tuple[SongPlan, dict[str, np.ndarray]]]) -> None:
    for _, stems in songs:
        width = {stem: np.std(stems[stem][0] - stems[stem][1]) / np.std(stems[stem].sum(axis=0)) for stem in STEMS}
        assert width["vocals"] < 0.25 < 2 * width["other"]
        assert width["bass"] == 0


def test_sung_pitch_stays_in_the_singers_range(songs: list[tuple[SongPlan, dict[str, np.ndarray]]]) -> None:
    for plan, stems in songs:
        low_hz = 440 * 2 ** ((plan.lowest_midi - 69) / 12)
        low_hz, high_hz = 0.94 * low_hz, 1.06 * low_hz * 2 ** (RANGE_SEMITONES / 12)
        pitches = autocorrelation_pitch_hz(stems["vocals"].mean(axis=0), RATE, 60, 700)
        assert len(pitches) > 50
        assert np.mean([low_hz < hz < high_hz for hz in pitches]) > 0.95
        assert np.percentile(pitches, 90) / np.percentile(pitches, 10) > 1.15


def test_vocals_and_other_share_the_spectrum(songs: list[tuple[SongPlan, dict[str, np.ndarray]]]) -> None:
    """Energy of the two as distributions over frequency overlaps: no filter separates them."""
    for _, stems in songs:
        spectra = []
        for stem in ("vocals", "other"):
            power = signal.welch(stems[stem].mean(axis=0), RATE, nperseg=2048)[1]
            spectra.append(power / power.sum())
        assert np.minimum(*spectra).sum() > 0.15


def test_songs_differ_in_key_tempo_singer_and_sound(songs: list[tuple[SongPlan, dict[str, np.ndarray]]]) -> None:
    plans = [plan_song(0, index, 30.0) for index in range(14)]
    assert len({plan.name for plan in plans}) == 14
    assert len({(plan.tonic, plan.mode) for plan in plans}) == 14
    tempi, voices = (
        sorted(values) for values in zip(*((p.bpm, 2 ** (p.lowest_midi / 12)) for p in plans), strict=True)
    )
    assert np.diff(tempi).min() > 0.5 and tempi[-1] - tempi[0] > 40
    assert np.diff(voices).min() > 0.03 and voices[-1] > 1.8 * voices[0]
    spectra = [signal.welch(sum(stems.values()).mean(axis=0), RATE, nperseg=8192)[1] for _, stems in songs]
    similarity = np.corrcoef(np.log(np.array(spectra)[:, 5:1000]))
    levels = np.array([frame_rms(stems["drums"], 0.05) for _, stems in songs])
    assert np.all(np.corrcoef(levels)[np.triu_indices(4, 1)] < 0.7)
    assert np.all(similarity[np.triu_indices(4, 1)] < 0.98)


def test_drums_repeat_at_the_songs_tempo(songs: list[tuple[SongPlan, dict[str, np.ndarray]]]) -> None:
    """The envelope's autocorrelation at one bar beats the one half a step (of sixteen) beside it."""
    for plan, stems in songs:
        level = np.diff(frame_rms(stems["drums"], 0.01)).clip(0)
        level -= level.mean()
        echo = np.correlate(level, level, "full")[len(level) - 1 :]
        bar, half_step = round(100 * plan.bar_s), round(100 * plan.bar_s / 32)
        assert echo[bar - 1 : bar + 2].max() > 3 * max(echo[bar - half_step], echo[bar + half_step])


def test_melody_keeps_to_scale_range_and_rests() -> None:
    for index in range(20):
        plan = plan_song(9, index, 30.0)
        scale = {plan.pitch(degree) % 12 for degree in range(7)}
        assert len(scale) == 7
        notes = melody(plan, plan.lowest_midi, plan.rests, np.random.default_rng(index))
        for note, following in zip(notes, [*notes[1:], None], strict=True):
            assert note.midi % 12 in scale
            assert 0 <= note.midi - plan.lowest_midi <= RANGE_SEMITONES
            assert following is None or note.start_s + note.duration_s <= following.start_s + 1e-9
            for start_s, end_s in plan.rests:
                assert note.start_s + note.duration_s <= start_s or note.start_s >= end_s


def test_vibrato_has_the_asked_rate_and_depth() -> None:
    track_hz, _ = contour([Note(0.0, 4.0, 69)], vibrato_hz=5.0, vibrato_cents=50, frames=401)
    cents = 1200 * np.log2(track_hz[100:300] / 440)
    assert np.abs(cents).max() == pytest.approx(50, rel=0.02)
    assert np.argmax(np.abs(np.fft.rfft(cents))) * 100 / 200 == 5.0
    assert np.abs(1200 * np.log2(track_hz[:5] / 440)).max() < 1


def test_vowels_have_their_formants() -> None:
    """The strongest harmonic near each formant of "had" lies within a harmonic of the table's value."""
    n_samples = RATE
    track_hz = np.full(n_frames(n_samples, RATE), 80.0)
    had = Syllable(0, 1, CONSONANTS[4], VOWELS_HZ[2])
    waveform = utter([had], track_hz, 1.0, n_samples, RATE, np.random.default_rng(0))
    frequencies_hz, power = signal.welch(waveform[8820:35280], RATE, nperseg=4096)
    for formant_hz in (660, 1720, 2410):
        near = np.abs(frequencies_hz - formant_hz) < 300
        assert abs(frequencies_hz[near][np.argmax(power[near])] - formant_hz) < 80
        valley = np.abs(frequencies_hz - (formant_hz + 500 if formant_hz != 1720 else 1200)) < 100
        assert power[near].max() > 3 * power[valley].max()


def test_time_varying_filter_filters_exactly_where_nothing_varies() -> None:
    hop = RATE // 100
    taps = signal.firwin(101, 3000, fs=RATE)
    response = signal.freqz(taps, worN=np.fft.rfftfreq(4 * hop, 1 / RATE), fs=RATE)[1].astype(np.complex64)
    waveform = np.random.default_rng(0).standard_normal(10 * hop + 17).astype(np.float32)
    result = time_varying_filter(waveform, np.tile(response, (11, 1)))
    np.testing.assert_allclose(result, signal.lfilter(taps, 1, waveform), atol=1e-5)


def test_sawtooth_aliases_less_than_a_ramp() -> None:
    """Below the pitch a sawtooth holds nothing, so what is found there is aliasing."""
    f0_hz = 1234.5
    ramp = 2 * ((np.arange(1, RATE + 1) * f0_hz / RATE) % 1) - 1
    aliases = []
    for tone in (sawtooth(np.full(RATE, f0_hz), RATE)[1:], ramp[1:]):
        power = np.abs(np.fft.rfft(tone * signal.get_window("blackmanharris", len(tone)))) ** 2
        assert np.argmax(power) == pytest.approx(f0_hz, abs=1)
        aliases.append(power[10:1200].sum() / power.sum())
    assert aliases[0] < 0.01 * aliases[1]


def test_speech_is_a_librispeech_tree(speech: Path) -> None:
    paths = sorted(speech.rglob("*.flac"))
    assert len(paths) == 12 == len(files(speech))
    for path in paths:
        subset, name, chapter, file = path.relative_to(speech).parts
        assert subset == "demo-clean"
        assert file.startswith(f"{name}-{chapter}-") and len(path.stem.split("-")[2]) == 4
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 3 <= info.duration <= 6


def test_speech_has_its_voices_and_no_held_pitch(speech: Path) -> None:
    medians = []
    for index in range(4):
        low_hz = speaker(3, index).low_hz
        pitches: list[float] = []
        for path in sorted((speech / "demo-clean" / str(1001 + index)).rglob("*.flac")):
            waveform = soundfile.read(path)[0]
            level = np.sqrt(np.mean(waveform[: len(waveform) // 800 * 800].reshape(-1, 800) ** 2, axis=1))
            assert 0.05 < np.mean(level < 0.05 * level.max()) < 0.6
            assert np.abs(waveform).max() < 0.75
            pitches += autocorrelation_pitch_hz(waveform, 16000, 60, 400)
        assert len(pitches) > 40
        assert np.mean([0.94 * low_hz < hz < 1.06 * low_hz * 2 ** (2 / 3) for hz in pitches]) > 0.9
        assert np.percentile(pitches, 90) / np.percentile(pitches, 10) > 1.12
        medians.append(np.median(pitches))
    assert min(medians[1], medians[3]) > 1.2 * max(medians[0], medians[2])


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_train": 0, "n_valid": 0, "n_test": 0},
        {"n_train": -1},
        {"n_test": 1.5},
        {"duration_s": 0},
        {"duration_s": float("nan")},
        {"duration_s": 1e6},
        {"seed": -1},
        {"jobs": 0},
    ],
)
def test_nonsense_music_is_refused_and_leaves_nothing(tmp_path: Path, arguments: dict[str, float]) -> None:
    with pytest.raises(InputError):
        make_music(tmp_path / "music", **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [{"n_speakers": 0}, {"n_utterances": 0}, {"seed": -1}, {"jobs": 0}])
def test_nonsense_speech_is_refused_and_leaves_nothing(tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(InputError):
        make_speech(tmp_path / "speech", **arguments)
    assert not list(tmp_path.iterdir())
