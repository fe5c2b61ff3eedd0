"""Reading, writing and resampling audio; sample rates and shapes are checked here, once."""

import json
import math
import mmap
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.io import wavfile

from vocalremix.errors import InputError

SAMPLE_RATE = 44100
STEMS = ("vocals", "drums", "bass", "other")
RMS_FLOOR = 1e-3
"""Of full scale 1: up to this RMS, the target counts as silent in a part of a window."""
# torchaudio holds a filter for every phase, gigabytes of them between rates such as 44,101 and 44,100 Hz
MAX_SINC_PHASES = 1000
# torchaudio's filter reaches 6 samples of the lower rate to both sides, scipy's 10
FILTER_SAMPLES = 12
MP3_HEAD_BYTES = 200
MP3_SYNCS = {bytes([0xFF, second]) for second in (0xFA, 0xFB, 0xF2, 0xF3, 0xE2, 0xE3)}
FLAC_START = b"fLaC\x00\x00\x00\x22"
LARGEST_HEADER = 4096
# a frame of MP3 has fewer bytes
ZEROS = 2048
# what libsndfile takes for the length of a FLAC file whose header could not know it
UNKNOWN_FRAMES = (1 << 63) - 1
READ_SAMPLES = WRITE_SAMPLES = 1 << 18
# a WAV header counts up to 4 GiB, 6.7 hours of stereo; some room for what stands beside the audio
WAV_BYTES = 0xFFFF0000
PIPE_SIZES = (range(0x7FFF0000, 0x80000001), range(WAV_BYTES, 1 << 32))

Waveform = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Header:
    """What a file says of itself: rate in Hz, channels, samples per channel (None where only decoding tells)."""

    sample_rate: int
    channels: int
    n_samples: int | None


def read(path: Path) -> tuple[Waveform, int]:
    """Read any file that libsndfile or ffmpeg decodes.

    Returns the waveform, `(channels, samples)` float32 in -1..1, and its sample rate in Hz. Raises InputError
    for a file that is missing, unreadable, truncated or empty, or holds NaN or infinite samples.
    """
    header = read_header(path)
    waveform = np.concatenate(list(read_blocks(path, READ_SAMPLES, header=header)), axis=1)
    refuse_non_finite(path, waveform)
    return waveform, header.sample_rate


def refuse_non_finite(path: Path, waveform: Waveform) -> None:
    """Raise InputError for NaN and infinite samples in what was read from `path`."""
    if not np.isfinite(waveform).all():
        raise InputError(f"{path}: holds NaN or infinite samples; export it again")


