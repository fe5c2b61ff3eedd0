"""Remixes as objects: what each does to an example, and that none disturbs another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from vocalremix.audio.writing import write_pcm16
from vocalremix.config.params import Params
from vocalremix.examples.dataset import RemixDataset
from vocalremix.remix.base import Material, Remix, Source
from vocalremix.remix.classic import Classic
from vocalremix.remix.dropout import Dropout
from vocalremix.remix.gain import Gain
from vocalremix.remix.mixup import Mixup
from vocalremix.remix.polarity import Polarity
from vocalremix.remix.policies import by_policy
from vocalremix.remix.registry import REMIXES, Policy
from vocalremix.remix.scale import Scale
from vocalremix.remix.shift import Shift
from vocalremix.remix.swap import Swap
from vocalremix.util.errors import InputError
from vocalremix.util.random import KeyedRandom
from vocalremix.util.values import STEMS

ROOT = Path(__file__).resolve().parents[2]
CROP, WINDOW = 400, 600
KEYS = [(epoch, index) for epoch in range(20) for index in range(6)]
Build = Callable[..., RemixDataset]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Songs A, B and C, noise of 1,200 samples, whose stems are known by their files."""
    root, rng = tmp_path_factory.mktemp("music"), np.random.default_rng(0)
    for song in "ABC":
        (root / "train" / song).mkdir(parents=True)
        for stem in STEMS:
            write_pcm16(root / "train" / song / f"{stem}.wav", rng.uniform(-0.2, 0.2, (2, 1200)))
    return root


@pytest.fixture
def build(music: Path) -> Build:
    rows = [("train", song, "", start) for song in "ABC" for start in (0, 600)]
    windows = pd.DataFrame(rows, columns=["part", "song", "copy", "start_sample"])

    def make(last: Any = None, **remixes: Remix) -> RemixDataset:
        return RemixDataset(
            music,
            None,
            windows,
            None,
            target="vocals",
            crop_samples=CROP,
            window_s=WINDOW / 44100,
            remixes=remixes,
            last=last,
            seed=1,
            training="sweep",
        )

    return make


