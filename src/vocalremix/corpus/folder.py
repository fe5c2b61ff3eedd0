"""A folder of songs as a user has them: any format, any sample rate, with or without train/valid/test parts."""

import difflib
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from vocalremix.audio.reading import read, read_header
from vocalremix.audio.waveform import Waveform, refuse_surround, resample, resampled_length, to_stereo
from vocalremix.audio.writing import map_pcm16, write_pcm16
from vocalremix.corpus import AUDIO_SUFFIXES, PARTS, equal_length, readable, refuse_doubles, song_folders, spelled
from vocalremix.util.errors import InputError
from vocalremix.util.files import link_or_copy, publish
from vocalremix.util.values import SAMPLE_RATE, STEMS

# A lossless mixture stays below -60 dB, a lossy one near -30 dB; a mixture one dB louder than the sum makes -18 dB.
MIXTURE_TOLERANCE_DB = -25.0
LONGEST_NAME = 250
"""Bytes; file systems allow 255, and an excerpt is called <song>.flac."""

log = logging.getLogger(__name__)


def import_folder(
    source: Path,
    destination: Path,
    valid: Sequence[str] = (),
    test: Sequence[str] = (),
    link: bool = False,
    jobs: int = -1,
) -> None:
    """Bring `<song>/{vocals,drums,bass,other}.*` of `source` to our layout at `destination`.

    `source` may hold the songs in folders train, valid and test. The songs named in `valid` and `test` move there;
    every other song stays in its part, which is train where `source` has no parts. A `mixture` beside the stems is
    compared with their sum, with a warning beyond MIXTURE_TOLERANCE_DB, and not copied. A song whose stems exceed full
    scale is made quieter as a whole, with a warning. With `link`, files that are in the layout's format already take no
    room a second time, where the file system allows; DVC will make them read-only.

    Raises InputError (where headers tell, before any song is decoded) for: no songs, an unknown name in `valid` or
    `test`, a song in two parts, an empty part, a missing stem, two files for one stem, more than two channels,
    stems of unequal length, a file that is unreadable, truncated, NaN or infinite.
    """
    found = _find_songs(source)
    names = [_name(folder) for _, folder in found]
    parts = assign_parts([(part, name) for (part, _), name in zip(found, names, strict=True)], source, valid, test)
    stems = [check_stems(folder) for _, folder in found]
    with publish(destination) as partial:
        tasks = [
            delayed(_import_song)(files, _audio_file(folder, "mixture"), partial / part / name, link)
            for part, name, files, (_, folder) in zip(parts, names, stems, found, strict=True)
        ]
        imported = Parallel(n_jobs=jobs, return_as="generator")(tasks)
        progress = tqdm(imported, total=len(tasks), desc="import", unit="song")
        for (_, folder), (gain, residual_db) in zip(found, progress, strict=True):
            warn_of_gain(folder, gain)
            if residual_db > MIXTURE_TOLERANCE_DB:
                log.warning("%s: mixture minus sum of stems is at %.0f dB of the mixture", folder, residual_db)


def assign_parts(
    found: Sequence[tuple[str, str]], source: Path, valid: Sequence[str], test: Sequence[str]
) -> list[str]:
    """The final part of each song, given as (part or "", name) in the order of `found`; raises InputError."""
    refuse_doubles(found, source)
    names = {spelled(name) for _, name in found}
    goals: dict[str, str] = {}
    for goal, chosen in (("valid", valid), ("test", test)):
        for name in chosen:
            if spelled(name) not in names:
                close = difflib.get_close_matches(spelled(name), names) or sorted(names)[:5]
                raise InputError(f"corpus.music.{goal}: no song {name!r} in {source}; is it {' or '.join(close)}?")
            if goals.setdefault(spelled(name), goal) != goal:
                raise InputError(f"corpus.music: {name} is named in valid and in test; keep it in one of them")
    parts = []
    for part, name in found:
        goal = goals.get(spelled(name), part or "train")
        if part not in ("", "train", goal):
            raise InputError(f"corpus.music.{goal}: {name} lies in {source / part}; keep it in one of the two")
        parts.append(goal)
    for part in PARTS:
        if part not in parts:
            remedy = "leave some songs out of corpus.music.valid and corpus.music.test"
            if part != "train":
                remedy = f"name some in corpus.music.{part} of the profile"
            raise InputError(f"{source}: no song for {part}; {remedy}")
    return parts


