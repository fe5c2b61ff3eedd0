"""Losses and the validation score against numpy."""

import numpy as np
import pytest
import torch

from vocalremix.models.losses import batch_usdr, spectrogram_and_waveform_l1
from vocalremix.scoring.metrics import usdr


def test_is_the_sum_of_three_mean_absolute_errors() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 2, 5, 7)) + 1j * rng.standard_normal((2, 2, 2, 5, 7))
    x, y = rng.standard_normal((2, 2, 2, 100))
    expected = np.mean(np.abs((a - b).real)) + np.mean(np.abs((a - b).imag)) + np.mean(np.abs(x - y))
    loss = spectrogram_and_waveform_l1(*(torch.from_numpy(array) for array in (a, b, x, y)))
    assert loss.item() == pytest.approx(expected)


def test_batch_usdr_is_the_metric() -> None:
    rng = np.random.default_rng(1)
    target = rng.uniform(-1, 1, (5, 2, 3000)).astype(np.float32)
    estimate = target + np.array([0, 1e-3, 0.1, 1, 3], np.float32)[:, None, None] * rng.uniform(-1, 1, (5, 2, 3000))
    estimate[2], target[3] = 0, 0
    tensors = torch.from_numpy(estimate.astype(np.float32)), torch.from_numpy(target)
    scores = batch_usdr(*tensors)
    assert scores.dtype == torch.float32 and scores.shape == (5,)
    np.testing.assert_allclose(scores, usdr(*tensors), atol=1e-4)
