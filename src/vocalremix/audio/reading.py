"""Reading audio of any format; what is missing, damaged or cut short is refused here, once."""

import io
import json
import mmap
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from vocalremix.audio.waveform import Waveform
from vocalremix.util.errors import InputError

MP3_HEAD_BYTES = 200
# kbit/s by what a frame's header says, of layer 2 of MPEG 1, layer 3 of it, and both of MPEG 2
MP2_RATES = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
MP3_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_RATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
FIRST_OF_MP3 = re.compile(rb"\0{9}(Xing|Info)")
# how files begin; another beginning later on is another file's, joined to the first one byte by byte
BEGINNINGS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"(RIFF|RF64).{4}WAVE",
        rb"FORM.{4}AIF[CF]",
        rb"fLaC\0\0\0\x22",
        rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb",
        rb"caff\x00\x01\0\0",
        rb"\.snd\0\0\0.",
        rb"\0\0\0.ftyp[ -~]{4}",
        rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        rb"TTA1[\1\2]\0",
    )
]
OGG_PAGE = re.compile(rb"OggS\0([\0-\7])")
# what may stand behind the sound: a chunk, or a tag as in MP3 files
TAIL = re.compile(rb"\0?([A-Za-z_(][A-Za-z0-9_) ]{3}|TAG|ID3|3DI)")
# no header is longer, and no sound is missed that is shorter
FEW_BYTES = 4096
# the length of sound in CAF that nobody lived to write, or could know
CAF_WITHOUT_LENGTH = re.compile(rb"data(\0{8}|\xff{8})")
# what libsndfile takes for the length of a FLAC file whose header could not know it
UNKNOWN_FRAMES = (1 << 63) - 1
READ_SAMPLES = 1 << 18
# a WAV header counts up to 4 GiB, 6.7 hours of stereo; some room for what stands beside the audio
WAV_BYTES = 0xFFFF0000
PIPE_SIZES = (range(0x7FFF0000, 0x80000001), range(WAV_BYTES, 1 << 32))


@dataclass(frozen=True)
class Header:
    """What a file says of itself: rate in Hz, channels, samples per channel (None where only decoding tells)."""

    sample_rate: int
    channels: int
    n_samples: int | None
    links: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    """First byte and end of each of several files in one, or of the sound in it; none for all of it."""
    options: tuple[str, ...] = field(default=(), compare=False)
    """For ffmpeg, before each input."""


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
            if os.fstat(opened.fileno()).st_size == 0:
                raise InputError(f"{path}: empty, 0 bytes")
            with soundfile.SoundFile(opened.fileno(), closefd=False) as file, _mapped(path) as content:
                _refuse_truncated(path, file.extra_info)
                if file.frames == 0 and len(content) <= FEW_BYTES:
                    raise InputError(f"{path}: holds no audio")
                if file.format == "OGG" and len(links := _ogg_links(content)) > 1:
                    return _chain(path, content, links)
                if not _is_all(path, file, opened.fileno(), content):
                    return _probe(path, has_length=file.frames > 0 and "should be" not in file.extra_info)
                return Header(file.samplerate, file.channels, file.frames)
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


def _is_all(path: Path, file: soundfile.SoundFile, number: int, content: mmap.mmap) -> bool:
    """Whether libsndfile reads all the sound that an open file with this descriptor holds.

    It stops where the header says, or where the first of several files ends. Raises InputError for sound behind the
    end that an uncompressed file's header names: nobody can tell it from what is none.
    """
    if file.frames in (0, UNKNOWN_FRAMES) or not file.seekable():
        return False
    if file.format == "OGG":  # it looks for the last page itself
        return True
    is_mp3 = file.format == "MP3" or file.subtype.startswith("MPEG")
    if is_mp3 and not _counts_frames(content):
        return False
    try:
        file.seek(file.frames - 1)
        file.read(1)
    except soundfile.LibsndfileError:  # the end is missing; whoever reads to there will say so
        end = len(content)
    else:
        end = os.lseek(number, 0, os.SEEK_CUR)
    if is_mp3:
        return next(_mp3_runs(content, end), None) is None
    # a header without a length makes libsndfile read everything; in most formats a search of everything costs little
    is_plain = file.format in ("WAV", "WAVEX", "RF64", "AIFF") and "should be" not in file.extra_info
    for beginning in BEGINNINGS:
        if beginning.match(content) and beginning.search(content, end if is_plain else 1):
            return False
    is_more = len(content) - end > FEW_BYTES and np.frombuffer(content, np.uint8, offset=end).any()
    if not is_more or file.format == "FLAC":
        return not is_more
    if not TAIL.match(content, end):
        raise InputError(
            f"{path}: its header counts {file.frames} samples, but {len(content) - end} bytes follow them; if they are "
            "sound, keep them by `ffmpeg -ignore_length 1 -i IN.wav OUT.wav`, if not, leave out the option"
        )
    return True


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    # some network file systems share no mappings
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as content:
        yield content


