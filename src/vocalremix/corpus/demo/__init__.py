"""A corpus that needs no download: songs and speech synthesised here, the same for the same seed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from joblib import Parallel, delayed
from tqdm import tqdm

from vocalremix.audio.writing import write_pcm16
from vocalremix.corpus.demo.song import make_stems, plan_song
from vocalremix.corpus.demo.speech import SPEECH_RATE, speaker, utterance
from vocalremix.util.errors import InputError
from vocalremix.util.files import publish

MIN_DURATION_S = 6.0
MAX_DURATION_S = 600.0
SPEECH_SUBSET = "demo-clean"

# Keeps the random details of a song apart from those of its plan, and speakers apart from what they say.
DETAILS = 1


def make_music(
    destination: Path,
    n_train: int = 8,
    n_valid: int = 2,
    n_test: int = 4,
    duration_s: float = 30.0,
    seed: int = 0,
    jobs: int = -1,
) -> None:
    """Write songs as `<destination>/{train,valid,test}/<song>/{vocals,drums,bass,other}.wav`, 44.1 kHz stereo PCM16.

    Every song has its own key, tempo, singer, instruments and notes; song i of a seed is the same however many
    songs are asked for and whatever `jobs` is (up to the part it is in). `destination` appears whole or not at
    all. Raises InputError for counts, durations or seeds that make no sense.
    """
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    for part, count in counts.items():
        _check_count(f"number of {part} songs", count, least=0)
    if sum(counts.values()) == 0:
        raise InputError("demo corpus: no song asked for; set the number of train songs to at least 1")
    if not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise InputError(f"demo corpus: duration_s is {duration_s}, not {MIN_DURATION_S:g} to {MAX_DURATION_S:g}")
    _check_count("seed", seed, least=0)
    parts = [part for part, count in counts.items() for _ in range(count)]
    with publish(destination) as partial:
        tasks = (delayed(_write_song)(partial / part, seed, i, duration_s) for i, part in enumerate(parts))
        _run(tasks, len(parts), "songs", jobs)


def make_speech(destination: Path, n_speakers: int = 6, n_utterances: int = 8, seed: int = 0, jobs: int = -1) -> None:
    """Write `n_utterances` of each speaker as a LibriSpeech tree, 16 kHz mono FLAC, 3 to 6 s each.

    `<destination>/demo-clean/<speaker>/<chapter>/<speaker>-<chapter>-<nnnn>.flac`. Deterministic, whole or not at
    all, and validated as `make_music` is.
    """
    _check_count("number of speakers", n_speakers, least=1)
    _check_count("number of utterances", n_utterances, least=1)
    _check_count("seed", seed, least=0)
    with publish(destination) as partial:
        tasks = (
            delayed(_write_speaker)(partial / SPEECH_SUBSET, seed, index, n_utterances) for index in range(n_speakers)
        )
        _run(tasks, n_speakers, "speakers", jobs)


def _write_song(folder: Path, seed: int, index: int, duration_s: float) -> None:
    plan = plan_song(seed, index, duration_s)
    stems = make_stems(plan, np.random.default_rng((seed, index, DETAILS)))
    song = folder / plan.name
    song.mkdir(parents=True)
    for stem, waveform in stems.items():
        write_pcm16(song / f"{stem}.wav", waveform)


def _write_speaker(folder: Path, seed: int, index: int, n_utterances: int) -> None:
    voice = speaker(seed, index)
    name, chapter = str(1001 + index), str(100001 + index)
    (folder / name / chapter).mkdir(parents=True)
    for number in range(n_utterances):
        waveform = utterance(voice, np.random.default_rng((seed, index, DETAILS, number)))
        path = folder / name / chapter / f"{name}-{chapter}-{number:04d}.flac"
        soundfile.write(path, np.rint(waveform * 32768).astype(np.int16), SPEECH_RATE, subtype="PCM_16")


def _run(tasks: Iterable[tuple[Callable[..., None], Any, Any]], total: int, unit: str, jobs: int) -> None:
    if jobs == 0:
        raise InputError("demo corpus: jobs is 0; give a number of processes, or -1 for one on every core")
    done = Parallel(n_jobs=jobs, return_as="generator")(tasks)
    for _ in tqdm(done, total=total, desc="demo corpus", unit=f" {unit}"):
        pass


def _check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"demo corpus: {name} is {value!r}, not a whole number of at least {least}")
