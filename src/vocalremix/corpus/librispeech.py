"""Speech: a LibriSpeech tree or any folder of utterances, resampled to one file per speaker."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from vocalremix.audio.reading import plain_name, read, read_header
from vocalremix.audio.waveform import resample, resampled_length
from vocalremix.audio.writing import create_pcm16
from vocalremix.corpus import AUDIO_SUFFIXES, readable
from vocalremix.corpus.archive import obtain
from vocalremix.util.errors import InputError
from vocalremix.util.files import link_or_copy, publish
from vocalremix.util.imports import deciding_files
from vocalremix.util.pieces import Piece, made
from vocalremix.util.values import SAMPLE_RATE

# 16 kHz FLAC against what it is packed in (nothing is gained), and against 44.1 kHz PCM16
UNPACKED_SIZE = 1.1
RESAMPLED_SIZE = 5.5
SPEECH, TABLE = "speech.wav", "utterances.csv"


@dataclass(frozen=True, order=True)
class Utterance:
    """One file of speech; `name` is its path below the corpus."""

    speaker: str
    name: str
    path: Path


def obtain_librispeech(path: Path, url: str, sha256: str, scratch: Path, keep_archive: bool) -> None:
    """Fetch a part of LibriSpeech to `path`, if nothing is there; `archive.obtain` tells how, and its InputError.

    `path` becomes the folder of the speakers. Every header is read before it appears.
    """
    obtain(
        path,
        url,
        sha256,
        scratch,
        pattern="*/*/*.flac",
        check=_check_headers,
        keep_archive=keep_archive,
        unpacked=UNPACKED_SIZE,
        later=RESAMPLED_SIZE,
    )


def utterances(source: Path) -> list[Utterance]:
    """All utterances below `source`, sorted by speaker and name.

    The speaker is LibriSpeech's id where a file is called <speaker>-<chapter>-<number>, else the name of the folder
    that holds the file. Raises InputError where there is none.
    """
    files = [
        path
        for path in source.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file() and path.name[0] != "."
    ]
    if not files:
        raise InputError(
            f"{source}: no speech found; corpus.speech.path of the profile has to name a LibriSpeech tree or a folder "
            "of audio files (wav, flac, ogg, ...); corpus.speech.download can fetch one, as in profiles/thesis.yaml"
        )
    return sorted(
        Utterance(readable(_speaker(path)), readable(path.relative_to(source).as_posix()), path) for path in files
    )


def write_listing(source: Path, destination: Path) -> None:
    """Write `<destination>/listing.csv`: speaker, utterance and n_bytes of every file below `source`, which stays.

    Raises InputError where there is no utterance.
    """
    rows = [(spoken.speaker, spoken.name, spoken.path.stat().st_size) for spoken in utterances(source)]
    with publish(destination) as partial:
        partial.mkdir()
        pd.DataFrame(rows, columns=["speaker", "utterance", "n_bytes"]).to_csv(partial / "listing.csv", index=False)


def resample_corpus(
    source: Path, destination: Path, sample_rate: int = SAMPLE_RATE, *, scratch: Path, jobs: int = -1
) -> None:
    """Write `<speaker>.wav` (mono PCM16, all utterances end to end) and utterances.csv to `destination`.

    More of a speaker than the 4 GiB of WAV, 13.5 hours, and what has no length in its header becomes RF64. The
    table's columns are speaker, utterance, start_sample, n_samples and peak, the largest absolute value of what is
    stored, in 0..1. Speakers are worked on in parallel, one utterance in memory at a time; what `scratch` keeps of
    them spares the next call all that have not changed. Raises InputError where there is no utterance, and for one
    that is unreadable, silent, NaN or infinite.
    """
    groups = itertools.groupby(utterances(source), key=lambda utterance: utterance.speaker)
    spoken = {speaker: tuple(group) for speaker, group in groups}
    pieces = [
        Piece(
            partial(_resample_speaker, group, sample_rate),
            (*(utterance.path for utterance in group), *deciding_files(Path(__file__))),
            (speaker, [utterance.name for utterance in group], sample_rate),
        )
        for speaker, group in spoken.items()
    ]
    with publish(destination) as root, made(pieces, scratch, "resample", "speaker", jobs) as paths:
        root.mkdir()
        for speaker, path in zip(spoken, paths, strict=True):
            link_or_copy(path / SPEECH, root / f"{speaker}.wav")
        text = {"speaker": str, "utterance": str}
        tables = [pd.read_csv(path / TABLE, dtype=text, keep_default_na=False) for path in paths]
        pd.concat(tables).to_csv(root / TABLE, index=False)


def _check_headers(source: Path) -> None:
    for utterance in utterances(source):
        try:
            n_samples = soundfile.info(plain_name(utterance.path)).frames
        except soundfile.LibsndfileError as error:
            raise InputError(f"{utterance.path}: not a FLAC file ({error.error_string})") from error
        if n_samples == 0:
            raise InputError(f"{utterance.path}: holds no audio")


def _speaker(path: Path) -> str:
    match = re.fullmatch(r"(\d+)-\d+-\d+", path.stem)
    return match[1] if match else path.parent.resolve().name


def _n_samples(spoken: Sequence[Utterance], sample_rate: int) -> int | None:
    """The length of all utterances at `sample_rate`; None where only decoding tells."""
    total = 0
    for utterance in spoken:
        header = read_header(utterance.path)
        if header.n_samples is None:
            return None
        total += resampled_length(header.n_samples, header.sample_rate, sample_rate)
    return total


def _resample_speaker(spoken: Sequence[Utterance], sample_rate: int, folder: Path) -> None:
    rows = []
    folder.mkdir()
    with create_pcm16(folder / SPEECH, sample_rate, 1, _n_samples(spoken, sample_rate)) as file:
        for utterance in spoken:
            waveform, from_rate = read(utterance.path)
            mono = resample(waveform.mean(axis=0, keepdims=True), from_rate, sample_rate)[0]
            # Resampling can overshoot full scale; every use normalises by the peak, so a gain costs nothing.
            steps = np.rint(mono * (32767 / max(1.0, float(np.abs(mono).max())))).astype(np.int16)
            peak = int(np.abs(steps).max())
            if peak == 0:
                raise InputError(f"{utterance.path}: silent; remove it")
            rows.append((utterance.speaker, utterance.name, file.tell(), len(steps), peak / 32768))
            file.write(steps)
    columns = ["speaker", "utterance", "start_sample", "n_samples", "peak"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / TABLE, index=False)
