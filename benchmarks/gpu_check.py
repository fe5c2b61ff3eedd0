"""Does everything work on a GPU, and how fast? A line for each check, as a Markdown table under the card's name.

`PYTHONPATH=src:tests python3 -m benchmarks.gpu_check` at the repository's root takes at most eight minutes and needs
neither a network nor an installation; docs/performance.md says how to take it to a bare machine. "pass" and "FAIL" say
whether it works, "slow" that a speed misses its target, "left out" why a check could not be made. With --device cpu
it goes through the same on small sizes in a minute or two. Exit code 1 where a check failed.
"""

import argparse
import datetime
import gc
import json
import math
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import tiny  # type: ignore[import-not-found]  # in tests/
import torch
from lightning.pytorch.strategies import DDPStrategy
from safetensors.torch import load_file
from torch import Tensor

from benchmarks import gpu
from benchmarks.bsrnn import CURVE_TOLERANCE
from benchmarks.page import cpu, line
from benchmarks.race import number
from benchmarks.separation import fresh_model
from vocalremix.config.params import Common, Compute, Phase
from vocalremix.examples.dataset import RemixDataset
from vocalremix.models.configs import BSRNNConfig
from vocalremix.models.registry import build
from vocalremix.separation import CHUNK_SAMPLES, Separator
from vocalremix.training.checkpoint import import_amanteur
from vocalremix.training.devices import Devices, choose_devices
from vocalremix.training.loop import MONITOR, Row, fit
from vocalremix.util.errors import InputError, one_line_errors
from vocalremix.util.values import SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[1]
# a check that would begin later than LAST_START_S could not end in time
LIMIT_S, LAST_START_S = 480, 420
STEPS = 200
# Adam blows rounding up to steps of single weights, not of half of them
MEDIAN_TOLERANCE, USDR_TOLERANCE_DB = 1e-5, 0.01
GOLDEN_TOLERANCE, SEPARATION_TOLERANCE = 1e-4, 1e-3
SPEEDUP, EXAMPLES_PER_S, TIMES_REAL_TIME = 4, 80, 200
# a card of 8 GB less what CUDA and a screen take
SMALL_CARD_GB = 7
THESIS = Common(batch_size=5, clip_norm=5, ema_decay=0.9999, ema_examples=5, patience=10)


class Finding(NamedTuple):
    """What a check came to."""

    result: Literal["pass", "FAIL", "slow", "left out"]
    measured: str
    target: str = ""


def finding(good: bool, measured: str, target: str = "") -> Finding:
    """Of a check that is passed or not."""
    return Finding("pass" if good else "FAIL", measured, target)


