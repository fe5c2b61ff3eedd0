"""Separation of whole songs: overlapping chunks through a model, added up and divided by the true window sum."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from vocalremix.audio.reading import WAV_BYTES, Header, read_blocks, read_header, refuse_non_finite
from vocalremix.audio.waveform import Waveform, refuse_surround, resample_blocks, to_stereo
from vocalremix.audio.writing import create
from vocalremix.training import checkpoint
from vocalremix.training.devices import choose_device, refuse_missing_bf16
from vocalremix.util.errors import InputError
from vocalremix.util.values import SAMPLE_RATE

BLOCK_SAMPLES = 1 << 20
# The ends of a chunk, where the model has heard one side only, are faded, and no more: Hann windows, which fade all of
# it, leave each sample fewer estimates to average and were measured worse (docs/performance.md).
FADE_S = 0.05
LARGEST_BATCH = 8
# Beyond half a million numbers between two layers, a batch was measured slower on a CPU than its parts, by up to 45 %.
CPU_ACTIVATIONS = 1 << 19
CHUNK_SAMPLES = 134144  # 263 STFT frames of 512 samples, about 3 s: the crop of the thesis


class Separator:
    """Runs a model over waveforms of any length.

    Parameters
    ----------
    model
        Takes and returns `(batch, channels, samples)`. It is moved to `device` and put into eval mode.
    hop_s
        From one chunk to the next, in seconds. Smaller hops average more estimates. Default: half a chunk, less half
        of the model's `frame_samples`, because estimates that share their frames err alike.
    batch_size
        Chunks per call of the model. Default: 8, on a CPU fewer of a large model.
    device
        "cpu", "cuda", "cuda:1" or "auto" (a GPU where there is one).
    precision
        Of matrix products and LSTMs: "32", or "bf16", which is faster where the hardware has it.
    sample_rate, chunk_samples
        Default to the model's own, for a plain module to 44.1 kHz and 134,144 samples.

    Raises InputError for a hop that is not positive or longer than a chunk, a batch size below one, a chunk length
    that the model does not take, a device that is not there, and bf16 on hardware without it.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        hop_s: float | None = None,
        batch_size: int | None = None,
        device: str = "cpu",
        precision: Literal["32", "bf16"] = "32",
        sample_rate: int | None = None,
        chunk_samples: int | None = None,
    ) -> None:
        own_chunk_samples = getattr(model, "chunk_samples", CHUNK_SAMPLES)
        self.sample_rate = sample_rate or int(getattr(model, "sample_rate", SAMPLE_RATE))
        self.chunk_samples = chunk_samples or own_chunk_samples
        if self.chunk_samples != own_chunk_samples and not getattr(model, "any_length", True):
            raise InputError(f"chunk_samples {chunk_samples}: this model takes only {own_chunk_samples}")
        frame_samples = int(getattr(model, "frame_samples", 1))
        self.hop_samples = _hop_samples(hop_s, self.chunk_samples, frame_samples, self.sample_rate)
        self.device, self.precision = choose_device(device), precision
        activations = getattr(model, "chunk_activations", 0) * self.chunk_samples // own_chunk_samples
        self.batch_size = _batch_size(batch_size, activations, self.device)
        if precision == "bf16":
            refuse_missing_bf16(self.device.type)
        self.model = model.to(self.device).eval()
        # taken at half samples a fade is zero nowhere, so that it can be divided by even where only one chunk reaches
        fade = min(round(FADE_S * self.sample_rate), self.chunk_samples // 2)
        ramp = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade) ** 2
        self.window = np.concatenate([ramp, np.ones(self.chunk_samples - 2 * fade), ramp[::-1]]).astype(np.float32)

    @classmethod
    def from_checkpoint(cls, path: Path | str, **options: Any) -> Self:
        """A separator for a checkpoint of vocalremix.training.checkpoint.save; `options` are those of the constructor.

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
        gives the waveform back to 1e-6, at hops of 0.05 s or more: overlapping chunks are divided by the sum of the
        windows that really fall on each sample (the seed's code divides by chunk/hop, which stops a perfect model at
        21 dB). Besides input and output, memory holds one batch. `progress` shows a bar over chunks.

        Raises InputError for any other shape, and where the model's estimate is not finite.
        """
        if isinstance(waveform, torch.Tensor):
            array = waveform.detach().float().cpu().numpy()
            return torch.from_numpy(self.separate(array, progress)).to(waveform.device)
        if waveform.ndim != 2 or waveform.size == 0:
            raise InputError(f"expected a waveform (channels, samples) with samples, got shape {waveform.shape}")
        pieces = self.stream([np.asarray(waveform, np.float32)])
        bar = self.progress(pieces, waveform.shape[1], self.sample_rate) if progress else pieces
        return np.concatenate(list(bar), axis=1)

    def stream(self, blocks: Iterable[Waveform]) -> Iterator[Waveform]:
        """The target of a mixture that comes in blocks, as one piece for each chunk; both `(channels, samples)`.

        Together the pieces are as long as the blocks, and what `separate` gives for the whole. Memory holds one batch
        of chunks and one block, however long the mixture is.
        """
        # sums from sample `done` on, which is not final yet, to the end of the latest chunk
        weighted = weights = np.zeros((1, 0), np.float32)
        done = n_samples = 0
        chunks = self._chunks(blocks)
        while batch := list(itertools.islice(chunks, self.batch_size)):
            for (start, chunk), estimate in zip(batch, self._estimate([chunk for _, chunk in batch]), strict=True):
                n_samples, n_final = start + chunk.shape[1], start - done
                if weighted.size:
                    yield weighted[:, :n_final] / weights[:, :n_final]
                earlier, earlier_weights = weighted[:, n_final:], weights[:, n_final:]
                weighted, weights = self.window * estimate, self.window[None].copy()
                weighted[:, : earlier.shape[1]] += earlier
                weights[:, : earlier.shape[1]] += earlier_weights
                done = start
        n_final = n_samples - done
        yield weighted[:, :n_final] / weights[:, :n_final]

    def progress(self, pieces: Iterable[Waveform], n_samples: int | None, sample_rate: int) -> Iterable[Waveform]:
        """Show a bar over the pieces that `stream` makes of so many samples at that rate."""
        total = None
        if n_samples is not None:
            to_come = n_samples * self.sample_rate / sample_rate - self.chunk_samples
            total = 1 + math.ceil(max(to_come, 0) / self.hop_samples)
        bar: Iterable[Waveform] = tqdm(pieces, total=total, desc="separate", unit="chunk")
        return bar

    def _chunks(self, blocks: Iterable[Waveform]) -> Iterator[tuple[int, Waveform]]:
        """First sample and waveform of each chunk; the last ends with the song, so that it hears music, not padding."""
        held, first, start = np.zeros((0, 0), np.float32), 0, 0
        for block in blocks:
            held = np.concatenate([held, block], axis=1) if held.size else block
            while first + held.shape[1] > start + self.chunk_samples:
                yield start, held[:, start - first :][:, : self.chunk_samples]
                start += self.hop_samples
            spare = max(min(start - first, held.shape[1] - self.chunk_samples), 0)
            held, first = held[:, spare:], first + spare
        last = max(first + held.shape[1] - self.chunk_samples, 0)
        yield last, held[:, last - first :]

    @torch.inference_mode()
    def _estimate(self, chunks: Sequence[Waveform]) -> Waveform:
        """The model's output for the chunks, `(chunks, channels, samples)`; short songs get zeros."""
        whole = np.zeros((len(chunks), len(chunks[0]), self.chunk_samples), np.float32)
        for padded, chunk in zip(whole, chunks, strict=True):
            padded[:, : chunk.shape[1]] = chunk
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            estimate = self.model(torch.from_numpy(whole).to(self.device))
        waveforms: Waveform = estimate.float().cpu().numpy()
        if not np.isfinite(waveforms).all():
            raise InputError("the model's estimate is not finite: its weights are damaged, or the song holds NaN")
        return waveforms


