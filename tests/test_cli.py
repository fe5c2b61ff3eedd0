"""The command line: a real, small checkpoint on real files, and one line for every mistake."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from vocalremix.cli import main
from vocalremix.models.configs import BSRNNConfig
from vocalremix.models.registry import build
from vocalremix.report.comparison import OUTPUTS
from vocalremix.training import checkpoint

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = BSRNNConfig(
        flavour="paper",
        bands=((8000, 2000), (22050, 14050)),
        sample_rate=44100,
        n_fft=512,
        hop_samples=256,
        features=4,
        layers=1,
        hidden=4,
        mlp=8,
        chunk_samples=8192,
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "checkpoint"
    checkpoint.save(path, build(config, "vocals"), metadata={})
    return path


def write_song(path: Path, n_samples: int = 30_000, channels: int = 2, sample_rate: int = 44100) -> Path:
    rng = np.random.default_rng(n_samples)
    soundfile.write(path, 0.1 * rng.normal(size=(n_samples, channels)), sample_rate)
    return path


def separate(song: Path, output: Path, model: Path, *options: str) -> None:
    main(["separate", str(song), "-o", str(output), "--checkpoint", str(model), "--device", "cpu", *options])


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line on stderr with which a command ends in exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def read(path: Path) -> tuple[npt.NDArray[np.float64], int]:
    samples, sample_rate = soundfile.read(path, always_2d=True)
    assert soundfile.info(path).subtype == "FLOAT"
    return samples, sample_rate


@pytest.mark.parametrize("name", ["song.wav", "my song.flac", "song.ogg"])
@pytest.mark.parametrize(("channels", "sample_rate"), [(1, 48000), (2, 44100), (2, 22050)])
def test_separate_writes_parts_that_add_up(
    name: str, channels: int, sample_rate: int, tmp_path: Path, model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = write_song(tmp_path / name, 30_001, channels, sample_rate)
    separate(song, tmp_path / "out", model_path)
    folder = tmp_path / "out" / song.stem
    assert [path.name for path in sorted(folder.iterdir())] == ["accompaniment.wav", "vocals.wav"]
    mixture, _ = soundfile.read(song, always_2d=True)
    target, target_rate = read(folder / "vocals.wav")
    accompaniment, accompaniment_rate = read(folder / "accompaniment.wav")
    assert target_rate == accompaniment_rate == sample_rate
    assert target.shape == accompaniment.shape == mixture.shape
    np.testing.assert_allclose(target + accompaniment, mixture, atol=1e-6)
    assert np.abs(target).max() > 0 and np.abs(accompaniment).max() > 0
    shown = capsys.readouterr()
    assert shown.out == f"{folder / 'vocals.wav'}\n{folder / 'accompaniment.wav'}\n"
    assert "chunk" in shown.err


def test_separate_is_the_model_on_one_chunk(tmp_path: Path, model_path: Path) -> None:
    song = write_song(tmp_path / "song.wav", 8192)
    separate(song, tmp_path, model_path)
    mixture, _ = soundfile.read(song, dtype="float32")
    with torch.inference_mode():
        expected = checkpoint.load(model_path)(torch.from_numpy(mixture.T)[None])[0].T
    np.testing.assert_allclose(read(tmp_path / "song" / "vocals.wav")[0], expected, atol=1e-6)


@pytest.mark.parametrize("n_samples", [1, 2, 500])
def test_separate_takes_the_shortest_songs(n_samples: int, tmp_path: Path, model_path: Path) -> None:
    separate(write_song(tmp_path / "song.wav", n_samples, sample_rate=48000), tmp_path, model_path)
    assert read(tmp_path / "song" / "vocals.wav")[0].shape == (n_samples, 2)


def test_mixtures_of_musdb_keep_apart(tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    songs = tmp_path / "test"
    for name in ("A - Ä", "B"):
        (songs / name).mkdir(parents=True)
        write_song(songs / name / "mixture.wav")
        monkeypatch.chdir(songs / name)
        separate(Path("mixture.wav"), tmp_path / "out", model_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["A - Ä", "B"]


def test_a_mixture_that_is_a_link_has_the_name_of_the_folder_with_the_link(tmp_path: Path, model_path: Path) -> None:
    stored = write_song(tmp_path / "0a1b2c.wav").rename(tmp_path / "0a1b2c")
    (tmp_path / "Song").mkdir()
    (tmp_path / "Song/mixture.wav").symlink_to(stored)
    separate(tmp_path / "Song/mixture.wav", tmp_path / "out", model_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["Song"]


def test_separate_reads_what_only_ffmpeg_reads(tmp_path: Path, model_path: Path) -> None:
    song = write_song(tmp_path / "song.wav", 30_000)
    packed = tmp_path / "packed.m4a"
    subprocess.run(["ffmpeg", "-v", "error", "-i", song, "-c:a", "alac", packed], check=True)
    separate(packed, tmp_path, model_path)
    separate(song, tmp_path, model_path)
    np.testing.assert_array_equal(
        read(tmp_path / "packed" / "vocals.wav")[0], read(tmp_path / "song" / "vocals.wav")[0]
    )


def test_separate_again_replaces_its_own_result_only(
    tmp_path: Path, model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = write_song(tmp_path / "song.wav")
    separate(song, tmp_path / "out", model_path)
    first = (tmp_path / "out/song/vocals.wav").stat().st_ino
    capsys.readouterr()
    again = ["separate", str(song), "-o", str(tmp_path / "out"), "--checkpoint", str(model_path)]
    assert "song: is there already" in one_line(capsys, *again)
    assert (tmp_path / "out/song/vocals.wav").stat().st_ino == first
    separate(song, tmp_path / "out", model_path, "--replace")
    assert (tmp_path / "out/song/vocals.wav").stat().st_ino != first
    (tmp_path / "out/song/drums.wav").write_text("a stem of the user's")
    capsys.readouterr()
    assert "drums.wav, which would be lost" in one_line(capsys, *again, "--replace")
    assert (tmp_path / "out/song/drums.wav").exists()


def test_separate_never_replaces_its_input(
    tmp_path: Path, model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vocals").mkdir()
    song = write_song(tmp_path / "vocals" / "vocals.wav")
    before = song.read_bytes()
    arguments = ["-o", str(tmp_path), "--checkpoint", str(model_path), "--replace"]
    assert "would be lost" in one_line(capsys, "separate", str(song), *arguments)
    plain = song.rename(tmp_path / "song")
    assert "is a file" in one_line(capsys, "separate", str(plain), *arguments)
    assert plain.read_bytes() == before


def test_separate_names_what_is_wrong(tmp_path: Path, model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song = write_song(tmp_path / "song.wav")
    wide = write_song(tmp_path / "wide.wav", channels=3)
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    out, model = str(tmp_path / "out"), str(model_path)

    def message(song: Path, *options: str, model: str = model, out: str = out) -> str:
        return one_line(capsys, "separate", str(song), "-o", out, "--checkpoint", model, *options)

    assert "missing.wav: no such file" in message(tmp_path / "missing.wav")
    assert "text.wav: not an audio file" in message(text)
    assert "no-model" in message(song, model=str(tmp_path / "no-model"))
    assert "hop_s 9" in message(song, "--hop-s", "9")
    assert "batch_size 0" in message(song, "--batch-size", "0")
    assert "cuda:99" in message(song, "--device", "cuda:99")
    assert "song.wav/song: Not a directory" in message(song, out=str(song))
    assert song.is_file()
    assert not (tmp_path / "out").exists()
    assert "wide.wav: 3 channels" in message(wide)
    assert not (tmp_path / "out").exists()


def test_separate_refuses_what_is_not_a_number(
    tmp_path: Path, model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One such sample would spoil every chunk that holds it."""
    waveform = np.zeros((30_000, 2))
    waveform[-1] = np.nan
    soundfile.write(tmp_path / "broken.wav", waveform, 44100, "FLOAT")
    with pytest.raises(SystemExit) as stopped:
        separate(tmp_path / "broken.wav", tmp_path / "out", model_path)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path}/broken.wav: holds NaN")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_separation_leaves_nothing(how: signal.Signals, tmp_path: Path, model_path: Path) -> None:
    song = write_song(tmp_path / "song.wav", 44100 * 60)
    command = [sys.executable, "-m", "vocalremix.cli", "separate", song, "-o", tmp_path / "out"]
    command += ["--checkpoint", model_path, "--hop-s", "0.0002", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        process.stderr.read(1)  # the progress bar: work has begun
        process.send_signal(how)
        process.stderr.read()
    assert process.returncode == 128 + how
    assert not (tmp_path / "out").exists()


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """A folder with songs of 1 s and estimates of their vocals, twice."""
    for seed, song in enumerate(("One", "Two", "Three")):
        noise = 0.1 * np.random.default_rng(seed).uniform(-1, 1, (4, 44100, 2))
        for folder in ("songs/test", "a", "b"):
            (tmp_path / folder / song).mkdir(parents=True)
        for stem, waveform in zip(("vocals", "drums", "bass", "other"), noise, strict=True):
            soundfile.write(tmp_path / "songs/test" / song / f"{stem}.flac", waveform, 44100)
        soundfile.write(tmp_path / "a" / song / "vocals.wav", 0.5 * noise[0], 44100)
        soundfile.write(tmp_path / "b" / song / "vocals.wav", (0.7 + 0.01 * seed) * noise[0], 44100)
    return tmp_path


def test_compare_prints_what_it_writes(
    compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(compared)
    (compared / "b/Three/vocals.wav").unlink()
    main(["compare", "a", "b", "--songs", "songs", "--name-b", "new"])
    shown = capsys.readouterr()
    written = (compared / "comparison/comparison.md").read_text(encoding="utf-8")
    assert "# new against a" in shown.out and "Cannot tell whether new, against a," in shown.out
    *text, page, _, markdown, table, songs = shown.out.splitlines()
    assert set(text) <= set(written.splitlines())
    assert page == "comparison/index.html" and (compared / page).is_file()
    assert [markdown, table, songs] == [f"comparison/{name}" for name in OUTPUTS[2:]]
    assert shown.err.endswith("note: new: no estimate of 1 song, left out: Three\n") and "song/s" in shown.err
    # its own result is replaced, another's is not
    main(["compare", "a", "b", "--songs", "songs"])
    assert "# b against a" in (compared / "comparison/comparison.md").read_text(encoding="utf-8")
    capsys.readouterr()
    (compared / "comparison/thoughts.txt").touch()
    assert "comparison: holds thoughts.txt" in one_line(capsys, "compare", "a", "b", "--songs", "songs")


def test_compare_takes_the_studys_songs_and_checkpoints(
    compared: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(compared)
    assert "name their folder with --songs" in one_line(capsys, "compare", "a", "b")
    for name in ("params.yaml", "profiles"):
        (compared / name).symlink_to(ROOT / name)
    (compared / "data/demo").mkdir(parents=True)
    (compared / "songs").rename(compared / "data/demo/music")
    main(["compare", str(model_path), "b", "-o", "x/out", "--device", "cpu", "--hop-s", "0.1"])
    assert sorted(path.name for path in (compared / "x/out").iterdir()) == [
        "comparison.csv",
        "comparison.md",
        "index.html",
        "listening",
        "songs.csv",
    ]
    assert "Vocals of 3 songs of data/demo/music, part test." in capsys.readouterr().out


def test_compare_names_what_is_wrong(
    compared: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(compared)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def message(*arguments: str) -> str:
        return one_line(capsys, "compare", *arguments, "--device", "cpu")

    songs = ("--songs", "songs")
    assert "nowhere: no such folder; A and B have to be checkpoints" in message("a", "nowhere", *songs)
    assert "0123: no MLflow store" in message("a", "0123" * 8, *songs)
    assert "nowhere: no such folder; name a folder of songs" in message("a", "b", "--songs", "nowhere")
    assert "no part valid" in message("a", "b", *songs, "--part", "valid")
    assert "no drums of any of the 3 songs" in message("a", "b", *songs, "--target", "drums")
    assert "extracts vocals, not drums" in message(str(model_path), "b", *songs, "--target", "drums")
    assert "choose one of vocals" in message("a", "b", *songs, "--target", "piano")
    assert "batch_size 0" in message(str(model_path), "b", *songs, "--batch-size", "0")
    assert "out: Not a directory" in message("a", "b", *songs, "-o", "a/One/vocals.wav/out")
    assert "is a file" in message("a", "b", *songs, "-o", "a/One/vocals.wav")
    assert not (compared / "comparison").exists()
    soundfile.write("b/Two/vocals.wav", np.zeros((22050, 2)), 44100)
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "a", "b", *songs])
    assert stopped.value.code == 2
    # the last line; the bar over songs stands above it
    assert "\nerror: b/Two/vocals.wav: 0.50 s, but Two lasts 1.00 s" in capsys.readouterr().err
    assert sorted(path.name for path in compared.iterdir()) == ["a", "b", "songs"]


def test_check_tells_by_table_json_and_exit_code(
    compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(compared)
    main(["check", "songs", "--jobs", "1"])
    shown = capsys.readouterr()
    assert shown.out.startswith("songs: 3 songs (test 3), 0.00 h, every sample read\n")
    assert shown.out.endswith("\n0 errors, 0 warnings\n") and "3/3" in shown.err
    (compared / "songs/test/notes.txt").touch()
    main(["check", "songs", "--jobs", "1", "--quick", "--json", "new/quick.json"])
    assert "warning  test/notes.txt  unknown file  not audio\n" in capsys.readouterr().out
    assert json.loads((compared / "new/quick.json").read_text(encoding="utf-8"))["quick"]
    (compared / "songs/test/One/bass.flac").unlink()
    with pytest.raises(SystemExit) as stopped:
        main(["check", "songs", "--jobs", "1", "--json", "found.json"])
    assert stopped.value.code == 1
    first, second, _, *_, last = capsys.readouterr().out.splitlines()
    assert first == "error    test/One/bass.flac  missing stem  no bass in any format"
    assert second == "warning  test/notes.txt      unknown file  not audio"
    assert last == "1 error, 1 warning"
    written = json.loads((compared / "found.json").read_text(encoding="utf-8"))
    assert [(found["part"], found["song"], found["fault"]) for found in written["findings"]] == [
        ("test", "One", "missing stem"),
        ("test", "", "unknown file"),
    ]


def test_check_names_what_is_wrong(
    compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(compared)
    assert "nowhere: no such folder" in one_line(capsys, "check", "nowhere")
    assert "vocals.wav: no such folder" in one_line(capsys, "check", "a/One/vocals.wav")
    assert "jobs 0" in one_line(capsys, "check", "songs", "--jobs", "0")
    assert "a: is a folder; name a file" in one_line(capsys, "check", "songs", "--json", "a")
    json_below_a_file = ["--quick", "--json", "a/One/vocals.wav/found.json"]
    assert "found.json: Not a directory" in one_line(capsys, "check", "songs", *json_below_a_file)

    def refuse(root: Path) -> None:
        raise PermissionError(13, "Permission denied", "songs/test")

    monkeypatch.setattr("vocalremix.check.find_songs", refuse)
    assert "songs/test: cannot be read (Permission denied)" in one_line(capsys, "check", "songs")


def test_params_validates_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["params", str(ROOT)])
    assert capsys.readouterr().out == "params.yaml and profiles/demo.yaml are valid\n"
    content = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(content.replace("mix_prob: 0.8", "mix_prob: 1.8", 1))
    assert "mix_prob" in one_line(capsys, "params", str(tmp_path))


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, vocalremix.cli; print({'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"