def read_header(path: Path) -> Header:
    """The header of any file that libsndfile or ffmpeg decodes; InputError where it is unreadable or cut short."""
    try:
        if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):  # to open a pipe may wait for ever
            raise InputError(f"{path}: is no file but a pipe or a device; copy its content to a file")
        with path.open("rb") as opened:
            if (n_bytes := os.fstat(opened.fileno()).st_size) == 0:
                raise InputError(f"{path}: empty, 0 bytes")
            _refuse_joined(path, opened)
        with soundfile.SoundFile(plain_name(path)) as file:
            _refuse_truncated(path, file.extra_info)
            if file.frames == 0 and n_bytes <= LARGEST_HEADER:
                raise InputError(f"{path}: holds no audio")
            # what libsndfile cannot seek in, what a recorder did not live to finish, and what has more links than one
            if file.frames in (0, UNKNOWN_FRAMES) or (file.format == "OGG" and _is_chained(path)):
                return _probe(path)
            is_mp3 = file.format == "MP3" or file.subtype.startswith("MPEG")
            is_exact = not is_mp3 or _tells_its_length(path) or shutil.which("ffmpeg") is None
            return Header(file.samplerate, file.channels, file.frames if is_exact else None)
    except soundfile.LibsndfileError:
        return _probe(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_blocks(path: Path, block_samples: int, start: int = 0, header: Header | None = None) -> Iterator[Waveform]:
    """Blocks of `(channels, block_samples)` float32 from sample `start` on, the last one shorter.

    `header`: the file's, where it is known already. Raises InputError as `read_header` does, and after the last whole
    block of a file whose end is missing.
    """
    header = header or read_header(path)
    n_samples = start
    for block in (_decode if header.n_samples is None else _read)(path, header, block_samples, start):
        n_samples += block.shape[1]
        yield block
    if header.n_samples is not None and n_samples < header.n_samples:
        raise InputError(f"{path}: truncated, {n_samples} of {header.n_samples} samples could be read")
    if n_samples == 0:
        raise InputError(f"{path}: holds no audio")


def _refuse_truncated(path: Path, log: str) -> None:
    """Raise InputError where libsndfile's `log` of opening a file tells that its end is missing.

    libsndfile reads what is left of a WAV, RF64, AIFF, AU or W64 file without complaint. Files written to a pipe are
    whole: their header could not know the length and names about the largest there is, with sign or without.
    """
    for promised, found in re.findall(r"(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", log):
        if int(found) < int(promised) and not any(int(promised) in sizes for sizes in PIPE_SIZES):
            raise InputError(f"{path}: truncated, {found} of {promised} bytes are there; copy or export it again")


def _refuse_joined(path: Path, file: BinaryIO) -> None:
    """Raise InputError for files that were joined byte by byte: decoders stop at the end of the first, or stumble."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        is_flac, is_riff = content[:4] == b"fLaC", content[:4] == b"RIFF"
        riff_end = 8 + int.from_bytes(content[4:8], "little")
        is_joined = (
            (is_flac and content.find(FLAC_START, 4) > 0)
            or (is_riff and content[riff_end : riff_end + 4] == b"RIFF")
            or _is_followed_by_mp3(content)
        )
    if is_joined:
        raise InputError(f"{path}: several files joined into one; decode them one by one, then join the sound")


def _is_followed_by_mp3(content: mmap.mmap) -> bool:
    """Whether another MP3 begins where the Xing or Info header of the first one says that it ends."""
    head = content[: 10 + _id3_size(content[:10]) + MP3_HEAD_BYTES]
    place = max(head.find(b"Xing"), head.find(b"Info"))
    flags = int.from_bytes(head[place + 4 : place + 8], "big")
    if place < 0 or not flags & 2:  # no number of bytes
        return False
    n_bytes = int.from_bytes(head[place + 8 + 4 * (flags & 1) :][:4], "big")
    first = head.rfind(b"\xff", 0, place)
    following = content[first + n_bytes : first + n_bytes + 10]
    return following[:3] == b"ID3" or following[:2] in MP3_SYNCS


def _is_chained(ogg: Path) -> bool:
    """Whether another stream begins after the first one's pages of sound."""
    with ogg.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        last = content.rfind(b"OggS\x00\x02")
        return content.find(b"OggS\x00\x00") < last


def _id3_size(head: bytes) -> int:
    """Of the tag that begins with these ten bytes; -10 where they begin none."""
    # four bytes of seven bits
    return sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:]))) if head[:3] == b"ID3" else -10


def _tells_its_length(mp3: Path) -> bool:
    """Whether the first frame says how many there are; if not, libsndfile guesses, and stops there."""
    with mp3.open("rb") as file:
        file.seek(10 + _id3_size(file.read(10)))
        frame = file.read(MP3_HEAD_BYTES)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))


def _read(path: Path, header: Header, block_samples: int, start: int) -> Iterator[Waveform]:
    n_samples = start
    try:
        with soundfile.SoundFile(plain_name(path)) as file:
            if start:
                file.seek(start)
            while len(block := file.read(block_samples, dtype="float32", always_2d=True)):
                n_samples += len(block)
                yield np.ascontiguousarray(block.T)
    except (soundfile.LibsndfileError, OSError) as error:
        read = f"after {n_samples} of {header.n_samples} samples"
        raise InputError(f"{path}: damaged or truncated {read} ({error})") from error


def _probe(path: Path) -> Header:
    for program in ("ffprobe", "ffmpeg"):
        if shutil.which(program) is None:
            raise InputError(f"{path}: libsndfile cannot read it and {program} is not installed; install ffmpeg")
    command: list[str | bytes] = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "a:0",
        "-of",
        "json",
        "-show_entries",
        "stream",
    ]
    shown = subprocess.run([*command, plain_name(path)], capture_output=True, encoding="utf-8", errors="replace")
    streams = json.loads(shown.stdout or "{}").get("streams")
    if shown.returncode != 0 or not streams:
        raise InputError(f"{path}: not an audio file that libsndfile or ffmpeg can read")
    return Header(int(streams[0]["sample_rate"]), int(streams[0]["channels"]), None)


def plain_name(path: Path) -> bytes:
    """A name that libsndfile and ffmpeg take for a file's, whatever bytes it has.

    For ffmpeg, `Re:Stacks.m4a` would be of a protocol "Re" and `-x.m4a` an option; for libsndfile, `-` is stdin.
    """
    return os.fsencode(path.absolute())


