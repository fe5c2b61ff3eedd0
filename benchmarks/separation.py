"""How long does separation take? `Separator` beside an overlap-add at the paper's hop.

`python -m benchmarks.separation CHECKPOINT` answers for any checkpoint folder, on the demo's kind of songs.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.floor import operations, product_rate
from benchmarks.page import line
from benchmarks.race import Row, closeness, duration, number, plain_process, race, without_bf16
from vocalremix.audio.waveform import Waveform
from vocalremix.config.params import read_yaml
from vocalremix.corpus.demo.song import make_stems, plan_song
from vocalremix.models.base import SeparationModel
from vocalremix.models.configs import BSRNNConfig
from vocalremix.models.registry import build
from vocalremix.scoring.metrics import usdr
from vocalremix.separation import CHUNK_SAMPLES, Separator
from vocalremix.training import checkpoint
from vocalremix.training.devices import has_bf16
from vocalremix.util.values import SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[1]
TRAINED = ROOT / "data/demo/runs/train_full"
PAPER_HOP_S = 0.5
# what is timed: samples of a chunk and seconds of a hop, None for the separator's own
SETTINGS = ((CHUNK_SAMPLES, PAPER_HOP_S), (None, None))
SONGS = 4
SONG_S = 30
PRECISIONS: tuple[Literal["32", "bf16"], ...] = ("32", "bf16")
SEED = 1  # the demo profile's songs have 0


def fresh_model(profile: str) -> SeparationModel:
    """The model of a profile with fresh weights."""
    settings = read_yaml(ROOT / f"profiles/{profile}.yaml")["model"]
    torch.manual_seed(0)
    return build(BSRNNConfig(**settings), "vocals")


def song(seconds: float, index: int = 0) -> tuple[Waveform, Waveform]:
    """Mixture and vocals of a demo song, `(channels, samples)`."""
    stems = make_stems(plan_song(SEED, index, seconds), np.random.default_rng((SEED, index)))
    mixture: Waveform = np.sum(list(stems.values()), axis=0)
    return mixture, stems["vocals"]


@torch.inference_mode()
def textbook(
    network: torch.nn.Module,
    mixture: Waveform,
    hop_samples: int,
    device: str = "cpu",
    window: npt.NDArray[np.floating] | None = None,
) -> Waveform:
    """Overlap-add of whole-song sums, one chunk at a time; windows (Hann's by default), divided by their sum."""
    waveform = torch.from_numpy(mixture).to(device)
    last = waveform.shape[1] - CHUNK_SAMPLES
    places = torch.arange(CHUNK_SAMPLES, dtype=torch.float64, device=device)
    hann = torch.sin(torch.pi * (places + 0.5) / CHUNK_SAMPLES) ** 2
    weight = hann if window is None else torch.from_numpy(window).to(device)
    weighted = torch.zeros_like(waveform, dtype=torch.float64)
    weights = torch.zeros_like(weighted[0])
    for start in [*range(0, last, hop_samples), last]:
        chunk = slice(start, start + CHUNK_SAMPLES)
        weighted[:, chunk] += weight * network(waveform[None, :, chunk])[0]
        weights[chunk] += weight
    target: Waveform = (weighted / weights).float().cpu().numpy()
    return target


def check(network: SeparationModel, mixture: Waveform) -> str:
    """Assert that both give the same target at the paper's hop and with our window; says how close."""
    separator = Separator(network, hop_s=PAPER_HOP_S, chunk_samples=CHUNK_SAMPLES)
    theirs = textbook(network, mixture, separator.hop_samples, window=separator.window)
    ours = separator.separate(mixture)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    return closeness(float(np.abs(ours - theirs).max()))


def textbook_separation(make: Callable[[], SeparationModel], seconds: int) -> Callable[[], Waveform]:
    """The textbook's separation of a song, at the paper's hop, by the model that `make` makes."""
    return partial(textbook, make(), song(seconds)[0], round(PAPER_HOP_S * SAMPLE_RATE))


def full_size(seconds: int = 6) -> Iterator[Row]:
    """The 32.4 M model; how much faster than the sound lasts."""
    make = partial(fresh_model, "thesis")
    network = make()
    mixture, _ = song(seconds)
    with plain_process(textbook_separation, make, seconds) as reference:
        for precision in PRECISIONS:
            question = f"Separation of {seconds} s by the 32.4 M model, ours at the default hop"
            question += ", bf16" * (precision == "bf16")
            if precision == "bf16" and not has_bf16("cpu"):
                yield without_bf16(question)
                continue
            separator = Separator(network, precision=precision)
            separator.separate(mixture)
            times = race(reference, partial(separator.separate, mixture))
            shown = times.medians(lambda taken: f"{duration(taken)}, {number(seconds / taken)} times real time")
            least = operations(partial(separator.separate, mixture)) / product_rate(precision == "bf16")
            yield Row(question, *shown, duration(least), times.speedup, "another hop")


def mean_usdr(separate: Callable[[Waveform], Waveform], songs: Sequence[tuple[Waveform, Waveform]]) -> float:
    """Of the estimates for songs, mixture and vocals each, in dB."""
    return float(np.mean([usdr(separate(mixture), vocals) for mixture, vocals in songs]))


def rows(trained: Path = TRAINED) -> Iterator[Row]:
    """At the paper's chunk and hop, and at the model's chunk and our default hop; untrained where nothing is there."""
    is_trained = trained.is_dir()
    make = partial(checkpoint.load, trained) if is_trained else partial(fresh_model, "demo")
    name = trained.relative_to(ROOT) if trained.is_relative_to(ROOT) else trained
    shown = f"{name}" if is_trained else "untrained demo model"
    network = make()
    songs = [song(SONG_S, index) for index in range(SONGS)]
    mixture = songs[0][0]
    separate = partial(textbook, network, hop_samples=round(PAPER_HOP_S * SAMPLE_RATE))
    there_db = mean_usdr(separate, songs)
    same = check(network, mixture)
    with plain_process(textbook_separation, make, SONG_S) as reference:
        for (chunk_samples, hop_s), precision in itertools.product(SETTINGS, PRECISIONS):
            if precision == "bf16" and not has_bf16("cpu"):
                continue
            separator = Separator(network, hop_s=hop_s, chunk_samples=chunk_samples, precision=precision)
            remarks = []
            if is_trained:
                here_db = mean_usdr(separator.separate, songs)
                remarks.append(f"uSDR of {SONGS} songs {there_db:.3f} dB there, {here_db:.3f} dB here")
            if chunk_samples == CHUNK_SAMPLES and precision == "32":
                remarks.append(f"{same} with the same window")
            times = race(reference, partial(separator.separate, mixture))
            chunk, hop = (samples / SAMPLE_RATE for samples in (separator.chunk_samples, separator.hop_samples))
            question = f"Separation of {SONG_S} s ({shown}), ours in chunks of {chunk:.2f} s every {hop:.2f} s"
            question += ", bf16" * (precision == "bf16")
            least = operations(partial(separator.separate, mixture)) / product_rate(precision == "bf16")
            yield Row(
                question, *times.medians(duration), duration(least), times.speedup, "; ".join(remarks) or "another hop"
            )
    if not has_bf16("cpu"):
        yield without_bf16(f"Separation of {SONG_S} s ({shown}), ours in bf16")


def main() -> None:
    """Print the rows of one model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.separation", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a trained model of vocals")
    options = parser.parse_args()
    if not options.checkpoint.is_dir():
        parser.error(f"{options.checkpoint}: no such folder")
    torch.set_num_threads(1)
    for row in rows(options.checkpoint.resolve()):
        print(line(row), flush=True)


if __name__ == "__main__":
    main()
