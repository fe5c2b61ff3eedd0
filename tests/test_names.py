"""Names that people, archives and file systems bring: nothing but the named target ever changes."""

import errno
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from vocalremix import separation
from vocalremix.cli import main
from vocalremix.corpus.archive import obtain
from vocalremix.corpus.folder import import_folder
from vocalremix.corpus.librispeech import write_listing
from vocalremix.util import files
from vocalremix.util.errors import InputError
from vocalremix.util.files import publish, require_part

STEMS = ("vocals", "drums", "bass", "other")
PARTS = [
    *(".", "..", "...", "....", " ", "-", "-o", "--replace", "~", "*", "a b", "A", "é", "e\u0301", "\udce9", "x\ny"),
    *("mixture", "vocals", "accompaniment", "precious", "out", ".hidden", "x.", "x..", "%41", "?", "#", "'", '"', "\\"),
    *("CON", "name:stream", "a" * 200, "\U0001f3b5", "train", "test", "valid"),
]


class Half(torch.nn.Module):
    """A model of no cost."""

    target, chunk_samples, sample_rate = "vocals", 400, 44100

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return mixture / 2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        separation.Separator, "from_checkpoint", classmethod(lambda cls, path, **_: cls(Half(), hop_s=0.005))
    )
    monkeypatch.setattr("vocalremix.training.devices.keep_freed_memory", lambda: None)