def separate_recording(
    separator: Separator, waveform: Waveform, sample_rate: int, name: str = "recording", progress: bool = False
) -> Waveform:
    """The target in any mono or stereo recording, at its own rate, number of channels and number of samples.

    `waveform` is `(channels, samples)` float32 at `sample_rate`. It is resampled to the model's rate and back; mono
    is doubled for the model and averaged afterwards. Raises InputError, with `name`, for more than two channels.
    """
    pieces: Iterable[Waveform] = stream_recording(separator, [waveform], sample_rate, name)
    if progress:
        pieces = separator.progress(pieces, waveform.shape[1], sample_rate)
    return np.concatenate(list(pieces), axis=1)[:, : waveform.shape[1]]


def stream_recording(
    separator: Separator, blocks: Iterable[Waveform], sample_rate: int, name: str = "recording"
) -> Iterator[Waveform]:
    """As `separate_recording`, of blocks `(channels, samples)`; together the pieces may be a few samples longer."""
    blocks = iter(blocks)
    first = next(blocks)
    stereo = (to_stereo(block, name) for block in itertools.chain([first], blocks))
    resampled = resample_blocks(stereo, sample_rate, separator.sample_rate)
    for piece in resample_blocks(separator.stream(resampled), separator.sample_rate, sample_rate):
        yield piece.mean(axis=0, keepdims=True) if len(first) == 1 else piece


