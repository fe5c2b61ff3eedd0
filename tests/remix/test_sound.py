"""Remixes that change how stems sound, at the length of a real crop."""

from typing import Any

import numpy as np
import pyloudnorm
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import signal
from torch import Tensor

from vocalremix.remix.base import Material, Source
from vocalremix.remix.effects import Effects
from vocalremix.remix.limiter import Limiter, Mastering
from vocalremix.remix.lowpass import Lowpass
from vocalremix.remix.mixing import fill_upper_band, pan, reverberate
from vocalremix.remix.mp3 import Mp3
from vocalremix.remix.speech import Speech
from vocalremix.remix.speed import Speed, played
from vocalremix.remix.stretch import Stretch, stretched
from vocalremix.util.values import SAMPLE_RATE, STEMS

SAMPLES = 135000
BANDS = np.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE)


@pytest.fixture
def stems() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-0.2, 0.2, (4, 2, SAMPLES)).astype(np.float32))


class OneVoice:
    """A corpus with one utterance, noise below 8 kHz, peak 1."""

    def __init__(self) -> None:
        noise = np.random.default_rng(1).standard_normal(2 * SAMPLES)
        narrow = signal.sosfilt(signal.butter(12, 7000, fs=SAMPLE_RATE, output="sos"), noise)
        self.voice = torch.from_numpy((narrow / np.abs(narrow).max()).astype(np.float32))[None]

    def draw(self, rng: np.random.Generator, window: int, offset: int, crop: int) -> tuple[list[Tensor], list[float]]:
        first = int(rng.integers(SAMPLES))
        return [self.voice[:, first : first + crop]], [1.0]


def material(target: str = "vocals") -> Material:
    return Material(target, 0, 0, SAMPLES, 2 * SAMPLES, np.array(["A"], object), OneVoice())


def with_speech(stems: Tensor, target: str = "vocals", **settings: Any) -> tuple[Tensor, Any]:
    remix = Speech(snr_db=(6, 6), **settings)
    drawn = remix.draw(np.random.default_rng(3), material(target))
    sources = {stem: [Source(0, 0)] for stem in STEMS}
    remix.choose(sources, drawn)
    read = stems * torch.tensor([[[float(bool(sources[stem]))]] for stem in STEMS])
    return remix.apply(read.clone(), drawn), drawn


def ratio_db(a: Tensor, b: Tensor) -> float:
    return float(10 * torch.log10(a.double().square().sum() / b.double().square().sum()))


def test_speech_takes_the_place_of_vocals_whatever_the_target(stems: Tensor) -> None:
    for target in STEMS:
        made, drawn = with_speech(stems, target)
        speech = drawn.voices[0].parts[0]
        assert torch.equal(made[1:], stems[1:])
        assert ratio_db(made[0], stems[1:].sum(dim=0)) == pytest.approx(6, abs=1e-3)
        assert_allclose(made[0] / made[0].norm(), speech.expand(2, -1) / speech.expand(2, -1).norm(), atol=1e-6)


@pytest.mark.parametrize(("place", "row"), [("beside", STEMS.index("other")), ("further", STEMS.index("vocals"))])
def test_speech_beside_the_vocals_and_as_further_vocals(stems: Tensor, place: str, row: int) -> None:
    made, _ = with_speech(stems, place=place)
    speech = made[row] - stems[row]
    assert ratio_db(speech, stems[1:].sum(dim=0)) == pytest.approx(6, abs=1e-3)
    assert_allclose(speech[0], speech[1], atol=1e-6)
    others = [stem for stem in range(4) if stem != row]
    assert torch.equal(made[others], stems[others])


def test_several_voices_are_the_sum_of_each(stems: Tensor) -> None:
    made, drawn = with_speech(stems, voices=3)
    expected = sum(voice.parts[0] for voice in drawn.voices).expand(2, -1)
    assert_allclose(made[0] / made[0].norm(), expected / expected.norm(), atol=1e-6)


def test_the_upper_band_is_filled_and_the_lower_one_stays() -> None:
    voice = OneVoice().voice[:, :SAMPLES]
    power = np.abs(np.fft.rfft(fill_upper_band(voice)[0].double().numpy())) ** 2
    own = np.abs(np.fft.rfft(voice[0].double().numpy())) ** 2
    below, above = BANDS < 7900, (BANDS > 8100) & (BANDS < 10900)
    assert_allclose(power[below], own[below], rtol=1e-2, atol=1e-3)
    source = (BANDS > 4100) & (BANDS < 6900)
    assert 10 * np.log10(power[above].sum() / own[source].sum()) == pytest.approx(-6.02, abs=0.1)
    assert own[above].sum() < 1e-2 * power[above].sum()