def odd_names(n: int, seed: int = 0) -> Iterator[str]:
    """Names of one to three of the odd parts, each a name that the file system takes."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < n:
        name = "".join(rng.choices(PARTS, k=rng.choice((1, 1, 2, 3))))
        if name not in seen and name not in (".", "..") and len(os.fsencode(name)) <= 240:
            seen.add(name)
            yield name


def tree(root: Path) -> dict[str, bytes | None]:
    """All that is below a folder, with the content of files."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in sorted(root.rglob("*"))
    }


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_a_song_called_dots_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stem of `...wav` is `..`: the folder around `out` was replaced, with all that was in it."""
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    soundfile.write("...wav", np.zeros((500, 2)), 44100, format="WAV")
    Path("precious").touch()
    before = tree(tmp_path)
    assert run("separate", "./...wav", "-o", "out", "--checkpoint", "c", "--device", "cpu") == 0
    after = tree(tmp_path)
    assert {name: content for name, content in after.items() if not name.startswith("a/out")} == before
    assert {name for name in after if name.startswith("a/out/...wav/")} == {
        "a/out/...wav/vocals.wav",
        "a/out/...wav/accompaniment.wav",
    }


@pytest.mark.parametrize("seed", range(4))
def test_separating_songs_of_odd_names_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    (tmp_path / "songs").mkdir()
    monkeypatch.chdir(tmp_path / "songs")
    Path("precious").mkdir()
    Path("precious/file").write_text("kept")
    Path("out").mkdir()
    Path("out/precious").mkdir()
    Path("out/precious/file").write_text("kept")
    for number, name in enumerate(odd_names(150, seed)):
        song = Path(name + (".wav" if number % 3 else ""))
        if song.exists():
            continue
        soundfile.write(open(song, "wb"), np.zeros((500, 2)), 44100, format="WAV")  # noqa: SIM115
        before = tree(tmp_path)
        code = run("separate", f"./{song}", "-o", "out", "--checkpoint", "c", "--device", "cpu")
        after = tree(tmp_path)
        assert {entry: after.get(entry) for entry in before} == before, f"{song!r} changed what was there"
        new = {entry for entry in after if entry not in before}
        assert code in (0, 2) and bool(new) == (code == 0), song
        assert len({Path(entry).parts[:3] for entry in new}) <= 1 and all(e.startswith("songs/out/") for e in new)
        assert "Traceback" not in capsys.readouterr().err


def test_importing_songs_of_odd_names_changes_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "work" / "music"
    (tmp_path / "work" / "precious").mkdir(parents=True)
    names = [name for name in odd_names(120, 7) if name not in ("\udce9", "train", "valid", "test")]
    for name in names:
        (source / "train" / name).mkdir(parents=True)
        for stem in STEMS:
            with open(source / "train" / name / f"{stem}.wav", "wb") as file:
                soundfile.write(file, np.full((50, 2), 0.1), 44100, format="WAV")
    before = tree(tmp_path)
    import_folder(source, target, valid=[names[0]], test=[names[1]], jobs=1)
    after = tree(tmp_path)
    assert len([path for path in target.glob("*/*")]) == len(names)
    assert all(entry.isprintable() or "\n" in entry for entry in map(str, target.rglob("*")))
    assert {entry: after.get(entry) for entry in before} == before
    new = {entry for entry in after if entry not in before}
    assert all(entry == "work/music" or entry.startswith("work/music/") for entry in new)


def write_stems(folder: Path, gain: float = 1, stems: Sequence[str] = STEMS) -> None:
    folder.mkdir(parents=True)
    for number, stem in enumerate(stems):
        with open(folder / f"{stem}.wav", "wb") as file:
            samples = np.random.default_rng(number).uniform(-0.1, 0.1, (44100, 2))
            soundfile.write(file, gain * samples, 44100, format="WAV")


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_names_in_latin_1_are_text_in_corpus_and_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    latin, utf = os.fsdecode(b"caf\xe9"), "café"
    for name in (latin, "B", "C"):
        write_stems(Path("songs") / name)
        write_stems(Path("a") / name, 0.5, ["vocals"])
        write_stems(Path("b") / name, 0.7, ["vocals"])
    Path("b").rename(latin)
    assert run("compare", "a", latin, "--songs", "songs", "--device", "cpu") == 0
    assert set(pd.read_csv("comparison/songs.csv").song) == {utf, "B", "C"}
    assert "# café against a" in Path("comparison/comparison.md").read_text(encoding="utf-8")
    import_folder(Path("songs"), Path("music"), [utf], ["C"], jobs=1)
    assert sorted(str(path) for path in Path("music").glob("*/*")) == [
        "music/test/C",
        "music/train/B",
        "music/valid/café",
    ]
    write_listing(Path("songs"), Path("listing"))
    assert set(pd.read_csv("listing/listing.csv").speaker) == {utf, "B", "C"}
    write_stems(Path("songs") / utf)
    assert run("compare", "a", latin, "--songs", "songs", "--device", "cpu") == 2
    with pytest.raises(InputError, match="two songs have one name"):
        import_folder(Path("songs"), Path("more"), [utf], ["C"], jobs=1)


def test_a_song_whose_name_leaves_no_room_for_a_suffix_is_refused_before_the_import(tmp_path: Path) -> None:
    for name in ("x" * 250, "y" * 251, "B", "C"):
        write_stems(tmp_path / "songs" / name)
    with pytest.raises(InputError, match="y: the name has 251 bytes; shorten it to 250"):
        import_folder(tmp_path / "songs", tmp_path / "music", ["B"], ["C"], jobs=1)
    assert os.listdir(tmp_path) == ["songs"]


def test_an_archive_without_a_name_of_its_own_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\.\.' is no name"):
        obtain(tmp_path / "data", "http://localhost/a/..", "0" * 64, tmp_path / "scratch", "*", print)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "/etc", "a\0b", "../x"])
def test_what_is_no_part_of_a_path_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"song: cannot be stored: .* is no name"):
        require_part(name, "song: cannot be stored")


@pytest.mark.parametrize("path", ["..", "out/..", "/", "a/../.."])
def test_publish_refuses_a_target_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").touch()
    monkeypatch.chdir(tmp_path / "a")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is no name for a file or folder"), publish(Path(path)) as partial:
        partial.mkdir()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_two_writers_of_one_path_the_first_wins_whole(tmp_path: Path, kind: str, replace: bool) -> None:
    def write(partial: Path, text: str) -> None:
        if kind == "folder":
            partial.mkdir()
            (partial / "content").write_text(text)
        else:
            partial.write_text(text)

    target = tmp_path / "target"
    with pytest.raises(InputError, match="another process made it meanwhile"), publish(target, replace) as slow:
        write(slow, "slow")
        with publish(target, replace) as fast:
            write(fast, "fast")
    assert (target / "content" if kind == "folder" else target).read_text() == "fast"
    assert os.listdir(tmp_path) == ["target"]


def test_of_two_that_replace_a_folder_the_second_leaves_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(InputError, match="another process made it meanwhile"), publish(target) as slow:
        slow.mkdir()
        with publish(target) as fast:
            fast.mkdir()
            (fast / "fast").touch()
    assert os.listdir(target) == ["fast"] and os.listdir(tmp_path) == ["target"]


def test_many_writers_never_leave_an_empty_folder(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            with publish(tmp_path / "target", replace=False) as partial:
                partial.mkdir()
                (partial / "whose").write_text(str(number))
            outcomes.append("won")
        except InputError:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("won") == 1 and len(outcomes) == 12
    assert os.listdir(tmp_path) == ["target"] and os.listdir(tmp_path / "target") == ["whose"]


@pytest.mark.parametrize("command", ["separate", "compare"])
def test_of_two_commands_that_write_one_folder_the_first_wins_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The second one starts and ends while the first is at work."""
    monkeypatch.chdir(tmp_path)
    write_stems(Path("songs/B"))
    write_stems(Path("x/B"), 0.5, ["vocals"])
    write_stems(Path("y/B"), 0.7, ["vocals"])
    if command == "separate":
        where = "vocalremix.separation.separate_file"
        before, after = ["separate"], ["B/vocals.wav", "-o", "out", "--checkpoint", "c"]
    else:
        where = "vocalremix.report.comparison.write_comparison"
        before, after = ["compare", "y"], ["--songs", "songs", "-o", "out/vocals"]
    original = resolve_name(where)
    made: list[dict[str, bytes | None]] = []

    def slowly(*given: Any) -> None:
        monkeypatch.setattr(where, original)
        assert run(*before, *of("x"), "--device", "cpu") == 0
        made.append(tree(Path("out/vocals")))
        original(*given)

    def of(folder: str) -> list[str]:
        return [f"{folder}/{after[0]}", *after[1:]] if command == "separate" else [folder, *after]

    monkeypatch.setattr(where, slowly)
    assert run(*before, *of("songs"), "--device", "cpu") == 2
    assert made == [tree(Path("out/vocals"))] and len(made[0]) > 1
    assert sorted(os.listdir()) == ["out", "songs", "x", "y"] and os.listdir("out") == ["vocals"]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"error: {tmp_path}/out/vocals: another process made it meanwhile; nothing of it was replaced"


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    with pytest.raises(InputError, match="target: is there already"), publish(tmp_path / "target", replace=False):
        pytest.fail("the block should not run")
    assert (tmp_path / "target").read_text() == "kept"


