"""Training: against a textbook loop, across workers, processes and interruptions."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
import tiny
import torch
import yaml
from torch import Tensor

from vocalremix.config.params import Common, Compute, Phase
from vocalremix.examples.dataset import Example
from vocalremix.examples.sampler import EpochSampler
from vocalremix.models.base import SeparationModel
from vocalremix.scoring.metrics import usdr
from vocalremix.training.devices import choose_device, choose_devices
from vocalremix.training.loop import Outcome, SeparationTask, ema_decay, fit, learning_rate
from vocalremix.util.errors import InputError

PROGRAM = [sys.executable, str(Path(tiny.__file__))]
# what a job of one task finds, whose program starts the other processes itself
BATCH_JOB = {name: "0" for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")}
BATCH_JOB |= {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "study", "SLURM_NTASKS": "1"}
CPU = choose_devices(Compute(accelerator="cpu", devices=1, precision="32"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    root = tmp_path_factory.mktemp("music")
    return root, tiny.write_music(root)


def train(corpus: tuple[Path, pd.DataFrame], scratch: Path, **changes: Any) -> tuple[SeparationModel, Outcome]:
    model = changes.pop("model", None) or tiny.new_model()
    training, validation = tiny.datasets(*corpus, changes.pop("n_valid", 4))
    options: dict[str, Any] = {
        "schedule": tiny.SCHEDULE,
        "common": tiny.COMMON,
        "devices": CPU,
        "workers": 0,
        "scratch": scratch,
        "name": "tiny",
        "on_epoch": lambda row: None,
    }
    validation = changes.pop("validation", validation)
    return model, fit(model, training, validation, **options | changes)


def test_learning_rate_of_every_epoch() -> None:
    """Thesis 5.5: each phase starts at its own rate and decays from there."""
    schedule = (Phase(epochs=2, learning_rate=1.0, decay=0.5), Phase(epochs=3, learning_rate=8.0, decay=0.1))
    rates = [learning_rate(schedule, epoch) for epoch in range(6)]
    assert rates == pytest.approx([1.0, 0.5, 8.0, 0.8, 0.08, 0.008])


@pytest.fixture
def sgd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training by SGD: Adam blows the rounding of gradients next to zero up to whole steps, on each CPU others."""
    monkeypatch.setattr("vocalremix.training.loop.Adam", torch.optim.SGD)


