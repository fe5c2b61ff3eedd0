"""Pictures of sound: mel-scaled spectrograms, small enough for a page."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.image import imsave

from vocalremix.audio.waveform import Waveform
from vocalremix.util.values import SAMPLE_RATE

LOWEST_HZ, HIGHEST_HZ = 50.0, 20000.0
WIDTH, HEIGHT = 720, 144
FFT_SAMPLES = 4096
# nothing below a step of 16 bits is to be seen: silence is dark, not the brightest that there is
QUIETEST_PEAK, FLOOR_DB = 1e-5, -300.0
WEBP: Any = {"quality": 72, "method": 6}
# without it, matplotlib writes its version into every file
NO_SOFTWARE: Any = {"Software": None}


def save_spectrogram(
    waveform: Waveform, path: Path, *, top_db: float = 80.0, reference_peak: float | None = None
) -> None:
    """Draw a `(channels, samples)` waveform at 44.1 kHz as PNG or WebP, by `path`'s suffix; channels are averaged.

    Time runs to the right, from the first sample to the last; 50 Hz (bottom) to 20 kHz (top) on a mel scale. The
    brightest colour is `reference_peak` (see `peak`; by default the waveform's own), the darkest `top_db` below it and
    silence. Pictures to be compared share one `reference_peak`.
    """
    power = _band_power(waveform)
    reference = np.sqrt(power.max()) if reference_peak is None else reference_peak
    brightest_db = 20 * float(np.log10(max(reference, QUIETEST_PEAK)))
    imsave(
        path,
        10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))),
        vmin=brightest_db - top_db,
        vmax=brightest_db,
        cmap="magma",
        origin="lower",
        metadata=NO_SOFTWARE if path.suffix == ".png" else None,
        pil_kwargs=WEBP if path.suffix == ".webp" else None,
    )


def peak(waveform: Waveform) -> float:
    """The amplitude of the loudest point of a waveform's spectrogram, of about 1 for a sine of full scale."""
    return float(np.sqrt(_band_power(waveform).max()))


def row_edges() -> npt.NDArray[np.float64]:
    """The frequencies in Hz between the rows of a spectrogram, from the bottom up: one more than rows."""
    # even steps of log(1 + f / 700 Hz): the mel scale, whatever its unit
    edges: npt.NDArray[np.float64] = np.geomspace(700 + LOWEST_HZ, 700 + HIGHEST_HZ, HEIGHT + 1) - 700
    return edges


def _band_power(waveform: Waveform) -> npt.NDArray[np.float64]:
    """Power per row and column, `(HEIGHT, WIDTH)`, a sine's amplitude squared where it lies in one row."""
    padded = np.pad(waveform, ((0, 0), (FFT_SAMPLES // 2, FFT_SAMPLES // 2)))
    starts = np.linspace(0, waveform.shape[1], WIDTH).astype(int)
    window = np.hanning(FFT_SAMPLES)
    power = np.zeros((WIDTH, FFT_SAMPLES // 2 + 1))
    for channel in padded:
        frames = np.lib.stride_tricks.sliding_window_view(channel, FFT_SAMPLES)[starts]
        power += np.abs(np.fft.rfft(frames * window)) ** 2 / len(padded)
    power *= 4 / (FFT_SAMPLES * np.sum(window**2))
    # a row gets its share of every bin it cuts: at the bottom, rows are about as narrow as bins
    total = np.pad(np.cumsum(power, axis=1), ((0, 0), (1, 0)))
    bin_edges = (np.arange(total.shape[1]) - 0.5) * SAMPLE_RATE / FFT_SAMPLES
    edges = row_edges()
    return np.diff([np.interp(edges, bin_edges, column) for column in total]).T