def _name(folder: Path) -> str:
    """What a song is called in the layout: its folder's name, as text that leaves room for a suffix."""
    name = readable(folder.name)
    if len(name.encode()) > LONGEST_NAME:
        raise InputError(f"{folder}: the name has {len(name.encode())} bytes; shorten it to {LONGEST_NAME}")
    return name


def _find_songs(source: Path) -> list[tuple[str, Path]]:
    """Each song's part, "" where the source has no parts, and folder."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; corpus.music.path of the profile has to name a folder of songs")
    found = song_folders(source)
    if not found:
        raise InputError(f"{source}: no songs; expected <song>/{{{','.join(STEMS)}}}.wav (or flac, ogg, mp3, ...)")
    return found


def _audio_file(folder: Path, name: str) -> Path | None:
    """The one audio file in `folder` called `name`, whatever its suffix."""
    files = sorted(
        path for path in folder.iterdir() if path.stem.lower() == name and path.suffix.lower() in AUDIO_SUFFIXES
    )
    if len(files) > 1:
        raise InputError(f"{folder}: two files for {name}: {files[0].name} and {files[1].name}; remove one")
    return files[0] if files else None


def check_stems(folder: Path) -> dict[str, Path]:
    """The stems' files, with everything that their headers tell checked."""
    files = {}
    lengths = {}
    for stem in STEMS:
        path = _audio_file(folder, stem)
        if path is None:
            raise InputError(f"{folder}: missing stem {stem}; expected {stem}.wav (or flac, ogg, mp3, ...)")
        files[stem] = path
        header = read_header(path)
        refuse_surround(header.channels, str(path))
        if header.n_samples is not None:
            lengths[stem] = resampled_length(header.n_samples, header.sample_rate, SAMPLE_RATE)
    if lengths:
        equal_length(lengths, folder)
    return files


def _import_song(files: dict[str, Path], mixture: Path | None, destination: Path, link: bool) -> tuple[float, float]:
    """Write a song's stems one after the other.

    Returns the song's gain, below 1 where its stems exceed full scale, and the mixture's residual in dB, -inf without
    a mixture.
    """
    destination.mkdir(parents=True)
    gain = full_scale_gain(max(_store(path, destination / f"{stem}.wav", link) for stem, path in files.items()))
    if gain < 1:
        for stem, path in files.items():
            # it may be a link to the user's own file
            (destination / f"{stem}.wav").unlink()
            write_pcm16(destination / f"{stem}.wav", np.float32(gain) * _decode(path))
    stored = [destination / f"{stem}.wav" for stem in files]
    lengths = {path.stem: len(map_pcm16(path)) for path in stored}
    n_samples = equal_length(lengths, next(iter(files.values())).parent)
    if mixture is None:
        return gain, -np.inf
    residual = np.float32(gain) * _decode(mixture)
    if residual.shape[1] != n_samples:
        raise InputError(f"{mixture}: {residual.shape[1]} samples, but the stems have {n_samples}; remove or mend it")
    power = np.square(residual).sum()
    for path in stored:
        residual -= map_pcm16(path).T * np.float32(1 / 32768)
    return gain, float(10 * np.log10((np.square(residual).sum() + 1e-10) / (power + 1e-10)))


def _store(path: Path, destination: Path, link: bool) -> float:
    """Write one stem as it is; returns its peak, 1 at most where it is in the layout's format already."""
    if _is_in_layout(path):
        _place(path, destination, link)
        return 1.0
    waveform = _decode(path)
    write_pcm16(destination, waveform)
    return float(np.abs(waveform).max())


def full_scale_gain(peak: float) -> float:
    """The gain for a whole song whose stems have this peak: 1, or what makes them fit 16 bits unclipped."""
    return 32767 / 32768 / peak if peak > 1 else 1.0


def warn_of_gain(song: Path | str, gain: float) -> None:
    """Say so where a song was made quieter as a whole."""
    if gain < 1:
        log.warning("%s: beyond full scale, so all stems are made %.2f dB quieter", song, -20 * np.log10(gain))


def _place(path: Path, destination: Path, link: bool) -> None:
    # the files of somebody else are theirs to change
    if link and path.stat().st_uid == os.geteuid():
        link_or_copy(path.resolve(), destination)
    else:
        shutil.copyfile(path, destination)


def _is_in_layout(path: Path) -> bool:
    """Whether a file can be copied as it is, which keeps every bit and is fastest."""
    try:
        return bool(map_pcm16(path).shape[1] == 2)
    except InputError:
        return False


def _decode(path: Path) -> Waveform:
    waveform, sample_rate = read(path)
    return to_stereo(resample(waveform, sample_rate, SAMPLE_RATE), str(path))