def test_a_pan_keeps_the_power() -> None:
    voice = OneVoice().voice[:, :1000]
    assert torch.equal(pan(voice, 0), voice)
    for place, left in ((-1, 1), (1, 0), (-0.5, np.cos(np.pi / 8) ** 2)):
        powers = pan(voice, place).square().sum(dim=-1) / voice.square().sum()
        assert_allclose(powers, [2 * left, 2 - 2 * left], atol=1e-5)


def test_a_room_falls_by_60_db_in_its_reverberation_time() -> None:
    click = torch.zeros(2, SAMPLES)
    click[:, 0] = 1
    tail = reverberate(click, 0.5, seed=3)[:, 1:].double()
    assert torch.equal(reverberate(click, 0.5, seed=3)[:, 1:].double(), tail)
    assert tail.square().sum(dim=-1).tolist() == pytest.approx([0.25, 0.25], rel=1e-2)
    assert abs(float((tail[0] * tail[1]).sum())) < 0.25 * 0.1
    decay = tail[0, : SAMPLE_RATE // 2].square().reshape(10, -1).mean(dim=1).log10() * 10
    slope = np.polyfit(np.arange(10) * 0.05, decay, 1)[0]
    assert slope == pytest.approx(-120, rel=0.1)
    assert tail[:, SAMPLE_RATE // 2 + 1 :].abs().max() < 1e-6


def test_published_scaling_is_for_speech_instead_of_vocals() -> None:
    with pytest.raises(ValueError, match="set place: instead"):
        Speech(target_scaling="published", place="further")


def test_lowpass_takes_what_is_above(stems: Tensor) -> None:
    made = Lowpass(hz=8000, stems=("vocals", "bass")).apply(stems.clone(), None)
    for row, stem in enumerate(STEMS):
        before, after = (np.abs(np.fft.rfft(waveform[row, 0].double().numpy())) for waveform in (stems, made))
        kept = BANDS < 8000 if stem in ("vocals", "bass") else BANDS >= 0
        assert_allclose(after, np.where(kept, before, 0), rtol=1e-3, atol=2e-3)


def peak_hz(waveform: Tensor) -> float:
    spectrum = np.abs(np.fft.rfft(waveform[0].numpy() * np.hanning(waveform.shape[1])))
    return float(np.fft.rfftfreq(waveform.shape[1], 1 / SAMPLE_RATE)[spectrum.argmax()])


@pytest.mark.parametrize(("semitones", "tempo"), [(0, 1.1), (2, 0.9), (-3, 1.0)])
def test_stretching_changes_pitch_and_tempo_apart(semitones: float, tempo: float) -> None:
    seconds = torch.arange(SAMPLES) / SAMPLE_RATE
    made = stretched(semitones, tempo, torch.sin(2 * torch.pi * 440 * seconds).expand(2, -1))
    assert made.shape[1] == pytest.approx(SAMPLES / tempo, abs=2)
    assert peak_hz(made) == pytest.approx(440 * 2 ** (semitones / 12), abs=2)
    clicks = torch.zeros(2, SAMPLES)
    clicks[:, [SAMPLE_RATE, 2 * SAMPLE_RATE]] = 1
    power = stretched(semitones, tempo, clicks)[0].square()
    half = round(1.5 * SAMPLE_RATE / tempo)
    for part, where in ((power[:half], 1), (power[half:], 2)):
        centre = float((part * torch.arange(len(part))).sum() / part.sum()) + (where - 1) * half
        assert centre * tempo / SAMPLE_RATE == pytest.approx(where, abs=0.005)


def test_speed_changes_both() -> None:
    seconds = torch.arange(SAMPLES) / SAMPLE_RATE
    made = played(110, torch.sin(2 * torch.pi * 440 * seconds).expand(2, -1))
    assert made.shape[1] == pytest.approx(SAMPLES / 1.1, abs=2) and peak_hz(made) == pytest.approx(484, abs=1)


@pytest.mark.parametrize("remix", [Stretch(), Stretch(common=True), Speed(), Speed(common=False), Stretch(each=0.3)])
def test_what_is_drawn_for_stretch_and_speed(remix: Any) -> None:
    drawn = [remix.draw(np.random.default_rng(seed), material()) for seed in range(200)]
    assert np.mean([len(of_one) for of_one in drawn]) == pytest.approx(4 * remix.each, rel=0.2)
    several = [len(set(of_one.values())) for of_one in drawn if len(of_one) > 1]
    assert np.mean(several) == 1 if remix.common else np.mean(several) > 1.5
    sources = {stem: [Source(0, 7)] for stem in STEMS}
    remix.choose(sources, drawn[0])
    assert all(sources[stem][0].process for stem in drawn[0])


def test_processing_twice_reads_for_both() -> None:
    twice = Source(0, 0).through(lambda waveform: waveform * 2, 1.1).through(lambda waveform: waveform + 1, 1.2)
    assert twice.speed == pytest.approx(1.32)
    assert twice.process and float(twice.process(torch.tensor(3.0))) == 7


def test_effects_are_audiomentations_own(stems: Tensor) -> None:
    """A tanh of known strength, on the stems asked for; the process's random numbers stay as they were."""
    settings = {"min_distortion": 0.5, "max_distortion": 0.5}
    remix = Effects.model_validate(
        {"chain": [{"transform": "TanhDistortion", "settings": settings, "stems": ["vocals"]}]}
    )
    before = np.random.get_state()[1].copy()
    drawn = remix.draw(np.random.default_rng(0), material())
    made = remix.apply(stems.clone(), drawn)
    assert torch.equal(made[1:], stems[1:]) and not torch.equal(made[0], stems[0])
    assert torch.equal(remix.apply(stems.clone(), drawn), made)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    # audiomentations keeps the RMS
    assert float(made[0].square().mean()) == pytest.approx(float(stems[0].square().mean()), rel=1e-2)


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        ({"transform": "TanhDistorsion"}, "TanhDistorsion is no transform of audiomentations"),
        ({"transform": "TanhDistortion", "settings": {"strength": 1}}, "TanhDistortion: .*strength"),
    ],
)
def test_effects_that_cannot_be_are_refused(effect: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Effects.model_validate({"chain": [effect]}).check()


def test_mp3_changes_the_mixture_alone_and_keeps_its_time(stems: Tensor) -> None:
    """Low frequencies survive 64 kbit/s: they correlate best without a lag."""
    remix = Mp3(kbps=(64,))
    remix.check()
    mixture = torch.from_numpy(
        signal.sosfilt(signal.butter(4, 2000, fs=SAMPLE_RATE, output="sos"), stems[0].numpy()).astype(np.float32)
    )
    made, target = remix.master(mixture, stems[0], remix.draw(np.random.default_rng(0), material()))
    assert made.shape == mixture.shape and torch.equal(target, stems[0])
    inner = slice(SAMPLE_RATE, 2 * SAMPLE_RATE)
    lags = signal.correlation_lags(SAMPLE_RATE, SAMPLE_RATE)
    assert lags[np.argmax(signal.correlate(made[0, inner], mixture[0, inner]))] == 0
    assert ratio_db(mixture[:, inner], (made - mixture)[:, inner]) > 10


def test_a_limiter_keeps_the_sum_and_reaches_its_loudness(stems: Tensor) -> None:
    stems = stems * (torch.sin(8 * torch.pi * torch.arange(SAMPLES) / SAMPLE_RATE) ** 8 + 0.05)
    mixture, target = stems.sum(dim=0), stems[0]
    mastered, of_target = Limiter().master(mixture, target, Mastering(lufs=-4, release_s=0.1))
    rest = Limiter().master(mixture, mixture - target, Mastering(lufs=-4, release_s=0.1))[1]
    assert_allclose(mastered, of_target + rest, atol=1e-5)
    assert pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(mastered.T.numpy()) == pytest.approx(-14, abs=0.1)
    gains = mastered / mixture
    assert_allclose(gains[0], gains[1], rtol=1e-3)
    assert float(gains.max() / gains.min()) > 1.2
    # what is quiet is only brought to its loudness
    soft = Limiter().master(0.01 * mixture, 0.01 * target, Mastering(lufs=-40, release_s=0.1))
    assert_allclose(soft[0] / soft[0].norm(), mixture / mixture.norm(), atol=1e-6)
    silent = torch.zeros(2, SAMPLES)
    assert Limiter().master(silent, silent, Mastering(-10, 0.1))[0] is silent
