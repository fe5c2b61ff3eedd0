"""The loss against numpy."""

import numpy as np
import pytest
import torch

from vocalremix.losses import spectrogram_and_waveform_l1


def test_is_the_sum_of_three_mean_absolute_errors() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 2, 5, 7)) + 1j * rng.standard_normal((2, 2, 2, 5, 7))
    x, y = rng.standard_normal((2, 2, 2, 100))
    expected = np.mean(np.abs((a - b).real)) + np.mean(np.abs((a - b).imag)) + np.mean(np.abs(x - y))
    loss = spectrogram_and_waveform_l1(*(torch.from_numpy(array) for array in (a, b, x, y)))
    assert loss.item() == pytest.approx(expected)
