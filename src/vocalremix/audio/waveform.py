"""What is done to waveforms in memory, `(channels, samples)` float32 in -1..1: rates and channels."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from vocalremix.util.errors import InputError

Waveform = npt.NDArray[np.float32]
RMS_FLOOR = 1e-3
"""Of full scale 1: up to this RMS, the target counts as silent in a part of a window."""
# torchaudio holds a filter for every phase, gigabytes of them between rates such as 44,101 and 44,100 Hz
MAX_SINC_PHASES = 1000
# torchaudio's filter reaches 6 samples of the lower rate to both sides, scipy's 10
FILTER_SAMPLES = 12


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """How many samples `resample` makes of so many."""
    return -(-n_samples * to_rate // from_rate)


def resample(waveform: Waveform, from_rate: int, to_rate: int) -> Waveform:
    """Band-limited resampling of `(channels, samples)`: torchaudio's windowed sinc, scipy's between odd rates."""
    if from_rate == to_rate:
        return waveform
    ratio = Fraction(to_rate, from_rate)
    if max(ratio.numerator, ratio.denominator) > MAX_SINC_PHASES:
        from scipy.signal import resample_poly

        poly: Waveform = resample_poly(waveform, ratio.numerator, ratio.denominator, axis=-1).astype(np.float32)
        return poly
    import torch
    from torchaudio.functional import resample as sinc_resample

    resampled: Waveform = sinc_resample(torch.from_numpy(waveform), from_rate, to_rate).numpy()
    return resampled


def resample_blocks(blocks: Iterable[Waveform], from_rate: int, to_rate: int) -> Iterator[Waveform]:
    """`resample` of a waveform that comes in blocks: together the pieces are what it gives for the whole."""
    if from_rate == to_rate:
        yield from blocks
        return
    ratio = Fraction(to_rate, from_rate)
    into, out_of = ratio.numerator, ratio.denominator
    # blocks overlap by what the filter reaches; they begin where input and output samples coincide
    reach = out_of * math.ceil(FILTER_SAMPLES * max(1.0, from_rate / to_rate) / out_of)
    held, first, done = np.zeros((0, 0), np.float32), 0, 0
    for block in blocks:
        held = np.concatenate([held, block], axis=1) if held.size else block
        ready = (first + held.shape[1] - reach) // out_of * out_of
        if ready > done:
            resampled = resample(held, from_rate, to_rate)
            yield resampled[:, (done - first) // out_of * into : (ready - first) // out_of * into]
            spare = max(ready - reach - first, 0)
            held, first, done = held[:, spare:], first + spare, ready
    yield resample(held, from_rate, to_rate)[:, (done - first) // out_of * into :]


def to_stereo(waveform: Waveform, name: str) -> Waveform:
    """Double a mono waveform, pass a stereo one; raises InputError with `name` for more channels."""
    refuse_surround(len(waveform), name)
    return np.repeat(waveform, 2, axis=0) if len(waveform) == 1 else waveform


def refuse_surround(channels: int, name: str) -> None:
    """Raise InputError with `name` for more channels than `to_stereo` takes."""
    if channels > 2:
        raise InputError(f"{name}: {channels} channels; mix it down to mono or stereo first")
