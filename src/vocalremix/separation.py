"""Separation of whole songs: overlapping chunks through a model, added up and divided by the true window sum."""

from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from vocalremix import checkpoint
from vocalremix.audio import SAMPLE_RATE, Waveform, resample, to_stereo
from vocalremix.compute import choose_device
from vocalremix.errors import InputError

CHUNK_SAMPLES = 134144  # 263 STFT frames of 512 samples, about 3 s: the crop of the thesis


class Separator:
    """Runs a model over waveforms of any length.

    Parameters
    ----------
    model
        Takes and returns `(batch, channels, samples)`. It is moved to `device` and put into eval mode.
    hop_s
        From one chunk to the next, in seconds; default half a chunk. Smaller hops average more estimates.
    batch_size
        Chunks per call of the model.
    device
        "cpu", "cuda", "cuda:1" or "auto" (a GPU where there is one).
    sample_rate, chunk_samples
        Default to the model's own, for a plain module to 44.1 kHz and 134,144 samples.

    Raises InputError for a hop that is not positive or longer than a chunk, a batch size below one, a chunk length
    that the model does not take, and a device that is not there.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        hop_s: float | None = None,
        batch_size: int = 8,
        device: str = "cpu",
        sample_rate: int | None = None,
        chunk_samples: int | None = None,
    ) -> None:
        own_chunk_samples = getattr(model, "chunk_samples", CHUNK_SAMPLES)
        self.sample_rate = sample_rate or int(getattr(model, "sample_rate", SAMPLE_RATE))
        self.chunk_samples = chunk_samples or own_chunk_samples
        if self.chunk_samples != own_chunk_samples and not getattr(model, "any_length", True):
            raise InputError(f"chunk_samples {chunk_samples}: this model takes only {own_chunk_samples}")
        self.hop_samples = _hop_samples(hop_s, self.chunk_samples, self.sample_rate)
        if batch_size < 1:
            raise InputError(f"batch_size {batch_size}: it must be at least 1")
        self.batch_size = batch_size
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        # A Hann window, as a chunk's estimate is worst at its ends, where the model has heard one side only. Taken at
        # half samples it is zero nowhere, so that it can be divided by even where only one chunk reaches.
        self.window = np.sin(np.pi * (np.arange(self.chunk_samples) + 0.5) / self.chunk_samples) ** 2

    @classmethod
    def from_checkpoint(cls, path: Path | str, **options: Any) -> Self:
        """A separator for a checkpoint of vocalremix.checkpoint.save; `options` are those of the constructor.

        Raises InputError where the checkpoint cannot be loaded.
        """
        return cls(checkpoint.load(Path(path)), **options)

    @overload
    def separate(self, waveform: npt.NDArray[Any], progress: bool = False) -> Waveform: ...

    @overload
    def separate(self, waveform: torch.Tensor, progress: bool = False) -> torch.Tensor: ...

    def separate(self, waveform: npt.NDArray[Any] | torch.Tensor, progress: bool = False) -> Waveform | torch.Tensor:
        """The target in a mixture at the model's sample rate; both `(channels, samples)` float32.

        Any number of samples from one. A tensor gives a tensor on the same device. A model that returns its input
        gives the waveform back to 1e-6: overlapping chunks are divided by the sum of the windows that really fall on
        each sample (the seed's code divides by chunk/hop, which stops a perfect model at 21 dB). Besides input and
        output, memory holds one batch. `progress` shows a bar over chunks. Raises InputError for any other shape.
        """
        if isinstance(waveform, torch.Tensor):
            return torch.from_numpy(self.separate(waveform.detach().cpu().numpy(), progress)).to(waveform.device)
        if waveform.ndim != 2 or waveform.size == 0:
            raise InputError(f"expected a waveform (channels, samples) with samples, got shape {waveform.shape}")
        n_channels, n_samples = waveform.shape
        starts = self._starts(n_samples)
        target = np.empty((n_channels, n_samples), np.float32)
        # Sums over the chunk's span that is not final yet. float64: the window is tiny at its ends.
        weighted, weights = np.zeros((n_channels, self.chunk_samples)), np.zeros(self.chunk_samples)
        done = 0
        with tqdm(total=len(starts), desc="separate", unit="chunk", disable=not progress) as bar:
            for first in range(0, len(starts), self.batch_size):
                batch = starts[first : first + self.batch_size]
                for start, estimate in zip(batch, self._estimate(waveform, batch), strict=True):
                    final = start - done
                    target[:, done:start] = weighted[:, :final] / weights[:final]
                    weighted, weights = _advance(weighted, final), _advance(weights, final)
                    weighted += self.window * estimate
                    weights += self.window
                    done = start
                    bar.update()
        rest = n_samples - done
        target[:, done:] = weighted[:, :rest] / weights[:rest]
        return target

    def _starts(self, n_samples: int) -> list[int]:
        """First samples of the chunks; the last chunk ends with the song, so that it hears music, not padding."""
        last = max(n_samples - self.chunk_samples, 0)
        return [*range(0, last, self.hop_samples), last]

    @torch.inference_mode()
    def _estimate(self, waveform: npt.NDArray[Any], starts: list[int]) -> Waveform:
        """The model's output for the chunks at `starts`, `(chunks, channels, samples)`; short songs get zeros."""
        chunks = np.zeros((len(starts), len(waveform), self.chunk_samples), np.float32)
        for chunk, start in zip(chunks, starts, strict=True):
            span = waveform[:, start : start + self.chunk_samples]
            chunk[:, : span.shape[1]] = span
        estimate: Waveform = self.model(torch.from_numpy(chunks).to(self.device)).float().cpu().numpy()
        return estimate


def separate_recording(
    separator: Separator, waveform: Waveform, sample_rate: int, name: str = "recording", progress: bool = False
) -> Waveform:
    """The target in any mono or stereo recording, at its own rate, number of channels and number of samples.

    `waveform` is `(channels, samples)` float32 at `sample_rate`. It is resampled to the model's rate and back; mono
    is doubled for the model and averaged afterwards. Raises InputError, with `name`, for more than two channels.
    """
    stereo = resample(to_stereo(waveform, name), sample_rate, separator.sample_rate)
    target = resample(separator.separate(stereo, progress), separator.sample_rate, sample_rate)
    n_channels, n_samples = waveform.shape
    # resampling rounds the number of samples up, so there and back it gives at least what it was given
    target = target[:, :n_samples]
    return target.mean(axis=0, keepdims=True) if n_channels == 1 else target


def _hop_samples(hop_s: float | None, chunk_samples: int, sample_rate: int) -> int:
    if hop_s is None:
        return max(chunk_samples // 2, 1)
    chunk_s = chunk_samples / sample_rate
    if not 0 < hop_s <= chunk_s:
        raise InputError(f"hop_s {hop_s:g}: it must be above 0 and at most one chunk of the model, {chunk_s:.4g} s")
    return max(round(hop_s * sample_rate), 1)


def _advance(sums: npt.NDArray[np.float64], n_samples: int) -> npt.NDArray[np.float64]:
    """Drop the first samples of the last axis and append as many zeros."""
    moved = np.zeros_like(sums)
    moved[..., : moved.shape[-1] - n_samples] = sums[..., n_samples:]
    return moved