@dataclass(frozen=True)
class Place:
    """Where checks run: a device, and a folder with songs of noise; `end_s` is the limit on the monotonic clock."""

    device: Literal["cuda", "cpu"]
    root: Path
    end_s: float = math.inf

    @property
    def on_gpu(self) -> bool:
        """Whether this is the real thing, in full size."""
        return self.device == "cuda"

    @property
    def config(self) -> BSRNNConfig:
        """The 32.4 M model's, or a small one's."""
        return gpu.full_size() if self.on_gpu else tiny.CONFIG.model_copy(update={"flavour": "amanteur"})

    @property
    def budget_s(self) -> float:
        """For timing two versions in turn."""
        return 6 if self.on_gpu else 1

    def devices(self, precision: Literal["32", "bf16"] = "32", count: int = 1) -> Devices:
        """One device that counts as `count`; InputError where it is not there or lacks the precision."""
        return replace(choose_devices(Compute(accelerator=self.device, devices=1, precision=precision)), count=count)

    def examples(self, at_least: int, crop_samples: int) -> RemixDataset:
        """As many windows of 6 s, in turn of all songs and again from the start."""
        table = pd.read_csv(self.root / "windows.csv", keep_default_na=False).sort_values("start_sample", kind="stable")
        windows = pd.concat([table] * math.ceil(at_least / (table.part == "train").sum()))
        training, _ = tiny.datasets(self.root / "music", windows, crop_samples=crop_samples, window_s=6.0)
        return training  # type: ignore[no-any-return]

    @contextmanager
    def child(self, job: str, folder: Path, **environment: str) -> Iterator[Iterator[Any]]:
        """What a job in a process of its own prints, line by line; RuntimeError where it fails or the limit is over."""
        folder.mkdir(exist_ok=True)
        # without a network, a machine's name may lead nowhere
        here = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
        command = [sys.executable, "-m", "benchmarks.gpu_check", "--device", self.device, "--job", job]
        log = folder / f"{job}{environment.get('NODE_RANK', '')}.log"
        with log.open("w") as errors, ExitStack() as stack:
            process = subprocess.Popen(
                [*command, str(self.root), str(folder)],
                cwd=ROOT,
                env=os.environ | here | environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            timer = threading.Timer(self.end_s - time.monotonic(), process.kill)
            timer.start()
            stack.callback(timer.cancel)
            assert process.stdout is not None
            yield (json.loads(text) for text in process.stdout if text.startswith("{"))
            process.communicate()
        if process.returncode != (-signal.SIGKILL if job == "killed" else 0):
            said = [text for text in log.read_text().splitlines() if text.strip() and "batch/s]" not in text]
            raise RuntimeError("\n".join([f"{job}: exit code {process.returncode}: {' '.join(said[-1:])}", *said]))


def train_tiny(place: Place, folder: Path, on_epoch: Callable[[Row], None], **changes: Any) -> dict[str, Any]:
    """The training of tiny.py on this device: its weights and history."""
    model = tiny.new_model()
    table = pd.read_csv(place.root / "windows.csv", keep_default_na=False).groupby("song").head(4)
    training, validation = tiny.datasets(place.root / "music", table)
    options = {"validation": validation, "common": tiny.COMMON, "devices": place.devices(), "workers": 0} | changes
    scratch = folder / "scratch"
    outcome = fit(
        model, training, schedule=tiny.SCHEDULE, scratch=scratch, name=folder.name, on_epoch=on_epoch, **options
    )
    return {"weights": tiny.weights(model).cpu(), "history": outcome and outcome.history, "examples": training}


@cache
def uninterrupted(place: Place) -> dict[str, Any]:
    """What the other ways to train should come to."""
    return train_tiny(place, place.root / "uninterrupted", lambda row: None)


def compare(place: Place, folder: Path) -> Finding:
    """Weights and validation that a job left in a folder, with those of one training in one process."""
    ours, theirs = torch.load(folder / "weights.pt", weights_only=True), uninterrupted(place)
    scores = [result["history"][-1][MONITOR] for result in (ours, theirs)]
    found = same(ours["weights"], theirs["weights"])
    good = found.result == "pass" and abs(scores[0] - scores[1]) < USDR_TOLERANCE_DB
    return finding(good, f"{found.measured}; valid uSDR {scores[0]:.4f} dB, {scores[1]:.4f} dB in one go")


def same(weights: Tensor, expected: Tensor) -> Finding:
    """Whether two trainings went the same way."""
    difference = (weights - expected).abs()
    median, largest = float(difference.median()), float(difference.max())
    apart = f"weights {median:.0e} apart in the median, {largest:.0e} at most"
    return finding(median < MEDIAN_TOLERANCE, apart if largest else "the same weights, bit for bit")


def golden(place: Place) -> Finding:
    """amanteur's network on the golden input, and separation beside that of the CPU."""
    tensors = load_file(ROOT / "tests/golden/bsrnn_tiny.safetensors")
    state = {name.removeprefix("state."): tensor for name, tensor in tensors.items() if name.startswith("state.")}
    config = json.loads((ROOT / "tests/golden/bsrnn_tiny.json").read_text())
    network = import_amanteur(state, config).to(place.device)
    with torch.no_grad():
        output = network(torch.complex(tensors["input.real"], tensors["input.imag"]).to(place.device)).cpu()
    error = float((output - torch.complex(tensors["output.real"], tensors["output.imag"])).abs().max())
    mixture = np.random.default_rng(0).normal(0, 0.1, (2, 5 * SAMPLE_RATE)).astype(np.float32)
    here, there = (Separator(tiny.new_model(), device=device).separate(mixture) for device in (place.device, "cpu"))
    apart = float(np.abs(here - there).max())
    measured = f"{error:.0e} from the golden output; a separation {apart:.0e} from the CPU's"
    return finding(error < GOLDEN_TOLERANCE and apart < SEPARATION_TOLERANCE, measured)


def textbook_loop(place: Place) -> Finding:
    """Adam, clipping and averaging written out by hand."""
    ours = train_tiny(place, place.root / "loop", lambda row: None, validation=None)
    average, _ = tiny.textbook_loop(ours["examples"], place.device)
    return same(ours["weights"], tiny.weights(average).cpu())


def resumption(place: Place) -> Finding:
    """Killed after its first epoch and taken up again."""
    folder = place.root / "killed"
    with place.child("killed", folder):
        pass
    with place.child("plain", folder) as rows:
        epochs = [row["epoch"] for row in rows]
    return compare(place, folder) if epochs == [1, 2] else Finding("FAIL", f"took up the epochs {epochs}, not [1, 2]")


def bf16(place: Place) -> Finding:
    """The mean loss of each epoch of 200 steps in all."""
    make = partial(fresh_model, "musdb7s") if place.on_gpu else tiny.new_model
    common = tiny.COMMON.model_copy(update={"batch_size": 5})
    training = place.examples(100 if place.on_gpu else 10, make().chunk_samples)
    schedule = [Phase(epochs=math.ceil(STEPS / (len(training) // common.batch_size)), learning_rate=1e-3)]
    curves: list[list[float]] = [[], []]
    for devices, curve in zip((place.devices(), place.devices("bf16")), curves, strict=True):
        fit(
            make(),
            training,
            None,
            schedule=schedule,
            common=common,
            devices=devices,
            workers=0,
            scratch=place.root / devices.precision,
            name=devices.precision,
            on_epoch=lambda row, curve=curve: curve.append(row["train_loss"]),  # type: ignore[misc]
        )
    apart = max(abs(ours - theirs) / theirs for theirs, ours in zip(*curves, strict=True))
    shown = ", ".join(f"{curve[0]:.4f} to {curve[-1]:.4f}" for curve in curves)
    return finding(apart < CURVE_TOLERANCE, f"{100 * apart:.2g} % apart at most ({shown})", "5 %")


def ddp(place: Place) -> Finding:
    """`strategy="ddp"` alone on the device: NCCL on a GPU, with a validation in each epoch."""
    with place.child("ddp", place.root / "ddp"):
        pass
    return compare(place, place.root / "ddp")


def two_processes(place: Place) -> Finding:
    """One training by two processes, joined by gloo, as NCCL gives each card to one process only."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    with ExitStack() as stack:
        for rank in "01":
            stack.enter_context(place.child("shared", place.root / "shared", NODE_RANK=rank, **address))
    return compare(place, place.root / "shared")


def raced(place: Place, measured: gpu.Speed, least: float, unit: str, speedup: float = 0) -> Finding:
    """Of a row of `make bench`; the textbook's float32 uses TF32 in its LSTMs, as torch does by default."""
    row, share = measured.row, f"{100 * measured.share:.0f} % of its bf16 peak"
    said = f"{row.ours}, {share}; textbook {row.textbook}: {row.speedup} times; agree to {row.agreement}"
    target = f"{least} {unit}" + (f", {speedup} times the textbook" if speedup else "")
    return fast(place, measured.rate >= least and measured.speedup >= speedup, said, target)


def fast(place: Place, good: bool, measured: str, target: str) -> Finding:
    """Of a speed, whose target is an H100's."""
    return Finding("pass" if good or not place.on_gpu else "slow", measured, target)


def step(place: Place, batch: int) -> Finding:
    """Loss and gradients."""
    measured = gpu.step("", place.config, batch, place.device, place.budget_s)
    return raced(place, measured, EXAMPLES_PER_S, "examples/s", SPEEDUP)


def separation(place: Place) -> Finding:
    """A song of noise through fresh weights."""
    seconds = gpu.SONG_S // 2 if place.on_gpu else 6
    # the full model's own length, on which the textbook insists
    config = place.config.model_copy(update={"chunk_samples": CHUNK_SAMPLES})
    measured = gpu.separate("", config, seconds, place.device, place.budget_s)
    return raced(place, measured, TIMES_REAL_TIME, "times real time")


@cache
def epoch_alone(place: Place) -> tuple[dict[str, float], str]:
    """The last row of the job "epoch", and how busy the card was meanwhile."""
    busy = "no nvidia-smi"
    with place.child("epoch", place.root / "alone") as rows, ExitStack() as stack:
        next(rows, None)
        if place.on_gpu and shutil.which("nvidia-smi"):
            card = f"--id=GPU-{torch.cuda.get_device_properties(0).uuid}"
            query = ["nvidia-smi", card, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
            watch = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
            stack.callback(watch.terminate)
        row: dict[str, float] = next(rows, {})
    if place.on_gpu and shutil.which("nvidia-smi"):
        shares = [float(text) for text in watch.communicate()[0].split() if text.isdecimal()]
        busy = f"card busy {np.mean(shares):.0f} % of the time" if shares else "nvidia-smi told nothing"
    return row, busy


def epoch(place: Place) -> Finding:
    """Batches of 5 through the real loaders."""
    row, busy = epoch_alone(place)
    said = f"{number(row['rate'])} examples/s, {busy}, peak {row['peak_gb']:.1f} GB"
    return fast(place, row["rate"] >= EXAMPLES_PER_S, said, f"{EXAMPLES_PER_S} examples/s")


def side_by_side(place: Place) -> Finding:
    """Two trainings at once, as `dvc queue start -j 2` runs them."""
    alone, _ = epoch_alone(place)
    with ExitStack() as stack:
        children = [stack.enter_context(place.child("epoch", place.root / name)) for name in ("left", "right")]
        left, right = map(list, children)
    both = [left[-1], right[-1]]
    apart = max(abs(row["train_loss"] / alone["train_loss"] - 1) for row in both)
    rates = " and ".join(number(row["rate"]) for row in both)
    said = f"{rates} examples/s, alone {number(alone['rate'])}; losses {100 * apart:.2g} % from it"
    return finding(apart < CURVE_TOLERANCE, said)


def small_card(place: Place) -> Finding:
    """As README.md sets the 32.4 M model for 8 GB, and with batches of 5."""
    with place.child("small", place.root / "small") as rows:
        peaks_gb = [row["peak_gb"] for row in rows]
    one, five = peaks_gb
    said = f"{one:.1f} GB with batches of 1, {five:.1f} GB with batches of 5, as the allocator holds it"
    return finding(one < SMALL_CARD_GB or not place.on_gpu, said, f"{SMALL_CARD_GB} GB")


EXACT: dict[str, Callable[[Place], Finding]] = {
    "golden values": golden,
    "textbook loop": textbook_loop,
    "killed and resumed": resumption,
    "ddp, one process": ddp,
    "ddp, two processes on one card": two_processes,
}
IN_BF16: dict[str, Callable[[Place], Finding]] = {
    f"bf16 beside float32, {STEPS} steps": bf16,
    **{f"step of the 32.4 M model, batch of {batch}": partial(step, batch=batch) for batch in gpu.BATCHES},
    "separation by the 32.4 M model": separation,
    "epoch of the 32.4 M model, batches of 5": epoch,
    "two trainings side by side": side_by_side,
    "settings for a card of 8 GB": small_card,
}
CHECKS = EXACT | IN_BF16


def run(name: str, place: Place) -> Finding:
    """A check's finding, whatever happens in it."""
    # by default torch rounds to TF32, ten bits, in the LSTMs of float32, and then nothing agrees to 1e-5
    torch.backends.cudnn.allow_tf32 = name not in EXACT
    if time.monotonic() > place.end_s - LIMIT_S + LAST_START_S:
        return Finding("left out", "no time left")
    try:
        place.devices("bf16" if name in IN_BF16 else "32")
    except InputError as error:
        return Finding("left out", str(error))
    try:
        return CHECKS[name](place)
    except torch.OutOfMemoryError:
        return Finding("left out", "does not fit this card's memory")
    except Exception as error:
        traceback.print_exc()
        return Finding("FAIL", f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def do_tiny(job: str, place: Place, folder: Path) -> None:
    """In a process of its own: the training of tiny.py, in one of the ways to the same weights."""
    torch.backends.cudnn.allow_tf32 = False

    def on_epoch(row: Row) -> None:
        if job == "killed" and row["epoch"] > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        print(json.dumps(row), flush=True)

    options: dict[str, Any] = {"workers": 1}
    trainer_options: dict[str, Any] = {}
    if job == "ddp":
        trainer_options = {"strategy": "ddp"}
    if job == "shared":
        half = tiny.COMMON.model_copy(update={"batch_size": tiny.COMMON.batch_size // 2})
        options |= {"devices": place.devices(count=2), "common": half}
        # each process a machine of its own to Lightning, which refuses to count one card twice
        trainer_options = {"strategy": DDPStrategy(process_group_backend="gloo"), "devices": 1, "num_nodes": 2}
    trainer = pl.Trainer
    with patch.object(pl, "Trainer", lambda **chosen: trainer(**chosen | trainer_options)):
        result = train_tiny(place, folder, on_epoch, **options)
    if result["history"]:
        torch.save({name: result[name] for name in ("weights", "history")}, folder / "weights.pt")


def do_full_size(job: str, place: Place, folder: Path) -> None:
    """In a process of its own: the 32.4 M model in bf16; a line for each epoch, with examples/s and memory."""
    settings = [THESIS]
    if job == "small":
        settings = [THESIS.model_copy(update={"batch_size": 1, "accumulate": 5}), THESIS]
    training = place.examples(1000 if place.on_gpu and job == "epoch" else 10, place.config.chunk_samples)
    for common in settings:
        torch.manual_seed(0)
        model = build(place.config, "vocals")
        if job == "small":
            model.checkpoint_activations()

        def on_epoch(row: Row) -> None:
            peak_gb = torch.cuda.max_memory_reserved() / 1e9 if place.on_gpu else math.nan
            rate = len(training) // THESIS.batch_size * THESIS.batch_size / row["seconds"]
            print(json.dumps(row | {"rate": rate, "peak_gb": peak_gb}), flush=True)

        fit(
            model,
            training,
            None,
            schedule=[Phase(epochs=2 if job == "epoch" else 1, learning_rate=1e-3)],
            common=common,
            devices=place.devices("bf16"),
            workers=8 if place.on_gpu else 1,
            scratch=folder / f"scratch{common.batch_size}",
            name=job,
            on_epoch=on_epoch,
        )
        gc.collect()
        torch.cuda.empty_cache()
        if place.on_gpu:
            torch.cuda.reset_peak_memory_stats()


def main() -> int:
    """Make the checks, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", metavar="CHECK", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    # cuDNN's LSTMs are repeatable with it only; read once, when CUDA starts
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if options.job:
        job, root, folder = options.job
        do = do_full_size if job in ("epoch", "small") else do_tiny
        do(job, Place(options.device, Path(root)), Path(folder))
        return 0
    with tempfile.TemporaryDirectory() as scratch, one_line_errors():
        place = Place(options.device, Path(scratch), time.monotonic() + LIMIT_S)
        place.devices()
        windows = tiny.write_music(place.root / "music", 30 if place.on_gpu else 7)
        windows.to_csv(place.root / "windows.csv", index=False)
        card = f"no GPU, small sizes on {cpu()}"
        if place.on_gpu:
            card = f"{torch.cuda.get_device_name()}, {torch.cuda.mem_get_info()[1] / 1e9:.0f} GB"
        print(f"{datetime.date.today()}: {card}; torch {torch.__version__}, Python {platform.python_version()}.\n")
        print(line(("check", "result", "measured", "target")), line(["---"] * 4), sep="\n", flush=True)
        failed = False
        for name in options.only:
            found = run(name, place)
            failed |= found.result == "FAIL"
            print(line((name, *found)), flush=True)
    print(f"\n{time.monotonic() - place.end_s + LIMIT_S:.0f} s in all.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
