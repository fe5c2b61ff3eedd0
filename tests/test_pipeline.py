"""The pipeline as its users drive it: dvc repro, experiments, the queue, interruptions, bad input."""

import gc
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from study import CELL, MICRO, ROOT, Study, check_out, stages_run

from vocalremix.audio.writing import write_pcm16
from vocalremix.config.params import load

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MODEL = yaml.safe_load(MICRO.read_text())["model"]


@pytest.mark.parametrize("stage", GRAPH)
def test_every_stage_says_what_it_does_and_is_one_short_file(stage: str) -> None:
    script = f"stages/{stage}.py"
    assert GRAPH[stage]["desc"]
    assert script in GRAPH[stage]["cmd"].split()
    assert script in GRAPH[stage]["deps"]
    source = (ROOT / script).read_text()
    assert source.startswith(f'"""Stage {stage}')
    assert len(source.splitlines()) < 60
    # where processes are spawned (macOS), a loader's worker imports the script again
    assert source.endswith('if __name__ == "__main__":\n    main()\n')


@pytest.mark.parametrize("stage", GRAPH)
def test_every_dependency_and_parameter_exists(stage: str) -> None:
    """DVC reports a mistyped one only when the stage is run."""
    profile = yaml.safe_load((ROOT / "profiles/demo.yaml").read_text())
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for path in GRAPH[stage]["deps"]:
        assert path.startswith(("data/", "reports/")) or (ROOT / path).exists()
    for entry in GRAPH[stage].get("params", []):
        keys, place = (next(iter(entry.values())), profile) if isinstance(entry, dict) else ([entry], params)
        for key in keys:
            value: Any = place
            for name in re.sub(r"\$\{.*?remix\}", "thesis", key).split("."):
                value = value[name]


def test_a_stage_waits_for_a_lock_that_another_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC empties dvc.lock and writes it stage by stage, while stages of other processes run."""
    monkeypatch.syspath_prepend(ROOT / "stages")
    monkeypatch.setattr(gc, "disable", lambda: None)
    layout = importlib.import_module("layout")
    monkeypatch.setattr(layout, "ROOT", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    names = ("augmented", "music", "speech")
    stages = {name: {"outs": [{"path": f"data/demo/{name}", "md5": 8 * name[0]}]} for name in names}
    text = yaml.safe_dump({"schema": "2.0", "stages": stages})

    def write() -> None:
        with (tmp_path / "dvc.lock").open("w") as file:
            for line in text.splitlines(keepends=True):
                file.write(line)
                file.flush()
                time.sleep(0.05)

    (tmp_path / "dvc.lock").touch()
    writer = threading.Thread(target=write)
    writer.start()
    digests = layout.data_digests(layout.Layout(load(tmp_path)))
    writer.join()
    assert digests == {name: 8 * name[0] for name in names}


def test_only_the_stage_itself_waits_with_its_garbage(tmp_path: Path) -> None:
    """Where processes are spawned (macOS), a loader's worker imports the stage again, but does not run it."""
    program = tmp_path / "program.py"
    program.write_text("""if True:
        import gc, multiprocessing
        from layout import stage

        def collects(_):
            return gc.isenabled()

        if __name__ == "__main__":
            print(collects(0), *multiprocessing.get_context("spawn").Pool(1).map(collects, [0]))
            with stage():
                print(collects(0))
    """)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/stages:{ROOT}/src"}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A fresh checkout on which `dvc repro` has run once."""
    study = check_out(tmp_path_factory.mktemp("pipeline") / "vocalremix")
    output = study.run("dvc", "repro")
    cells = [CELL.format(probability) for probability in (0, 1)]
    assert stages_run(output) == {name for name in GRAPH if "matrix" not in GRAPH[name]} | {
        *(f"sweep@{cell}" for cell in cells),
        *(f"evaluate_sweep@{cell}" for cell in cells),
        *(f"evaluate@{name}" for name in ("initial", "train", "train_full")),
    }
    study.commit("results")
    return study


