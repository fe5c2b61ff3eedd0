"""Training losses."""

from torch import Tensor
from torch.nn.functional import l1_loss


def spectrogram_and_waveform_l1(
    estimated_spectrogram: Tensor, spectrogram: Tensor, estimate: Tensor, target: Tensor
) -> Tensor:
    """Mean absolute error of real part, imaginary part and waveform, summed: a scalar.

    Spectrograms are complex `(batch, channels, frequency, frames)`, waveforms `(batch, channels, samples)`.
    Source: the training objective of Luo and Yu, arXiv 2209.15174.
    """
    real = l1_loss(estimated_spectrogram.real, spectrogram.real)
    imaginary = l1_loss(estimated_spectrogram.imag, spectrogram.imag)
    return real + imaginary + l1_loss(estimate, target)