def crop(music: Path, stem: str, row: int, offset: int) -> Tensor:
    """What a file holds of a window's crop, with zeros outside of it."""
    samples, _ = soundfile.read(music / "train" / "ABC"[row // 2] / f"{stem}.wav", dtype="float32")
    padded = np.pad(samples, ((2000, 2000), (0, 0)))
    start = 2000 + row % 2 * 600 + offset
    return torch.from_numpy(padded[start : start + CROP].T.copy())


def normalised(stems: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mixture and vocals, divided by their common peak."""
    mixture = torch.stack(stems).sum(dim=0)
    peak = max(mixture.abs().max(), stems[0].abs().max())
    return mixture / peak, stems[0] / peak


def check(music: Path, dataset: RemixDataset, key: tuple[int, int], make: Callable[[Tensor, str], Tensor]) -> None:
    """The example is what `make` makes of each stem of the window's own crop."""
    offset = dataset.draw(key).offset_samples
    expected = normalised([make(crop(music, stem, key[1], offset), stem) for stem in STEMS])
    for ours, theirs in zip(dataset[key][:2], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_without_remixes_an_example_is_its_window(music: Path, build: Build) -> None:
    for key in KEYS:
        check(music, build(), key, lambda waveform, stem: waveform)


def test_scale(music: Path, build: Build) -> None:
    dataset = build(scale=Scale(factor=(0.25, 1.25)))
    factors = []
    for key in KEYS:
        drawn = dataset.draw(key).remixes["scale"]
        check(music, dataset, key, lambda waveform, stem, drawn=drawn: waveform * drawn[stem])
        factors += drawn.values()
    assert stats.kstest(factors, stats.uniform(0.25, 1).cdf).pvalue > 1e-3


@pytest.mark.parametrize("common", [True, False])
def test_shift(music: Path, build: Build, common: bool) -> None:
    dataset = build(shift=Shift(samples=100, common=common))
    for key in KEYS:
        draws = dataset.draw(key)
        shifts = draws.remixes["shift"]
        assert (len(set(shifts.values())) == 1) == common
        assert all(-100 <= shift <= 100 for shift in shifts.values())
        expected = normalised([crop(music, stem, key[1], draws.offset_samples + shifts[stem]) for stem in STEMS])
        torch.testing.assert_close(dataset[key].mixture, expected[0], rtol=0, atol=2e-6)


def test_swap_polarity_and_dropout(music: Path, build: Build) -> None:
    for name, remix, make in (
        ("swap", Swap(), lambda waveform: waveform.flip(0)),
        ("polarity", Polarity(), lambda waveform: -waveform),
        ("dropout", Dropout(each=0.3), lambda waveform: waveform * 0),
    ):
        dataset, seen = build(**{name: remix}), 0
        for key in KEYS:
            drawn = dataset.draw(key).remixes[name]
            check(music, dataset, key, lambda waveform, stem, d=drawn, m=make: m(waveform) if stem in d else waveform)
            seen += len(drawn)
        assert stats.binomtest(seen, 4 * len(KEYS), remix.each).pvalue > 1e-3


def test_mixup_averages_the_sources_of_a_class(music: Path, build: Build) -> None:
    dataset = build(mixup=Mixup(more=(0.6, 0.5)))
    sizes = []
    for key in KEYS:
        draws = dataset.draw(key)
        added = draws.remixes["mixup"]
        stems = []
        for stem in STEMS:
            rows = [key[1], *(source.row for source in added[stem])]
            stems.append(torch.stack([crop(music, stem, row, draws.offset_samples) for row in rows]).mean(dim=0))
            sizes.append(len(rows))
        torch.testing.assert_close(dataset[key].mixture, normalised(stems)[0], rtol=0, atol=2e-6)
    counts = np.bincount(sizes, minlength=4)[1:]
    assert stats.chisquare(counts, np.array([0.4, 0.3, 0.3]) * len(sizes)).pvalue > 1e-3


@pytest.mark.parametrize("songs", ["same", "another", "any"])
def test_classic_takes_stems_of_the_songs_asked_for(build: Build, songs: Any) -> None:
    dataset = build(classic=Classic(prob=1, songs=songs))
    own = [(key[1] // 2 == source.row // 2) for key in KEYS for source in dataset.draw(key).remixes["classic"].values()]
    assert np.mean(own) == pytest.approx({"same": 1, "another": 0, "any": 1 / 3}[songs], abs=0.1)


def test_classic_takes_a_random_number_of_stems(build: Build) -> None:
    dataset = build(classic=Classic(prob=1, stems="random"))
    sizes = [len(dataset.draw((epoch, 0)).remixes["classic"]) for epoch in range(600)]
    assert set(sizes) == {1, 2, 3} and stats.chisquare(np.bincount(sizes)[1:]).pvalue > 1e-3


def test_stems_of_another_song_need_one(music: Path, build: Build) -> None:
    material = Material("vocals", 0, 0, CROP, WINDOW, np.array(["A", "A"], object), None)
    with pytest.raises(InputError, match="another song are asked for, but there is only one"):
        Classic(songs="another").draw(np.random.default_rng(0), material)


def test_adding_a_remix_leaves_the_decisions_of_all_others(build: Build) -> None:
    few = build(classic=Classic(prob=0.5), gain=Gain(prob=0.5))
    more = build(scale=Scale(), classic=Classic(prob=0.5), swap=Swap(), gain=Gain(prob=0.5), mixup=Mixup())
    for key in KEYS:
        a, b = few.draw(key), more.draw(key)
        assert a.offset_samples == b.offset_samples
        assert all(a.remixes.get(name) == b.remixes.get(name) for name in ("classic", "gain"))


class Reverse(Remix):
    """As a stranger would write one."""

    def apply(self, stems: Tensor, drawn: Any) -> Tensor:
        return stems.flip(-1)


def test_a_remix_of_ones_own_changes_the_stems(music: Path, build: Build) -> None:
    for key in KEYS[:5]:
        check(music, build(reverse=Reverse()), key, lambda waveform, stem: waveform.flip(-1))


def test_policies_of_params_yaml() -> None:
    """Each is the thesis's remixes with what it says, and nothing else."""
    params = Params.model_validate(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    thesis: dict[str, Remix] = {"classic": Classic(prob=0.8), "gain": Gain(prob=0.5)}
    assert by_policy(thesis, params.remixes["thesis"]) == (thesis, None)
    umx, _ = by_policy(thesis, params.remixes["umx"])
    assert umx == {
        "classic": Classic(prob=1, songs="another"),
        "gain": Gain(prob=0),
        "scale": Scale(factor=(0.25, 1.25)),
        "swap": Swap(each=0.5),
    }
    amanteur, _ = by_policy(thesis, params.remixes["amanteur"])
    assert amanteur == {"classic": Classic(prob=0.25, stems="random"), "gain": Gain(prob=0.5)}
    usual, last = by_policy(thesis, params.remixes["natural_last"])
    assert usual["classic"].prob == 1 and usual["shift"] == Shift()
    assert last is not None and last[0] == 4
    assert last[1] == usual | {"classic": Classic(prob=0), "scale": Scale(prob=0), "shift": Shift(common=True)}
    named = "thesis amanteur umx demucs automix scnet msst msst_heavy bsrnn banquet limitaug natural_last cacophony"
    assert set(named.split()) <= set(params.remixes)
    for policy in params.remixes.values():
        for remix in policy.said().values():
            remix.check()


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        ({"clasic": {}}, ("clasic",)),
        ({"classic": {"prop": 1}}, ("classic", "prop")),
        ({"gain": {"prob": 1.2}}, ("gain", "prob")),
        ({"gain": {"db": [3, -3]}}, ("gain", "db")),
        ({"mixup": {"more": []}}, ("mixup", "more")),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: dict[str, Any], where: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        Policy.model_validate(policy)
    assert refused.value.errors()[0]["loc"] == where


def test_every_remix_names_its_defaults_and_its_source() -> None:
    for name, kind in REMIXES.items():
        assert kind.__name__.lower() == name and kind.__doc__
        if name != "effects":  # a chain has no default
            assert kind().prob == 1
        assert issubclass(kind, Remix)
    assert Source(0, 0) == (0, 0, 1.0, False, None, 1.0)


def test_the_last_epochs_have_remixes_of_their_own(music: Path, build: Build) -> None:
    dataset = build(last=(3, {"scale": Scale(), "swap": Swap(prob=0)}), classic=Classic(prob=1), scale=Scale())
    for epoch, index in KEYS:
        drawn = set(dataset.draw((epoch, index)).remixes)
        assert drawn == ({"classic", "scale"} if epoch < 3 else {"scale"})


def test_what_is_processed_is_cut_and_padded_to_the_example(music: Path, build: Build) -> None:
    class Faster(Remix):
        def choose(self, sources: dict[str, list[Source]], drawn: Any) -> None:
            for stem in STEMS:
                sources[stem] = [source.through(lambda waveform: waveform[:, ::2], 2) for source in sources[stem]]

    dataset = build(faster=Faster())
    for key in KEYS[:6]:
        offset = dataset.draw(key).offset_samples
        stems = []
        for stem in STEMS:
            samples, _ = soundfile.read(music / "train" / "ABC"[key[1] // 2] / f"{stem}.wav", dtype="float32")
            start = key[1] % 2 * 600 + offset
            stems.append(torch.from_numpy(np.pad(samples, ((0, 2000), (0, 0)))[start : start + 2 * CROP : 2].T.copy()))
        torch.testing.assert_close(dataset[key].mixture, normalised(stems)[0], rtol=0, atol=2e-6)


def test_random_numbers_of_a_key_are_its_own() -> None:
    """As uniform and independent as others, and the same whatever was drawn before."""
    random = KeyedRandom(1, 2)
    first = random(3, 4, name="gain").random(5)
    many = np.array([random(epoch, index).random() for epoch in range(50) for index in range(50)])
    assert stats.kstest(many, "uniform").pvalue > 1e-3
    assert abs(stats.spearmanr(many[:-1], many[1:]).statistic) < 0.1
    np.testing.assert_array_equal(random(3, 4, name="gain").random(5), first)
    others = [
        random(3, 4).random(),
        random(3, 4, 0, name="gain").random(),
        random(4, 3, name="gain").random(),
        KeyedRandom(2, 1)(3, 4, name="gain").random(),
    ]
    assert len({float(first[0]), *others}) == 5