def separate_file(separator: Separator, song: Path, target: Path, accompaniment: Path) -> None:
    """Write the target in a song and what is left of it, float WAV at the song's own rate, channels and length.

    The two add up to the song. Memory does not grow with it: three hours take what a minute takes. Shows a bar.
    Raises InputError for a song that cannot be read, has more than two channels or holds NaN, and for one that is too
    long for a WAV file although its header did not say so.
    """
    header = read_header(song)
    held, n_samples = np.zeros((header.channels, 0), np.float32), 0
    refuse_surround(header.channels, str(song))
    fits = 4 * header.channels * (header.n_samples or 0) < WAV_BYTES
    options = {"samplerate": header.sample_rate, "channels": header.channels, "subtype": "FLOAT"}
    options["format"] = "WAV" if fits else "RF64"
    pieces = stream_recording(separator, _finite_blocks(song, header), header.sample_rate, str(song))
    mixture = read_blocks(song, BLOCK_SAMPLES, header=header)
    with create(target, **options) as one, create(accompaniment, **options) as two:
        for piece in separator.progress(pieces, header.n_samples, header.sample_rate):
            while held.shape[1] < piece.shape[1] and (block := next(mixture, None)) is not None:
                held = np.concatenate([held, block], axis=1)
            now = min(held.shape[1], piece.shape[1])
            one.write(piece[:, :now].T)
            two.write((held[:, :now] - piece[:, :now]).T)
            held, n_samples = held[:, now:], n_samples + now
            if fits and 4 * header.channels * n_samples > WAV_BYTES:
                raise InputError(f"{song}: too long for a WAV file; convert it to FLAC, whose header tells its length")


def _finite_blocks(song: Path, header: Header) -> Iterator[Waveform]:
    for block in read_blocks(song, BLOCK_SAMPLES, header=header):
        refuse_non_finite(song, block)
        yield block


def _batch_size(batch_size: int | None, chunk_activations: int, device: torch.device) -> int:
    if batch_size is None:
        largest = CPU_ACTIVATIONS // chunk_activations if device.type == "cpu" and chunk_activations else LARGEST_BATCH
        return min(max(largest, 1), LARGEST_BATCH)
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: it must be at least 1")
    return batch_size


def _hop_samples(hop_s: float | None, chunk_samples: int, frame_samples: int, sample_rate: int) -> int:
    if hop_s is None:
        whole_frames = chunk_samples // 2 // frame_samples * frame_samples
        return max(whole_frames - frame_samples // 2, 1)
    chunk_s = chunk_samples / sample_rate
    if not 0 < hop_s <= chunk_s:
        raise InputError(f"hop_s {hop_s:g}: it must be above 0 and at most one chunk of the model, {chunk_s:.4g} s")
    return max(round(hop_s * sample_rate), 1)
