"""Reading, writing and resampling audio; sample rates and shapes are checked here, once."""

import json
import re
import shutil
import struct
import subprocess
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.io import wavfile

from vocalremix.errors import InputError

SAMPLE_RATE = 44100
STEMS = ("vocals", "drums", "bass", "other")
# torchaudio holds a filter for every phase, gigabytes of them between rates such as 44,101 and 44,100 Hz
MAX_SINC_PHASES = 1000
MP3_FRAME_SAMPLES = 1152
WRITE_SAMPLES = 1 << 18

Waveform = npt.NDArray[np.float32]


def read(path: Path) -> tuple[Waveform, int]:
    """Read any file that libsndfile or ffmpeg decodes.

    Returns the waveform, `(channels, samples)` float32 in -1..1, and its sample rate in Hz. Raises InputError
    for a file that is missing, unreadable, truncated or empty.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with soundfile.SoundFile(path) as file:
            refuse_truncated(path, file.extra_info)
            samples = file.read(dtype="float32", always_2d=True)
            if len(samples) != file.frames:
                raise InputError(f"{path}: truncated, {len(samples)} of {file.frames} samples could be read")
            sample_rate = file.samplerate
            is_mp3 = file.format == "MP3"
        if is_mp3:
            # of one without a table of contents, libsndfile guesses the length and stops there
            whole, _ = _decode_with_ffmpeg(path)
            samples = whole if len(whole) > len(samples) + MP3_FRAME_SAMPLES else samples
    except soundfile.LibsndfileError:
        samples, sample_rate = _decode_with_ffmpeg(path)
    if len(samples) == 0:
        raise InputError(f"{path}: holds no audio")
    return np.ascontiguousarray(samples.T), sample_rate


def refuse_truncated(path: Path, log: str) -> None:
    """Raise InputError where libsndfile's `log` of opening a file tells that its end is missing.

    libsndfile reads what is left of a WAV, AIFF, AU or W64 file without complaint. Files written to a pipe are
    whole: their header could not know the length and names the largest there is.
    """
    for promised, found in re.findall(r"(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", log):
        if int(found) < int(promised) < 0x7FFF0000:
            raise InputError(f"{path}: truncated, {found} of {promised} bytes are there; copy or export it again")


def _decode_with_ffmpeg(path: Path) -> tuple[Waveform, int]:
    """Returns `(samples, channels)` and the sample rate of the file's first audio stream."""
    for program in ("ffprobe", "ffmpeg"):
        if shutil.which(program) is None:
            raise InputError(f"{path}: libsndfile cannot read it and {program} is not installed; install ffmpeg")
    probe = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "a:0", "-of", "json", "-show_entries", "stream", str(path)],
        capture_output=True,
        text=True,
    )
    streams = json.loads(probe.stdout or "{}").get("streams")
    if probe.returncode != 0 or not streams:
        raise InputError(f"{path}: not an audio file that libsndfile or ffmpeg can read")
    decoded = subprocess.run(
        ["ffmpeg", "-v", "error", "-xerror", "-i", str(path), "-map", "0:a:0", "-f", "f32le", "-"], capture_output=True
    )
    if decoded.returncode != 0:
        reason = decoded.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"{path}: damaged or truncated; ffmpeg says {reason[-1] if reason else 'nothing'!r}")
    samples = np.frombuffer(bytearray(decoded.stdout), dtype="<f4").reshape(-1, int(streams[0]["channels"]))
    return samples, int(streams[0]["sample_rate"])


def write_pcm16(path: Path, waveform: npt.ArrayLike, sample_rate: int = SAMPLE_RATE) -> None:
    """Write `(channels, samples)` in -1..1 as 16-bit WAV, so that reading it back is exact to half a step.

    Values outside -1..1 are clipped. libsndfile's own conversion scales by 32767 on the way out and by 32768
    on the way in, which would make every pass a little quieter.
    """
    samples = np.asarray(waveform).T
    with soundfile.SoundFile(path, "w", sample_rate, samples.shape[1], subtype="PCM_16", format="WAV") as file:
        for start in range(0, len(samples), WRITE_SAMPLES):
            steps = np.rint(samples[start : start + WRITE_SAMPLES].astype(np.float64) * 32768)
            file.write(np.clip(steps, -32768, 32767).astype(np.int16))


def map_pcm16(path: Path) -> npt.NDArray[np.int16]:
    """Memory-map a 16-bit WAV file at 44.1 kHz as `(samples, channels)`; divide by 32768 for -1..1.

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


def resample(waveform: Waveform, from_rate: int, to_rate: int) -> Waveform:
    """Band-limited resampling of `(channels, samples)`: torchaudio's windowed sinc, scipy's between odd rates."""
    if from_rate == to_rate:
        return waveform
    ratio = Fraction(to_rate, from_rate)
    if max(ratio.numerator, ratio.denominator) > MAX_SINC_PHASES:
        from scipy.signal import resample_poly

        poly: Waveform = resample_poly(waveform, ratio.numerator, ratio.denominator, axis=-1).astype(np.float32)
        return poly
    import torch
    from torchaudio.functional import resample as sinc_resample

    resampled: Waveform = sinc_resample(torch.from_numpy(waveform), from_rate, to_rate).numpy()
    return resampled


def to_stereo(waveform: Waveform, name: str) -> Waveform:
    """Double a mono waveform, pass a stereo one; raises InputError with `name` for more channels."""
    channels = waveform.shape[0]
    if channels > 2:
        raise InputError(f"{name}: {channels} channels; mix it down to mono or stereo first")
    return np.repeat(waveform, 2, axis=0) if channels == 1 else waveform
