"""Faults planted in a small clean corpus are found, and nothing else is; clean corpora of every kind are clean."""

import errno
import itertools
import json
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter, resample_poly

from vocalremix import check as checking
from vocalremix.check import check, check_quick, copies, refuse_faults
from vocalremix.check.levels import FULL_SCALE, FlatTops, Levels, SalientWindows
from vocalremix.check.official import MIXTURE_ERRATA, SALIENT_WINDOWS
from vocalremix.corpus import song_folders, songs
from vocalremix.corpus.demo import make_music
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS
from vocalremix.windows.sad import salient_starts

RATE = 44100
N = 4 * RATE
SONGS = ("train/A", "train/B", "test/C", "test/D")
HOUSEKEEPING = (
    *("@eaDir", "lost+found", ".Trash-1000", "$RECYCLE.BIN", "System Volume Information", "#recycle", ".@__thumb"),
    *("__MACOSX", ".Spotlight-V100", ".fseventsd", "@Recycle", "#snapshot", ".git", ".ipynb_checkpoints"),
)


def make_stems(seed: int, n_samples: int = N) -> dict[str, np.ndarray]:
    """Dull noise that comes and goes, `(samples, 2)` in 16-bit steps, so quiet that four of them cannot clip."""
    knots = np.arange(0, n_samples + 8820, 8820)
    stems = {}
    for number, stem in enumerate(STEMS):
        rng = np.random.default_rng((seed, number))
        swell = np.interp(np.arange(n_samples), knots, rng.uniform(0, 1, len(knots)))
        noise = lfilter([1], [1, -0.9], rng.uniform(-700, 700, (n_samples, 2)), axis=0)
        stems[stem] = np.rint(noise * swell[:, None]).astype(np.int16)
    return stems


def write(folder: Path, stems: dict[str, np.ndarray], suffix: str = "wav", **options) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in stems.items():
        soundfile.write(folder / f"{name}.{suffix}", samples, options.get("rate", RATE), subtype=options.get("subtype"))


def write_corpus(root: Path, n_samples: int = N) -> Path:
    for seed, song in enumerate(SONGS):
        stems = make_stems(seed, n_samples)
        write(root / song, stems | {"mixture": sum(stems.values())})
    return root


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("clean") / "songs")


@pytest.fixture
def corpus(clean: Path, tmp_path: Path) -> Path:
    return shutil.copytree(clean, tmp_path / "songs")


def stems_of(folder: Path) -> dict[str, np.ndarray]:
    return {stem: soundfile.read(folder / f"{stem}.wav", dtype="int16")[0] for stem in STEMS}


def put(path: Path, samples: np.ndarray, remix: bool = True, **options) -> None:
    """Write a stem, and the mixture of the new stems."""
    soundfile.write(path, samples, options.get("rate", RATE), subtype=options.get("subtype"))
    if remix:
        total = sum(soundfile.read(path.with_name(f"{stem}.wav"))[0] for stem in STEMS)
        soundfile.write(path.with_name("mixture.wav"), total, RATE, subtype="FLOAT")


def found(root: Path, jobs: int = 1, quick: bool = False) -> list[tuple[str, str, str]]:
    inspection = (check_quick if quick else check)(root, jobs)
    assert {finding.severity for finding in inspection.findings} <= {"error", "warning"}
    return [(finding.severity, finding.file, finding.fault) for finding in inspection.findings]


def the_only(root: Path, fault: str):
    (finding,) = [finding for finding in check(root, 1).findings if finding.fault == fault]
    return finding


def error(file: str, fault: str) -> tuple[str, str, str]:
    return ("error", file, fault)


def warning(file: str, fault: str) -> tuple[str, str, str]:
    return ("warning", file, fault)


# Faults that names and headers tell: each is a change of the corpus, and all that is found then.


def delete_a_stem(root):
    (root / "train/A/bass.wav").unlink()
    return {error("train/A/bass.wav", "missing stem")}


def rename_a_stem(root):
    (root / "train/A/vocals.wav").rename(root / "train/A/vocal.wav")
    return {error("train/A/vocals.wav", "missing stem"), error("train/A/vocal.wav", "unknown file")}


def cut_the_end(root):
    path = root / "test/C/other.wav"
    path.write_bytes(path.read_bytes()[:-40_000])
    return {error("test/C/other.wav", "truncated")}


def cut_the_header(root):
    path = root / "test/C/other.wav"
    path.write_bytes(path.read_bytes()[44:])
    return {error("test/C/other.wav", "unreadable")}


def cut_in_the_header(root):
    path = root / "test/C/mixture.wav"
    path.write_bytes(path.read_bytes()[:30])
    return {error("test/C/mixture.wav", "unreadable")}


