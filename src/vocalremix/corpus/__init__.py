"""Any source of songs or speech, brought to one layout on disk: `<root>/<part>/<song>/<stem>.wav`."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vocalremix.audio import STEMS, map_pcm16
from vocalremix.errors import InputError

PARTS = ("train", "valid", "test")

# What a file must end in to be taken for audio; libsndfile or ffmpeg reads all of them.
LOSSLESS = {".wav", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".au", ".caf", ".wv"}
LOSSY = {".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wma"}
AUDIO_SUFFIXES = LOSSLESS | LOSSY


@dataclass(frozen=True, order=True)
class Song:
    """One song of a corpus in our layout; it belongs to one part only."""

    part: str
    name: str
    folder: Path
    n_samples: int


def songs(root: Path) -> list[Song]:
    """All songs of the corpus at `root`, sorted by part and name.

    Reads headers only. Raises InputError for a corpus without songs, a song in two parts, a missing stem, stems of
    unequal length, and a stem that is not a whole 44.1 kHz stereo 16-bit WAV file.
    """
    found = [
        Song(part, folder.name, folder, _n_samples(folder)) for part in PARTS for folder in subfolders(root / part)
    ]
    if not found:
        raise InputError(f"{root}: no songs; expected {{{','.join(PARTS)}}}/<song>/{{{','.join(STEMS)}}}.wav")
    refuse_doubles([(song.part, song.name) for song in found], root)
    return sorted(found)


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in `folder`, sorted; none where it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def spelled(name: str) -> str:
    """A name to compare by: file systems and archives write "é" as one character or as two."""
    return unicodedata.normalize("NFC", name)


def refuse_doubles(parts_and_names: Sequence[tuple[str, str]], root: Path) -> None:
    """Raise InputError where a song stands in two parts, which would leak it into training."""
    part_of: dict[str, str] = {}
    for part, name in parts_and_names:
        first = part_of.setdefault(spelled(name), part)
        if first != part:
            raise InputError(f"{root}: {name} is in {first} and in {part}; keep it in one of them")


def _n_samples(folder: Path) -> int:
    lengths = {}
    for stem in STEMS:
        path = folder / f"{stem}.wav"
        if not path.is_file():
            raise InputError(f"{path}: missing stem")
        n_samples, channels = map_pcm16(path).shape
        if channels != 2:
            raise InputError(f"{path}: {channels} channels, expected 2")
        lengths[stem] = n_samples
    return equal_length(lengths, folder)


def equal_length(lengths: dict[str, int], folder: Path) -> int:
    """The length that all stems share; raises InputError naming each where they differ."""
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{stem} {n_samples}" for stem, n_samples in lengths.items())
        raise InputError(f"{folder}: stems of unequal length in samples: {listed}; export them from one session again")
    return next(iter(lengths.values()))
