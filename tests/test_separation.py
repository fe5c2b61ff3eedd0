"""Overlap-add gives back what a model returns, whatever the length and the hop."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from vocalremix.scoring.metrics import usdr
from vocalremix.separation import Separator, separate_recording
from vocalremix.training.devices import choose_device
from vocalremix.util.errors import InputError

Array = npt.NDArray[np.float32]


class Recorder(torch.nn.Module):
    """Returns its input times a gain and notes the shapes it was given."""

    sample_rate = 1000
    chunk_samples = 100

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled() and not self.training
        self.shapes.append(tuple(mixture.shape))
        return mixture * self.gain


def noise(n_samples: int, channels: int = 2) -> Array:
    return np.random.default_rng(n_samples).uniform(-1, 1, (channels, n_samples)).astype(np.float32)


@pytest.mark.parametrize("hop_s", [None, 0.001, 0.007, 0.033, 0.05, 0.099, 0.1])
@pytest.mark.parametrize("n_samples", [1, 2, 50, 99, 100, 101, 133, 200, 1001])
def test_identity_gives_its_input_back(n_samples: int, hop_s: float | None) -> None:
    waveform = noise(n_samples)
    target = Separator(Recorder(), hop_s=hop_s, batch_size=3).separate(waveform)
    assert target.dtype == np.float32
    np.testing.assert_allclose(target, waveform, atol=1e-6, rtol=0)


def test_a_plain_module_and_minutes_of_sound() -> None:
    separator = Separator(torch.nn.Identity(), hop_s=1.3)
    assert (separator.sample_rate, separator.chunk_samples) == (44100, 134144)
    waveform = noise(44100 * 120 + 17)
    np.testing.assert_allclose(separator.separate(waveform), waveform, atol=1e-6, rtol=0)


def test_dividing_by_chunk_over_hop_would_stop_at_21_db() -> None:
    chunk, hop, waveform = 5614, 1000, noise(60_000, channels=1)
    summed, overlap = np.zeros_like(waveform), np.zeros(waveform.shape[1])
    for start in range(0, waveform.shape[1], hop):
        summed[:, start : start + chunk] += waveform[:, start : start + chunk]
        overlap[start : start + chunk] += 1
    middle = slice(chunk, -chunk)
    published = usdr((summed / (chunk / hop))[:, middle], waveform[:, middle])
    assert published == pytest.approx(21.2, abs=0.1)
    ours = Separator(torch.nn.Identity(), hop_s=1, sample_rate=1000, chunk_samples=chunk).separate(waveform)
    assert usdr(ours[:, middle], waveform[:, middle]) > 100


def test_chunks_are_whole_and_come_in_batches() -> None:
    model = Recorder(gain=0.5)
    waveform = noise(730, channels=1)
    target = Separator(model, hop_s=0.1, batch_size=3).separate(waveform)
    assert model.shapes == [(3, 1, 100), (3, 1, 100), (2, 1, 100)]
    np.testing.assert_allclose(target, 0.5 * waveform, atol=1e-6, rtol=0)


def test_the_ends_of_a_chunk_count_less() -> None:
    class Ends(torch.nn.Module):
        """Wrong by one at both ends of its chunk, right elsewhere."""

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            wrong = torch.zeros_like(mixture)
            wrong[..., :10] = wrong[..., -10:] = 1
            return mixture + wrong

    waveform = noise(1000, channels=1)
    target = Separator(Ends(), sample_rate=1000, chunk_samples=100).separate(waveform)
    worst = np.abs(target - waveform)[:, 50:-50].max()
    assert worst == pytest.approx(np.sin(np.pi * 9.5 / 100) ** 2, rel=1e-4)  # the tenth sample of a fade of 50


def test_between_the_fades_estimates_count_alike() -> None:
    class Loudness(torch.nn.Module):
        """Estimates a constant: the mean of what it hears."""

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return mixture.mean(dim=-1, keepdim=True).expand_as(mixture)

    waveform = noise(1000, channels=1)
    target = Separator(Loudness(), hop_s=0.2, sample_rate=1000, chunk_samples=400).separate(waveform)
    means = [waveform[:, start : start + 400].mean() for start in (0, 200, 400, 600)]
    np.testing.assert_allclose(target[:, :200], means[0], atol=1e-6)
    np.testing.assert_allclose(target[:, 250:350], np.mean(means[:2]), atol=1e-6)
    np.testing.assert_allclose(target[:, 650:750], np.mean(means[2:]), atol=1e-6)


def test_by_default_two_estimates_of_a_sample_share_no_frame() -> None:
    model = Recorder()
    assert Separator(model).hop_samples == 50
    model.frame_samples = 10
    assert Separator(model).hop_samples == 45
    assert Separator(model, chunk_samples=110).hop_samples == 45


@pytest.mark.parametrize(("chunk_activations", "batch"), [(0, 8), (1 << 10, 8), (1 << 17, 4), (1 << 21, 1)])
def test_a_cpu_takes_fewer_chunks_of_a_large_model_at_once(chunk_activations: int, batch: int) -> None:
    model = Recorder()
    model.chunk_activations = chunk_activations
    Separator(model).separate(noise(2000))
    assert max(shape[0] for shape in model.shapes) == batch


def test_tensors_give_tensors() -> None:
    waveform = torch.from_numpy(noise(250)).requires_grad_()
    target = Separator(Recorder()).separate(waveform)
    assert isinstance(target, torch.Tensor) and target.dtype == torch.float32
    torch.testing.assert_close(target, waveform.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sample_rate", [1000, 441, 3000])
@pytest.mark.parametrize("channels", [1, 2])
def test_recordings_come_back_at_their_own_rate_length_and_channels(channels: int, sample_rate: int) -> None:
    time = np.arange(2111) / sample_rate
    waveform = np.stack([np.sin(2 * np.pi * frequency * time) for frequency in (50, 70)[:channels]]).astype(np.float32)
    target = separate_recording(Separator(Recorder()), waveform, sample_rate)
    assert target.shape == waveform.shape and target.dtype == np.float32
    inner = slice(200, -200)  # resampling rings at the ends
    np.testing.assert_allclose(target[:, inner], waveform[:, inner], atol=0.02)


@pytest.mark.parametrize("sizes", [[1], [99], [100], [101], [50, 50], [1] * 333, [400, 7, 600], [1000, 1]])
@pytest.mark.parametrize("hop_s", [0.007, 0.05, 0.1])
def test_a_stream_is_the_whole(sizes: list[int], hop_s: float) -> None:
    class Swapped(Recorder):
        """Gives each chunk an estimate that depends on where it begins."""

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return mixture.flip(-1)

    separator = Separator(Swapped(), hop_s=hop_s, batch_size=3)
    waveform = noise(sum(sizes))
    pieces = list(separator.stream(np.split(waveform, np.cumsum(sizes)[:-1], axis=1)))
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), separator.separate(waveform))
    assert len(pieces) == 1 + -(-max(sum(sizes) - 100, 0) // round(1000 * hop_s))


def test_an_estimate_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="the model's estimate is not finite: its weights are damaged"):
        Separator(Recorder(gain=math.nan)).separate(noise(500))


@pytest.mark.usefixtures("bf16")
def test_bf16_is_close_and_says_so() -> None:
    class Product(torch.nn.Module):
        """A matrix product, which autocast computes in bf16."""

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return mixture @ torch.eye(100)

    waveform = noise(500)
    options = {"sample_rate": 1000, "chunk_samples": 100}
    exact = Separator(Product(), **options).separate(waveform)  # type: ignore[arg-type]
    rounded = Separator(Product(), precision="bf16", **options).separate(waveform)  # type: ignore[arg-type]
    np.testing.assert_allclose(exact, waveform, atol=1e-6)
    assert 1e-4 < np.abs(rounded - waveform).max() < 4e-3
    assert rounded.dtype == np.float32


def test_progress_counts_chunks(capsys: pytest.CaptureFixture[str]) -> None:
    separator = Separator(Recorder(), hop_s=0.1)
    separator.separate(noise(1000))
    assert capsys.readouterr().err == ""
    separator.separate(noise(1000), progress=True)
    assert "10/10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_s": 0}, "hop_s 0"),
        ({"hop_s": -1}, "hop_s -1"),
        ({"hop_s": 0.101}, "at most one chunk of the model, 0.1 s"),
        ({"hop_s": float("nan")}, "hop_s nan"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"device": "gramophone"}, "device gramophone"),
        ({"device": "cuda:99"}, "torch sees no such GPU"),
    ],
)
def test_bad_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Separator(Recorder(), **options)  # type: ignore[arg-type]


def test_a_model_of_fixed_length_keeps_its_chunks() -> None:
    model = Recorder()
    model.any_length = False
    with pytest.raises(InputError, match="takes only 100"):
        Separator(model, chunk_samples=200)


@pytest.mark.parametrize("shape", [(100,), (1, 2, 100), (2, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="channels, samples"):
        Separator(Recorder()).separate(np.zeros(shape, np.float32))


def test_auto_takes_what_is_there() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