@pytest.mark.parametrize("name", ["target", "replaced", "old"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    """A disk may be too full to move a folder; and a block that makes nothing is no reason to remove the old."""
    target = tmp_path / name
    target.mkdir() if kind == "folder" else target.touch()
    with pytest.raises(FileNotFoundError), publish(target):
        pass
    assert os.listdir(tmp_path) == [name] and target.is_dir() == (kind == "folder")
    move = os.rename

    def fail(source: Path, destination: Path) -> None:
        if destination == target and source.name == name and "partial" in str(source) and (source / "new").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(source, destination)

    if kind == "folder":
        monkeypatch.setattr(os, "rename", fail)
        with pytest.raises(OSError, match="No space left"), publish(target) as partial:
            partial.mkdir()
            (partial / "new").touch()
        assert os.listdir(tmp_path) == [name] and os.listdir(target) == []
        monkeypatch.undo()
    with publish(target) as partial:
        partial.write_text("new")
    assert os.listdir(tmp_path) == [name] and target.read_text() == "new"


def test_only_what_a_dead_writer_left_for_this_path_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".vocalremix-dead.partial" / "target").mkdir(parents=True)
    (tmp_path / ".vocalremix-other.partial" / "another").mkdir(parents=True)
    (tmp_path / ".users.partial" / "target").mkdir(parents=True)
    with publish(tmp_path / "target") as alive:
        alive.mkdir()
        with publish(tmp_path / "second") as second:
            second.touch()
    assert sorted(os.listdir(tmp_path)) == [".users.partial", ".vocalremix-other.partial", "second", "target"]


def test_a_second_interruption_waits_until_all_is_tidy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the first one's unfinished work is removed."""
    removed: Callable[..., Any] = files.remove

    def slowly(path: Path) -> None:
        signal_self()
        removed(path)

    def signal_self() -> None:
        import signal

        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(files, "remove", slowly)
    with pytest.raises(KeyboardInterrupt), publish(tmp_path / "target") as partial:
        partial.mkdir()
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


CODE = "from vocalremix.cli import main; main(['check', {!r}, '--quick'])"


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        ("| true; exit ${PIPESTATUS[0]}", 141),
        (">&-", 1),
        ("2>/dev/full", 1),
        ("2> >(true)", 1),
        ("2>&-", 1),
        ("<&-", 1),
        (">/dev/full", 2),
        (">&- 2>&- <&-", 1),
    ],
)
def test_closed_and_full_streams_end_without_a_traceback(tmp_path: Path, redirection: str, code: int) -> None:
    for number in range(200):
        (tmp_path / "songs" / f"{number}").mkdir(parents=True)
        soundfile.write(tmp_path / "songs" / f"{number}" / "vocals.wav", np.zeros((50, 2)), 44100)
    program = f'{sys.executable} -c "{CODE.format(str(tmp_path / "songs"))}"'
    done = subprocess.run(
        ["bash", "-c", f"{program} {redirection}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": "src"},
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert done.stderr.endswith("error: standard output: No space left on device\n") == (code == 2)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_a_terminal_cannot_say_are_shown_with_escapes(tmp_path: Path, encoding: str) -> None:
    for name in ("Ø\u266b", os.fsdecode(b"caf\xe9")):
        (tmp_path / "songs" / name).mkdir(parents=True)
        soundfile.write(open(tmp_path / "songs" / name / "vocals.wav", "wb"), np.zeros((50, 2)), 44100, format="WAV")  # noqa: SIM115
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(str(tmp_path / "songs"))],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": "src", "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"missing stem" in done.stdout and b"caf" in done.stdout