def assert_same_by_sgd(ours: Tensor, theirs: Tensor) -> None:
    """Rounding moves weights by 1e-7 at most, a decay of 0.81 instead of 0.8 or an epoch too few by 2e-5 and more."""
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_equals_a_textbook_loop(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    """Adam, clipping and averaging written out by hand give the same weights."""
    model, outcome = train(corpus, tmp_path, validation=None)
    training, _ = tiny.datasets(*corpus)
    average, losses = tiny.textbook_loop(training)
    # a decay of 0.81 instead of 0.8 or a clip at 0.06 instead of 0.05 moves it by 1e-4 and more
    assert (tiny.weights(model) - tiny.weights(average)).abs().median() < 1e-6
    assert outcome.best_epoch == 2
    per_epoch = torch.tensor(losses).reshape(3, -1).mean(dim=1).tolist()
    assert [row["train_loss"] for row in outcome.history] == pytest.approx(per_epoch, rel=1e-4)


@pytest.mark.usefixtures("sgd")
def test_equals_a_textbook_loop_in_every_weight(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    model, _ = train(corpus, tmp_path, validation=None)
    average, _ = tiny.textbook_loop(tiny.datasets(*corpus)[0], method=torch.optim.SGD)
    assert_same_by_sgd(tiny.weights(model), tiny.weights(average))


class GpuProcesses:
    """What processes on GPUs share: NCCL takes no tensor of the CPU (Lightning #18803)."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def reduce(self, metrics: dict[str, Tensor]) -> None:
        for name, value in metrics.items():
            if not isinstance(value, Tensor) or value.device.type == "cpu":
                raise RuntimeError(f"{name}: No backend type associated with device type cpu")
            assert value.dtype == torch.float32, "a GPU's float64 is many times slower"
        self.seen |= metrics


class Gain(torch.nn.Module):
    """The least that a training needs of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, mixture: Tensor) -> Tensor:
        return self.gain * mixture

    def loss(self, mixture: Tensor, target: Tensor) -> Tensor:
        return (self(mixture) - target).abs().mean()


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_what_processes_share_stays_on_their_device(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The device "meta" stands for a GPU: it computes shapes, and nothing comes back from it to the CPU."""
    task, processes = SeparationTask(Gain().to("meta"), tiny.SCHEDULE, 1.0), GpuProcesses()
    monkeypatch.setattr(SeparationTask, "trainer", SimpleNamespace(accumulate_grad_batches=1))
    monkeypatch.setattr(task, "log_dict", lambda metrics, **options: processes.reduce(metrics))
    monkeypatch.setattr(task, "log", lambda name, value, **options: processes.reduce({name: value}))
    waveforms = torch.zeros(3, 2, 100, device="meta")
    getattr(task, step)(Example(waveforms, waveforms, torch.zeros(3, 2, device="meta")), 0)
    expected = {"train_loss"} if step == "training_step" else {"valid_loss", "valid_usdr_db"}
    assert set(processes.seen) == expected and all(value.ndim == 0 for value in processes.seen.values())


def test_thesis_average_is_its_own_at_its_batch() -> None:
    """0.9999 for a step of five examples (FACTS "Model"), on one GPU; eight GPUs take as many steps' worth at once."""
    thesis = yaml.safe_load((Path(__file__).parents[2] / "profiles/thesis.yaml").read_text())
    settings = Common.model_validate(thesis["training"]["common"])
    assert ema_decay(settings, 5) == 0.9999
    assert ema_decay(settings, 40) == pytest.approx(0.9999**8)


def common(batch_size: int, accumulate: int) -> Common:
    """Clips some of the gradients and not others, so that a sum taken for a mean would show."""
    return tiny.COMMON.model_copy(update={"batch_size": batch_size, "accumulate": accumulate, "clip_norm": 0.25})


@pytest.mark.usefixtures("sgd")
@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 2), (1, 5)])
def test_accumulating_is_training_on_the_whole_batch(
    corpus: tuple[Path, pd.DataFrame], tmp_path: Path, batch_size: int, accumulate: int
) -> None:
    """Twelve windows: three batches of 4; two of 5, with the rest left out."""
    whole, expected = train(corpus, tmp_path / "whole", common=common(batch_size * accumulate, 1))
    parts, outcome = train(corpus, tmp_path / "parts", common=common(batch_size, accumulate))
    assert_same_by_sgd(tiny.weights(parts), tiny.weights(whole))
    for ours, theirs in zip(outcome.history, expected.history, strict=True):
        assert ours | {"seconds": 0} == pytest.approx(theirs | {"seconds": 0}, rel=1e-4)
    steps = torch.load(tmp_path / "parts/last.ckpt", weights_only=True)["global_step"]
    assert steps == 3 * (12 // (batch_size * accumulate))


def test_workers_do_not_change_the_result(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    here, _ = train(corpus, tmp_path / "0", workers=0)
    there, _ = train(corpus, tmp_path / "2", workers=2)
    assert torch.equal(tiny.weights(here), tiny.weights(there))


def test_the_weights_that_were_validated_are_those_that_are_kept(
    corpus: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    """Averaged weights are validated, so averaged weights have to come out."""
    model, outcome = train(corpus, tmp_path)
    _, validation = tiny.datasets(*corpus)
    with torch.no_grad():
        scores = [
            float(usdr(model(example.mixture[None])[0], example.target))
            for example in (validation[i] for i in range(len(validation)))
        ]
    valid = [row["valid_usdr_db"] for row in outcome.history]
    assert sum(scores) / len(scores) == pytest.approx(valid[outcome.best_epoch], abs=1e-4)
    raw = torch.load(tmp_path / "last.ckpt", weights_only=True)["current_model_state"]
    unlike = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, raw[f"model.{name}"])]
    assert unlike, "with these settings, averaged and raw weights differ"


def test_keeps_the_best_epoch_on_validation(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    """A rate that ruins the model after the first epoch leaves the first epoch's weights."""
    ruinous = (Phase(epochs=1, learning_rate=1e-3), Phase(epochs=4, learning_rate=30.0))
    common = tiny.COMMON.model_copy(update={"patience": 2})
    model, outcome = train(corpus, tmp_path / "long", schedule=ruinous, common=common)
    only_first, _ = train(corpus, tmp_path / "short", schedule=ruinous[:1], common=common)
    valid = [row["valid_usdr_db"] for row in outcome.history]
    assert outcome.best_epoch == 0 == max(range(len(valid)), key=valid.__getitem__)
    assert len(outcome.history) == 3, "patience 2 ends the training two epochs after the best"
    assert torch.equal(tiny.weights(model), tiny.weights(only_first))


def fixed(epoch_examples: int | None) -> tuple[Phase, ...]:
    return tuple(phase.model_copy(update={"epoch_examples": epoch_examples}) for phase in tiny.SCHEDULE)


@pytest.mark.parametrize("songs", ["AD", "ABCD"])
def test_epochs_of_so_many_examples_take_the_same_steps_on_any_songs(
    corpus: tuple[Path, pd.DataFrame], tmp_path: Path, songs: str
) -> None:
    """4 or 12 windows, three epochs of 10 examples in batches of 2."""
    root, windows = corpus
    _, outcome = train((root, windows[windows.song.isin(list(songs))]), tmp_path, schedule=fixed(10))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3 * 5
    assert len(outcome.history) == 3


@pytest.mark.parametrize(
    ("accumulate", "workers", "epoch_examples"),
    [(1, 0, None), (2, 0, None), (1, 1, None), (1, 2, None), (1, 0, 10), (2, 2, 30)],
)
def test_goes_on_after_any_epoch_to_the_same_weights(
    corpus: tuple[Path, pd.DataFrame], tmp_path: Path, accumulate: int, workers: int, epoch_examples: int | None
) -> None:
    options: dict[str, Any] = {"common": common(2, accumulate), "schedule": fixed(epoch_examples)}
    whole, expected = train(corpus, tmp_path / "whole", **options)
    options["workers"] = workers
    for last_epoch in (0, 1):

        def die(row: dict[str, float], last_epoch: int = last_epoch) -> None:
            if row["epoch"] > last_epoch:
                raise KeyError("power cut")

        scratch = tmp_path / f"cut{last_epoch}"
        with pytest.raises(KeyError, match="power cut"):
            train(corpus, scratch, **options | {"on_epoch": die})
        resumed: list[float] = []
        options["on_epoch"] = lambda row, seen=resumed: seen.append(row["epoch"])
        model, outcome = train(corpus, scratch, **options)
        assert resumed == list(range(last_epoch + 1, 3)), "finished epochs are not trained again"
        assert torch.equal(tiny.weights(model), tiny.weights(whole))
        without_time = [{k: v for k, v in row.items() if k != "seconds"} for row in outcome.history]
        assert without_time == [{k: v for k, v in row.items() if k != "seconds"} for row in expected.history]


def test_a_cut_while_saving_leaves_the_last_checkpoint_whole(
    corpus: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = train(corpus, tmp_path / "whole")
    write, saved = torch.save, itertools.count()

    def cut(content: Any, file: Any) -> None:
        if next(saved) < 3:
            write(content, file)
            return
        Path(file).write_bytes(b"half of it")
        raise SystemExit(143)

    with monkeypatch.context() as during_the_cut, pytest.raises(SystemExit):
        during_the_cut.setattr(torch, "save", cut)
        train(corpus, tmp_path / "cut")
    assert (tmp_path / "cut/last.ckpt").is_file()
    model, _ = train(corpus, tmp_path / "cut")
    assert torch.equal(tiny.weights(model), tiny.weights(whole))


def test_early_stopping_survives_a_cut_after_the_last_epoch(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    ruinous = (Phase(epochs=1, learning_rate=1e-3), Phase(epochs=9, learning_rate=30.0))
    options = {"schedule": ruinous, "common": tiny.COMMON.model_copy(update={"patience": 1})}
    _, first = train(corpus, tmp_path, **options)
    _, again = train(corpus, tmp_path, **options)
    assert len(first.history) == 2
    assert again.history == first.history


def test_divergence_names_the_windows(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    model = tiny.new_model()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match=r"tiny: training diverged in step 0: loss nan.*train/[ABC] from sample \d+"):
        train(corpus, tmp_path, model=model)


def test_divergence_names_the_windows_of_all_batches_of_the_step(
    corpus: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    """Here it is the first batch of the second step that fails, and the second that ends the step."""
    model, losses = tiny.new_model(), itertools.count()
    healthy = model.loss
    model.loss = lambda *batch: healthy(*batch) * (float("nan") if next(losses) == 2 else 1)
    with pytest.raises(InputError, match="step 1: loss nan") as error:
        train(corpus, tmp_path, model=model, validation=None, common=common(1, 2))
    assert [f"example {index})" in str(error.value) for _, index in EpochSampler(tiny.datasets(*corpus)[0], 2)] == [
        *[False] * 2,
        *[True] * 2,
        *[False] * 8,
    ]


def test_too_few_windows_for_a_batch(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"12 training windows do not fill one batch of 100; lower .* or accumulate"):
        train(corpus, tmp_path, common=common(10, 10))
    with pytest.raises(InputError, match=r"10 epoch_examples do not fill one batch of 100; .* or raise epoch_examples"):
        train(corpus, tmp_path, common=common(10, 10), schedule=fixed(10))


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPUs of this machine")
def test_gpus_that_torch_cannot_use_are_no_reason_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver too old for torch still counts its cards."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for choose in (
        lambda: choose_devices(Compute(accelerator="auto", devices="auto", precision="auto")),
        lambda: choose_device("auto"),
        lambda: choose_device("cuda:1"),
    ):
        with pytest.raises(InputError, match=r"2 GPUs, but torch cannot use them .* choose cpu"):
            choose()
    assert choose_devices(Compute(accelerator="cpu", devices=1, precision="32")).accelerator == "cpu"
    assert choose_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the refusals of a machine without a GPU")
def test_asking_for_a_gpu_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"compute\.accelerator: cuda, but torch sees no CUDA device"):
        choose_devices(Compute(accelerator="cuda", devices="auto", precision="auto"))
    assert choose_devices(Compute(accelerator="auto", devices="auto", precision="auto")).accelerator == "cpu"


@pytest.fixture
def study(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> Path:
    """A folder that tiny.py trains in."""
    music, windows = corpus
    (tmp_path / "music").symlink_to(music)
    windows.to_csv(tmp_path / "windows.csv", index=False)
    return tmp_path


def start(study: Path, *options: str, environment: dict[str, str] | None = None, **popen: Any) -> subprocess.Popen[str]:
    own = {"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"} | (environment or {})
    return subprocess.Popen([*PROGRAM, str(study), *options], env=os.environ | own, text=True, **popen)


def run(study: Path, *options: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    assert start(study, *options, environment=environment).wait() == 0
    result: dict[str, Any] = torch.load(study / "weights.pt", weights_only=True)
    return result


@pytest.mark.slow
@pytest.mark.usefixtures("sgd")
@pytest.mark.parametrize(("n_valid", "accumulate", "environment"), [(1, 1, BATCH_JOB), (4, 2, {})], ids=str)
def test_two_processes_train_like_one_on_the_same_global_batch(
    corpus: tuple[Path, pd.DataFrame],
    study: Path,
    tmp_path: Path,
    n_valid: int,
    accumulate: int,
    environment: dict[str, str],
) -> None:
    options = ["--batch-size", "1", "--accumulate", str(accumulate), "--n-valid", str(n_valid)]
    options += ["--sgd", "--clip-norm", str(common(1, 1).clip_norm)]
    recompute = ["--recompute"] if accumulate > 1 else []
    two = run(study, "--devices", "2", *options, *recompute, environment=environment)
    one, outcome = train(corpus, tmp_path / "one", n_valid=n_valid, common=common(2 * accumulate, 1))
    assert_same_by_sgd(two["weights"], tiny.weights(one))
    assert two["best_epoch"] == outcome.best_epoch


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: signal.Signals(number).name
)
def test_a_killed_training_fails_and_goes_on_to_the_same_weights(
    corpus: tuple[Path, pd.DataFrame], study: Path, tmp_path: Path, number: signal.Signals
) -> None:
    kill_after_an_epoch(study, number, "--workers", "1")
    resumed, _ = train(corpus, study / "scratch")
    whole, _ = train(corpus, tmp_path / "whole")
    torch.testing.assert_close(tiny.weights(resumed), tiny.weights(whole), atol=1e-6, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("sgd")
def test_two_killed_processes_go_on_to_the_same_weights(
    corpus: tuple[Path, pd.DataFrame], study: Path, tmp_path: Path
) -> None:
    options = ("--devices", "2", "--batch-size", "1", "--workers", "1", "--sgd")
    kill_after_an_epoch(study, signal.SIGTERM, *options)
    resumed = run(study, *options)["weights"]
    whole, _ = train(corpus, tmp_path / "whole")
    assert_same_by_sgd(resumed, tiny.weights(whole))


def kill_after_an_epoch(study: Path, number: signal.Signals, *options: str) -> None:
    process = start(study, *options, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["epoch"] == 0
    family = psutil.Process(process.pid).children(recursive=True)
    assert family, "a loader's worker at least"
    process.send_signal(number)
    assert process.wait(timeout=60) != 0
    _, left = psutil.wait_procs(family, timeout=60)
    assert not left, "they would hold their memory for ever"
    assert not (study / "weights.pt").exists()
