"""Folders of estimates that any separator left: which file is whose, and what it holds."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from vocalremix.audio import SAMPLE_RATE, STEMS, Waveform, read, resample, to_stereo
from vocalremix.corpus import AUDIO_SUFFIXES, spelled
from vocalremix.errors import InputError

TOLERANCE_S = 0.1
"""By how much an encoder may have lengthened or shortened an estimate."""
OTHER_SOURCES = {*STEMS, "mixture", "accompaniment", "instrumental"}


class Estimates:
    """A folder of estimates of `target` for `songs`, made by any separator; see `find_estimates`."""

    sad = None  # files do not tell what they were trained on

    def __init__(self, folder: Path, target: str, songs: Collection[str], others: Collection[str]) -> None:
        self._files = find_estimates(folder, target, songs, others)
        self._conversions: Counter[str] = Counter()
        if not self._files:
            raise InputError(
                f"{folder}: no {target} of any of the {len(songs)} songs, such as {min(songs)}; expected "
                f"<song>/{target}.wav, <song>_({target.capitalize()}).wav or <song>.wav (or flac, mp3, ...) in it"
            )

    def has(self, song: str) -> bool:
        """Whether a file was found."""
        return song in self._files

    def estimate(self, song: str, mixture: Waveform) -> Waveform:
        """What the file holds; raises InputError where it is not as long as the song."""
        path = self._files[song]
        raw, sample_rate = read(path)
        waveform = to_stereo(resample(raw, sample_rate, SAMPLE_RATE), str(path))
        lacking = mixture.shape[1] - waveform.shape[1]
        if abs(lacking) > TOLERANCE_S * SAMPLE_RATE:
            raise InputError(
                f"{path}: {_seconds(waveform)}, but {song} lasts {_seconds(mixture)}; an estimate has to be as long as "
                f"its song in --songs, to {TOLERANCE_S:g} s"
            )
        for applies, conversion in (
            (sample_rate != SAMPLE_RATE, f"resampled from {sample_rate} Hz"),
            (len(raw) == 1, "mono, taken for both channels"),
            (lacking != 0, f"cut or padded at the end, by at most {TOLERANCE_S:g} s"),
        ):
            self._conversions[conversion] += applies
        return np.pad(waveform, ((0, 0), (0, max(lacking, 0))))[:, : mixture.shape[1]]

    def notes(self) -> list[str]:
        """How many estimates were converted, and how."""
        return [f"{counted(n, 'estimate')} {conversion}" for conversion, n in self._conversions.items() if n]


def find_estimates(folder: Path, target: str, songs: Collection[str], others: Collection[str] = ()) -> dict[str, Path]:
    """The file with each song's estimate of `target`, anywhere below `folder`; songs without one are left out.

    Taken are, of any audio format: `<song>/<target>.wav`, also with folders in between (Demucs, Open-Unmix, Spleeter,
    museval, vocalremix separate); `<song>_(Vocals).wav` with what UVR puts before and after it, `<song>_vocals.wav`,
    `<song> - vocals.wav`; `<target>/<song>.wav`; and where there is none of these, `<song>.wav`. Names have to be
    whole ("Song" is not "Song 2"); a file that fits two songs, `others` among them, belongs to the one with the
    longer name. Raises InputError that lists them where there are several for a song: which separator is meant?
    """
    names = {spelled(song): song for song in (*others, *songs)}
    labelled, plain = defaultdict(list), defaultdict(list)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        is_visible = not any(name.startswith(".") for name in inside.parts)
        if is_visible and path.suffix.lower() in AUDIO_SUFFIXES:
            if song := _song_of_labelled(inside, target, names):
                labelled[song].append(inside)
            elif song := _song_of_plain(inside, names):
                plain[song].append(inside)
    files = {}
    for song in songs:
        if candidates := labelled[song] or plain[song]:
            if len(candidates) > 1:
                raise InputError(
                    f"{folder}: {len(candidates)} files could be {target} of {song}: "
                    f"{', '.join(map(str, candidates))}; name a folder that holds one of them only"
                )
            files[song] = folder / candidates[0]
    return files


def _song_of_labelled(file: Path, target: str, names: Mapping[str, str]) -> str | None:
    """The song of a file whose name or folder says that it holds the target."""
    folders = [spelled(name) for name in file.parts[:-1]]
    stem = spelled(file.stem)
    of_folder = next((names[name] for name in reversed(folders) if name in names), None)
    if of_folder and stem.lower() == target:
        return of_folder
    match = re.fullmatch(rf"(.*[^ _-])[ _-]+(?:\({target}\).*|{target})", stem, re.IGNORECASE)
    if match:
        # UVR numbers the files of a batch
        for name in (match[1], re.sub(r"^\d+_", "", match[1])):
            if name in names:
                return names[name]
        if of_folder and match[1].lower() == "mixture":
            return of_folder
    return names.get(stem) if folders and folders[-1].lower() == target else None


def _song_of_plain(file: Path, names: Mapping[str, str]) -> str | None:
    """The song of a file that has its name, unless it lies with those of another source."""
    return None if file.parent.name.lower() in OTHER_SOURCES else names.get(spelled(file.stem))


def counted(n: int, noun: str) -> str:
    """A number and its noun, in the plural where there is not one."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _seconds(waveform: Waveform) -> str:
    return f"{waveform.shape[1] / SAMPLE_RATE:.2f} s"
