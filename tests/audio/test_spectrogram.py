from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from vocalremix.audio.spectrogram import peak, row_edges, save_spectrogram
from vocalremix.audio.waveform import Waveform
from vocalremix.util.values import SAMPLE_RATE


def sine(frequency_hz: float, amplitude: float = 0.5, seconds: float = 1.0) -> Waveform:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.tile(amplitude * np.sin(2 * np.pi * frequency_hz * time), (2, 1)).astype(np.float32)


def brightness(path: Path) -> np.ndarray:
    """Row by column, the lowest frequency first; the colours of the scale grow brighter with level."""
    image = imread(path).astype(float)
    scale = 255 if image.max() > 1 else 1
    return image[::-1, :, :3].sum(axis=2) / (3 * scale)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("frequency_hz", [70, 440, 2500, 15000])
def test_the_brightest_row_is_the_sines(tmp_path: Path, frequency_hz: float, suffix: str) -> None:
    path = tmp_path / f"sine{suffix}"
    save_spectrogram(sine(frequency_hz), path)
    row = brightness(path).mean(axis=1).argmax()
    edges = row_edges()
    bin_hz = 11 if suffix == ".png" else 40  # WebP blurs colours by a pixel or two
    assert edges[row] - bin_hz < frequency_hz < edges[row + 1] + bin_hz


def test_rows_reach_from_50_hz_to_20_khz() -> None:
    assert row_edges()[[0, -1]] == pytest.approx([50, 20000])
    assert (np.diff(row_edges()) > 0).all()


def test_time_runs_to_the_right(tmp_path: Path) -> None:
    waveform = sine(1000)
    waveform[:, : waveform.shape[1] // 4] = 0
    save_spectrogram(waveform, tmp_path / "late.png")
    columns = brightness(tmp_path / "late.png").max(axis=0)
    first_loud = int(np.argmax(columns > 0.5))
    # sound is seen half an analysis window (46 ms of 1 s) before it starts
    assert first_loud / len(columns) == pytest.approx(0.25, abs=0.05)


def test_a_sine_of_full_scale_has_a_peak_of_one_and_half_of_it_half() -> None:
    whole, half = (peak(sine(9000, amplitude)) for amplitude in (1.0, 0.5))
    assert whole == pytest.approx(1, abs=0.05)
    assert half / whole == pytest.approx(0.5, rel=1e-3)


def test_a_common_reference_keeps_a_quieter_track_darker(tmp_path: Path) -> None:
    loud, quiet = sine(1000, 0.5), sine(1000, 0.005)
    for name, waveform in (("loud", loud), ("quiet", quiet)):
        save_spectrogram(waveform, tmp_path / f"{name}.png", reference_peak=peak(loud))
        save_spectrogram(waveform, tmp_path / f"{name}_alone.png")
    levels = {path.stem: brightness(path).max() for path in tmp_path.iterdir()}
    assert levels["quiet"] < levels["loud"] - 0.2
    assert levels["quiet_alone"] == pytest.approx(levels["loud_alone"], abs=0.01)


def test_what_lies_top_db_below_the_reference_is_as_dark_as_silence(tmp_path: Path) -> None:
    save_spectrogram(sine(1000, 0.5) * 0, tmp_path / "silence.png")
    save_spectrogram(sine(1000, 0.5 * 10 ** (-45 / 20)), tmp_path / "quiet.png", top_db=40, reference_peak=0.5)
    silence, quiet = (imread(tmp_path / name) for name in ("silence.png", "quiet.png"))
    save_spectrogram(sine(1000, 0.5 * 10 ** (-35 / 20)), tmp_path / "seen.png", top_db=40, reference_peak=0.5)
    assert not np.array_equal(imread(tmp_path / "seen.png"), quiet)
    assert np.array_equal(silence, quiet)


@pytest.mark.parametrize("samples", [1, 100, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_silence_is_dark_whatever_its_length(tmp_path: Path, samples: int, channels: int) -> None:
    save_spectrogram(np.zeros((channels, samples), np.float32), tmp_path / "silence.png")
    assert brightness(tmp_path / "silence.png").max() < 0.02


def test_the_same_waveform_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png", "one.webp", "two.webp"):
        save_spectrogram(sine(440), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.webp").read_bytes() == (tmp_path / "two.webp").read_bytes()
