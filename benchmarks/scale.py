"""Do the data stages grow with the corpus, and with nothing else? Growing corpora of short songs; docs/scale.md."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import soundfile
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.data_stages import STAGES
from benchmarks.page import line, machine, write
from benchmarks.race import duration, number
from vocalremix.report.figures import COLORS, STYLE, WIDTH_IN
from vocalremix.util.values import SAMPLE_RATE, STEMS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scale.md"
FIGURE = ROOT / "docs" / "images" / "scale.svg"
SIZES = (10, 20, 40, 80)
SONG_S = 15
LONG_SONG_S = 600
UTTERANCE_S = 12
# the stage that takes minutes is run once
REPEATS, SLOW = 3, "augment"
# enough that every worker has had one
WARM_UP_SONGS = 4
POLL_S = 0.02

# minutes of MUSDB18-HQ, of its copied songs (train and valid) and of LibriSpeech dev-clean; copies of each song
MUSDB_MIN, COPIED_MIN, SPEECH_MIN, COPIES = 590, 390, 323, 4
CORES = 16


@dataclass(frozen=True)
class Measured:
    """One stage on one corpus; `peak_mb` is of the process that needed most, rubberband's not counted."""

    stage: str
    songs: int
    seconds: float
    peak_mb: float
    disk_mb: float


def write_sources(root: Path, songs: int, song_s: int) -> None:
    """Songs in FLAC and one utterance for each, all different: noise that swells, mono vocals and no bass."""
    swell = np.sin(np.linspace(0, song_s * np.pi, song_s * SAMPLE_RATE, dtype=np.float32)) ** 2
    for song in range(songs):
        rng = np.random.default_rng(song)
        folder = root / "songs" / f"{song:03}"
        folder.mkdir(parents=True)
        noise = 0.1 * swell[:, None] * rng.standard_normal((len(swell), 5), dtype=np.float32)
        channels = {"vocals": [0, 0], "drums": [1, 2], "other": [3, 4]}
        for stem in STEMS:
            samples = noise[:, channels[stem]] if stem in channels else np.zeros((len(swell), 2), np.float32)
            soundfile.write(folder / f"{stem}.flac", samples, SAMPLE_RATE)
        (root / "speech" / str(song)).mkdir(parents=True)
        spoken = 0.1 * rng.standard_normal(UTTERANCE_S * 16000, dtype=np.float32)
        soundfile.write(root / "speech" / str(song) / "0.flac", spoken, 16000)


def write_corpora(root: Path, songs: int, song_s: int) -> None:
    """The corpus to measure, and beside it the few songs that the process warms up on."""
    write_sources(root / "corpus", songs, song_s)
    write_sources(root / "warm_up", WARM_UP_SONGS, min(song_s, SONG_S))


