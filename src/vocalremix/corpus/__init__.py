"""Any source of songs or speech, brought to one layout on disk: `<root>/<part>/<song>/<stem>.wav`."""

import logging
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vocalremix.audio.writing import map_pcm16
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS

PARTS = ("train", "valid", "test")

# What a file must end in to be taken for audio; libsndfile or ffmpeg reads all of them.
LOSSLESS = {".wav", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".au", ".caf", ".wv"}
LOSSY = {".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wma"}
AUDIO_SUFFIXES = LOSSLESS | LOSSY
LEFTOVERS = (".partial", ".part", ".crdownload", ".download", ".tmp", ".aria2")
# what systems, servers and archivers put beside a user's folders; none of it counts as long as it holds no stem
HOUSEKEEPING = re.compile(
    r"\..*|@(eaDir|Recycle|Recently-Snapshot|tmp)|#(recycle|snapshot)|\$RECYCLE\.BIN|RECYCLER|__MACOSX|lost\+found|"
    r"System Volume Information|Network Trash Folder|Temporary Items",
    re.IGNORECASE,
)

log = logging.getLogger(__name__)


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


def song_folders(root: Path) -> list[tuple[str, Path]]:
    """The part, "" where `root` has no parts, and the folder of every song of a user, sorted by part.

    Raises InputError for a folder that cannot be read, and for a song beside the parts.
    """
    try:
        parts = parts_of(root)
    except OSError as error:
        raise unreadable(root, error) from error
    for beside in subfolders(root) if parts else []:
        if beside.name not in parts and holds_stem(beside):
            raise InputError(f"{beside}: a song beside the folders {', '.join(parts)}; move it into one of them")
    return [(part, folder) for part in parts or [""] for folder in subfolders(root / part)]


def parts_of(root: Path) -> list[str]:
    """The folders of `root` that are parts; one that holds stems and no songs is a song of that name."""
    return [part for part in PARTS if (root / part).is_dir() and not _is_song_itself(root / part)]


def _is_song_itself(part: Path) -> bool:
    try:
        return holds_stem(part) and not any(path.is_dir() and holds_stem(path) for path in listed(part))
    except OSError:  # whoever reads its songs will say so
        return False


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold a song, sorted; none where it does not exist.

    Leaves out folders without audio, with a warning what may have been meant as a song. Raises InputError for a folder
    that cannot be read.
    """
    try:
        paths = listed(folder) if folder.is_dir() else []
    except OSError as error:
        raise unreadable(folder, error) from error
    found = []
    for path in paths:
        try:
            if path.is_symlink() and not path.exists():
                log.warning("%s: left out, leads to %s, which is not there", path, path.readlink())
            elif path.is_dir() and is_song(path):
                found.append(path)
            elif path.is_dir() and count_audio(path):
                log.warning("%s: left out, holds audio, but no stem", path)
        except OSError as error:
            if not HOUSEKEEPING.fullmatch(path.name):
                raise unreadable(path, error) from error
            log.warning("%s: left out, cannot be read (%s)", path, error.strerror)
    return found


def unreadable(folder: Path, error: OSError) -> InputError:
    """What to raise where a folder, or one below it, cannot be listed."""
    where = error.filename or folder
    return InputError(f"{where}: cannot be read ({error.strerror}); change its permissions or move it")


def is_song(folder: Path) -> bool:
    """Whether a folder is a song's: it holds a stem, whatever its name, or other audio and is no system's housekeeping.

    A song without any stem is one to complain about. Raises OSError where the folder cannot be read.
    """
    if folder.name.startswith(".") and folder.name.endswith(LEFTOVERS):
        return False
    return holds_stem(folder) or (not HOUSEKEEPING.fullmatch(folder.name) and count_audio(folder) > 0)


def holds_stem(folder: Path) -> bool:
    """Whether a stem, in any format, lies in a folder."""
    return any(
        path.stem.lower() in STEMS and path.suffix.lower() in AUDIO_SUFFIXES and not path.is_dir()
        for path in listed(folder)
    )


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; raises OSError where it cannot be listed, or listed but not entered."""
    paths = sorted(folder.iterdir())
    for path in paths[:1]:
        path.lstat()
    return paths


def count_audio(folder: Path) -> int:
    """The audio files anywhere below a folder; raises OSError where one below cannot be listed."""

    def fail(error: OSError) -> None:
        raise error

    # ._vocals.wav is what macOS adds to vocals.wav on other file systems
    return sum(
        not name.startswith("._") and Path(name).suffix.lower() in AUDIO_SUFFIXES
        for _, _, names in os.walk(folder, onerror=fail)
        for name in names
    )


def readable(name: str) -> str:
    """A file's name as text for tables and pages: bytes that are not UTF-8 are taken for Latin-1."""
    written = os.fsencode(name)
    try:
        return written.decode("utf-8")
    except UnicodeDecodeError:
        return written.decode("latin-1")


def spelled(name: str) -> str:
    """A name to compare by: file systems and archives write "é" as one character or as two."""
    return unicodedata.normalize("NFC", readable(name))


def refuse_doubles(parts_and_names: Sequence[tuple[str, str]], root: Path) -> None:
    """Raise InputError where a song stands in two parts, which would leak it into training, or twice in one."""
    if len(set(parts_and_names)) < len(parts_and_names):
        raise InputError(f"{root}: two songs have one name, in UTF-8 and in Latin-1; rename one")
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
