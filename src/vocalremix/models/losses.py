"""What trainings minimise and choose by, computed where the batch is."""

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

FLOOR = 1e-7
"""Of the energies in `batch_usdr`."""


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


def batch_usdr(estimate: Tensor, target: Tensor) -> Tensor:
    """The uSDR in dB of each example, `(batch,)`, on the device of the waveforms `(batch, channels, samples)`.

    That of `metrics.usdr`, as a tensor: all processes of a training average it, and those on GPUs take no other.
    """
    error = torch.linalg.vector_norm(target - estimate, dim=(1, 2)).square()
    return 10 * torch.log10((torch.linalg.vector_norm(target, dim=(1, 2)).square() + FLOOR) / (error + FLOOR))