def _chain(path: Path, content: mmap.mmap, links: list[tuple[int, int]]) -> Header:
    """Of links that libsndfile reads one by one; LibsndfileError for others."""
    headers = []
    for first, end in links:
        with soundfile.SoundFile(io.BytesIO(content[first:end])) as file:
            headers.append(Header(file.samplerate, file.channels, file.frames))
    rate, channels = _common(path, [(header.sample_rate, header.channels) for header in headers])
    return Header(rate, channels, sum(header.n_samples or 0 for header in headers), tuple(links))


def _common(path: Path, kinds: list[tuple[int, int]]) -> tuple[int, int]:
    """The sample rate and number of channels of all files in one; InputError where they differ."""
    if len(set(kinds)) > 1:
        listed = ", ".join(f"{rate} Hz with {channels} channel(s)" for rate, channels in dict.fromkeys(kinds))
        raise InputError(f"{path}: several files in one, which differ: {listed}; take them apart and convert them")
    return kinds[0]


def _counts_frames(mp3: mmap.mmap) -> bool:
    """Whether the first frame says how many there are; if not, libsndfile guesses, and stops there."""
    # the size of a tag is in four bytes of seven bits
    tag = sum(byte << 7 * place for place, byte in enumerate(mp3[9:5:-1])) + 10 if mp3[:3] == b"ID3" else 0
    frame = mp3[tag : tag + MP3_HEAD_BYTES]
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    has_count = place >= 0 and frame[place + 7] & 1 and any(frame[place + 8 : place + 12])
    return bool(has_count) or b"VBRI" in frame


def _links(content: mmap.mmap, format_name: str) -> list[tuple[int, int]]:
    """The first byte and the end of each file of which one was joined; none where it is one throughout."""
    if format_name == "mp3":
        links = _mp3_links(content)
    elif format_name == "ogg":
        links = _ogg_links(content)
    else:
        kind = next((beginning for beginning in BEGINNINGS if beginning.match(content)), None)
        links = _between([match.start() for match in kind.finditer(content)], content) if kind else []
    return [] if links == [(0, len(content))] else links


def _between(starts: list[int], content: mmap.mmap) -> list[tuple[int, int]]:
    return list(zip(starts, [*starts[1:], len(content)], strict=True))


def _ogg_links(content: mmap.mmap) -> list[tuple[int, int]]:
    """A link begins with the first pages of its streams, which follow the pages of sound of the link before."""
    starts, is_sound = [], True
    for page in OGG_PAGE.finditer(content):
        is_first = bool(page[1][0] & 2)
        if is_first and is_sound:
            starts.append(page.start())
        is_sound = not is_first
    return _between(starts, content)


def _mp3_links(content: mmap.mmap) -> list[tuple[int, int]]:
    """Without what stands before, between and behind them: tags, zeros. Other gaps are damage, which ffmpeg names."""
    links: list[tuple[int, int]] = []
    for first, end in _mp3_runs(content, 0):
        last = links[-1][1] if links else first
        if first == last or FIRST_OF_MP3.search(content, first, first + 48) or TAIL.match(content, last):
            links.append((first, end))
        else:
            links[-1] = links[-1][0], end
    return links


def _mp3_runs(content: mmap.mmap, place: int) -> Iterator[tuple[int, int]]:
    """Where three frames or more of one kind follow one another; one with a count of frames begins anew."""
    while (place := content.find(b"\xff", place)) >= 0:
        end, n_frames, kind = place, 0, None
        while size := _frame_bytes(head := content[end : end + 4]):
            # version and layer, sample rate, mono or not
            its_kind = head[1] & 0x1E, head[2] & 0x0C, head[3] >> 6 == 3
            if n_frames and (its_kind != kind or FIRST_OF_MP3.search(content, end, end + 48)):
                break
            # the last one may be cut short
            end, n_frames, kind = min(end + size, len(content)), n_frames + 1, its_kind
        if n_frames >= 3:
            yield place, end
        place = end if n_frames >= 3 else place + 1


