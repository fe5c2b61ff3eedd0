"""Training with Lightning: one process or many, resumable after any interruption to the same result."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from vocalremix.config.params import Common, Phase
from vocalremix.examples.dataset import Example, RemixDataset, ValidationDataset
from vocalremix.examples.sampler import EpochSampler
from vocalremix.models.base import SeparationModel
from vocalremix.models.losses import batch_usdr
from vocalremix.training.devices import Devices
from vocalremix.util.errors import InputError
from vocalremix.util.files import publish

Row = dict[str, float]
MONITOR = "valid_usdr_db"


def is_main_process() -> bool:
    """Whether this process speaks for the training; the others only compute."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined, no-any-return]


class Outcome(NamedTuple):
    """A finished training."""

    history: list[Row]
    """One row per epoch: epoch, learning_rate, train_loss, valid_loss, valid_usdr_db, seconds."""
    best_epoch: int
    """The epoch whose averaged weights the model holds now: best on validation, or the last one without it."""


def learning_rate(schedule: Sequence[Phase], epoch: int) -> float:
    """The rate of an epoch: each phase starts at its own and decays by a factor per epoch (thesis 5.5)."""
    for phase in schedule[:-1]:
        if epoch < phase.epochs:
            return phase.learning_rate * phase.decay**epoch
        epoch -= phase.epochs
    return schedule[-1].learning_rate * schedule[-1].decay ** epoch


def ema_decay(common: Common, global_batch: int) -> float:
    """What the averaged weights keep of themselves in a step of so many examples.

    The average spans a number of examples, not of steps: more devices take fewer and larger steps.
    """
    return float(common.ema_decay ** (global_batch / common.ema_examples))


class _DivergenceError(Exception):
    """A gradient is not finite; holds the keys of the examples behind it and what was measured."""

    def __init__(self, keys: list[list[int]], measured: str):
        super().__init__(measured)
        self.keys = keys


class SeparationTask(pl.LightningModule):
    """Fits any separation model; it knows the model by its loss and its waveforms only."""

    def __init__(self, model: SeparationModel, schedule: Sequence[Phase], clip_norm: float):
        super().__init__()
        self.model = model
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.history: list[Row] = []
        self._step: list[tuple[Tensor, Tensor]] = []  # keys and loss of its batches

    def training_step(self, batch: Example, number: int) -> Tensor:
        """Returns the model's own loss; `batch` holds mixture and target, `(batch, channels, samples)`."""
        loss: Tensor = self.model.loss(batch.mixture, batch.target)
        if number % self.trainer.accumulate_grad_batches == 0:
            self._step.clear()
        self._step.append((batch.key, loss.detach()))
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.mixture))
        return loss

    def validation_step(self, batch: Example, _: int) -> None:
        """Logs loss and mean uSDR of fixed crops."""
        estimate = self.model(batch.mixture).float()
        metrics = {
            "valid_loss": self.model.loss(batch.mixture, batch.target),
            MONITOR: batch_usdr(estimate, batch.target).mean(),
        }
        self.log_dict(metrics, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.mixture))

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Clips by norm, and stops where a gradient is not finite.

        Called once for all batches of a step. The gradients are already averaged over the processes here, so all of
        them stop together instead of waiting for one another.
        """
        norm = clip_grad_norm_(self.model.parameters(), self.clip_norm)
        if not torch.isfinite(norm):
            keys, losses = zip(*self._step, strict=True)
            loss = float(torch.stack(losses).mean())
            raise _DivergenceError(
                torch.cat(keys).tolist(), f"step {self.global_step}: loss {loss}, gradient norm {float(norm)}"
            )

    def configure_optimizers(self) -> Any:
        """Adam; its rate follows the schedule epoch by epoch."""
        optimizer = Adam(self.model.parameters(), lr=1.0)
        return [optimizer], [LambdaLR(optimizer, lambda epoch: learning_rate(self.schedule, epoch))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the history with the weights it belongs to."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the history up again."""
        self.history = checkpoint["history"]


class _WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that a kill cannot cut short: Lightning's go through $TMPDIR, often on another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with publish(Path(path)) as partial:
            torch.save(checkpoint, partial)


class _StopsAgain(EarlyStopping):
    """Early stopping that also holds for a training killed after its last epoch and taken up again."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience


class _Progress(pl.Callback):
    """Keeps the history, and shows one bar for the whole training, so that its remaining time is the training's."""

    def __init__(self, name: str, n_epochs: int, on_epoch: Callable[[Row], None]):
        self._name, self._n_epochs, self._on_epoch = name, n_epochs, on_epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning's own answer to SIGTERM ends with exit code 0, which DVC would lock as done, and hangs when a
        # whole group of processes is told to stop.
        signal.signal(signal.SIGTERM, _exit_on_sigterm)
        batches = int(trainer.num_training_batches)
        self._bar = tqdm(
            total=self._n_epochs * batches,
            initial=trainer.current_epoch * batches,
            desc=self._name,
            unit="batch",
            disable=not trainer.is_global_zero,
            mininterval=1.0,
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SeparationTask)
        epoch, metrics = trainer.current_epoch, trainer.callback_metrics
        row = {
            "epoch": epoch,
            "learning_rate": learning_rate(pl_module.schedule, epoch),
            **{name: float(metrics[name]) for name in ("train_loss", "valid_loss", MONITOR) if name in metrics},
            "seconds": time.perf_counter() - self._started,
        }
        pl_module.history.append(row)
        self._bar.set_postfix({name: f"{row[name]:.3g}" for name in ("train_loss", MONITOR) if name in row})
        if trainer.is_global_zero:
            self._on_epoch(row)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.close()


