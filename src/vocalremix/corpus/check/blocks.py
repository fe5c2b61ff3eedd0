"""Audio in blocks: what a file says of itself, and its samples without ever holding all of them."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from vocalremix.audio import Waveform, refuse_truncated
from vocalremix.errors import InputError


@dataclass(frozen=True)
class Header:
    """What a file says of itself: rate in Hz, channels, samples per channel (None where only decoding tells)."""

    sample_rate: int
    channels: int
    n_samples: int | None


def read_header(path: Path) -> Header:
    """The header of any file that libsndfile or ffmpeg decodes; InputError where it is unreadable or cut short."""
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty, 0 bytes")
        with soundfile.SoundFile(path) as file:
            refuse_truncated(path, file.extra_info)
            if file.frames == 0:
                raise InputError(f"{path}: holds no audio")
            # of an MP3 without a table of contents, libsndfile guesses the length
            is_exact = file.format != "MP3" or shutil.which("ffmpeg") is None
            return Header(file.samplerate, file.channels, file.frames if is_exact else None)
    except soundfile.LibsndfileError:
        return _probe(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_blocks(path: Path, block_samples: int, start: int = 0) -> Iterator[Waveform]:
    """Blocks of `(channels, block_samples)` float32 from sample `start` on, the last one shorter.

    Raises InputError as `read_header` does, and after the last whole block of a file whose end is missing.
    """
    header = read_header(path)
    n_samples = start
    for block in (_decode if header.n_samples is None else _read)(path, header, block_samples, start):
        n_samples += block.shape[1]
        yield block
    if header.n_samples is not None and n_samples < header.n_samples:
        raise InputError(f"{path}: truncated, {n_samples} of {header.n_samples} samples could be read")
    if n_samples == 0:
        raise InputError(f"{path}: holds no audio")


def _read(path: Path, header: Header, block_samples: int, start: int) -> Iterator[Waveform]:
    n_samples = start
    try:
        with soundfile.SoundFile(path) as file:
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
    shown = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "a:0", "-of", "json", "-show_entries", "stream", str(path)],
        capture_output=True,
        text=True,
    )
    streams = json.loads(shown.stdout or "{}").get("streams")
    if shown.returncode != 0 or not streams:
        raise InputError(f"{path}: not an audio file that libsndfile or ffmpeg can read")
    return Header(int(streams[0]["sample_rate"]), int(streams[0]["channels"]), None)


def _decode(path: Path, header: Header, block_samples: int, start: int) -> Iterator[Waveform]:
    command = ["ffmpeg", "-v", "error", "-xerror", "-ss", str(start / header.sample_rate), "-i", str(path)]
    command += ["-map", "0:a:0", "-f", "f32le", "-"]
    n_bytes = 4 * header.channels * block_samples
    with (
        # a pipe that nobody reads would stop ffmpeg after many complaints
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, stdin=subprocess.DEVNULL) as process,
    ):
        assert process.stdout is not None
        try:
            while block := process.stdout.read(n_bytes):
                yield np.ascontiguousarray(np.frombuffer(block, dtype="<f4").reshape(-1, header.channels).T)
        finally:
            process.stdout.close()
            process.wait()
        if process.returncode != 0:
            complaints.seek(0)
            reason = complaints.read().decode(errors="replace").strip().splitlines() or ["nothing"]
            raise InputError(f"{path}: damaged or truncated; ffmpeg says {reason[-1]!r}")
