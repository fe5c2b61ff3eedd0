"""Tempo, beats and key of songs, so that remixes can put together what goes together."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocalremix.corpus import songs
from vocalremix.util.imports import deciding_files
from vocalremix.util.pieces import Piece, made
from vocalremix.util.values import SAMPLE_RATE
from vocalremix.windows.pulses import Pulse
from vocalremix.windows.sad import load

CHROMA_SAMPLES = 16384


def find_pulse(drums: npt.NDArray[np.float32], bass: npt.NDArray[np.float32], sample_rate: int = SAMPLE_RATE) -> Pulse:
    """Beats and tempo from the drums, the key from the bass's chroma (demucs, tools/automix), by librosa.

    Both are `(channels, samples)`. The tempo is that of the median time between beats.
    """
    import librosa

    beats_s: list[float] = []
    if drums.any():
        beats_s = librosa.beat.beat_track(y=drums.mean(axis=0), sr=sample_rate, units="time")[1].tolist()
    key = None
    if bass.any():
        chroma = librosa.feature.chroma_stft(
            y=bass.mean(axis=0), sr=sample_rate, n_fft=CHROMA_SAMPLES, hop_length=CHROMA_SAMPLES // 2, tuning=0
        )
        key = int(chroma.sum(axis=1).argmax())
    tempo_bpm = 60 / float(np.median(np.diff(beats_s))) if len(beats_s) > 2 else None
    return Pulse(tempo_bpm, beats_s if tempo_bpm else [], key)


def find_pulses(root: Path, *, scratch: Path, jobs: int = -1) -> dict[str, dict[str, Pulse]]:
    """That of each song of a corpus, by part and song; what `scratch` keeps is not made anew."""
    corpus = songs(root)
    pieces = [
        Piece(
            partial(_write, song.folder),
            (song.folder / "drums.wav", song.folder / "bass.wav", *deciding_files(Path(__file__))),
            (),
        )
        for song in corpus
    ]
    pulses: dict[str, dict[str, Pulse]] = {}
    with made(pieces, scratch, "beats", "song", jobs) as paths:
        for song, path in zip(corpus, paths, strict=True):
            pulses.setdefault(song.part, {})[song.name] = Pulse(*json.loads(path.read_text(encoding="utf-8")))
    return pulses


def _write(folder: Path, path: Path) -> None:
    pulse = find_pulse(load(folder / "drums.wav"), load(folder / "bass.wav"))
    path.write_text(json.dumps(pulse), encoding="utf-8")