def _frame_bytes(head: bytes) -> int:
    """The size of a frame of MPEG audio, layer 2 or 3, that begins with these four bytes; 0 where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return 0
    # version 2.5, none, 2, 1; layer none, 3, 2, 1
    version, layer, bit_rate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer not in (1, 2) or bit_rate in (0, 15) or rate == 3:
        return 0
    kbits = (MPEG2_RATES if version < 3 else MP3_RATES if layer == 1 else MP2_RATES)[bit_rate - 1]
    hertz = (44100, 48000, 32000)[rate] >> (2, 0, 1, 0)[version]
    return (72 if version < 3 and layer == 1 else 144) * 1000 * kbits // hertz + (head[2] >> 1 & 1)


class _Onward(soundfile.SoundFile):  # type: ignore[misc]
    """Reads on where it stands; soundfile seeks after every block, which spoils the next one of some MP3 files."""

    def seekable(self) -> bool:
        return False


def _read(path: Path, header: Header, block_samples: int, start: int) -> Iterator[Waveform]:
    n_samples, held = start, np.zeros((0, header.channels), np.float32)
    try:
        for piece in _pieces(path, header, block_samples, start):
            held = np.concatenate([held, piece]) if len(held) else piece
            while len(held) >= block_samples:
                n_samples += block_samples
                yield np.ascontiguousarray(held[:block_samples].T)
                held = held[block_samples:]
    except (soundfile.LibsndfileError, OSError) as error:
        read = f"after {n_samples} of {header.n_samples} samples"
        raise InputError(f"{path}: damaged or truncated {read} ({error})") from error
    if len(held):
        yield np.ascontiguousarray(held.T)


def _pieces(path: Path, header: Header, most: int, start: int) -> Iterator[Waveform]:
    """`(samples, channels)` of all links, `most` at once."""
    for link in header.links or [None]:
        with _Onward(_opened(path, link)) as file:
            skipped = min(start, file.frames)
            if file.format == "MP3":  # libsndfile says itself that its seeking there is fuzzy
                for done in range(0, skipped, READ_SAMPLES):
                    file.read(min(READ_SAMPLES, skipped - done), dtype="float32")
            else:
                file.seek(skipped)
            start -= skipped
            # behind the end, libFLAC would stumble over a tag
            n_left = file.frames - skipped
            while n_left and len(piece := file.read(min(most, n_left), dtype="float32", always_2d=True)):
                n_left -= len(piece)
                yield piece


def _opened(path: Path, link: tuple[int, int] | None) -> bytes | io.BytesIO:
    """A file or a part of it, as libsndfile takes it."""
    if link is None:
        return plain_name(path)
    with path.open("rb") as file:
        file.seek(link[0])
        return io.BytesIO(file.read(link[1] - link[0]))


def _probe(path: Path, has_length: bool = True) -> Header:
    for program in ("ffprobe", "ffmpeg"):
        if shutil.which(program) is None:
            raise InputError(f"{path}: libsndfile cannot read it whole and {program} is not installed; install ffmpeg")
    rate, channels, name = _shown(path)
    with _mapped(path) as content:
        links = _links(content, name)
        has_length = has_length and not (name == "caf" and CAF_WITHOUT_LENGTH.search(content, 0, FEW_BYTES))
    rate, channels = _common(path, [_shown(path, link)[:2] for link in links] or [(rate, channels)])
    options: tuple[str, ...] = ("-xerror",)
    if not has_length:  # and the last sample may be cut short
        options = ("-ignore_length", "1") if name == "wav" else ()
    return Header(rate, channels, None, tuple(links), options)


def _shown(path: Path, link: tuple[int, int] | None = None) -> tuple[int, int, str]:
    """Sample rate, channels and container, by ffprobe, of a file or a part of it."""
    command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-of", "json", "-show_entries"]
    shown = subprocess.run([*command, "stream:format=format_name", _part(path, link)], capture_output=True)
    found = json.loads(shown.stdout.decode(errors="replace") or "{}")
    rate, channels = (int((found.get("streams") or [{}])[0].get(name, 0)) for name in ("sample_rate", "channels"))
    if shown.returncode != 0 or not rate or not channels:
        raise InputError(f"{path}: not an audio file that libsndfile or ffmpeg can read")
    return rate, channels, found["format"]["format_name"]


def _part(path: Path, link: tuple[int, int] | None) -> bytes:
    """A file or a part of it, as ffmpeg is told."""
    return b"subfile,,start,%d,end,%d,,:%s" % (*link, plain_name(path)) if link else plain_name(path)


def plain_name(path: Path) -> bytes:
    """A name that libsndfile and ffmpeg take for a file's, whatever bytes it has.

    For ffmpeg, `Re:Stacks.m4a` would be of a protocol "Re" and `-x.m4a` an option; for libsndfile, `-` is stdin.
    """
    return os.fsencode(path.absolute())


def _decode(path: Path, header: Header, block_samples: int, start: int) -> Iterator[Waveform]:
    # without -ss, which ends some streams early and changes the first samples of others, even at 0
    command: list[str | bytes] = ["ffmpeg", "-v", "error"]
    for link in header.links or [None]:
        command += [*header.options, "-i", _part(path, link)]
    streams = "".join(f"[{link}:a:0]" for link in range(len(header.links)))
    chosen = ["-filter_complex", f"{streams}concat=n={len(header.links)}:v=0:a=1"] if streams else ["-map", "0:a:0"]
    command += [*chosen, "-ac", str(header.channels), "-ar", str(header.sample_rate), "-f", "f32le", "-"]
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