@pytest.mark.slow
class TestPipeline:
    """In order: each test leaves the study as the next expects it."""

    def test_repro_again_does_nothing(self, study: Study) -> None:
        assert "Data and pipelines are up to date" in study.run("dvc", "repro")
        assert study.run("git", "status", "--porcelain") == ""

    def test_every_training_is_one_finished_mlflow_run(self, study: Study) -> None:
        runs = study.mlflow_runs()
        assert Counter(run.data.tags["stage"] for run in runs) == {
            "initial": 1,
            "overfit": 1,
            "sweep": 2,
            "train": 1,
            "train_full": 1,
        }
        head = study.run("git", "rev-parse", "HEAD~").strip()
        for run in runs:
            assert run.info.status == "FINISHED"
            assert run.data.tags["git.commit"] == head
            assert run.data.tags["profile"] == "micro"
            assert run.data.metrics["device_hours"] > 0
            if run.data.tags["stage"] != "overfit":
                assert {"test_usdr_db", "test_window_usdr_db", "test_mixture_usdr_db"} <= set(run.data.metrics)
        cells = {run.data.params["speech_remix_prob"] for run in runs if run.data.tags["stage"] == "sweep"}
        assert cells == {"0", "1"}
        assert [path.name for path in (study.root / "scratch").iterdir()] == ["micro"], (
            "only the data stages' pieces stay"
        )

    def test_audio_is_on_disk_once(self, study: Study) -> None:
        """A copy's file in data/, in DVC's cache and among the pieces that the next run starts from is one file."""
        copies = [path for path in (study.root / "data/micro/augmented").rglob("*.wav") if path.stat().st_size > 1000]
        kept = {path.stat().st_ino for path in (study.root / "scratch/micro/augment/audio").rglob("*.wav")}
        assert copies
        assert all(path.stat().st_ino in kept and path.stat().st_nlink >= 3 for path in copies)

    def test_the_cells_lie_under_one_run_that_has_the_report(self, study: Study) -> None:
        (parent,) = study.mlflow_runs("tags.stage = 'sweep_parent'")
        cells = study.mlflow_runs("tags.stage = 'sweep'")
        assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {parent.info.run_id}
        (report,) = study.mlflow_client.list_artifacts(parent.info.run_id, "report")
        files = {Path(file.path).name for file in study.mlflow_client.list_artifacts(parent.info.run_id, report.path)}
        assert files == {"verdicts.md", "figures", "tables"}
        for run in cells:
            excerpt = [file.path for file in study.mlflow_client.list_artifacts(run.info.run_id, "excerpt")]
            assert sorted(Path(path).suffix for path in excerpt) == [".flac", ".png"]
            assert {"test_usdr_db_ci_low", "test_usdr_db_ci_high"} <= set(run.data.metrics)
            assert run.inputs.dataset_inputs

    def test_the_page_is_where_it_is_looked_for(self, study: Study) -> None:
        for page in ("reports/index.html", "reports/micro/index.html"):
            html = (study.root / page).read_text()
            for sentence in re.findall(
                "^- (.+)$", (study.root / "reports/micro/verdicts.md").read_text(), re.MULTILINE
            ):
                assert sentence in html
            named = re.findall(r'(?:src|data-audio)="([^"]+)"', html)
            assert named and all((study.root / page).parent.joinpath(name).is_file() for name in named)

    def test_scores_hold_together(self, study: Study) -> None:
        """The mixture scores the same in every evaluation, and it is the same number in the metrics file."""
        scores = study.root / "reports/micro/scores"
        mixtures = {
            json.loads(path.read_text())["mixture"]["windows"]["usdr_db"]["mean"]
            for path in scores.glob("*/summary.json")
        }
        assert len(mixtures) == 1
        metrics = json.loads((study.root / "reports/micro/metrics.json").read_text())
        assert metrics["mixture"]["uSDR_db"] == pytest.approx(mixtures.pop(), abs=1e-3)

    def test_metrics_and_plots_read_well(self, study: Study) -> None:
        shown = json.loads(study.run("dvc", "metrics", "show", "--json"))
        columns = shown[""]["data"]["reports/micro/metrics.json"]["data"]
        assert len(json.dumps(columns)) < 700
        study.run("dvc", "metrics", "diff", "HEAD~")
        study.run("dvc", "plots", "diff", "HEAD~", "-o", "plots_out")
        assert (study.root / "plots_out/index.html").is_file()
        study.run("rm", "-r", "plots_out")

    def test_a_remix_written_from_the_docs_is_swept_tracked_and_reported(self, study: Study) -> None:
        """One file of under 40 lines and one entry of params.yaml; nothing else is made anew but cells."""
        study.run("git", "checkout", "--", ".")
        study.run("dvc", "checkout")
        (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/remixes.md").read_text(), re.DOTALL)
        assert len(code.splitlines()) < 40
        remix = study.root / "src/vocalremix/remix/reverse.py"
        remix.write_text(code)
        params = yaml.safe_load((study.root / "params.yaml").read_text())
        study.set("params.yaml", remixes=params["remixes"] | {"backwards": {"reverse": {"share": 1}}})
        output = study.run(
            "dvc", "exp", "run", "-S", "sweep.remix=[thesis,backwards]", "-S", "sweep.speech_remix_prob=[0]"
        )
        new = "backwards-0-0.8-1-42-42"
        assert f"sweep@{new}" in stages_run(output)
        assert not {"initial", "overfit", "index", "augment"} & stages_run(output)
        (run,) = study.mlflow_runs("params.`remix` = 'backwards'")
        assert run.data.params["remix.reverse.share"] == "1.0"
        verdicts = (study.root / "reports/micro/verdicts.md").read_text()
        assert "## Which remixes help?" in verdicts and "remix backwards" in verdicts
        remix.unlink()

    def test_queued_experiments_train_what_depends_on_a_change_and_share_the_one_store(self, study: Study) -> None:
        study.run("git", "checkout", "--", ".")
        study.run("dvc", "checkout")
        before = {run.info.run_id for run in study.mlflow_runs()}
        cell = CELL.format(0.7)
        study.run("dvc", "exp", "run", "--queue", "-n", "speechy", "-S", "speech_remix_prob=0.2")
        study.run("dvc", "exp", "run", "--queue", "-n", "new-cell", "-S", "sweep.speech_remix_prob=[0,1,0.7]")
        study.run("dvc", "queue", "start", "-j", "2")
        deadline = time.monotonic() + 600
        while (status := study.run("dvc", "queue", "status")).count("Success") < 2:
            assert "Failed" not in status, status + study.run("dvc", "queue", "logs", status.split()[5])
            assert time.monotonic() < deadline, status
            time.sleep(3)
        ran = {name: stages_run(study.run("dvc", "queue", "logs", name)) for name in ("speechy", "new-cell")}
        assert ran == {
            "speechy": {"train", "train_full", "evaluate@train", "evaluate@train_full", "report"},
            "new-cell": {f"sweep@{cell}", f"evaluate_sweep@{cell}", "report"},
        }
        new = [run for run in study.mlflow_runs() if run.info.run_id not in before]
        tags = ("dvc.experiment", "stage")
        assert Counter((*map(run.data.tags.get, tags), run.data.params["speech_remix_prob"]) for run in new) == {
            ("speechy", "train", "0.2"): 1,
            ("speechy", "train_full", "0.2"): 1,
            ("new-cell", "sweep", "0.7"): 1,
        }
        assert {run.info.status for run in new} == {"FINISHED"}
        for run in new:
            assert run.info.artifact_uri.startswith((study.root / "mlartifacts").as_uri())
        assert not list((study.root / ".dvc/tmp").rglob("mlflow.db"))
        table = study.run("dvc", "exp", "show", "--csv", "--no-pager")
        assert "speechy" in table
        assert "train_full.uSDR_db" in table.splitlines()[0]

    def test_a_killed_repro_goes_on(self, study: Study) -> None:
        study.run("git", "checkout", "--", ".")
        study.run("dvc", "checkout")
        profile = yaml.safe_load(MICRO.read_text())
        profile["training"]["train"] = {"epochs": 6, "learning_rate": 1e-3}
        study.set("profiles/micro.yaml", training=profile["training"])
        process = subprocess.Popen(
            ["dvc", "repro", "train"], cwd=study.root, env=study.environment, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while not list((study.root / "scratch").glob("*/last.ckpt")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (study.root / "data/micro/runs/train").exists()
        study.run("dvc", "repro", "train")
        history = (study.root / "data/micro/runs/train/history.csv").read_text().splitlines()[1:]
        assert [line.split(",")[0] for line in history] == list("012345")
        newest = max(study.mlflow_runs(), key=lambda run: run.info.start_time)
        assert newest.info.status == "FINISHED"
        assert newest.data.metrics["epochs"] == 6
        assert not [run for run in study.mlflow_runs() if run.info.status == "RUNNING"]

    def test_bad_songs_end_in_one_line_and_code_2(self, study: Study, tmp_path: Path) -> None:
        study.run("git", "checkout", "--", ".")
        study.run("dvc", "checkout", "--force")
        songs = tmp_path / "songs"
        shutil.copytree(study.root / "data/micro/music", songs)
        stem = next(songs.glob("train/*/bass.wav"))
        stem.chmod(0o644)
        stem.write_bytes(stem.read_bytes()[:50000])
        corpus = yaml.safe_load(MICRO.read_text())["corpus"]
        study.set("profiles/micro.yaml", corpus=corpus | {"music": {"source": "folder", "path": str(songs)}})
        before = sorted((study.root / "data/micro").rglob("*"))
        assert "truncated" in study.error("stages/download_music.py")
        assert sorted((study.root / "data/micro").rglob("*")) == before

    def test_silent_songs_end_in_one_line_and_code_2(self, study: Study) -> None:
        study.run("git", "checkout", "--", ".")
        study.run("dvc", "checkout", "--force")
        for file in (study.root / "data/micro/music").glob("train/*/vocals.wav"):
            length = soundfile.info(file).frames
            file.unlink()
            write_pcm16(file, np.zeros((2, length)))
        index = (study.root / "data/micro/index.csv").read_bytes()
        assert "vocals" in study.error("stages/index.py")
        assert (study.root / "data/micro/index.csv").read_bytes() == index

    @pytest.mark.parametrize(
        ("file", "change", "says"),
        [
            (
                "params.yaml",
                {"mix_probability": 1},
                "params.yaml: mix_probability: unknown key; did you mean mix_prob?",
            ),
            ("profiles/micro.yaml", {"model": MODEL | {"features": 9}}, "made with features 8 instead of 9"),
        ],
    )
    def test_bad_input_ends_in_one_line_and_code_2(
        self, study: Study, file: str, change: dict[str, Any], says: str
    ) -> None:
        study.run("git", "checkout", "--", ".")
        study.run("dvc", "checkout", "--force")
        study.set(file, **change)
        before = sorted((study.root / "data/micro/runs").rglob("*"))
        assert says in study.error("stages/overfit.py")
        assert sorted((study.root / "data/micro/runs").rglob("*")) == before