def count_too_little(root):
    path = root / "test/C/other.wav"
    content = bytearray(path.read_bytes())
    content[40:44] = (N // 2 * 4).to_bytes(4, "little")
    path.write_bytes(content)
    return {error("test/C/other.wav", "unreadable")}


def keep_the_header_only(root):
    path = root / "test/C/other.wav"
    path.write_bytes(path.read_bytes()[:44])
    return {error("test/C/other.wav", "truncated")}


def empty_a_file(root):
    (root / "train/B/drums.wav").write_bytes(b"")
    return {error("train/B/drums.wav", "unreadable")}


def hold_no_samples(root):
    soundfile.write(root / "train/B/drums.wav", np.zeros((0, 2)), RATE)
    return {error("train/B/drums.wav", "unreadable")}


def write_text(root):
    (root / "train/B/drums.wav").write_text("<html>404 Not Found</html>\n" * 40)
    return {error("train/B/drums.wav", "unreadable")}


def change_the_rate(root):
    path = root / "train/A/vocals.wav"
    samples = resample_poly(soundfile.read(path)[0], 160, 147)
    soundfile.write(path, samples, 48000)
    return {error("train/A/vocals.wav", "sample rate")}


def mix_down_to_mono(root):
    path = root / "train/A/vocals.wav"
    soundfile.write(path, soundfile.read(path)[0].mean(axis=1), RATE)
    return {error("train/A/vocals.wav", "channels")}


def add_a_channel(root):
    path = root / "train/A/vocals.wav"
    soundfile.write(path, soundfile.read(path)[0][:, [0, 1, 0]], RATE)
    return {error("train/A/vocals.wav", "channels")}


def shorten_a_stem(root):
    put(root / "test/D/drums.wav", stems_of(root / "test/D")["drums"][:-RATE], remix=False)
    return {error("test/D/drums.wav", "unequal length")}


def shorten_the_mixture(root):
    path = root / "test/D/mixture.wav"
    soundfile.write(path, soundfile.read(path, dtype="int16")[0][:-RATE], RATE)
    return {error("test/D/mixture.wav", "unequal length")}


def delete_a_mixture(root):
    (root / "test/D/mixture.wav").unlink()
    return {error("test/D", "missing mixture")}


def add_a_stem(root):
    shutil.copy(root / "test/D/other.wav", root / "test/D/guitar.wav")
    return {error("test/D/guitar.wav", "unknown file")}


def add_a_second_file(root):
    shutil.copy(root / "test/D/other.wav", root / "test/D/other.WAV.wav")
    soundfile.write(root / "test/D/other.flac", stems_of(root / "test/D")["other"], RATE)
    return {error("test/D/other.WAV.wav", "unknown file"), error("test/D/other.wav", "second file")}


def add_notes(root):
    (root / "train/A/notes.txt").write_text("a take")
    (root / "README.md").write_text("songs")
    (root / "train/A/.DS_Store").write_text("hidden")
    return {warning("train/A/notes.txt", "unknown file"), warning("README.md", "unknown file")}


def add_an_empty_folder(root):
    (root / "train/Nothing").mkdir()
    (root / "train/Notes").mkdir()
    (root / "train/Notes/notes.txt").touch()
    return {
        warning("train/Nothing", "unknown folder"),
        warning("train/Notes", "unknown folder"),
    }


def lose_all_stems_of_a_song(root):
    shutil.copytree(root / "train/A", root / "train/Renamed")
    for path in (root / "train/Renamed").iterdir():
        path.rename(path.with_stem(f"Renamed - {path.stem}"))
    return {
        error("train/Renamed", "empty song"),
        *(error(f"train/Renamed/Renamed - {name}.wav", "unknown file") for name in (*STEMS, "mixture")),
    }


def leave_a_song_outside_of_the_parts(root):
    shutil.copytree(root / "train/A", root / ".38 Special - Hold On")
    return {error(".38 Special - Hold On", "unknown folder")}


def mount_a_disk(root):
    """What systems keep on a disk or beside a user's files, none of it with audio, or with a deleted song."""
    for name in HOUSEKEEPING:
        for place in (root, root / "train", root / "test/C"):
            (place / name / "below").mkdir(parents=True)
            (place / name / "below/info").touch()
            (place / name / "._vocals.wav").touch()
            (place / name / "vocals.wav").mkdir()
    for name in (".Trash-1000", "#recycle", "$RECYCLE.BIN"):
        shutil.copytree(root / "train/A", root / "train" / name / "files/A")
    return {warning(f"train/{name}", "unknown folder") for name in (".Trash-1000", "#recycle", "$RECYCLE.BIN")}


def take_a_song_for_a_part(root):
    for song in SONGS:
        (root / song).rename(root / Path(song).name)
    for part in ("train", "test"):
        (root / part).rmdir()
    (root / "A").rename(root / "test")
    return set()


def nest_a_copy(root):
    shutil.copytree(root / "train/A", root / "train/A/pitch+2")
    return {error("train/A/pitch+2", "unknown folder")}


def add_an_unknown_part(root):
    shutil.copytree(root / "train/A", root / "validation/A")
    (root / "plots").mkdir()
    return {error("validation", "unknown folder"), warning("plots", "unknown folder")}


def lose_a_part(root):
    shutil.rmtree(root / "test")
    (root / "test").mkdir()
    return {error("test", "no songs")}


def misplace_a_file(root):
    shutil.copy(root / "train/A/vocals.wav", root / "train/vocals.wav")
    return {error("train/vocals.wav", "unknown file")}


def leave_a_download(root):
    (root / "train/.E.partial").mkdir()
    (root / "train/A/vocals.wav.part").write_bytes(b"RIFF")
    return {error("train/.E.partial", "leftover"), error("train/A/vocals.wav.part", "leftover")}


def link_to_nowhere(root):
    (root / "train/A/vocals.wav").unlink()
    (root / "train/A/vocals.wav").symlink_to("../elsewhere.wav")
    (root / "test/E").symlink_to("F")
    return {error("train/A/vocals.wav", "broken link"), error("test/E", "broken link")}


def name_a_song_twice(root):
    write(root / "test/a ", make_stems(9) | {"mixture": sum(make_stems(9).values())})
    return {error("test/a ", "song in two parts")}


QUICK = [
    delete_a_stem,
    rename_a_stem,
    cut_the_end,
    cut_the_header,
    cut_in_the_header,
    count_too_little,
    keep_the_header_only,
    empty_a_file,
    hold_no_samples,
    write_text,
    change_the_rate,
    mix_down_to_mono,
    add_a_channel,
    shorten_a_stem,
    shorten_the_mixture,
    delete_a_mixture,
    add_a_stem,
    add_a_second_file,
    add_notes,
    add_an_empty_folder,
    lose_all_stems_of_a_song,
    leave_a_song_outside_of_the_parts,
    mount_a_disk,
    take_a_song_for_a_part,
    nest_a_copy,
    add_an_unknown_part,
    lose_a_part,
    misplace_a_file,
    leave_a_download,
    link_to_nowhere,
    name_a_song_twice,
]


@pytest.mark.parametrize("plant", QUICK, ids=lambda plant: plant.__name__)
def test_what_names_and_headers_tell(plant, corpus):
    expected = sorted(plant(corpus))
    assert sorted(found(corpus)) == expected
    assert sorted(found(corpus, quick=True)) == expected


@pytest.mark.parametrize(
    "name",
    ["...Baby One More Time", ".38 Special - Hold On", ".hack", "@eaDir", "lost+found", "__MACOSX", "test", "#1"],
)
def test_a_folder_that_holds_stems_is_a_song(name, tmp_path, caplog):
    for number, song in enumerate((name, "Song")):
        write(tmp_path / "songs" / song, make_stems(number))
        write(tmp_path / "parts/train" / song, make_stems(number))
    (tmp_path / "songs/.git/refs").mkdir(parents=True)
    for root, prefix in ((tmp_path / "songs", ""), (tmp_path / "parts", "train/")):
        inspection = check_quick(root)
        assert {facts.song.place() for facts in inspection.songs} == {f"{prefix}{name}", f"{prefix}Song"}
        assert inspection.findings == []
    assert {song.name for song in songs(tmp_path / "parts")} == {name, "Song"}
    assert {folder.name for _, folder in song_folders(tmp_path / "songs")} == {name, "Song"}
    (tmp_path / f"parts/train/{name}/bass.wav").unlink()
    assert found(tmp_path / "parts", quick=True) == [error(f"train/{name}/bass.wav", "missing stem")]
    assert not caplog.records


def test_what_may_have_been_a_song_is_left_out_with_a_warning(corpus, caplog):
    shutil.copytree(corpus / "train/A", corpus / "train/#recycle/A")
    (corpus / "train/Moved").symlink_to("../elsewhere")
    assert [song.name for song in songs(corpus)] == ["C", "D", "A", "B"]
    assert [record.getMessage().removeprefix(str(corpus)) for record in caplog.records] == [
        "/train/#recycle: left out, holds audio, but no stem",
        "/train/Moved: left out, leads to ../elsewhere, which is not there",
    ]
    shutil.copytree(corpus / "train/A", corpus / "Beside")
    with pytest.raises(InputError, match=r"Beside: a song beside the folders train, test; move it into one of them"):
        song_folders(corpus)


@pytest.mark.parametrize(
    ("folder", "severity"),
    [("train/B", "error"), ("train/B/takes", "error"), ("test", "error"), ("train/lost+found", "warning")],
)
def test_a_folder_that_cannot_be_read_is_one_finding(folder, severity, corpus, monkeypatch):
    (corpus / folder).mkdir(exist_ok=True)
    (corpus / "train/A/notes.txt").touch()
    deny(monkeypatch, corpus / folder)
    expected = {(severity, folder, "unreadable"), warning("train/A/notes.txt", "unknown file")}
    assert set(found(corpus, quick=True)) == expected
    n_songs = {"train/B": 3, "test": 2}.get(folder, 4)
    assert len(check(corpus, 1).songs) == n_songs
    if folder in ("train/B", "test"):
        with pytest.raises(InputError, match=rf"{folder}: cannot be read \(Permission denied\)"):
            songs(corpus)
    else:
        assert len(songs(corpus)) == 4


def test_a_corpus_that_cannot_be_read_is_refused(corpus, monkeypatch):
    deny(monkeypatch, corpus)
    for use in (check_quick, song_folders):
        with pytest.raises(InputError, match=r"songs: cannot be read \(Permission denied\)"):
            use(corpus)


def deny(monkeypatch, folder):
    """Root may read everything, so the system's answer is given here."""
    iterdir, scandir = Path.iterdir, os.scandir

    def answer(path):
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", lambda path: (answer(path), iterdir(path))[1])
    monkeypatch.setattr(os, "scandir", lambda path=".": (answer(path), scandir(path))[1])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_folder_without_permissions_is_one_finding(mode, corpus):
    (corpus / "train/B").chmod(mode)
    try:
        assert found(corpus) == [error("train/B", "unreadable")]
    finally:
        (corpus / "train/B").chmod(0o700)


# Faults that only samples tell.


def cut_a_flac(root):
    path = root / "train/A/other.flac"
    soundfile.write(path, stems_of(root / "train/A")["other"], RATE)
    (root / "train/A/other.wav").unlink()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return {error("train/A/other.flac", "truncated")}


def join_two_files(root):
    path = root / "train/A/other.flac"
    soundfile.write(path, stems_of(root / "train/A")["other"], RATE)
    (root / "train/A/other.wav").unlink()
    path.write_bytes(2 * path.read_bytes())
    return {error("train/A/other.flac", "unequal length")}


def divide_by_zero(root):
    samples = soundfile.read(root / "train/A/other.wav")[0]
    samples[1000:1003, 0] = np.nan
    samples[2000, 1] = -np.inf
    put(root / "train/A/other.wav", samples, remix=False, subtype="FLOAT")
    return {error("train/A/other.wav", "not finite")}


def clip_a_stem(root):
    put(root / "train/A/drums.wav", np.clip(40 * soundfile.read(root / "train/A/drums.wav")[0], -1, 1))
    return {error("train/A/drums.wav", "clipped"), warning("train/A/mixture.wav", "clipped")}


def clip_below_full_scale(root):
    samples = np.clip(stems_of(root / "train/A")["drums"], -3000, 3000)
    samples[5000:5400] = 3000
    put(root / "train/A/drums.wav", samples)
    return {warning("train/A/drums.wav", "clipped")}


def clip_a_little(root):
    samples = stems_of(root / "train/A")["drums"]
    samples[5000:5004, 0] = 32767
    samples[9000:9005, 0] = -32768
    samples[7000:7002, 1] = 32767
    put(root / "train/A/drums.wav", samples)
    return {warning("train/A/drums.wav", "clipped")}


def stick_at_full_scale(root):
    samples = stems_of(root / "train/A")["drums"]
    samples[5000:5300, 1] = 32767
    put(root / "train/A/drums.wav", samples)
    return {error("train/A/drums.wav", "clipped"), warning("train/A/mixture.wav", "clipped")}


def silence_a_stem(root):
    put(root / "train/A/bass.wav", np.zeros((N, 2), dtype=np.int16))
    return {warning("train/A/bass.wav", "silent")}


def silence_a_stem_that_is_in_the_mixture(root):
    put(root / "train/A/bass.wav", np.zeros((N, 2), dtype=np.int16), remix=False)
    return {warning("train/A/bass.wav", "silent"), error("train/A/mixture.wav", "mixture")}


def silence_a_song(root):
    zeros = np.zeros((N, 2), dtype=np.int16)
    write(root / "train/A", dict.fromkeys((*STEMS, "mixture"), zeros))
    return {
        error("train/A", "silent"),
        *(warning(f"train/A/{name}.wav", "silent") for name in (*STEMS, "mixture")),
    }


def silence_a_channel(root):
    put(root / "train/A/bass.wav", stems_of(root / "train/A")["bass"] * np.array([1, 0], dtype=np.int16))
    return {warning("train/A/bass.wav", "silent channel")}


def add_an_offset(root):
    put(root / "train/A/bass.wav", stems_of(root / "train/A")["bass"] + np.array([1000, 0], dtype=np.int16))
    return {warning("train/A/bass.wav", "DC offset"), warning("train/A/mixture.wav", "DC offset")}


def remix_a_song(root, **gains):
    stems = stems_of(root / "train/A")
    total = sum(gains.get(stem, 1) * samples.astype(float) for stem, samples in stems.items())
    soundfile.write(root / "train/A/mixture.wav", total / 32768, RATE, subtype="FLOAT")
    return {error("train/A/mixture.wav", "mixture")}


def leave_a_stem_out(root):
    return remix_a_song(root, vocals=0)


def leave_a_quiet_stem_out(root):
    put(root / "train/A/bass.wav", stems_of(root / "train/A")["bass"] // 40)
    return remix_a_song(root, bass=0)


def invert_a_stem(root):
    return remix_a_song(root, drums=-1)


def invert_the_mixture(root):
    return remix_a_song(root, **dict.fromkeys(STEMS, -1))


def turn_the_mixture_down(root):
    return remix_a_song(root, **dict.fromkeys(STEMS, 10 ** (-3 / 20)))


def turn_the_mixture_up(root):
    return remix_a_song(root, **dict.fromkeys(STEMS, 10 ** (3 / 20)))


def delay_the_mixture(root):
    path = root / "train/A/mixture.wav"
    soundfile.write(path, np.roll(soundfile.read(path)[0], 20, axis=0), RATE)
    return {error("train/A/mixture.wav", "mixture")}


def silence_the_mixture(root):
    soundfile.write(root / "train/A/mixture.wav", np.zeros((N, 2)), RATE)
    return {error("train/A/mixture.wav", "mixture"), warning("train/A/mixture.wav", "silent")}


def swap_in_the_wrong_mixture(root):
    shutil.copy(root / "train/B/mixture.wav", root / "train/A/mixture.wav")
    return {error("train/A/mixture.wav", "mixture")}


def store_a_stem_twice(root):
    put(root / "train/A/other.wav", stems_of(root / "train/A")["drums"])
    return {error("train/A/other.wav", "duplicate")}


def leak_a_test_song(root):
    shutil.copytree(root / "test/C", root / "train/Renamed")
    return {error("train/Renamed", "duplicate")}


def leak_a_test_song_under_its_name(root):
    shutil.copytree(root / "test/C", root / "train/C")
    return {error("train/C", "duplicate"), error("test/C", "song in two parts")}


def copy_a_song_within_a_part(root):
    shutil.copytree(root / "train/A", root / "train/Z")
    return {error("train/A", "duplicate")}


def copied(root, transform, suffix="flac", **options):
    """A changed copy of a test song in train, without its mixture."""
    stems = {stem: transform(samples / 32768) for stem, samples in stems_of(root / "test/C").items()}
    write(root / "train/New", stems, suffix, **options)
    return {error("train/New", "duplicate"), error("train/New", "missing mixture")}


def copy_as_24_bit_flac(root):
    return copied(root, lambda samples: samples, subtype="PCM_24")


def copy_as_8_bit(root):
    return copied(root, lambda samples: samples, "wav", subtype="PCM_U8")


def copy_quieter_and_inverted(root):
    return copied(root, lambda samples: -0.2 * samples)


def copy_later(root):
    return copied(root, lambda samples: np.concatenate([np.zeros((13_579, 2)), samples]))


def copy_without_the_beginning(root):
    return copied(root, lambda samples: samples[30_001:])


def copy_lossily(root):
    return copied(root, lambda samples: samples, "ogg")


def copy_in_mono(root):
    return copied(root, lambda samples: samples.mean(axis=1)) | {
        error(f"train/New/{stem}.flac", "channels") for stem in STEMS
    }


def copy_at_another_rate(root):
    return copied(root, lambda samples: resample_poly(samples, 160, 147), rate=48000) | {
        error(f"train/New/{stem}.flac", "sample rate") for stem in STEMS
    }


def leak_a_voice(root):
    put(root / "train/A/vocals.wav", stems_of(root / "test/C")["vocals"])
    return {error("train/A", "duplicate")}


def share_a_loop(root):
    put(root / "train/A/drums.wav", stems_of(root / "test/C")["drums"])
    return {warning("train/A", "duplicate")}


SAMPLES = [
    cut_a_flac,
    join_two_files,
    divide_by_zero,
    clip_a_stem,
    clip_below_full_scale,
    clip_a_little,
    stick_at_full_scale,
    silence_a_stem,
    silence_a_stem_that_is_in_the_mixture,
    silence_a_song,
    silence_a_channel,
    add_an_offset,
    leave_a_stem_out,
    leave_a_quiet_stem_out,
    invert_a_stem,
    invert_the_mixture,
    turn_the_mixture_down,
    turn_the_mixture_up,
    delay_the_mixture,
    silence_the_mixture,
    swap_in_the_wrong_mixture,
    store_a_stem_twice,
    leak_a_test_song,
    leak_a_test_song_under_its_name,
    copy_a_song_within_a_part,
    copy_as_24_bit_flac,
    copy_as_8_bit,
    copy_quieter_and_inverted,
    copy_later,
    copy_without_the_beginning,
    copy_lossily,
    copy_in_mono,
    copy_at_another_rate,
    leak_a_voice,
    share_a_loop,
]


@pytest.mark.parametrize("plant", SAMPLES, ids=lambda plant: plant.__name__)
def test_what_samples_tell(plant, corpus):
    expected = sorted(plant(corpus))
    assert sorted(found(corpus)) == expected


# What a finding says.


def runs_at_the_peak(samples: np.ndarray, least: int) -> list[int]:
    """The lengths of runs of the largest 16-bit absolute value, channel by channel."""
    sizes = np.minimum(np.abs(samples.astype(int)), 32766)
    runs = [
        len(list(group))
        for channel in sizes.T
        for is_peak, group in itertools.groupby(channel == channel.max())
        if is_peak
    ]
    return [run for run in runs if run >= least]


def test_clipping_is_counted(corpus):
    clip_a_stem(corpus)
    runs = runs_at_the_peak(stems_of(corpus / "train/A")["drums"], least=3)
    finding = next(finding for finding in check(corpus, 1).errors if finding.fault == "clipped")
    assert finding.value == pytest.approx(sum(runs) / (2 * N))
    assert f"{sum(runs):,} samples" in finding.detail and f"the longest of {max(runs)}" in finding.detail
    assert "at -0.0 dBFS" in finding.detail


def test_a_mixture_that_was_mixed_otherwise_is_explained(corpus):
    def detail() -> str:
        return the_only(corpus, "mixture").detail

    leave_a_stem_out(corpus)
    assert "it has vocals left out" in detail()
    invert_a_stem(corpus)
    assert "it has drums inverted" in detail()
    invert_the_mixture(corpus)
    assert "it is their sum inverted" in detail()
    turn_the_mixture_down(corpus)
    assert "it is their sum at -3.0 dB" in detail()
    remix_a_song(corpus, bass=2, vocals=-0.5)
    assert "it has vocals inverted and at -6.0 dB, bass at +6.0 dB" in detail()
    swap_in_the_wrong_mixture(corpus)
    assert "it has" not in detail() and "it is" not in detail()


def test_a_mixtures_residual_is_that_of_its_samples(corpus):
    leave_a_stem_out(corpus)
    stems = {stem: samples / 32768 for stem, samples in stems_of(corpus / "train/A").items()}
    mixture = sum(stems.values()) - stems["vocals"]
    expected_db = 10 * np.log10(np.square(stems["vocals"]).sum() / np.square(mixture).sum())
    assert the_only(corpus, "mixture").value == pytest.approx(expected_db, abs=1e-3)
    songs = {facts.song.name: facts for facts in check(corpus, 1).songs}
    assert songs["A"].mixture_db == pytest.approx(expected_db, abs=1e-3)
    assert songs["B"].mixture_db < -90


def test_a_mixture_of_musdb_that_is_known_to_differ_is_a_warning(corpus):
    leave_a_stem_out(corpus)
    (name,) = MIXTURE_ERRATA
    (corpus / "train/A").rename(corpus / "train" / name)
    finding = the_only(corpus, "mixture")
    assert finding.severity == "warning" and "errata" in finding.detail


def test_a_lossy_mixture_passes(corpus):
    path = corpus / "train/A/mixture.wav"
    samples = soundfile.read(path)[0]
    noise = np.random.default_rng(0).normal(size=samples.shape)
    samples += noise * np.sqrt(np.square(samples).sum() / np.square(noise).sum() * 10**-2.66)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    # as far off as MUSDB18's AAC mixtures are at most
    assert check(corpus, 1).songs[0].mixture_db == pytest.approx(-26.6, abs=0.1)
    assert found(corpus) == []


def test_details_are_exact(corpus):
    change_the_rate(corpus)
    assert the_only(corpus, "sample rate").value == 48000
    shorten_a_stem(corpus)
    finding = the_only(corpus, "unequal length")
    assert finding.value == -RATE and "1.000 s shorter" in finding.detail
    divide_by_zero(corpus)
    finding = the_only(corpus, "not finite")
    assert finding.value == 4 and "first at sample 1000" in finding.detail
    rename_a_stem(corpus)
    assert "is it vocal.wav?" in the_only(corpus, "missing stem").detail
    cut_the_end(corpus)
    assert f"{4 * N - 40_000} of {4 * N} bytes" in the_only(corpus, "truncated").detail


def test_a_copys_shift_is_told(corpus):
    copy_later(corpus)
    finding = the_only(corpus, "duplicate")
    assert "the same recording as test/C" in finding.detail
    # 13,579 samples; the copy is listed first, so the other starts earlier
    assert "shift -0.308 s" in finding.detail
    assert finding.value > 0.99


def test_a_shared_stem_is_named(corpus):
    leak_a_voice(corpus)
    assert "vocals as in test/C" in the_only(corpus, "duplicate").detail


# Clean corpora.


@pytest.mark.parametrize("quick", [False, True])
def test_a_clean_corpus_is_clean(clean, quick):
    assert found(clean, quick=quick) == []


def test_songs_without_parts_are_clean(clean, tmp_path):
    for song in SONGS:
        shutil.copytree(clean / song, tmp_path / "songs" / Path(song).name)
    inspection = check(tmp_path / "songs", 1)
    assert inspection.findings == [] and {facts.song.part for facts in inspection.songs} == {""}


def test_the_demo_corpus_is_clean(tmp_path):
    make_music(tmp_path / "music", 4, 1, 2, duration_s=12, jobs=1)
    assert found(tmp_path / "music") == []


def test_real_songs_are_clean_but_for_silent_bass(real_data, golden):
    root = real_data / "everything_is_remixed"
    inspection = check(root, 1)
    assert {(finding.severity, finding.fault, Path(finding.file).name) for finding in inspection.findings} == {
        ("warning", "silent", "bass.flac")
    }
    silent = {finding.song for finding in inspection.findings}
    assert silent == {
        path.parent.name for path in root.glob("*/*/bass.flac") if np.abs(soundfile.read(path)[0]).max() < 1e-3
    }
    starts = json.loads((golden / "sad_vocals.json").read_text(encoding="utf-8"))
    n_windows = {facts.song.place(): facts.salient_windows for facts in inspection.songs}
    assert n_windows == {song: len(expected["start_samples"]) for song, expected in starts.items()}


def test_a_corpus_of_one_other_format_is_a_warning(tmp_path):
    for seed in range(2):
        stems = {stem: resample_poly(samples / 32768, 160, 147)[:, 0] for stem, samples in make_stems(seed).items()}
        write(tmp_path / str(seed), stems, "flac", rate=48000)
    assert found(tmp_path) == [warning(".", "sample rate"), warning(".", "channels")]


def test_short_and_steady_stems_are_no_copies(tmp_path):
    for song in range(4):
        times = np.arange(N if song < 2 else 2000) / RATE
        tones = {stem: 0.1 * np.sin(2 * np.pi * (110 + 61 * n + 7 * song) * times) for n, stem in enumerate(STEMS)}
        write(tmp_path / str(song), {stem: np.stack([tone, tone], axis=1) for stem, tone in tones.items()})
    assert found(tmp_path) == []


def test_a_song_of_tones_has_copies(tmp_path):
    for song, gain in (("A", 0.1), ("B", 0.05)):
        tones = {stem: gain * np.sin(2 * np.pi * (110 + 61 * n) * np.arange(N) / RATE) for n, stem in enumerate(STEMS)}
        write(tmp_path / song, {stem: np.stack([tone, tone], axis=1) for stem, tone in tones.items()})
    assert found(tmp_path) == [error("A", "duplicate")]


@pytest.mark.parametrize("shift", [0, 1102])  # samples; half a hop of the fingerprints is the worst
def test_of_songs_that_swell_alike_only_copies_are_compared_sample_by_sample(shift, tmp_path, monkeypatch):
    swell = np.sin(np.linspace(0, 6 * np.pi, N))[:, None] ** 2
    for song in range(6):
        noise = np.random.default_rng(song % 5).standard_normal((N, len(STEMS), 2))
        heard = slice(shift if song == 5 else 0, None)
        write(tmp_path / str(song), {stem: (0.1 * swell * noise[:, n])[heard] for n, stem in enumerate(STEMS)})
    compare = Mock(side_effect=copies.compare)
    monkeypatch.setattr(copies, "compare", compare)
    assert found(tmp_path) == [error("0", "duplicate")]
    compared = {(a.path.parent.name, b.path.parent.name) for (a, b, _), _ in compare.call_args_list}
    assert compared == {("0", "5")}


def test_a_long_song_is_compared_beyond_its_first_block(tmp_path):
    write_corpus(tmp_path, n_samples=25 * RATE)
    assert found(tmp_path) == []
    remix_a_song(tmp_path, vocals=0)
    copied(tmp_path, lambda samples: np.concatenate([np.zeros((3 * RATE + 7, 2)), samples[RATE:]]))
    shutil.rmtree(tmp_path / "test/D")
    assert sorted(found(tmp_path)) == [
        error("train/A/mixture.wav", "mixture"),
        error("train/New", "duplicate"),
        error("train/New", "missing mixture"),
    ]


# MUSDB18-HQ.


def test_the_official_windows_are_the_published_ones(golden):
    published = json.loads((golden / "musdb18hq_vocals_sad_counts.json").read_text(encoding="utf-8"))
    for part, key, n_songs, n_windows in (
        ("train", "train_86", 86, 5239),
        ("valid", "valid_14", 14, 764),
        ("test", "test_50", 50, 2772),
    ):
        assert SALIENT_WINDOWS[part] == published[key]["per_song"]
        assert len(SALIENT_WINDOWS[part]) == n_songs and sum(SALIENT_WINDOWS[part].values()) == n_windows


@pytest.fixture
def musdb(tmp_path):
    """All of MUSDB18's songs, of 0.1 s, without valid."""
    root = tmp_path / "musdb18hq"
    stems = {stem: np.ones((4410, 2), dtype=np.int16) for stem in STEMS}
    for part, names in SALIENT_WINDOWS.items():
        for name in names:
            write(root / ("train" if part == "valid" else part) / name, stems)
    return root


def test_musdbs_split_is_compared(musdb):
    assert found(musdb, quick=True) == []
    shutil.rmtree(musdb / "test/PR - Oh No")
    (musdb / "train/Music Delta - Rock").rename(musdb / "test/Music Delta - Rock")
    shutil.rmtree(musdb / "train/Leaf - Summerghost")
    expected = [
        error("test/Music Delta - Rock", "wrong part"),
        error("test/PR - Oh No", "missing song"),
        error("train/Leaf - Summerghost", "missing song"),
    ]
    assert sorted(found(musdb, quick=True)) == expected
    # with a folder valid, its songs may be any but the test songs
    (musdb / "valid").mkdir()
    (musdb / "train/Music Delta - Disco").rename(musdb / "valid/Music Delta - Disco")
    expected[2] = error("valid/Leaf - Summerghost", "missing song")
    assert sorted(found(musdb, quick=True)) == expected


def test_the_excerpts_may_be_fewer(musdb):
    for name in itertools.islice(SALIENT_WINDOWS["train"], 6):
        shutil.rmtree(musdb / "train" / name)
    for path in musdb.rglob("*.wav"):
        soundfile.write(path, np.ones(7 * 50), 50, subtype="PCM_U8")
    assert {finding[::2] for finding in found(musdb, quick=True) if finding[2] != "sample rate"} == {
        ("warning", "channels"),
        ("warning", "missing song"),
    }


def test_the_windows_of_vocals_are_compared(tmp_path, monkeypatch):
    write_corpus(tmp_path, n_samples=25 * RATE)
    counted = {facts.song.name: facts.salient_windows for facts in check(tmp_path, 1).songs}
    whole = {
        Path(song).name: len(salient_starts(soundfile.read(tmp_path / song / "vocals.wav")[0].T)) for song in SONGS
    }
    assert counted == whole and min(whole.values()) > 0
    official = {"train": {"A": whole["A"], "B": whole["B"]}, "valid": {}, "test": {"C": whole["C"], "D": whole["D"]}}
    monkeypatch.setattr(checking, "SALIENT_WINDOWS", official)
    assert found(tmp_path) == []
    official["test"]["D"] += 3
    assert found(tmp_path) == [
        error("test", "salient windows"),
        error("test/D/vocals.wav", "salient windows"),
    ]
    assert [finding.value for finding in check(tmp_path, 1).findings] == [whole["C"] + whole["D"], whole["D"]]


# The whole.


def test_jobs_change_nothing(corpus, capsys):
    leak_a_test_song(corpus)
    divide_by_zero(corpus)
    rename_a_stem(corpus)
    one, two = check(corpus, 1), check(corpus, 2)
    assert len(one.errors) == 4
    assert one.as_dict() == two.as_dict() and str(one) == str(two)
    assert "5/5" in capsys.readouterr().err


def test_the_json_holds_every_number(corpus):
    silence_the_mixture(corpus)
    result = json.loads(json.dumps(check(corpus, 1).as_dict(), allow_nan=False))
    assert result["n_songs"] == {"train": 2, "test": 2} and not result["quick"]
    assert (result["n_errors"], result["n_warnings"]) == (1, 1)
    assert result["findings"][0] == {
        "severity": "error",
        "part": "train",
        "song": "A",
        "file": "train/A/mixture.wav",
        "fault": "mixture",
        "value": None,
        "detail": "silent, but its stems are not",
    }
    assert [song["duration_s"] for song in result["songs"]] == [4.0] * 4
    # equal to the sum in every sample: minus infinity
    assert [song["mixture_db"] for song in result["songs"]] == [None] * 4


def test_the_quick_check_reads_no_samples(corpus):
    silence_a_stem(corpus)
    inspection = check_quick(corpus)
    assert inspection.findings == [] and inspection.songs[0].salient_windows is None
    assert "headers only" in str(inspection)


def test_the_pipeline_refuses_what_headers_tell(corpus):
    refuse_faults(corpus)
    stem = corpus / "train/A/drums.wav"
    samples, rate = soundfile.read(stem, dtype="int16")
    soundfile.write(stem, samples, 48000)
    with pytest.raises(InputError, match=r"train/A/drums\.wav: unequal length: .* 1 more fault") as refused:
        refuse_faults(corpus)
    assert "vocalremix check --quick" in str(refused.value) and "\n" not in str(refused.value)
    soundfile.write(stem, samples, rate)
    (corpus / "test/C/bass.wav").unlink()
    with pytest.raises(InputError, match=r"test/C/bass\.wav: missing stem"):
        refuse_faults(corpus)


def test_the_pipeline_leaves_the_split_to_the_study(tmp_path):
    stems = make_stems(0)
    for name in list(SALIENT_WINDOWS["test"]) + list(SALIENT_WINDOWS["train"])[:40]:
        write(tmp_path / "train" / name, stems)
    assert {finding.fault for finding in check_quick(tmp_path).errors} == {"missing song", "wrong part"}
    refuse_faults(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        check(tmp_path / "nowhere")
    with pytest.raises(InputError, match="jobs 0"):
        check(tmp_path, 0)
    assert found(tmp_path) == [error(".", "no songs")]


# The parts.


@pytest.mark.parametrize("seed", range(20))
def test_flat_tops_are_runs_at_the_peak(seed):
    rng = np.random.default_rng(seed)
    values = np.array([0, 0.5, FULL_SCALE] if seed % 2 else [0, 0.25, 0.5], dtype=np.float32)
    samples = np.repeat(values[rng.integers(0, 3, 300)], rng.integers(1, 40, 300))
    tops = FlatTops()
    for block in np.split(samples, np.sort(rng.integers(0, len(samples), 30))):
        tops.add(block)
    # 2000 / sqrt(0.5 * 32768) = 15.6
    least = 3 if seed % 2 else 16
    runs = [len(list(group)) for peak, group in itertools.groupby(samples == samples.max()) if peak]
    runs = [run for run in runs if run >= least]
    assert (tops.level, tops.count(), tops.longest()) == (samples.max(), sum(runs), max(runs))


@pytest.mark.parametrize("frequency_hz", [20, 55, 997, 11025])
@pytest.mark.parametrize("peak", [1, 0.95, 0.3, 0.01])
def test_a_pure_tone_is_not_clipped(frequency_hz, peak):
    tone = np.rint(32766 * peak * np.sin(2 * np.pi * frequency_hz * np.arange(10 * RATE) / RATE)) / 32768
    tops = FlatTops()
    tops.add(np.minimum(np.abs(tone), FULL_SCALE).astype(np.float32))
    assert tops.count() / len(tone) < (0.01 if peak == 1 else 1e-9)


def test_levels_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    waveform = (rng.normal(size=(2, 44_100)) * 0.1 + [[0.02], [-0.03]]).astype(np.float32)
    levels = Levels(2, RATE)
    for start in range(0, 44_100, 4410):
        levels.add(waveform[:, start : start + 4410])
    np.testing.assert_allclose(levels.peaks, np.abs(waveform).max(axis=1))
    assert levels.offset() == pytest.approx(abs(waveform[1].astype(float).mean()))
    frames = waveform.reshape(2, 20, 2205).astype(float)
    np.testing.assert_allclose(levels.envelope(), np.square(frames).mean(axis=(0, 2)), rtol=1e-5)


@pytest.mark.parametrize("sample_rate", [44100, 22050])
def test_salient_windows_are_those_of_the_whole(sample_rate):
    rng = np.random.default_rng(1)
    gate = np.repeat(rng.integers(0, 2, 40), sample_rate)
    waveform = (rng.normal(size=(2, len(gate))) * 0.1 * gate).astype(np.float32)[:, : -sample_rate // 3]
    windows = SalientWindows(sample_rate)
    for block in np.array_split(waveform, 7, axis=1):
        windows.add(block)
    assert windows.count == len(salient_starts(waveform, sample_rate)) > 0
