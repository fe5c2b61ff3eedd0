"""What does making a static copy cost beyond Rubber Band? `make_copies` beside the program alone."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from benchmarks.race import Row, duration, race
from vocalremix.audio.writing import map_pcm16, write_pcm16
from vocalremix.util.values import SAMPLE_RATE, STEMS
from vocalremix.windows.augment import make_copies

SEMITONES = 2
STEP = 1 / 32768


def write_song(root: Path, seconds: int) -> None:
    """A song of eight different channels, and all of them in one file at half scale."""
    rng = np.random.default_rng(0)
    swell = np.sin(np.linspace(0, seconds * np.pi, seconds * SAMPLE_RATE)) ** 2
    folder = root / "music" / "train" / "song"
    folder.mkdir(parents=True)
    for stem in STEMS:
        write_pcm16(folder / f"{stem}.wav", 0.05 * swell * rng.standard_normal((2, len(swell))))
    channels = np.concatenate([map_pcm16(folder / f"{stem}.wav") for stem in STEMS], axis=1)
    soundfile.write(root / "all.wav", channels // 2, SAMPLE_RATE, subtype="PCM_16")


def textbook(root: Path) -> None:
    """The program, from file to file."""
    options = ["--no-threads", "--ignore-clipping", "--pitch", str(SEMITONES)]
    command = ["rubberband", "-q", *options, str(root / "all.wav"), str(root / "stretched.wav")]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def ours(root: Path) -> None:
    """The copy with its windows, nothing kept from the last time."""
    shutil.rmtree(root / "scratch", ignore_errors=True)
    windows = pd.DataFrame([("train", "song", "", 0)], columns=["part", "song", "copy", "start_sample"])
    scratch = root / "scratch"
    make_copies(root / "music", windows, root / "copies", [SEMITONES], [], [], "vocals", scratch=scratch, jobs=1)


def check(root: Path) -> str:
    """Assert that both make the same copy; says how close."""
    textbook(root)
    ours(root)
    theirs = 2 * STEP * soundfile.read(root / "stretched.wav", dtype="int16")[0].astype(np.float64)
    folder = root / "copies" / "train" / "song" / f"pitch_+{SEMITONES}"
    copy = np.concatenate([map_pcm16(folder / f"{stem}.wav") for stem in STEMS], axis=1) * STEP
    np.testing.assert_allclose(copy, theirs, atol=STEP, rtol=0)
    return "the last bit" if np.array_equal(copy, theirs) else "half a step of 16 bits"


def rows() -> Iterator[Row]:
    """One row."""
    seconds = 20
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_song(root, seconds)
        agreement = check(root)
        times = race(partial(textbook, root), partial(ours, root))
        question = f"Pitch copy of {seconds} s of four stems, textbook: the program rubberband alone"
        program, copy = times.medians(duration)
        yield Row(question, program, copy, program, times.speedup, agreement)
