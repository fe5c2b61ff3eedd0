"""Folders of estimates that any separator left: which file is whose, and what it holds."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.fft import irfft, rfft

from vocalremix.audio.reading import read
from vocalremix.audio.waveform import Waveform, resample, to_stereo
from vocalremix.corpus import AUDIO_SUFFIXES, HOUSEKEEPING, listed, spelled, unreadable
from vocalremix.util.errors import InputError, counted
from vocalremix.util.values import SAMPLE_RATE, STEMS

TOLERANCE_S = 0.1
"""By how much an encoder may have lengthened or shortened an estimate."""
LARGEST_LAG = 8820
"""By how many samples an encoder may have delayed one: HE-AAC's 5,186 and some more."""
LAG_BLOCK = 1 << 17
# how far the highest peak has to stand out, and from how many samples beside it on: a dull estimate's is wide; that of
# a filter, which delays some frequencies by a few samples, is wide too and is no lag
PROMINENCE = 2.0
DULL_PEAK, SHARP_PEAK = 32, 2

OTHER_SOURCES = {*STEMS, "mixture", "accompaniment", "instrumental"}
LABELS = {*OTHER_SOURCES, "guitar", "piano", "instrum"}
# no_vocals, minus_vocals (Demucs), lead and backing vocals (UVR) are not the vocals
ANOTHER = {"no", "non", "minus", "without", "lead", "backing", "back"}
SEPARATORS = " _.-"
SUFFIX = re.compile(rf"(\.stem)?(\.({'|'.join(suffix[1:] for suffix in sorted(AUDIO_SUFFIXES))}))?", re.IGNORECASE)
MIXTURE = re.compile(rf"^_(\d+_)*mixture(?=[({SEPARATORS}])", re.IGNORECASE)
SHOWN_FILES = 3


class Estimates:
    """A folder of estimates of `target` for `songs`, made by any separator; see `find_estimates`."""

    sad = None  # files do not tell what they were trained on

    def __init__(self, folder: Path, target: str, songs: Collection[str], others: Collection[str]) -> None:
        self._found, strays = _search(folder, target, songs, others)
        self._conversions: Counter[str] = Counter()
        expected = (
            f"<song>/{target}.wav, <song>_({target.capitalize()}).wav, <song>_{target}.wav or <song>.wav (or flac, "
            "mp3, ...)"
        )
        if not self._found:
            raise InputError(
                f"{folder}: no {target} of any of the {len(songs)} songs, such as {min(songs)}; expected {expected} in "
                f"it, found {_shown(strays) or 'no audio file'}"
            )
        tags = Counter(found.tag for found in self._found.values())
        self._notes = []
        if len(tags) > 1:
            listing = ", ".join(f"{tag or 'none'} ({counted(n, 'song')})" for tag, n in tags.items())
            self._notes.append(f"file names tell of several models: {listing}")
        lost = [file for file in strays if {*_words(str(file))} & {target, *ANOTHER} == {target}]
        if lost and len(self._found) < len(songs):
            self._notes.append(f"{target} of no song that is known: {_shown(lost)}; expected {expected}")

    def has(self, song: str) -> bool:
        """Whether a file was found."""
        return song in self._found

    def estimate(self, song: str, mixture: Waveform) -> Waveform:
        """What the file holds, without an encoder's delay; raises InputError where it is not as long as the song."""
        path = self._found[song].path
        raw, sample_rate = read(path)
        waveform = to_stereo(resample(raw, sample_rate, SAMPLE_RATE), str(path))
        n_samples = mixture.shape[1]
        lacking = n_samples - waveform.shape[1]
        if abs(lacking) > TOLERANCE_S * SAMPLE_RATE:
            raise InputError(
                f"{path}: {_seconds(waveform)}, but {song} lasts {_seconds(mixture)}; an estimate has to be as long as "
                f"its song in --songs, to {TOLERANCE_S:g} s"
            )
        measured = measure_lag(waveform, mixture)
        lag = measured or 0
        for applies, conversion in (
            (sample_rate != SAMPLE_RATE, f"resampled from {sample_rate} Hz"),
            (len(raw) == 1, "mono, taken for both channels"),
            (lag > 0, f"late by {lag:,} samples against the mixture, as encoders leave it: shifted back"),
            (measured is None, "late or early against the mixture, by how much is unclear: scored as it is"),
            (lag < 0, f"early by {-lag:,} samples against the mixture: shifted back"),
            (lacking != 0, f"cut or padded at the end, by at most {TOLERANCE_S:g} s"),
        ):
            self._conversions[conversion] += applies
        aligned = np.pad(waveform[:, max(lag, 0) :], ((0, 0), (max(-lag, 0), 0)))
        return np.pad(aligned, ((0, 0), (0, max(n_samples - aligned.shape[1], 0))))[:, :n_samples]

    def notes(self) -> list[str]:
        """What is odd about the files, and how many estimates were converted, and how."""
        return self._notes + [
            f"{counted(n, 'estimate')} {conversion}" for conversion, n in self._conversions.items() if n
        ]


