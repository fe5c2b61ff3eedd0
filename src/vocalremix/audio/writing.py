"""16-bit WAV files, written whole and mapped."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.io import wavfile

from vocalremix.audio.reading import WAV_BYTES, plain_name
from vocalremix.util.errors import InputError
from vocalremix.util.values import SAMPLE_RATE

WRITE_SAMPLES = 1 << 18


def write_pcm16(path: Path, waveform: npt.ArrayLike, sample_rate: int = SAMPLE_RATE) -> None:
    """Write `(channels, samples)` in -1..1 as 16-bit WAV, so that reading it back is exact to half a step.

    Values outside -1..1 are clipped; what is too long for WAV becomes RF64. libsndfile's own conversion scales by
    32767 on the way out and by 32768 on the way in, which would make every pass a little quieter.
    """
    samples = np.asarray(waveform).T
    with create_pcm16(path, sample_rate, samples.shape[1], len(samples)) as file:
        for start in range(0, len(samples), WRITE_SAMPLES):
            steps = np.rint(samples[start : start + WRITE_SAMPLES].astype(np.float64) * 32768)
            file.write(np.clip(steps, -32768, 32767).astype(np.int16))


@contextmanager
def create_pcm16(path: Path, sample_rate: int, channels: int, n_samples: int | None) -> Iterator[soundfile.SoundFile]:
    """A file that `map_pcm16` reads, to write `n_samples` per channel at most; None where nobody can say.

    It is a WAV file where that is sure to fit, and else RF64, which differs in its header only.
    """
    fits = n_samples is not None and 2 * channels * n_samples <= WAV_BYTES
    kind = {"subtype": "PCM_16", "format": "WAV" if fits else "RF64"}
    with create(path, samplerate=sample_rate, channels=channels, **kind) as file:
        yield file


@contextmanager
def create(path: Path, **kind: Any) -> Iterator[soundfile.SoundFile]:
    """Open a file to write sound to; InputError, with the system's reason, where it cannot be written to its end."""
    try:
        with soundfile.SoundFile(plain_name(path), "w", **kind) as file:
            yield file
    except soundfile.LibsndfileError as error:
        # libsndfile says "System error." of a full disk; plain bytes meet the same end, and are told why
        try:
            with path.open("ab") as plain:
                plain.write(bytes(WRITE_SAMPLES))
        except OSError as reason:
            raise InputError(f"{path}: cannot be written ({reason.strerror})") from error
        raise InputError(f"{path}: cannot be written ({error})") from error


def map_pcm16(path: Path) -> npt.NDArray[np.int16]:
    """Memory-map a 16-bit WAV or RF64 file at 44.1 kHz as `(samples, channels)`; divide by 32768 for -1..1.

    Raises InputError where the file is not what the layout promises.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # about chunks beside the audio
            sample_rate, samples = wavfile.read(path, mmap=True)
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"{path}: not a whole 16-bit WAV file ({error})") from error
    if sample_rate != SAMPLE_RATE or samples.dtype != np.int16:
        raise InputError(f"{path}: {sample_rate} Hz {samples.dtype}, expected {SAMPLE_RATE} Hz 16-bit PCM")
    return samples if samples.ndim == 2 else samples[:, None]
