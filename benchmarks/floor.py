"""What the machine allows: a plain matrix product and a plain copy on one thread, and the work of a model in those."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from vocalremix.training.devices import has_bf16

SIZE = 1024
TRIES = 20


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest call of many: what the machine can do when nothing disturbs it."""
    work()
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@cache
def product_rate(bf16: bool) -> float:
    """Floating-point operations per second of a product of two square matrices, in float32 or in bf16."""
    left, right = torch.randn(2, SIZE, SIZE).to(torch.bfloat16 if bf16 else torch.float32)
    return 2 * SIZE**3 / fastest(lambda: left @ right)


@cache
def copy_rate() -> float:
    """Bytes per second that a copy reads, of more than the caches hold."""
    source = np.ones(1 << 27, np.uint8)
    target = np.empty_like(source)
    return source.nbytes / fastest(lambda: np.copyto(target, source))


def rates() -> str:
    """What the floors are made of."""
    single, copy = product_rate(False) / 1e9, copy_rate() / 1e9
    half = f"{product_rate(True) / 1e9:.0f}" if has_bf16("cpu") else "none"
    return (
        f"One thread multiplies matrices of {SIZE} rows at {single:.0f} GFLOP/s in float32 and {half} in bf16, and "
        f"copies {copy:.0f} GB/s."
    )


def operations(work: Callable[[], object]) -> float:
    """Floating-point operations of all products and LSTMs in `work`."""
    with FlopCounterMode(display=False, custom_mapping=LSTM) as counter:
        work()
    return float(counter.get_total_flops())


def _lstm(x: Any, weight: Any, recurrent: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    length, batch, features = x
    gates, hidden = recurrent
    return int(2 * length * batch * gates * (features + hidden))


def _lstm_backward(*shapes: Any, out_shape: Any = None, **options: Any) -> int:
    return 2 * _lstm(*shapes, **options)


LSTM = {
    torch.ops.aten.mkldnn_rnn_layer: _lstm,
    torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_backward,
}