def _decode(path: Path, header: Header, block_samples: int, start: int) -> Iterator[Waveform]:
    # without -ss, which ends some streams early and changes the first samples of others, even at 0
    with path.open("rb") as file:
        head = file.read(LARGEST_HEADER)
    # a recorder that did not live to write the size leaves a last packet cut short, which is no damage
    is_unfinished = head[:4] == b"RIFF" and b"data\0\0\0\0" in head
    command: list[str | bytes] = ["ffmpeg", "-v", "error", *([] if is_unfinished else ["-xerror"])]
    command += ["-i", _sound_of(path)]
    command += ["-map", "0:a:0", "-ac", str(header.channels), "-ar", str(header.sample_rate), "-f", "f32le", "-"]
    n_bytes = 4 * header.channels * block_samples
    to_skip = 4 * header.channels * start
    with (
        # a pipe that nobody reads would stop ffmpeg after many complaints
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, stdin=subprocess.DEVNULL) as process,
    ):
        assert process.stdout is not None
        try:
            while to_skip and (skipped := process.stdout.read(min(to_skip, n_bytes))):
                to_skip -= len(skipped)
            while block := process.stdout.read(n_bytes):
                yield np.ascontiguousarray(np.frombuffer(block, dtype="<f4").reshape(-1, header.channels).T)
        finally:
            process.stdout.close()
            process.wait()
        if process.returncode != 0:
            complaints.seek(0)
            reason = complaints.read().decode(errors="replace").strip().splitlines() or ["nothing"]
            raise InputError(f"{path}: damaged or truncated; ffmpeg says {reason[-1]!r}")


def _sound_of(path: Path) -> bytes:
    """The name of a file for ffmpeg, or of the part of it before a tail of zeros, which ffmpeg takes for damage."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = len(content)
        while end > ZEROS and not any(content[end - ZEROS : end]):
            end -= ZEROS
        if end == len(content) or path.suffix.lower() != ".mp3":
            return plain_name(path)
        end = end - ZEROS + len(content[end - ZEROS : end].rstrip(b"\0"))
    return b"subfile,,start,0,end,%d,,:%s" % (end, plain_name(path))


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


def create_pcm16(path: Path, sample_rate: int, channels: int, n_samples: int | None) -> soundfile.SoundFile:
    """Open a file that `map_pcm16` reads, to write `n_samples` per channel at most; None where nobody can say.

    It is a WAV file where that is sure to fit, and else RF64, which differs in its header only.
    """
    fits = n_samples is not None and 2 * channels * n_samples <= WAV_BYTES
    return soundfile.SoundFile(plain_name(path), "w", sample_rate, channels, "PCM_16", format="WAV" if fits else "RF64")


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


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """How many samples `resample` makes of so many."""
    return -(-n_samples * to_rate // from_rate)


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


def resample_blocks(blocks: Iterable[Waveform], from_rate: int, to_rate: int) -> Iterator[Waveform]:
    """`resample` of a waveform that comes in blocks: together the pieces are what it gives for the whole."""
    if from_rate == to_rate:
        yield from blocks
        return
    ratio = Fraction(to_rate, from_rate)
    into, out_of = ratio.numerator, ratio.denominator
    # blocks overlap by what the filter reaches; they begin where input and output samples coincide
    reach = out_of * math.ceil(FILTER_SAMPLES * max(1.0, from_rate / to_rate) / out_of)
    held, first, done = np.zeros((0, 0), np.float32), 0, 0
    for block in blocks:
        held = np.concatenate([held, block], axis=1) if held.size else block
        ready = (first + held.shape[1] - reach) // out_of * out_of
        if ready > done:
            resampled = resample(held, from_rate, to_rate)
            yield resampled[:, (done - first) // out_of * into : (ready - first) // out_of * into]
            spare = max(ready - reach - first, 0)
            held, first, done = held[:, spare:], first + spare, ready
    yield resample(held, from_rate, to_rate)[:, (done - first) // out_of * into :]


def to_stereo(waveform: Waveform, name: str) -> Waveform:
    """Double a mono waveform, pass a stereo one; raises InputError with `name` for more channels."""
    refuse_surround(len(waveform), name)
    return np.repeat(waveform, 2, axis=0) if len(waveform) == 1 else waveform


def refuse_surround(channels: int, name: str) -> None:
    """Raise InputError with `name` for more channels than `to_stereo` takes."""
    if channels > 2:
        raise InputError(f"{name}: {channels} channels; mix it down to mono or stereo first")
