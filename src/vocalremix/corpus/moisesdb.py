"""MoisesDB (Pereira et al. 2023, arXiv 2307.15913), its tracks summed to the four stems: more songs to train on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from vocalremix.audio.reading import read
from vocalremix.audio.waveform import Waveform, resample, to_stereo
from vocalremix.audio.writing import write_pcm16
from vocalremix.corpus.folder import full_scale_gain, warn_of_gain
from vocalremix.util.errors import InputError
from vocalremix.util.values import SAMPLE_RATE, STEMS

# The 11 top-level stems of `taxonomy` and their grouping `mix_4_stems` in moisesdb/defaults.py of
# github.com/moises-ai/moises-db, where percussion is other.
STEM_OF = {
    "vocals": "vocals",
    "drums": "drums",
    "bass": "bass",
    "guitar": "other",
    "piano": "other",
    "percussion": "other",
    "bowed_strings": "other",
    "wind": "other",
    "other_plucked": "other",
    "other_keys": "other",
    "other": "other",
}


@dataclass(frozen=True)
class MoisesSong:
    """A song, named by its folder's uuid, and the files that make up each of the four stems."""

    name: str
    tracks: dict[str, list[Path]]


def find_songs(source: Path) -> list[MoisesSong]:
    """The songs at `source`, sorted by name: `<provider>/<uuid>/data.json` and the files it names.

    `source` may also be the provider's folder itself. Reads no audio. Raises InputError for: no songs, a data.json
    that is not MoisesDB's, a stem outside of its taxonomy, a missing file, a song that is there twice.
    """
    found = [_song(path) for path in sorted([*source.glob("*/data.json"), *source.glob("*/*/data.json")])]
    if not found:
        raise InputError(
            f"{source}: no songs of MoisesDB; corpus.music.moisesdb of the profile has to name the folder with "
            "moisesdb_v0.1/<uuid>/data.json; see https://github.com/moises-ai/moises-db"
        )
    names = [song.name for song in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{source}: {name} is there twice; remove one")
    return sorted(found, key=lambda song: song.name)


def import_songs(found: Sequence[MoisesSong], destination: Path, jobs: int = -1) -> None:
    """Write `<destination>/<uuid>/<stem>.wav` for every song, in the layout of every corpus.

    Tracks that end early are silent from there on, and a stem without tracks is silent; a song whose stems would clip
    is made quieter as a whole, with a warning. Raises InputError for a file that is unreadable, truncated, NaN,
    infinite or of more than two channels.
    """
    tasks = [delayed(_import_song)(song, destination / song.name) for song in found]
    done = Parallel(n_jobs=jobs, return_as="generator")(tasks)
    for song, gain in zip(found, tqdm(done, total=len(tasks), desc="MoisesDB", unit="song"), strict=True):
        warn_of_gain(song.name, gain)


def _song(description: Path) -> MoisesSong:
    tracks: dict[str, list[Path]] = {stem: [] for stem in STEMS}
    for name, path in _tracks(description):
        if name not in STEM_OF:
            raise InputError(f"{description}: {name!r} is no stem of MoisesDB; known are {', '.join(STEM_OF)}")
        if not path.is_file():
            raise InputError(f"{path}: missing, though {description.name} beside it names it; unpack MoisesDB again")
        tracks[STEM_OF[name]].append(path)
    if not any(tracks.values()):
        raise InputError(f"{description}: names no tracks; unpack MoisesDB again")
    return MoisesSong(description.parent.name, tracks)


def _tracks(description: Path) -> Iterator[tuple[str, Path]]:
    try:
        for stem in json.loads(description.read_text(encoding="utf-8"))["stems"]:
            for track in stem["tracks"]:
                file = f"{track['id']}.{track['extension']}"
                yield stem["stemName"], description.parent / stem["stemName"] / file
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{description}: not a song's description by MoisesDB ({error!r}); unpack it again") from error


def _import_song(song: MoisesSong, destination: Path) -> float:
    """Write a song's stems; returns its gain, below 1 where they exceed full scale."""
    summed = {stem: np.zeros((2, 0), dtype=np.float32) for stem in STEMS}
    for stem, paths in song.tracks.items():
        for path in paths:
            waveform, sample_rate = read(path)
            summed[stem] = _add(summed[stem], to_stereo(resample(waveform, sample_rate, SAMPLE_RATE), str(path)))
    n_samples = max(waveform.shape[1] for waveform in summed.values())
    peak = max(float(np.abs(waveform).max(initial=0)) for waveform in summed.values())
    gain = full_scale_gain(peak)
    destination.mkdir(parents=True)
    for stem, waveform in summed.items():
        write_pcm16(destination / f"{stem}.wav", np.float32(gain) * _padded(waveform, n_samples))
    return gain


def _add(left: Waveform, right: Waveform) -> Waveform:
    n_samples = max(left.shape[1], right.shape[1])
    return _padded(left, n_samples) + _padded(right, n_samples)


def _padded(waveform: Waveform, n_samples: int) -> Waveform:
    return np.pad(waveform, ((0, 0), (0, n_samples - waveform.shape[1])))
