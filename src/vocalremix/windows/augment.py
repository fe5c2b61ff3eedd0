"""Static copies of songs: pitch and tempo by Rubber Band, shifts as offsets into the song's own files.

The copies of the thesis (chapter 5: 2 pitch, 2 speed, 2 shift), with ranges after Jeon et al. 2024, arXiv 2402.18407.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyrubberband

from vocalremix.audio.writing import map_pcm16, write_pcm16
from vocalremix.corpus import Song, songs
from vocalremix.util.errors import InputError
from vocalremix.util.files import link_or_copy, publish
from vocalremix.util.imports import deciding_files
from vocalremix.util.pieces import Piece, made
from vocalremix.util.values import SAMPLE_RATE, STEMS
from vocalremix.windows.sad import Rule, read_starts, starts_piece

# One copy runs on one core, as many copies run at once as there are cores; gain is ours to choose (see _write_copy).
RUBBERBAND_OPTIONS = {"--no-threads": "", "--ignore-clipping": ""}

Samples = npt.NDArray[np.int16]
Stretch = Callable[..., Samples]


def make_copies(
    music: Path,
    windows: pd.DataFrame,
    destination: Path,
    pitch_semitones: Sequence[float],
    tempo: Sequence[float],
    shift_s: Sequence[float],
    target: str,
    rule: Rule = "amanteur",
    window_s: float = 6.0,
    step_s: float = 3.0,
    *,
    scratch: Path,
    jobs: int = -1,
) -> None:
    """Copy the songs of train and valid that have a row in `windows`; those of test are never copied.

    Writes `<destination>/<part>/<song>/<copy>/<stem>.wav` for the copies pitch_<semitones> and tempo_<factor>, and
    `<destination>/windows.csv`: part, song, copy and start_sample of the copies' salient windows. A copy
    shift_<seconds> has windows only. Its audio is the song's, that much later, silent where the song has nothing:
    its start_sample counts in the song's files, where the window may begin before the first sample or end after the
    last. The copies are links to those that `scratch` keeps, which the next call makes no second time. Raises
    InputError where the program rubberband is missing.
    """
    stretches: dict[str, Stretch] = {
        **{f"pitch_{n:+g}": partial(pyrubberband.pitch_shift, n_steps=n) for n in pitch_semitones},
        **{f"tempo_{rate:g}": partial(pyrubberband.time_stretch, rate=rate) for rate in tempo},
    }
    shifts = {f"shift_{seconds:+g}": round(seconds * SAMPLE_RATE) for seconds in shift_s}
    program = _rubberband_version() if stretches else ""
    chosen = set(zip(windows["part"], windows["song"], strict=True))
    originals = [song for song in songs(music) if song.part != "test" and (song.part, song.name) in chosen]

    def stretched(song: Song, copy: str) -> Piece:
        stems = tuple(song.folder / f"{stem}.wav" for stem in STEMS)
        inputs = (*stems, *deciding_files(Path(__file__)))
        return Piece(partial(_write_copy, stems, stretches[copy]), inputs, (copy, program))

    with publish(destination) as root:
        root.mkdir()
        pairs = list(product(originals, stretches))
        with made(
            [stretched(*pair) for pair in pairs], scratch / "audio", "augment", "copy", jobs, "processes"
        ) as paths:
            for (song, copy), path in zip(pairs, paths, strict=True):
                folder = root / song.part / song.name / copy
                folder.mkdir(parents=True)
                for stem in STEMS:
                    link_or_copy(path / f"{stem}.wav", folder / f"{stem}.wav")
        copies = list(product(originals, [*stretches, *shifts]))
        pieces = []
        for song, copy in copies:
            folder = song.folder if copy in shifts else root / song.part / song.name / copy
            pieces.append(starts_piece(folder / f"{target}.wav", rule, window_s, step_s, shifts.get(copy, 0)))
        with made(pieces, scratch / "starts", "index", "copy", jobs) as paths:
            rows = [
                (song.part, song.name, copy, start)
                for (song, copy), path in zip(copies, paths, strict=True)
                for start in read_starts(path)
            ]
        pd.DataFrame(rows, columns=["part", "song", "copy", "start_sample"]).to_csv(root / "windows.csv", index=False)


def _rubberband_version() -> str:
    if shutil.which("rubberband") is None:
        raise InputError(
            "the program rubberband is not installed; install it: apt-get install rubberband-cli, or brew install "
            "rubberband"
        )
    version = subprocess.run(["rubberband", "--version"], capture_output=True, encoding="utf-8")
    return (version.stdout + version.stderr).strip()


def _write_copy(stems: Sequence[Path], stretch: Stretch, folder: Path) -> None:
    """Stretch all stems as one signal and write them to `folder` under their names.

    All stems go through Rubber Band together, because it places transients by what it hears: run by run, stems
    would drift apart. Half scale leaves room for peaks that grow on the way (pyrubberband passes 16 bits), and what
    still exceeds full scale turns down all stems alike, so their balance stays.
    """
    halved, order = _distinct_channels(stems)
    stretched: Samples = stretch(halved, SAMPLE_RATE, rbargs=dict(RUBBERBAND_OPTIONS))
    del halved
    peak = 2 * max(int(stretched.max()), -int(stretched.min()))
    scale = np.float32(2 / 32768 * min(1.0, 32767 / max(peak, 1)))
    folder.mkdir()
    for stem, channels in zip(stems, order, strict=True):
        write_pcm16(folder / stem.name, stretched[:, channels].T * scale)


def _distinct_channels(stems: Sequence[Path]) -> tuple[Samples, list[list[int]]]:
    """The channels of all stems at half scale, `(samples, channels)`, and where in there those of each stem are.

    Equal channels (silent stems, mono sources) are there once, and so stretched once.
    """
    column: dict[bytes, int] = {}
    order: list[list[int]] = []
    n_samples, n_channels = len(map_pcm16(stems[0])), 2 * len(stems)
    halved = np.empty((n_samples, n_channels), np.int16)
    for stem in stems:
        order.append([])
        for channel in map_pcm16(stem).T:
            samples = np.ascontiguousarray(channel)
            place = column.setdefault(hashlib.sha256(samples.data).digest(), len(column))
            np.floor_divide(samples, 2, out=halved[:, place])
            order[-1].append(place)
    return np.ascontiguousarray(halved[:, : len(column)]), order