def measure_lag(estimate: Waveform, mixture: Waveform) -> int | None:
    """By how many samples an estimate is late against its mixture, `(channels, samples)`.

    0 where nothing else is certain, and None where it looks late or early and by how much cannot be told.

    The peak of their cross-correlation, whitened by both spectra (the smoothed coherence transform, Carter, Nuttall and
    Cable 1973), which keeps the periods of music from looking like lags. It counts only where it is PROMINENCE times as
    high as all that is not beside it, lag 0 included, and where the plain correlation agrees that it is higher there
    than at 0. The reference is not looked at, so that no error of a separator can be mended: whatever it took out of
    the mixture is in the mixture at lag 0.
    """
    length = min(LAG_BLOCK - LARGEST_LAG, mixture.shape[1])
    window = np.hanning(length).astype(np.float32)  # edges of blocks would correlate at lag 0
    cross = np.zeros(LAG_BLOCK // 2 + 1, np.complex128)
    of_estimate, of_mixture = np.zeros(len(cross)), np.zeros(len(cross))
    for start in range(0, mixture.shape[1] - length // 2, max(length // 2, 1)):
        blocks = (waveform[:, start : start + length] for waveform in (estimate, mixture))
        late, early = (rfft(block * window[: block.shape[1]], LAG_BLOCK, axis=1) for block in blocks)
        cross += np.sum(late * early.conj(), axis=0)
        of_estimate += np.sum(np.abs(late) ** 2, axis=0)
        of_mixture += np.sum(np.abs(early) ** 2, axis=0)
    level = np.sqrt(of_estimate * of_mixture)
    if not level.any():
        return 0
    plain, whitened = (
        np.abs(np.roll(irfft(spectrum, LAG_BLOCK), LARGEST_LAG)[: 2 * LARGEST_LAG + 1])
        for spectrum in (cross, cross / (level + 1e-9 * level.max()))
    )
    peak = int(whitened.argmax())
    lag = peak - LARGEST_LAG
    width = DULL_PEAK if abs(lag) > 2 * DULL_PEAK else SHARP_PEAK
    others = np.delete(whitened, slice(max(peak - width, 0), peak + width + 1))
    highest_other = max(others.max(), whitened[LARGEST_LAG] if lag else 0)
    if whitened[peak] > PROMINENCE * highest_other and (not lag or plain[peak] > plain[LARGEST_LAG]):
        return lag
    norm = math.sqrt(irfft(of_estimate)[0] * irfft(of_mixture)[0])
    return None if plain.max() > max(1.25 * plain[LARGEST_LAG], 0.1 * norm) else 0


def find_estimates(folder: Path, target: str, songs: Collection[str], others: Collection[str] = ()) -> dict[str, Path]:
    """The file with each song's estimate of `target`, anywhere below `folder`; songs without one are left out.

    Taken are, of any audio format and with folders in between: `<song>/<target>.wav` (Demucs, Spleeter, MSST, museval,
    vocalremix separate), `<song>_<model>/<target>.wav` (Open-Unmix); `<song>_(Vocals).wav` with UVR's number and model
    before it and audio-separator's model after it; `<song>_vocals.wav`, `vocals_<song>.wav`, also with a model after
    the song or the target, and with a space, hyphen or dot for the underscore, as templates of Demucs, MSST and
    Spleeter may have it; `<target>/<song>.wav`; and where there is none of these, `<song>.wav`.

    Names have to be whole ("Song" is not "Song 2"), as they are or as audio-separator cleans them; a file that fits two
    songs, `others` among them, belongs to the one with the longer name. Only an underscore can join a model, which is
    no number, and only where no file goes without: else `Song_live` would pass for `Song`. Raises InputError that lists
    them where there are several files for a song: which separator is meant?
    """
    return {song: found.path for song, found in _search(folder, target, songs, others)[0].items()}


@dataclass(frozen=True)
class _Found:
    """A file, whose it is, what else its name holds before the target, and whether it only has the song's name."""

    path: Path
    song: str
    tag: str
    is_plain: bool = False


def _search(
    folder: Path, target: str, songs: Collection[str], others: Collection[str]
) -> tuple[dict[str, _Found], list[Path]]:
    """The file of each song, and those of none, the latter as paths below `folder`."""
    names = _keys([*songs, *others])
    found, strays = [], []
    for path in _audio_files(folder, names, (folder.resolve(),)):
        inside = path.relative_to(folder)
        reading = _read_name(path, inside, target, names)
        if reading:
            found.append(reading)
        else:
            strays.append(inside)
    tags = {one.tag for one in found if not one.is_plain}
    # Song_live_umxhq beside B_umxhq is another song's, of the model umxhq
    models = {""} & tags or {tag for tag in tags if not any(tag.endswith(f"_{other}") for other in tags)}
    candidates: dict[tuple[str, bool], dict[Path, _Found]] = defaultdict(dict)
    for one in found:
        if one.is_plain or one.tag in models:
            candidates[one.song, one.is_plain].setdefault(one.path.resolve(), one)
        else:
            strays.append(one.path.relative_to(folder))
    chosen = {}
    for song in songs:
        equals = list((candidates[song, False] or candidates[song, True]).values())
        if len(equals) > 1:
            raise InputError(
                f"{folder}: {len(equals)} files could be {target} of {song}: "
                f"{', '.join(str(one.path.relative_to(folder)) for one in equals)}; name a folder that holds one of "
                "them only"
            )
        if equals:
            chosen[song] = equals[0]
    return chosen, strays


def _audio_files(folder: Path, names: Mapping[str, str], above: tuple[Path, ...]) -> Iterator[Path]:
    """All audio below a folder, through links too; not what systems keep there, unless it has a song's name."""
    try:
        paths = listed(folder)
    except OSError as error:
        raise unreadable(folder, error) from error
    for path in paths:
        if path.is_dir():
            whole = path.resolve()
            is_song = _split(spelled(path.name), names)
            if whole not in above and (is_song or not HOUSEKEEPING.fullmatch(path.name)):
                yield from _audio_files(path, names, (*above, whole))
        elif path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("._"):
            yield path


def _keys(songs: Collection[str]) -> dict[str, str]:
    """Songs by all spellings of their names; one that is another song's name stays that one's."""
    cleaned = [(re.sub(r"_+", "_", re.sub(r'[<>:"/\\|?*]', "_", spelled(song))).strip("_. "), song) for song in songs]
    shared = Counter(key for key, _ in cleaned)
    return {key: song for key, song in cleaned if key and shared[key] == 1} | {spelled(song): song for song in songs}


def _read_name(path: Path, inside: Path, target: str, names: Mapping[str, str]) -> _Found | None:
    """Whose estimate of the target a file is by its path; None where it does not say, or is something else."""
    folders, stem = [spelled(name) for name in inside.parts[:-1]], spelled(inside.stem)
    in_song = _song_of_folders(folders, names)
    if in_song and stem.lower() in LABELS:  # a song may be called "Other"
        return _Found(path, *in_song) if stem.lower() == target else None
    if split := _split(stem, names):
        song, rest = split
        if label := _label(rest):
            return _Found(path, song, label[1]) if label[0] == target else None
        if folders and folders[-1].lower() == target and (tag := _tag(rest)) is not None:
            return _Found(path, song, tag)
        is_of_another = bool(folders) and folders[-1].lower() in OTHER_SOURCES
        return None if rest or is_of_another else _Found(path, song, "", is_plain=True)
    label = _label(MIXTURE.sub("", f"_{stem}"))
    if in_song and label and label[0] == target:
        return _Found(path, in_song[0], "_".join(filter(None, (in_song[1], label[1]))))
    return None


def _song_of_folders(folders: list[str], names: Mapping[str, str]) -> tuple[str, str] | None:
    """The song of the nearest folder with its name, else of the nearest with a model too; and the model."""
    found = [
        (song, tag)
        for song, rest in filter(None, (_split(name, names) for name in reversed(folders)))
        if (tag := _tag(rest)) is not None
    ]
    return next((one for one in found if not one[1]), found[0] if found else None)


def _split(name: str, names: Mapping[str, str]) -> tuple[str, str] | None:
    """The song with the longest name that `name` begins with, and the rest; numbers and labels may come first."""
    found = []
    for start, label in _starts(name):
        for end in range(len(name), start, -1):
            if name[start:end] in names and name[end : end + 1] in ("", "(", *SEPARATORS):
                rest = name[end:]
                suffix = SUFFIX.match(rest)
                rest = rest[suffix.end() :] if suffix else rest
                found.append((end - start, names[name[start:end]], f"_{label}{rest}" if label else rest))
                break
    return max(found, key=lambda one: one[0])[1:] if found else None


def _starts(name: str) -> Iterator[tuple[int, str]]:
    """Where a song's name may begin, and the label before it."""
    yield 0, ""
    numbers = re.match(r"(\d+_)*", name)  # UVR numbers the files of a batch
    for underscore in re.finditer("_", numbers[0] if numbers else ""):
        yield underscore.end(), ""
    if label := re.match(rf"\(?({'|'.join(LABELS)})\)?[{SEPARATORS}]+", name, re.IGNORECASE):
        yield label.end(), label[1]


def _label(rest: str) -> tuple[str, str] | None:
    """The source that the rest of a name speaks of, and the model before it; None where it is none or several."""
    in_brackets = [match for match in re.finditer(r"\(([^()]*)\)", rest) if match[1].lower() in LABELS]
    if in_brackets:
        label, before = in_brackets[-1][1].lower(), rest[: in_brackets[-1].start()]
        is_one = len({match[1].lower() for match in in_brackets}) == 1
    else:
        words = re.match(rf"(.*?)[{SEPARATORS}]+({'|'.join(LABELS)})(_.*)?$", rest, re.IGNORECASE)
        if not words:
            return None
        label, before = words[2].lower(), words[1]
        is_one = {*_words(rest)} & LABELS == {label}
    tag = _tag(before.rstrip(SEPARATORS), label)
    return (label, tag) if is_one and tag is not None else ("", "")


def _tag(rest: str, label: str = "") -> str | None:
    """The model that an underscore joins to a song's name, "" for none; None where it is no model's name.

    A model may be named after the source that it gives, such as kuielab_a_vocals.
    """
    if not (words := {*_words(rest)}):
        return ""
    names_model = bool(words - {label}) and not (words - {label}) & (LABELS | ANOTHER)
    is_model = rest.startswith("_") and not rest[1:].isdecimal() and names_model
    return rest[1:] if is_model else None


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^\w]|_", name.lower()) if word]


def _shown(files: list[Path]) -> str:
    more = f" and {len(files) - SHOWN_FILES:,} more" if len(files) > SHOWN_FILES else ""
    return ", ".join(map(str, files[:SHOWN_FILES])) + more


def _seconds(waveform: Waveform) -> str:
    return f"{waveform.shape[1] / SAMPLE_RATE:.2f} s"
