"""Static copies of songs: pitch and tempo by Rubber Band, shifts as offsets into the song's own files.

The copies of the thesis (chapter 5: 2 pitch, 2 speed, 2 shift), with ranges after Jeon et al. 2024, arXiv 2402.18407.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyrubberband
from joblib import Parallel, delayed
from tqdm import tqdm

from vocalremix.audio import SAMPLE_RATE, STEMS, Waveform, map_pcm16, write_pcm16
from vocalremix.corpus import Song, songs
from vocalremix.errors import InputError
from vocalremix.files import publish
from vocalremix.sad import Rule, load, salient_starts

# One copy runs on one core, as many copies run at once as there are cores; gain is ours to choose (see _stretch).
RUBBERBAND_OPTIONS = {"--no-threads": "", "--ignore-clipping": ""}

Samples = npt.NDArray[np.int16]
Stretch = Callable[..., Samples]
FindStarts = Callable[[Waveform], list[int]]
Row = tuple[str, str, str, int]


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
    jobs: int = -1,
) -> None:
    """Copy the songs of train and valid that have a row in `windows`; those of test are never copied.

    Writes `<destination>/<part>/<song>/<copy>/<stem>.wav` for the copies pitch_<semitones> and tempo_<factor>, and
    `<destination>/windows.csv`: part, song, copy and start_sample of the copies' salient windows. A copy
    shift_<seconds> has windows only. Its audio is the song's, that much later, silent where the song has nothing:
    its start_sample counts in the song's files, where the window may begin before the first sample or end after the
    last. Raises InputError where the program rubberband is missing.
    """
    stretches: dict[str, Stretch] = {
        **{f"pitch_{n:+g}": partial(pyrubberband.pitch_shift, n_steps=n) for n in pitch_semitones},
        **{f"tempo_{rate:g}": partial(pyrubberband.time_stretch, rate=rate) for rate in tempo},
    }
    if stretches and shutil.which("rubberband") is None:
        raise InputError(
            "the program rubberband is not installed; install it: apt-get install rubberband-cli, or brew install "
            "rubberband"
        )
    chosen = set(zip(windows["part"], windows["song"], strict=True))
    originals = [song for song in songs(music) if song.part != "test" and (song.part, song.name) in chosen]
    find_starts = partial(salient_starts, rule=rule, window_s=window_s, step_s=step_s)
    with publish(destination) as root:
        root.mkdir()
        tasks = []
        for song in originals:
            for copy, stretch in stretches.items():
                tasks.append(delayed(_stretched_copy)(song, copy, stretch, root, target, find_starts))
            for seconds in shift_s:
                tasks.append(delayed(_shifted_copy)(song, f"shift_{seconds:+g}", seconds, target, find_starts))
        copies = Parallel(n_jobs=jobs, return_as="generator")(tasks)
        rows = [row for copy in tqdm(copies, total=len(tasks), desc="augment", unit="copy") for row in copy]
        pd.DataFrame(rows, columns=["part", "song", "copy", "start_sample"]).to_csv(root / "windows.csv", index=False)


def _stretched_copy(
    song: Song, copy: str, stretch: Stretch, root: Path, target: str, find_starts: FindStarts
) -> list[Row]:
    folder = root / song.part / song.name / copy
    folder.mkdir(parents=True)
    stems = [map_pcm16(song.folder / f"{stem}.wav") for stem in STEMS]
    for stem, stretched in zip(STEMS, _stretch(np.concatenate(stems, axis=1), stretch), strict=True):
        write_pcm16(folder / f"{stem}.wav", stretched)
    return [(song.part, song.name, copy, start) for start in find_starts(load(folder / f"{target}.wav"))]


def _stretch(samples: Samples, stretch: Stretch) -> list[Waveform]:
    """Stretch `(samples, stems x 2)` as one signal; returns `(2, samples)` in -1..1 for each stem.

    All stems go through Rubber Band together, because it places transients by what it hears: run by run, stems
    would drift apart. Half scale leaves room for peaks that grow on the way (pyrubberband passes 16 bits), and what
    still exceeds full scale turns down all stems alike, so their balance stays.
    """
    # Equal channels (silent stems, mono sources) are stretched once.
    channels = [channel.tobytes() for channel in samples.T]
    distinct = list(dict.fromkeys(channels))
    first = [channels.index(channel) for channel in distinct]
    halved = samples[:, first] // 2
    stretched = stretch(halved, SAMPLE_RATE, rbargs=dict(RUBBERBAND_OPTIONS))
    peak = 2 * int(np.abs(stretched.astype(np.int32)).max())
    scale = np.float32(2 / 32768 * min(1.0, 32767 / max(peak, 1)))
    order = [distinct.index(channel) for channel in channels]
    return [stretched[:, order[i : i + 2]].T * scale for i in range(0, len(order), 2)]


def _shifted_copy(song: Song, copy: str, shift_s: float, target: str, find_starts: FindStarts) -> list[Row]:
    shift = round(shift_s * SAMPLE_RATE)
    shifted = _shift(load(song.folder / f"{target}.wav"), shift)
    return [(song.part, song.name, copy, start - shift) for start in find_starts(shifted)]


def _shift(waveform: Waveform, shift: int) -> Waveform:
    """The same length, `shift` samples later, zeros where nothing is left."""
    n_samples = waveform.shape[1]
    padded = np.pad(waveform, ((0, 0), (max(shift, 0), max(-shift, 0))))
    return padded[:, :n_samples] if shift > 0 else padded[:, -shift : n_samples - shift]