def _exit_on_sigterm(signum: int, _: Any) -> None:
    raise SystemExit(128 + signum)


def fit(
    model: SeparationModel,
    training: RemixDataset,
    validation: ValidationDataset | None,
    *,
    schedule: Sequence[Phase],
    common: Common,
    devices: Devices,
    workers: int,
    scratch: Path,
    name: str,
    on_epoch: Callable[[Row], None],
) -> Outcome | None:
    """Train `model` in place and leave the averaged (EMA) weights in it: the best epoch's by validation uSDR.

    Without `validation` the last epoch's weights count. Everything needed to go on after a kill lies in `scratch`
    after every epoch; called again with the same arguments, training continues there and ends as if it had never
    stopped. `batch_size` is per device; a global batch, one step of the optimiser, is `accumulate` of them on every
    device, and an epoch a whole number of global batches: of the schedule's `epoch_examples`, or else of all windows.
    All of the schedule is gone through where `patience` is null. `on_epoch` gets each finished epoch's row, in one
    process only; the others, which only compute, get no outcome and keep the weights of the last step.

    Raises InputError when a loss or gradient is not finite, naming the windows of this process's share of the global
    batch, or when an epoch has fewer examples than a global batch holds. SIGTERM and SIGINT end the program with a
    non-zero exit code.
    """
    global_batch = common.batch_size * common.accumulate * devices.count
    epoch_examples = schedule[0].epoch_examples
    if (epoch_examples or len(training)) < global_batch:
        found = f"{epoch_examples} epoch_examples" if epoch_examples else f"{len(training)} training windows"
        raise InputError(
            f"{name}: {found} do not fill one batch of {global_batch}; lower training.common.batch_size or accumulate, "
            f"or raise {'epoch_examples' if epoch_examples else 'data_fraction'}"
        )
    torch.set_num_threads(devices.cpu_threads)
    n_epochs = sum(phase.epochs for phase in schedule)
    task = SeparationTask(model, schedule, common.clip_norm)
    checkpoint = partial(ModelCheckpoint, dirpath=scratch, save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks: list[pl.Callback] = [
        EMAWeightAveraging(decay=ema_decay(common, global_batch)),
        _Progress(name, n_epochs, on_epoch),
    ]
    if validation:
        callbacks += [
            *([_StopsAgain(MONITOR, mode="max", patience=common.patience)] if common.patience else []),
            # a whole checkpoint: with save_weights_only, Lightning leaves the averaging out and saves the raw weights
            checkpoint(filename="best", monitor=MONITOR, mode="max"),
        ]
    with _quiet():
        trainer = pl.Trainer(
            accelerator="gpu" if devices.accelerator == "cuda" else "cpu",
            devices=devices.count,
            strategy="ddp" if devices.count > 1 else "auto",
            precision=devices.precision,
            max_epochs=n_epochs,
            accumulate_grad_batches=common.accumulate,
            default_root_dir=scratch,
            callbacks=[*callbacks, checkpoint(filename="last")],
            # in a batch job of SLURM, Lightning would wait for processes of its making
            plugins=[_WholeCheckpoints(), LightningEnvironment()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        sampler = EpochSampler(
            training,
            global_batch,
            epoch_examples=epoch_examples,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        resume = scratch / "last.ckpt"
        if resume.is_file():
            # Lightning's workers draw the first batches before it tells the sampler where it goes on
            finished = torch.load(resume, map_location="cpu", mmap=True, weights_only=True)["epoch"]
            sampler.set_epoch(finished + 1)
        # threads of a process group come and go, and a fork at the wrong moment leaves a worker that waits for ever
        context = "forkserver" if workers and devices.count > 1 else None
        loader = partial(DataLoader, batch_size=common.batch_size, pin_memory=devices.accelerator == "cuda")
        batches = loader(
            training,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=context,
            worker_init_fn=_end_with_parent,
        )
        try:
            trainer.fit(
                task,
                batches,
                loader(_share(validation, trainer)) if validation else None,
                ckpt_path=resume if resume.is_file() else None,
            )
        except _DivergenceError as error:
            windows = ", ".join(training.describe((epoch, index)) for epoch, index in error.keys)
            raise InputError(
                f"{name}: training diverged in {error} on {windows}; check these windows or lower the learning rate"
            ) from error
        finally:
            _kill_other_processes(trainer)
    if not is_main_process():
        return None
    result = torch.load(scratch / ("best.ckpt" if validation else "last.ckpt"), map_location="cpu", weights_only=True)
    task.load_state_dict(result["state_dict"])
    return Outcome(task.history, result["epoch"])


def _share(validation: ValidationDataset, trainer: pl.Trainer) -> Subset[Example]:
    """What this process validates; the mean is taken over the examples of all.

    Where there are fewer examples than processes, each validates all of them: none may be left without any.
    """
    world = trainer.world_size if len(validation) >= trainer.world_size else 1
    return Subset(validation, range(trainer.global_rank % world, len(validation), world))


def _end_with_parent(_: int) -> None:
    """End this loader's worker when the process it works for is killed.

    torch looks for another parent, which a fork server's worker never gets: it would hold its memory for ever.
    """

    def end() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _kill_other_processes(trainer: pl.Trainer) -> None:
    """When this process leaves a training early, those it started would wait for it in vain."""
    launcher = trainer.strategy.launcher
    if sys.exc_info()[0] is not None and isinstance(launcher, _SubprocessScriptLauncher):
        launcher.kill(signal.SIGKILL)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from talking about settings that were chosen on purpose."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="torch.utils.data")
        try:
            yield
        finally:
            logger.setLevel(level)