def measure(stage: str, root: Path, songs: int) -> Measured:
    """Run a stage in a process of its own on what `write_corpora` wrote; the seconds are those after the warm-up."""
    corpus = root / "corpus"
    before = on_disk(corpus)
    command = [sys.executable, "-m", "benchmarks.data_stages", stage, str(root / "warm_up"), str(corpus)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    peaks = [0]
    watch = threading.Thread(target=watch_memory, args=(psutil.Process(process.pid), peaks))
    watch.start()
    output, _ = process.communicate()
    watch.join()
    if process.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed")
    return Measured(stage, songs, json.loads(output), max(peaks) / 1e6, (on_disk(corpus) - before) / 1e6)


def watch_memory(process: psutil.Process, peaks: list[int]) -> None:
    """Append the resident memory of the process and of its Python workers until it ends."""
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        try:
            family = [process, *process.children(recursive=True)]
            peaks += [member.memory_info().rss for member in family if member.name() != "rubberband"]
        except psutil.Error:  # one has just ended
            continue
        time.sleep(POLL_S)


def on_disk(root: Path) -> int:
    """Bytes of all files below, those with several names once."""
    files = {stat.st_ino: stat.st_blocks * 512 for stat in (path.lstat() for path in root.rglob("*"))}
    return sum(files.values())


def measure_all(sizes: tuple[int, ...], song_s: int) -> list[Measured]:
    """Every stage on corpora of each size, all but the slow one on several: the median of the seconds."""
    found = []
    with tqdm(total=len(sizes) * (1 + REPEATS * (len(STAGES) - 1)), desc="scale") as progress:
        for songs in sizes:
            runs: dict[str, list[Measured]] = {stage: [] for stage in STAGES}
            for repeat in range(REPEATS):
                with tempfile.TemporaryDirectory() as folder:
                    write_corpora(Path(folder), songs, song_s)
                    for stage in [stage for stage in STAGES if repeat == 0 or stage != SLOW]:
                        progress.set_postfix_str(f"{stage}, {songs} songs")
                        runs[stage].append(measure(stage, Path(folder), songs))
                        progress.update()
            found += [sorted(of, key=lambda run: run.seconds)[len(of) // 2] for of in runs.values()]
    return found


def fit(rows: list[Measured]) -> tuple[float, float]:
    """Seconds at the start and seconds for each song, by least squares."""
    per_song, start = np.polyfit([row.songs for row in rows], [row.seconds for row in rows], 1)
    return float(start), float(per_song)


def table(found: list[Measured]) -> Iterator[str]:
    """Per stage and size: seconds, seconds per song, peak memory and disk per song; and the fitted line."""
    yield line(("stage", *(f"{size} songs" for size in SIZES), "fitted", "memory", "disk per song"))
    yield line(["---"] * (len(SIZES) + 4))
    for stage in STAGES:
        rows = [row for row in found if row.stage == stage]
        start, per_song = fit(rows)
        times = [f"{duration(row.seconds)} ({duration(row.seconds / row.songs)} each)" for row in rows]
        memory = f"{min(row.peak_mb for row in rows):.0f} to {max(row.peak_mb for row in rows):.0f} MB"
        disk = f"{number(rows[-1].disk_mb / rows[-1].songs)} MB" if rows[-1].disk_mb > 1 else "0"
        yield line((stage, *times, f"{number(start)} s + {duration(per_song)} each", memory, disk))


def prediction(found: list[Measured], cores: int) -> Iterator[str]:
    """What the lines say about MUSDB18-HQ with six copies of each song and dev-clean, on many cores."""
    song_min = SONG_S / 60
    minutes = {
        "import": MUSDB_MIN,
        "check": MUSDB_MIN,
        "index": MUSDB_MIN,
        "augment": COPIED_MIN * COPIES / 2,
        "resample": SPEECH_MIN * song_min / (UTTERANCE_S / 60),
    }
    yield line(("stage", f"on these {cores} cores", f"on {CORES} cores", "disk"))
    yield line(["---"] * 4)
    for stage, of in minutes.items():
        rows = [row for row in found if row.stage == stage]
        start, per_song = fit(rows)
        here = start + per_song * of / song_min
        disk_gb = rows[-1].disk_mb / rows[-1].songs * of / song_min / 1000
        there = start + per_song * of / song_min * cores / CORES
        yield line((stage, f"{here / 60:.0f} min", f"{there / 60:.1f} min", f"{disk_gb:.1f} GB"))


def long_song(song_s: int) -> Iterator[str]:
    """Peak memory of one process on songs of ten minutes."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpora(Path(folder), 3, song_s)
        rows = [measure(stage, Path(folder), 3) for stage in STAGES if stage != "resample"]
    yield line(("stage", f"memory of a process, songs of {song_s // 60} min"))
    yield line(["---"] * 2)
    for row in rows:
        yield line((row.stage, f"{row.peak_mb:.0f} MB"))


def draw(found: list[Measured]) -> None:
    """Seconds against songs, with the fitted lines."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for stage, color in zip(STAGES, COLORS, strict=False):
            rows = [row for row in found if row.stage == stage]
            start, per_song = fit(rows)
            axes.plot([row.songs for row in rows], [row.seconds for row in rows], "o", color=color, label=stage)
            axes.plot([0, max(SIZES)], [start, start + per_song * max(SIZES)], color=color, linewidth=1)
        axes.set_xlabel("songs")
        axes.set_ylabel("seconds")
        axes.set_yscale("symlog", linthresh=1)
        axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.15))
        figure.savefig(FIGURE, metadata={"Date": None, "Creator": None})


def main() -> None:
    """Measure, and write the page's tables and figure."""
    found = measure_all(SIZES, SONG_S)
    cores = len(os.sched_getaffinity(0))
    draw(found)
    parts = [[machine(cores)], table(found), prediction(found, cores), long_song(LONG_SONG_S)]
    write(PAGE, "\n\n".join("\n".join(part) for part in parts))


if __name__ == "__main__":
    main()
