"""The page's player: versions of an excerpt, played in step from files that need neither network nor server."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vocalremix.audio.spectrogram import HIGHEST_HZ, LOWEST_HZ, peak, save_spectrogram
from vocalremix.audio.waveform import Waveform
from vocalremix.util.values import SAMPLE_RATE

STEPS = 32768
# a track that needs more is next to silent, and its noise is nothing to listen to
MOST_GAIN = 10 ** (30 / 20)
TEMPLATES = Environment(
    loader=PackageLoader("vocalremix.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Track:
    """One version of an excerpt: `(channels, samples)` at 44.1 kHz.

    `usdr_db` is the excerpt's; None for the reference, NaN where it is not defined.
    """

    name: str
    waveform: Waveform
    usdr_db: float | None


@dataclass(frozen=True)
class Excerpt:
    """Versions of one window of a song, equally long; why it is here (`rule`) and what is to be known of its song."""

    song: str
    rule: str
    detail: str
    start_s: float
    tracks: tuple[Track, ...]

    def __post_init__(self) -> None:
        if len({track.waveform.shape[1] for track in self.tracks}) != 1:
            raise ValueError(f"{self.song}: tracks that play in step have one length")

    @property
    def duration_s(self) -> float:
        """The length that all tracks have."""
        return float(self.tracks[0].waveform.shape[1] / SAMPLE_RATE)


def write_listening(excerpts: Sequence[Excerpt], folder: Path) -> None:
    """Write what the players of `listening_html` load into an existing folder.

    Per excerpt there are `excerpt-<n>.js`, the tracks as 16-bit FLAC in base64, and `excerpt-<n>-<track>.webp`, their
    spectrograms on one colour scale; both count from 1. Tracks that would clip are made quieter together with all
    tracks of their excerpt.
    """
    for number, excerpt in enumerate(excerpts, 1):
        waveforms = playable([track.waveform for track in excerpt.tracks])
        # pages from file:// may not fetch, but they may run scripts beside them
        flacs = ",\n".join(f'"{base64.b64encode(_flac(waveform)).decode()}"' for waveform in waveforms)
        script = f"document.currentScript.tracks = [\n{flacs}\n];\n"
        (folder / f"excerpt-{number}.js").write_text(script, encoding="utf-8")
        loudest = max(map(peak, waveforms))
        for track, waveform in enumerate(waveforms, 1):
            save_spectrogram(waveform, folder / f"excerpt-{number}-{track}.webp", reference_peak=loudest)


def listening_html(excerpts: Sequence[Excerpt], folder: str) -> Markup:
    """A player per excerpt, for a page with the style and, after the players, the script that `asset` gives.

    `folder` is what `write_listening` filled, as seen from the page, with a slash at its end. The style takes the
    page's custom properties --ink, --muted, --paper, --panel, --line and --accent.
    """
    players = [
        {
            "number": number,
            "excerpt": excerpt,
            "start": _clock(excerpt.start_s),
            "end": _clock(excerpt.start_s + excerpt.duration_s),
            "audio": f"{folder}excerpt-{number}.js",
            "rows": [
                {
                    "name": track.name,
                    "usdr": _decibels(track.usdr_db),
                    "gain": gain,
                    "picture": f"{folder}excerpt-{number}-{position}.webp",
                }
                for position, (track, gain) in enumerate(
                    zip(excerpt.tracks, matched_gains(excerpt.tracks), strict=True), 1
                )
            ],
        }
        for number, excerpt in enumerate(excerpts, 1)
    ]
    frequencies = f"{LOWEST_HZ:.0f} Hz to {HIGHEST_HZ / 1000:.0f} kHz, mel scale"
    return Markup(TEMPLATES.get_template("listening.html.j2").render(players=players, frequencies=frequencies))


def asset(name: str) -> str:
    """The players' CSS (listening.css), or their JavaScript (listening.js), to run once after their HTML."""
    return Path(__file__).with_name("templates").joinpath(name).read_text(encoding="utf-8")


def playable(waveforms: Sequence[Waveform]) -> list[Waveform]:
    """Waveforms in 16-bit steps, all made quieter by one factor if any of them would clip."""
    loudest = max((float(np.abs(waveform).max(initial=0)) for waveform in waveforms), default=0.0)
    scale = min(1.0, (1 - 1 / STEPS) / loudest) if loudest else 1.0
    return [(np.rint(waveform * (scale * STEPS)) / STEPS).astype(np.float32) for waveform in waveforms]


def matched_gains(tracks: Sequence[Track]) -> list[float]:
    """Linear gains that play all tracks as loud as the reference, by RMS, without clipping.

    Where the reference's level would make a track clip, all are matched at a lower one. Silent tracks keep theirs, and
    no track is raised by more than 30 dB.
    """
    waveforms = playable([track.waveform for track in tracks])
    levels = [math.sqrt(np.mean(np.square(waveform, dtype=np.float64))) for waveform in waveforms]
    reference = next((level for track, level in zip(tracks, levels, strict=True) if track.usdr_db is None), levels[0])
    gains = [min(reference / level, MOST_GAIN) if reference and level else 1.0 for level in levels]
    loudest = max(gain * float(np.abs(waveform).max()) for gain, waveform in zip(gains, waveforms, strict=True))
    return [gain / max(loudest, 1.0) for gain in gains]


def _flac(waveform: npt.NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    steps = np.rint(waveform.T * STEPS).astype(np.int16)
    soundfile.write(file, steps, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _decibels(value_db: float | None) -> str:
    if value_db is None:
        return ""
    if math.isnan(value_db):
        return "–"
    return f"{value_db:.2f} dB".replace("inf", "∞").replace("-", "−")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
