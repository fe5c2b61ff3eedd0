import os
import pickle
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from scipy import stats
from torch import Tensor
from torch.utils.data import DataLoader

from vocalremix.audio.writing import write_pcm16
from vocalremix.examples.dataset import Draws, RemixDataset, ValidationDataset
from vocalremix.examples.sampler import EpochSampler
from vocalremix.remix.base import Remix
from vocalremix.remix.classic import Classic
from vocalremix.remix.gain import Gain
from vocalremix.remix.speech import Speech
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS
from vocalremix.windows.table import training_songs

WINDOW_S = 0.01
WINDOW_SAMPLES = 441
CROP_SAMPLES = 200
SONG_SAMPLES = 2000
KEYS = [(epoch, index) for epoch in range(2) for index in range(12)]


def table(*rows: tuple[str, str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["part", "song", "copy", "start_sample"])


def write_stems(folder: Path, rng: np.random.Generator, n_samples: int = SONG_SAMPLES) -> None:
    folder.mkdir(parents=True)
    for stem in STEMS:
        write_pcm16(folder / f"{stem}.wav", rng.uniform(-0.4, 0.4, (2, n_samples)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs of noise, a copy of one of them, and two speakers."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for song in "ABCD":
        write_stems(root / "music" / "train" / song, rng)
    write_stems(root / "copies" / "train" / "A" / "pitch_+2", rng)
    (root / "speech").mkdir()
    rows = []
    for speaker, lengths in {"007": [90, 300, 170], "1688": [250, 61]}.items():
        speech = rng.uniform(-0.5, 0.5, sum(lengths))
        write_pcm16(root / "speech" / f"{speaker}.wav", speech[None])
        stored = read(root / "speech" / f"{speaker}.wav")
        for number, (end, length) in enumerate(zip(np.cumsum(lengths), lengths, strict=True)):
            rows.append((speaker, f"u{number}", end - length, length, float(stored[:, end - length : end].abs().max())))
    columns = ["speaker", "utterance", "start_sample", "n_samples", "peak"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "speech" / "utterances.csv", index=False)
    return root


@pytest.fixture
def windows() -> pd.DataFrame:
    return table(*(("train", song, "", start) for song in "ABCD" for start in (0, 700, 1400)))


Build = Callable[..., RemixDataset]


@pytest.fixture
def build(corpus: Path, windows: pd.DataFrame) -> Build:
    def make(**changes: Any) -> RemixDataset:
        options: dict[str, Any] = {
            "music": corpus / "music",
            "copies": None,
            "windows": windows,
            "speech": corpus / "speech",
            "target": "vocals",
            "crop_samples": CROP_SAMPLES,
            "window_s": WINDOW_S,
            "seed": 5,
            "training": "sweep",
        }
        remixes: dict[str, Remix] = {
            "classic": Classic(prob=changes.pop("mix_prob", 0)),
            "speech": Speech(
                prob=changes.pop("speech_remix_prob", 0), target_scaling=changes.pop("target_scaling", "matched")
            ),
            "gain": Gain(prob=changes.pop("gain_prob", 0)),
        }
        return RemixDataset(**{"remixes": remixes} | options | changes)

    return make


def read(path: Path) -> Tensor:
    samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy())


def read_song(folder: Path, start: int = 0, n_samples: int = SONG_SAMPLES) -> dict[str, Tensor]:
    return {stem: read(folder / f"{stem}.wav")[:, start : start + n_samples] for stem in STEMS}


def remixed_rows(draws: Draws) -> dict[str, int]:
    """The windows of the stems that a classic remix takes from elsewhere."""
    return {stem: source.row for stem, source in draws.remixes["classic"].items()}


def level(mixture: Tensor, target: Tensor) -> float:
    return max(float(mixture.abs().max()), float(target.abs().max()))


def gain_between(a: Tensor, b: Tensor) -> float:
    """The factor that takes a to b; fails where b is no multiple of a."""
    gain = float((a.double() * b.double()).sum() / a.double().square().sum())
    torch.testing.assert_close(gain * a, b, rtol=0, atol=2e-6)
    return gain


def test_values_of_a_tiny_song(tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "train" / "song"
    folder.mkdir(parents=True)
    for stem, value in {"vocals": 1, "drums": 10, "bass": 0, "other": -3}.items():
        write_pcm16(folder / f"{stem}.wav", np.array([[0, 1, 2, 3], [0, 0, 0, -4]]) * value / 100)
    one = build(music=tmp_path, windows=table(("train", "song", "", 1)), window_s=3 / 44100, crop_samples=3)
    mixture, target, key = one[(7, 0)]
    # the loudest sample of the mixture is 8 * -4 = -32
    torch.testing.assert_close(mixture, torch.tensor([[8, 16, 24], [0, 0, -32]]) / 32, rtol=0, atol=2e-4)
    torch.testing.assert_close(target, torch.tensor([[1, 2, 3], [0, 0, -4]]) / 32, rtol=0, atol=2e-4)
    assert mixture.dtype == target.dtype == torch.float32 and key.tolist() == [7, 0]


def test_target_louder_than_the_mixture_sets_the_level(tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "train" / "song"
    folder.mkdir(parents=True)
    for stem, value in {"vocals": 0.5, "drums": -0.5, "bass": 0.125, "other": 0}.items():
        write_pcm16(folder / f"{stem}.wav", np.full((2, WINDOW_SAMPLES), value))
    mixture, target, _ = build(music=tmp_path, windows=table(("train", "song", "", 0)))[(0, 0)]
    assert torch.equal(target, torch.ones(2, CROP_SAMPLES)) and torch.equal(mixture, target / 4)


@pytest.mark.parametrize("target", STEMS)
def test_unmixed_example_is_a_crop_of_its_own_window(corpus: Path, build: Build, target: str) -> None:
    examples = build(target=target)
    song = read_song(corpus / "music" / "train" / "B")
    start = 700 + examples.draw((0, 4)).offset_samples
    crop = {stem: waveform[:, start : start + CROP_SAMPLES] for stem, waveform in song.items()}
    mixture, found, _ = examples[(0, 4)]
    assert mixture.shape == found.shape == (2, CROP_SAMPLES)
    gain = gain_between(crop[target], found)
    assert gain_between(sum(crop.values(), torch.zeros(2, CROP_SAMPLES)), mixture) == pytest.approx(gain, rel=1e-5)
    assert level(mixture, found) == pytest.approx(1, abs=1e-6)


def test_crops_start_anywhere_in_the_window(build: Build) -> None:
    examples = build()
    offsets = [examples.draw((epoch, 0)).offset_samples for epoch in range(3000)]
    assert min(offsets) == 0 and max(offsets) == WINDOW_SAMPLES - CROP_SAMPLES
    assert stats.chisquare(np.histogram(offsets, bins=11, range=(0, 242))[0]).pvalue > 1e-3


def test_gain_is_common_and_uniform_in_db(build: Build) -> None:
    examples, loud = build(), build(gain_prob=0.5)
    gains = []
    for key in KEYS:
        (mixture, target, _), (loud_mixture, loud_target, _) = examples[key], loud[key]
        gain = 10 ** (loud.draw(key).remixes.get("gain", 0) / 20)
        torch.testing.assert_close(loud_mixture, gain * mixture)
        torch.testing.assert_close(loud_target, gain * target)
    gains = np.array([loud.draw((epoch, 0)).remixes.get("gain", 0) for epoch in range(2000)])
    assert stats.binomtest(int((gains != 0).sum()), len(gains), 0.5).pvalue > 1e-3
    assert stats.kstest(gains[gains != 0], stats.uniform(-10, 20).cdf).pvalue > 1e-3


def test_silent_windows_stay_silent(tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "train" / "song"
    folder.mkdir(parents=True)
    for stem in STEMS:
        write_pcm16(folder / f"{stem}.wav", np.zeros((2, WINDOW_SAMPLES)))
    rows = table(("train", "song", "", 0))
    mixture, target, _ = build(music=tmp_path, windows=rows, gain_prob=1.0)[(0, 0)]
    assert mixture.abs().max() == target.abs().max() == 0
    mixture, target, _ = build(music=tmp_path, windows=rows, speech_remix_prob=1)[(0, 0)]
    assert torch.equal(mixture, target) and level(mixture, target) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("start", [-300, -WINDOW_SAMPLES - 10, 1800, 2500])
def test_shift_copies_read_the_song_and_pad_with_zeros(corpus: Path, build: Build, start: int) -> None:
    examples = build(windows=table(("train", "A", "shift_+1", start)), crop_samples=WINDOW_SAMPLES)
    vocals = read(corpus / "music" / "train" / "A" / "vocals.wav")
    padded = torch.nn.functional.pad(vocals, (1000, 1000))[:, 1000 + start : 1000 + start + WINDOW_SAMPLES]
    _, target, _ = examples[(0, 0)]
    assert target.shape == (2, WINDOW_SAMPLES)
    assert torch.equal(target == 0, padded == 0)
    if padded.any():
        gain_between(padded, target)


def test_other_copies_are_read_from_their_own_tree(corpus: Path, build: Build) -> None:
    rows = table(("train", "A", "", 100), ("train", "A", "pitch_+2", 100))
    examples = build(copies=corpus / "copies", windows=rows, crop_samples=WINDOW_SAMPLES)
    for index, folder in enumerate([corpus / "music" / "train" / "A", corpus / "copies" / "train" / "A" / "pitch_+2"]):
        gain_between(read_song(folder, 100, WINDOW_SAMPLES)["vocals"], examples[(0, index)].target)
    assert examples.describe((3, 1)) == "train/A/pitch_+2 from sample 100 (epoch 3, example 1)"


def test_classic_remix_takes_three_stems_from_the_windows_drawn(
    corpus: Path, windows: pd.DataFrame, build: Build
) -> None:
    examples = build(mix_prob=1)
    for epoch in range(8):
        draws = examples.draw((epoch, 2))
        crops = [
            read_song(
                corpus / "music" / "train" / windows.song[row],
                windows.start_sample[row] + draws.offset_samples,
                CROP_SAMPLES,
            )[stem]
            for stem, row in {"vocals": 2, **remixed_rows(draws)}.items()
        ]
        mixture, target, _ = examples[(epoch, 2)]
        gain = gain_between(crops[0], target)
        assert gain_between(torch.stack(crops).sum(0), mixture) == pytest.approx(gain, rel=1e-5)


def test_draws_have_their_frequencies_and_are_independent(build: Build) -> None:
    examples = build(mix_prob=0.8, speech_remix_prob=0.3)
    draws = [examples.draw((epoch, index)) for epoch in range(250) for index in range(len(examples))]
    remixed, speech = (np.array([name in draw.remixes for draw in draws]) for name in ("classic", "speech"))
    assert stats.binomtest(int(remixed.sum()), len(draws), 0.8).pvalue > 1e-3
    assert stats.binomtest(int(speech.sum()), len(draws), 0.3).pvalue > 1e-3
    assert stats.binomtest(int((remixed & speech).sum()), len(draws), 0.24).pvalue > 1e-3
    others = np.array([[*remixed_rows(draw).values()] for draw in draws if "classic" in draw.remixes])
    for column in others.T:
        assert stats.chisquare(np.bincount(column, minlength=len(examples))).pvalue > 1e-3
    pairs = np.bincount(others[:, 0] * len(examples) + others[:, 1], minlength=len(examples) ** 2)
    assert stats.chisquare(pairs).pvalue > 1e-3
    snr_db = [draw.remixes["speech"].snr_db for draw in draws if "speech" in draw.remixes]
    assert stats.kstest(snr_db, stats.uniform(-5, 20).cdf).pvalue > 1e-3


def test_a_probability_changes_no_other_decision(build: Build) -> None:
    few, many = (build(mix_prob=0.5, gain_prob=0.5, speech_remix_prob=share) for share in (0.2, 0.7))
    never = build(mix_prob=0.5, gain_prob=0.5)
    n_speech = [0, 0]
    for key in KEYS:
        a, b = few.draw(key), many.draw(key)
        in_a, in_b = "speech" in a.remixes, "speech" in b.remixes
        assert a.offset_samples == b.offset_samples
        assert all(a.remixes.get(name) == b.remixes.get(name) for name in ("classic", "gain"))
        assert in_b or not in_a
        if in_a:
            assert a.remixes["speech"].snr_db == b.remixes["speech"].snr_db
        else:
            assert all(map(torch.equal, few[key], never[key]))
        n_speech = [n_speech[0] + in_a, n_speech[1] + in_b]
    assert 0 < n_speech[0] < n_speech[1] < len(KEYS)


@pytest.mark.parametrize("scaling", ["matched", "published"])
def test_speech_example_follows_algorithm_1(corpus: Path, build: Build, scaling: str) -> None:
    without, examples = build(mix_prob=0.5), build(mix_prob=0.5, speech_remix_prob=1, target_scaling=scaling)
    utterances = pd.read_csv(corpus / "speech" / "utterances.csv", dtype={"speaker": str})
    for key in KEYS:
        draws = examples.draw(key)
        rng, joined = examples.random(*key, name="speech"), torch.zeros(1, 0)
        rng.random(2)  # whether, and how loud
        while joined.shape[1] < WINDOW_SAMPLES:
            row = utterances.iloc[int(rng.integers(len(utterances)))]
            whole = read(corpus / "speech" / f"{row.speaker}.wav")
            whole = whole[:, row.start_sample : row.start_sample + row.n_samples]
            joined = torch.cat([joined, whole / whole.abs().max()], dim=1)
        speech = joined[:, draws.offset_samples :][:, :CROP_SAMPLES].expand(2, -1)
        accompaniment = without[key].mixture - without[key].target
        mixture, target, _ = examples[key]
        target_gain = gain_between(speech, target)
        assert level(mixture, target) == pytest.approx(1, abs=1e-6)
        if scaling == "matched":
            rest = mixture - target
            gain_between(accompaniment, rest)
            ratio_db = 10 * torch.log10(target.square().sum() / rest.square().sum())
            assert float(ratio_db) == pytest.approx(draws.remixes["speech"].snr_db, abs=1e-3)
        else:
            assert float(mixture.abs().max()) == pytest.approx(target_gain, abs=1e-6)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_change_nothing(build: Build, n_workers: int) -> None:
    examples = build(mix_prob=0.8, speech_remix_prob=0.5, gain_prob=0.5)
    sampler = EpochSampler(examples, global_batch=5)
    sampler.set_epoch(2)
    alone, shared = (list(DataLoader(examples, 5, sampler=sampler, num_workers=n)) for n in (0, n_workers))
    assert len(alone) == len(shared) == 2
    for a, b in zip(alone, shared, strict=True):
        assert a.mixture.shape == (5, 2, CROP_SAMPLES) and a.key.shape == (5, 2)
        assert all(map(torch.equal, a, b))


def test_examples_survive_pickling_without_their_audio(build: Build) -> None:
    examples = build(mix_prob=0.8, speech_remix_prob=0.5)
    before = examples[(1, 3)]
    pickled = pickle.dumps(examples)
    assert len(pickled) < SONG_SAMPLES * 4
    assert all(map(torch.equal, pickle.loads(pickled)[(1, 3)], before))


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="this system does not show its open files in /dev/fd")
def test_mapped_songs_keep_no_files_open(build: Build) -> None:
    n_open = len(os.listdir("/dev/fd"))
    examples = build(mix_prob=1, speech_remix_prob=0.5)
    assert examples[(0, 0)].mixture.any() and len(os.listdir("/dev/fd")) == n_open


def test_validation_takes_the_centre_of_each_window(corpus: Path, windows: pd.DataFrame) -> None:
    validation = ValidationDataset(corpus / "music", windows, "bass", CROP_SAMPLES, WINDOW_S)
    assert len(validation) == len(windows)
    for index in (0, 7):
        start = windows.start_sample[index] + 120
        stems = read_song(corpus / "music" / "train" / windows.song[index], start, CROP_SAMPLES)
        mixture, target, key = validation[index]
        assert key.tolist() == [0, index]
        gain = gain_between(stems["bass"], target)
        assert gain_between(sum(stems.values(), torch.zeros(2, CROP_SAMPLES)), mixture) == pytest.approx(gain, rel=1e-5)
        assert level(mixture, target) == pytest.approx(1, abs=1e-6)


def test_validation_leaves_out_crops_without_the_target(tmp_path: Path) -> None:
    """uSDR of silence would measure the estimate's level; a window is salient also where its middle is silent."""
    song = np.full((2, SONG_SAMPLES), 0.1)
    song[:, WINDOW_SAMPLES : 2 * WINDOW_SAMPLES] = 0
    for stem in STEMS:
        (tmp_path / "valid/A").mkdir(parents=True, exist_ok=True)
        write_pcm16(tmp_path / f"valid/A/{stem}.wav", song)
    starts = [0, WINDOW_SAMPLES, 2 * WINDOW_SAMPLES]
    windows = table(*(("valid", "A", "", start) for start in starts))
    validation = ValidationDataset(tmp_path, windows, "bass", CROP_SAMPLES, WINDOW_S)
    assert [validation[index].key.tolist() for index in range(len(validation))] == [[0, 0], [0, 2]]
    silent = ValidationDataset(tmp_path, windows[1:2], "bass", CROP_SAMPLES, WINDOW_S)
    assert len(silent) == 1, "a corpus that has no other is validated on what there is"


@pytest.mark.parametrize("n_examples", [12, 29, 5])
def test_processes_share_the_global_batches_of_one(build: Build, n_examples: int) -> None:
    global_batch = 6
    examples = build(windows=table(*(("train", "A", "", start) for start in range(n_examples))))

    def batches(rank: int, world: int) -> list[list[tuple[int, int]]]:
        sampler = EpochSampler(examples, global_batch, rank=rank, world=world)
        sampler.set_epoch(4)
        keys, size = list(sampler), global_batch // world
        assert len(keys) == len(sampler)
        return [keys[i : i + size] for i in range(0, len(keys), size)]

    alone = batches(0, 1)
    assert len(alone) == n_examples // global_batch
    seen = [index for batch in alone for _, index in batch]
    assert len(set(seen)) == len(seen) and set(seen) <= set(range(n_examples))
    assert all(epoch == 4 for batch in alone for epoch, _ in batch)
    for world in (2, 3, 6):
        shares = [batches(rank, world) for rank in range(world)]
        together = [sorted(key for part in parts for key in part) for parts in zip(*shares, strict=True)]
        assert together == [sorted(batch) for batch in alone]


@pytest.mark.parametrize("n_windows", [3, 10, 25])
def test_an_epoch_may_have_a_number_of_examples_of_its_own(build: Build, n_windows: int) -> None:
    """Every epoch 10 of them, whatever the windows; passes follow one another, and no example comes twice."""
    examples = build(windows=table(*(("train", "A", "", start) for start in range(n_windows))))
    keys = []
    for epoch in range(6):
        shares = [EpochSampler(examples, 2, epoch_examples=11, rank=rank, world=2) for rank in range(2)]
        for sampler in shares:
            sampler.set_epoch(epoch)
        of_epoch = [key for pair in zip(*map(list, shares), strict=True) for key in pair]
        assert len(of_epoch) == 10 and len(shares[0]) == 5
        assert {number for number, _ in of_epoch} == {epoch}
        keys += of_epoch
    assert len(set(keys)) == 60
    for number in range(60 // n_windows):
        of_pass = [index % n_windows for _, index in keys[number * n_windows : (number + 1) * n_windows]]
        assert sorted(of_pass) == list(range(n_windows))


def test_a_window_that_comes_again_is_another_example_of_it(build: Build) -> None:
    examples = build(windows=table(("train", "A", "", 0), ("train", "A", "", 7)))
    first, again = (examples.draw((0, index)).offset_samples for index in (1, 3))
    assert first != again
    assert examples.describe((0, 3)).replace("example 3", "example 1") == examples.describe((0, 1))


def test_order_follows_from_seed_training_and_epoch(build: Build) -> None:
    windows = table(*(("train", "A", "", start) for start in range(50)))

    def order(seed: int, training: str, epoch: int) -> tuple[int, ...]:
        sampler = EpochSampler(build(windows=windows, seed=seed, training=training), 1)
        sampler.set_epoch(epoch)
        return tuple(index for _, index in sampler)

    assert order(1, "sweep", 0) == order(1, "sweep", 0)
    assert sorted(order(1, "sweep", 0)) == list(range(50))
    assert (
        len({order(seed, name, epoch) for seed in range(3) for name in ("sweep", "train") for epoch in range(3)}) == 18
    )


def test_fine_tuning_does_not_meet_the_examples_of_the_initial_training_again(build: Build) -> None:
    """Of one seed, as few draws coincide between two trainings as between two seeds."""

    def draws(seed: int, training: str) -> list[Draws]:
        examples = build(seed=seed, training=training, gain_prob=1.0, mix_prob=0.8)
        return [examples.draw((epoch, index)) for epoch in range(40) for index in range(len(examples))]

    initial, cell, other_seed = draws(42, "initial"), draws(42, "sweep"), draws(43, "sweep")
    for first, second in ((initial, cell), (cell, other_seed)):
        pairs = list(zip(first, second, strict=True))
        assert not {draw.remixes["gain"] for draw in first} & {draw.remixes["gain"] for draw in second}
        slack = WINDOW_SAMPLES - CROP_SAMPLES
        assert np.mean([a.offset_samples == b.offset_samples for a, b in pairs]) == pytest.approx(
            1 / (slack + 1), abs=0.03
        )
        remixed = [("classic" in a.remixes) == ("classic" in b.remixes) for a, b in pairs]
        assert np.mean(remixed) == pytest.approx(0.8**2 + 0.2**2, abs=0.1)


def test_sampler_refuses_batches_that_cannot_be_shared(build: Build) -> None:
    with pytest.raises(ValueError, match="global batch of 5 cannot be shared by 2"):
        EpochSampler(build(), 5, world=2)


def test_song_subsets_are_nested() -> None:
    rows = table(*(("train", f"song {i:02}", "", start) for i in range(10) for start in (0, 5)))
    chosen = [set(training_songs(rows, fraction, seed=1)) for fraction in (0.001, 0.1, 0.11, 0.3, 0.7, 1)]
    assert [len(songs) for songs in chosen] == [1, 1, 2, 3, 7, 10]
    assert all(smaller <= larger for smaller, larger in pairwise(chosen))
    assert training_songs(rows, 1, seed=1) == sorted(rows.song.unique())
    assert training_songs(rows[::-1], 0.3, seed=1) == training_songs(rows, 0.3, seed=1)
    assert len({tuple(training_songs(rows, 0.3, seed)) for seed in range(5)}) > 1


def test_a_hundred_songs_times_seven_hundredths_are_seven() -> None:
    assert len(training_songs(table(*(("train", f"{i}", "", 0) for i in range(100))), 0.07, seed=0)) == 7


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan")])
def test_fraction_outside_its_range(fraction: float) -> None:
    with pytest.raises(InputError, match="data_fraction"):
        training_songs(table(("train", "A", "", 0)), fraction, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": table()}, "no windows"),
        ({"speech_remix_prob": 0.1, "speech": None}, "no speech corpus"),
        ({"speech_remix_prob": 0.1, "speech": Path("nowhere")}, "utterances.csv: no such file"),
        ({"target": "guitar"}, "'guitar' is no stem"),
        ({"crop_samples": WINDOW_SAMPLES + 1}, "longer than a window"),
        ({"windows": table(("train", "E", "", 0))}, r"train/E/vocals.wav: .*No such file"),
        ({"windows": table(("train", "A", "tempo_0.9", 0))}, "tempo_0.9 of train/A"),
    ],
)
def test_unusable_input_is_named(build: Build, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(**changes)


def test_truncated_stem_is_found_before_training(tmp_path: Path, build: Build) -> None:
    write_stems(tmp_path / "train" / "song", np.random.default_rng(0))
    drums = tmp_path / "train" / "song" / "drums.wav"
    drums.write_bytes(drums.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"drums\.wav"):
        build(music=tmp_path, windows=table(("train", "song", "", 0)))


def test_speech_corpus_without_utterances(tmp_path: Path, build: Build) -> None:
    (tmp_path / "utterances.csv").write_text("speaker,utterance,start_sample,n_samples,peak\n")
    with pytest.raises(InputError, match="lists no utterances"):
        build(speech=tmp_path, speech_remix_prob=0.5)


def test_a_speech_file_that_ends_too_early_is_refused(corpus: Path, build: Build, tmp_path: Path) -> None:
    shutil.copytree(corpus / "speech", tmp_path, dirs_exist_ok=True)
    write_pcm16(tmp_path / "1688.wav", read(tmp_path / "1688.wav")[:, :-1])
    with pytest.raises(InputError, match=r"1688\.wav: ends after 310 samples, within an utterance"):
        build(speech=tmp_path, speech_remix_prob=0.5)
