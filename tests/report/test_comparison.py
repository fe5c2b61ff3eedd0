"""Two systems on the same songs: against closed forms, scipy's tests and museval, in every layout of estimates."""

import re
import shutil
import subprocess
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import museval
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import soundfile
import tiny
from browser import browser as browser
from browser import quiet_page
from playwright.sync_api import Browser
from scipy import stats
from scipy.signal import butter, sosfilt

from vocalremix.audio.reading import read
from vocalremix.audio.writing import write_pcm16
from vocalremix.models.registry import build
from vocalremix.report.comparison import OUTPUTS, Comparison, assess, compare, describe, legend, write_comparison
from vocalremix.scoring.estimates import Estimates, find_estimates, measure_lag
from vocalremix.scoring.evaluation import evaluate
from vocalremix.scoring.metrics import SONG_PROTOCOLS, WINDOW_PROTOCOLS
from vocalremix.separation import Separator
from vocalremix.tracking.store import Store, open_run
from vocalremix.training import checkpoint
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS
from vocalremix.windows.sad import salient_starts

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

Array = npt.NDArray[np.float64]
RATE = 44100
SONGS = ("AM Contra - Heart", "M.E.R.C. Music - Knockout", "Song", "Song 2", "Ünder")


def write_song(folder: Path, seed: int, seconds: float = 7) -> Array:
    """Four stems of noise; returns the vocals, louder in the second half."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, (4, 2, round(seconds * RATE)))
    noise[..., noise.shape[-1] // 2 :] *= 2
    for stem, waveform in zip(STEMS, noise, strict=True):
        write_pcm16(folder / f"{stem}.wav", waveform)
    return np.rint(noise[0] * 32768) / 32768


def write_estimate(path: Path, waveform: npt.ArrayLike, sample_rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(waveform).T, sample_rate, subtype="FLOAT")


@pytest.fixture
def vocals(tmp_path: Path) -> dict[str, Array]:
    """The vocals of the songs in `tmp_path / "songs"`."""
    return {song: write_song(tmp_path / "songs" / song, seed) for seed, song in enumerate(SONGS)}


def write_estimates(folder: Path, vocals: Mapping[str, Array], error_db: Mapping[str, float] | float) -> Path:
    """Vocals made quieter, so that every frame of a song has the SDR `-error_db`."""
    for song, waveform in vocals.items():
        level = error_db if isinstance(error_db, int | float) else error_db[song]
        write_estimate(folder / song / "vocals.wav", waveform * (1 - 10 ** (level / 20)))
    return folder


def rows_of(comparison: Comparison) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(str(row["metric"]), str(row["protocol"])): row for row in comparison.table.rows}


def test_known_estimates_give_known_differences(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a_db = dict(zip(SONGS, (5.0, 6.0, 7.5, 10.0, 11.0), strict=True))
    b_db = dict(zip(SONGS, (5.5, 6.2, 9.0, 9.9, 12.0), strict=True))
    a = write_estimates(tmp_path / "a", vocals, {song: -db for song, db in a_db.items()})
    b = write_estimates(tmp_path / "b", vocals, {song: -db for song, db in b_db.items()})
    comparison = compare(str(a), str(b), tmp_path / "songs")
    rows = rows_of(comparison)
    assert next(iter(rows)) == ("uSDR", "mdx")
    values_a, values_b = list(a_db.values()), list(b_db.values())
    gains = np.subtract(values_b, values_a)
    interval = stats.ttest_rel(values_b, values_a).confidence_interval()
    for key in (("uSDR", "mdx"), ("cSDR", "thesis"), ("cSDR", "windows"), ("uSDR", "windows")):
        row = rows[key]
        assert row["A"] == pytest.approx(np.mean(values_a), abs=1e-3)
        assert row["B"] == pytest.approx(np.mean(values_b), abs=1e-3)
        assert row["difference"] == pytest.approx(gains.mean(), abs=1e-3)
        assert row["paired_p"] == pytest.approx(stats.ttest_rel(values_b, values_a).pvalue, abs=1e-3)
        assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(gains).pvalue, abs=1e-6)
        assert row["cohens_d"] == pytest.approx(gains.mean() / gains.std(ddof=1), abs=1e-3)
        assert (row["low"], row["high"]) == pytest.approx(tuple(interval), abs=2e-3)
        assert (row["interval"], row["n_songs"], row["n_nan"]) == ("paired t", 5, 0)
    sisec = rows["cSDR", "sisec"]
    assert (sisec["A"], sisec["B"], sisec["difference"]) == pytest.approx((7.5, 9.0, 0.5), abs=1e-3)
    assert "a median needs 50 songs" in str(sisec["interval"])
    assert rows["uSDR", "windows"]["n_windows"] == 5
    assert -5 < float(rows["uSDR", "mdx"]["mixture"]) < -4  # three stems as loud as the vocals: 10 log10 (1 / 3)
    assert all(verdict.text.startswith("Cannot tell") for verdict in comparison.verdicts)
    assert {verdict.direction for verdict in comparison.verdicts} == {"unknown"}
    assert "+0.62 dB, 95 % CI [" in comparison.verdicts[0].text


def test_a_clear_gain_is_called_one(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a = write_estimates(tmp_path / "a", vocals, -5)
    b = write_estimates(tmp_path / "b", vocals, dict(zip(SONGS, (-6, -6.1, -6.2, -6.1, -6), strict=True)))
    comparison = compare(str(a), str(b), tmp_path / "songs", name_a="old", name_b="new")
    assert comparison.verdicts[0].text.startswith("new, against old, raises uSDR (mdx) by 1.08 dB, 95 % CI [")
    assert comparison.verdicts[0].direction == "up"
    backwards = compare(str(b), str(a), tmp_path / "songs", name_a="new", name_b="old")
    assert backwards.verdicts[0].text.startswith("old, against new, lowers uSDR (mdx) by 1.08 dB, 95 % CI [-")
    assert backwards.verdicts[0].direction == "down"
    assert "old" in describe(comparison) and set(comparison.songs.system) == {"mixture", "old", "new"}


def test_sisdr_of_orthogonal_errors(tmp_path: Path, vocals: dict[str, Array]) -> None:
    rng = np.random.default_rng(0)
    for folder, db in (("a", 10), ("b", 13)):
        for song, waveform in vocals.items():
            noise = rng.normal(size=waveform.shape)
            energy = np.sum(waveform**2, axis=1, keepdims=True)
            noise -= np.sum(noise * waveform, axis=1, keepdims=True) / energy * waveform
            noise *= np.sqrt(energy / np.sum(noise**2, axis=1, keepdims=True) * 10 ** (-db / 10))
            write_estimate(tmp_path / folder / f"{song}.wav", 3 * (waveform + noise))
    row = rows_of(compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path / "songs"))["siSDR", "sisdr"]
    assert (row["A"], row["B"], row["difference"]) == pytest.approx((10, 13, 3), abs=1e-4)


def scores(n_songs: int, n_windows: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, Array]:
    """Tables of scores where B is better by about 0.5 dB; and the songs' gains."""
    rng = np.random.default_rng(seed)
    levels, gains = rng.normal(7, 2, n_songs), rng.normal(0.5, 0.6, n_songs)
    songs, windows = [], []
    for song in range(n_songs):
        for side, level in (("mixture", -6.0), ("A", levels[song]), ("B", levels[song] + gains[song])):
            songs.append({"song": f"{song}", "side": side} | dict.fromkeys(SONG_PROTOCOLS, level))
            windows += [
                {"song": f"{song}", "side": side, "start_sample": start} | dict.fromkeys(WINDOW_PROTOCOLS, level)
                for start in range(n_windows)
            ]
    return pd.DataFrame(songs), pd.DataFrame(windows), gains


def test_many_songs_are_drawn_anew() -> None:
    songs, windows, gains = scores(n_songs=60, n_windows=3)
    rows, verdicts = assess(songs, windows, ("a", "b"))
    student = stats.ttest_1samp(gains, 0).confidence_interval()
    draws = np.median(np.random.default_rng(1).choice(gains, (20_000, 60)), axis=1)
    for row, verdict in zip(rows, verdicts, strict=True):
        assert row["interval"] == "song bootstrap"
        median = row["protocol"] == "sisec"
        center, ends = (np.median(gains), np.quantile(draws, [0.025, 0.975])) if median else (gains.mean(), student)
        assert row["difference"] == pytest.approx(center)
        assert (row["low"], row["high"]) == pytest.approx(tuple(ends), abs=0.04)
        assert verdict.text.startswith("b, against a, raises") and verdict.direction == "up"


def test_windows_of_a_song_move_together_and_nan_is_counted() -> None:
    songs, windows, gains = scores(n_songs=40, n_windows=5)
    single = windows[windows.start_sample == 0]
    few, _ = assess(songs, single, ("a", "b"))
    many, _ = assess(songs, windows, ("a", "b"))
    assert [row["low"] for row in many[-3:]] == pytest.approx([row["low"] for row in few[-3:]])
    assert [row["n_windows"] for row in many] == [None] * len(SONG_PROTOCOLS) + [200] * 3
    windows.loc[(windows.song == "7") & (windows.side == "A") & (windows.start_sample < 2), "csdr_db"] = np.nan
    songs.loc[(songs.song == "7") & (songs.side == "B"), "sisdr_db"] = np.nan
    rows, _ = assess(songs, windows, ("a", "b"))
    by_key = {(row["metric"], row["protocol"]): row for row in rows}
    assert (by_key["cSDR", "windows"]["n_windows"], by_key["cSDR", "windows"]["n_nan"]) == (198, 2)
    assert by_key["cSDR", "windows"]["n_songs"] == 40
    assert (by_key["siSDR", "sisdr"]["n_songs"], by_key["siSDR", "sisdr"]["n_nan"]) == (39, 1)
    assert by_key["siSDR", "sisdr"]["difference"] == pytest.approx(np.delete(gains, 7).mean())


@pytest.mark.parametrize(
    "layout",
    [
        "{song}/vocals.wav",
        "htdemucs/{song}/vocals.mp3",
        "test/{song}/vocals.wav",
        "{song}/htdemucs/mixture/vocals.wav",
        "{song}/Vocals.FLAC",
        "{song}_(Vocals).wav",
        "1_{song}_(Vocals).flac",
        "{song}_(Vocals)_UVR-MDX-NET-Voc_FT.wav",
        "{song}/{song}_(Vocals)_model_bs_roformer.wav",
        "{song}/mixture_(Vocals).wav",
        "{song}_vocals.wav",
        "{song} - Vocals.m4a",
        "vocals/{song}.wav",
        "{song}.wav",
        # UVR: number, model or ensemble before the label; test mode's time; a folder for the model
        "1_{song}_MDX23C-InstVoc HQ_(Vocals).wav",
        "1_{song}_kuielab_a_vocals_(Vocals).wav",
        "1_{song}_6_HP-Karaoke-UVR_(Vocals).wav",
        "1732700000_12_{song}_UVR-MDX-NET_Main_438_(Vocals).flac",
        "UVR-DeNoise/{song}/1_{song}_(Vocals).wav",
        "{song}/1_mixture_(Vocals).wav",
        # audio-separator: model after the label
        "{song}_(Vocals)_model_bs_roformer_ep_317_sdr_12.9755.flac",
        "{song}/mixture_(Vocals)_mel_band_roformer_kim_ft_unwa.wav",
        "{song}_(Vocals)_mel_band_roformer_vocals_fv4_gabox.wav",
        # MSST: the default, older versions' on a .flac, templates of the user
        "{song}/vocals.flac",
        "{song}._vocals.wav",
        "{song} (vocals).wav",
        "{song}_vocals_mel_band_roformer.wav",
        "{song}_bs_roformer_vocals.wav",
        "{song}/vocals_htdemucs.wav",
        "{song}/htdemucs_vocals.wav",
        "{song}/mixture_vocals.wav",
        "vocals/{song}_scnet.wav",
        # Open-Unmix's default
        "{song}_umxhq/vocals.wav",
        "{song}_umxl/vocals.flac",
        "{song}/mixture_umxhq/vocals.wav",
        # Demucs --filename, Spleeter --filename_format
        "htdemucs/{song}_vocals.wav",
        "htdemucs/vocals/{song}.mp3",
        "htdemucs/{song}.wav/vocals.wav",
        "htdemucs/{song}.stem.mp4/vocals.wav",
        "htdemucs/{song}.stem/vocals.wav",
        "htdemucs_ft/{song}.vocals.wav",
        "htdemucs_ft/{song}-vocals.wav",
        "htdemucs_ft/vocals_{song}.wav",
        "htdemucs_ft/vocals - {song}.flac",
    ],
)
def test_estimates_are_found_as_separators_leave_them(layout: str, tmp_path: Path) -> None:
    expected = {}
    for song in SONGS:
        path = tmp_path / layout.format(song=song)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        for beside in ("no_vocals.wav", "accompaniment.wav", "vocals.json", "._vocals.wav", "other.wav"):
            (path.parent / beside).touch()
        for beside in ("_no_vocals", "_drums", "_(Instrumental)_vocals_model", "_(No Vocals)", "_minus_vocals"):
            (path.parent / f"{song}{beside}.wav").touch()
        (path.parent / f"1_{song}_(Instrumental).wav").touch()
        expected[song] = path
    assert find_estimates(tmp_path, "vocals", SONGS) == expected
    assert find_estimates(tmp_path, "vocals", ["Son", "ong", "Song 3", "Contra"]) == {}


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_file_that_says_nothing_of_its_source_comes_last(tmp_path: Path) -> None:
    touched(tmp_path, "Song_(Vocals).wav", "Song.wav", "drums/Song.wav", "accompaniment/Song.wav")
    assert find_estimates(tmp_path, "vocals", ["Song"]) == {"Song": tmp_path / "Song_(Vocals).wav"}
    (tmp_path / "Song_(Vocals).wav").unlink()
    assert find_estimates(tmp_path, "vocals", ["Song"]) == {"Song": tmp_path / "Song.wav"}
    (tmp_path / "Song.wav").unlink()
    assert find_estimates(tmp_path, "vocals", ["Song"]) == {}
    assert find_estimates(tmp_path, "drums", ["Song"]) == {"Song": tmp_path / "drums/Song.wav"}


def test_songs_whose_names_are_alike_are_kept_apart(tmp_path: Path) -> None:
    names = ["Song", "1_Song", "Song_vocals", "Song (Vocals) live", "Song 2"]
    touched(tmp_path, *(f"{name}_(Vocals).wav" for name in names))
    expected = {name: tmp_path / f"{name}_(Vocals).wav" for name in names}
    assert find_estimates(tmp_path, "vocals", names) == expected
    # a file of a song in another part is not taken for one of this part
    (tmp_path / "Song_(Vocals).wav").unlink()
    assert find_estimates(tmp_path, "vocals", ["Song"], ["1_Song", "Song 2"]) == {}
    nested = touched(tmp_path / "nested", "Song 2/Song/vocals.wav")
    assert find_estimates(nested, "vocals", names) == {"Song": nested / "Song 2/Song/vocals.wav"}


def test_names_are_compared_whatever_their_unicode_form(tmp_path: Path) -> None:
    touched(tmp_path, unicodedata.normalize("NFD", "Ünder") + "/vocals.wav")
    (found,) = find_estimates(tmp_path, "vocals", [unicodedata.normalize("NFC", "Ünder")]).values()
    assert found.exists()


def test_a_song_with_more_in_its_name_is_not_taken_for_a_model(tmp_path: Path) -> None:
    one = touched(tmp_path / "one", "Song_live/vocals.wav", "Song_live_umxhq/vocals.wav", "B/vocals.wav")
    assert find_estimates(one, "vocals", ["Song", "B"]) == {"B": one / "B/vocals.wav"}
    two = touched(tmp_path / "two", "Song_live_umxhq/vocals.wav", "Song_umxhq/vocals.wav", "B_umxhq/vocals.wav")
    assert find_estimates(two, "vocals", ["Song", "B"]) == {
        "Song": two / "Song_umxhq/vocals.wav",
        "B": two / "B_umxhq/vocals.wav",
    }
    for name in ("Song_2/vocals.wav", "Song (live)/vocals.wav", "Song live_vocals.wav", "Song-2_(Vocals).wav"):
        assert find_estimates(touched(tmp_path / name, name), "vocals", ["Song"]) == {}
    for name in ("Song_lead_vocals.wav", "Song_backing_vocals.wav", "Song_(Lead Vocals).wav", "Song/lead_vocals.wav"):
        assert find_estimates(touched(tmp_path / name, name), "vocals", ["Song"]) == {}


def test_a_song_may_be_called_as_a_stem_is(tmp_path: Path) -> None:
    files = [f"{song}/{stem}.wav" for song in ("Other", "Song", "Vocals") for stem in STEMS]
    touched(tmp_path, *files)
    for target in ("vocals", "other"):
        expected = {song: tmp_path / song / f"{target}.wav" for song in ("Other", "Song", "Vocals")}
        assert find_estimates(tmp_path, target, ["Other", "Song", "Vocals"]) == expected


def test_names_are_found_as_audio_separator_cleans_them(tmp_path: Path) -> None:
    touched(tmp_path, "What_(Vocals)_m.wav", "A_B_(Vocals)_m.wav", "Wait_(Vocals)_m.wav")
    found = find_estimates(tmp_path, "vocals", ["What?", "A: B", "A__B", "Wait...", "Wait"])
    assert found == {
        "What?": tmp_path / "What_(Vocals)_m.wav",
        "A__B": tmp_path / "A_B_(Vocals)_m.wav",
        "Wait": tmp_path / "Wait_(Vocals)_m.wav",
    }


@pytest.mark.parametrize(
    "song", ["...Baby One More Time", ".38 Special - Hold On", "@Recycle", "7 rings", "lost+found"]
)
@pytest.mark.parametrize(
    "layout", ["{song}/vocals.wav", "1_{song}_(Vocals).wav", "{song}.wav", "{song}_umx/vocals.wav"]
)
def test_odd_names_are_songs_too(song: str, layout: str, tmp_path: Path) -> None:
    path = layout.format(song=song)
    touched(tmp_path, path, ".Trash-1000/files/" + path, "@eaDir/x/vocals.wav", "__MACOSX/._x.wav")
    (tmp_path / "@eaDir/vocals.wav").mkdir()
    assert find_estimates(tmp_path, "vocals", [song]) == {song: tmp_path / path}


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    stored = touched(tmp_path / "store", "1/vocals.wav", "2/vocals.wav", "3.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/Song").symlink_to(stored / "1")
    (tmp_path / "out/Song 2").symlink_to("../store/2")
    (tmp_path / "out/B").mkdir()
    (tmp_path / "out/B/vocals.wav").symlink_to(stored / "3.wav")
    (tmp_path / "out/B/up").symlink_to(tmp_path / "out")
    (tmp_path / "out/B/also.wav").symlink_to(stored / "3.wav")
    (tmp_path / "out/latest").symlink_to(tmp_path / "out")
    expected = {song: tmp_path / f"out/{song}/vocals.wav" for song in ("Song", "Song 2", "B")}
    assert find_estimates(tmp_path / "out", "vocals", ["Song", "Song 2", "B"]) == expected
    # a second name of the same files is no second separator
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/1").symlink_to(tmp_path / "out")
    (tmp_path / "runs/latest").symlink_to("1")
    assert find_estimates(tmp_path / "runs", "vocals", ["Song"]) == {"Song": tmp_path / "runs/1/Song/vocals.wav"}


def test_files_in_an_unknown_layout_are_shown(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a = write_estimates(tmp_path / "a", vocals, -5)
    touched(tmp_path / "b", *(f"take {number}/vox-{number}.wav" for number in range(5)))
    with pytest.raises(
        InputError,
        match=r"b: no vocals of any of the 5 songs, such as AM Contra - Heart; expected <song>/vocals\.wav, .* in it, "
        r"found take 0/vox-0\.wav, take 1/vox-1\.wav, take 2/vox-2\.wav and 2 more",
    ):
        compare(str(a), str(tmp_path / "b"), tmp_path / "songs")
    some = write_estimates(tmp_path / "some", {song: vocals[song] for song in SONGS[:3]}, -7)
    touched(some, "vocals of Song 2.wav", "Ünder_no_vocals.wav", "Song 2/drums.wav")
    notes = compare(str(a), str(some), tmp_path / "songs").notes
    assert notes[0] == "some: no estimate of 2 songs, left out: Song 2, Ünder"
    assert notes[1].startswith(
        "some: vocals of no song that is known: vocals of Song 2.wav; expected <song>/vocals.wav"
    )
    assert len(notes) == 2
    mixed = touched(tmp_path / "mixed", "A_m1/vocals.wav", "B_m2/vocals.wav")
    assert Estimates(mixed, "vocals", ["A", "B"], []).notes() == [
        "file names tell of several models: m1 (1 song), m2 (1 song)"
    ]


def test_files_that_are_equally_good_are_listed(tmp_path: Path) -> None:
    touched(tmp_path, "htdemucs/Song/vocals.wav", "mdx/Song/vocals.wav", "mdx/Song 2/vocals.wav")
    with pytest.raises(InputError, match=r"2 files could be vocals of Song: htdemucs/Song/vocals.wav, mdx/Song/vocals"):
        find_estimates(tmp_path, "vocals", ["Song", "Song 2"])
    assert find_estimates(tmp_path, "vocals", ["Song 2"], ["Song"]).keys() == {"Song 2"}
    touched(tmp_path, "uvr/1_Song 2_(Vocals).wav")
    with pytest.raises(InputError, match=r"mdx/Song 2/vocals.wav, uvr/1_Song 2_\(Vocals\).wav; name a folder"):
        find_estimates(tmp_path, "vocals", ["Song 2"])
    assert find_estimates(tmp_path / "mdx", "vocals", ["Song", "Song 2"]).keys() == {"Song", "Song 2"}


def test_songs_that_one_side_lacks_are_left_out_and_named(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a = write_estimates(tmp_path / "a", {song: vocals[song] for song in SONGS[:3]}, -5)
    b = write_estimates(tmp_path / "b", {song: vocals[song] for song in SONGS[1:]}, -7)
    comparison = compare(str(a), str(b), tmp_path / "songs")
    assert comparison.songs.song.unique().tolist() == list(SONGS[1:3])
    assert comparison.notes == [
        "a: no estimate of 2 songs, left out: Song 2, Ünder",
        "b: no estimate of 1 song, left out: AM Contra - Heart",
    ]
    assert "left out: Song 2, Ünder" in describe(comparison)
    apart = write_estimates(tmp_path / "apart", {"Ünder": vocals["Ünder"]}, -7)
    with pytest.raises(InputError, match=r"no song of .*songs has an estimate in both"):
        compare(str(a), str(apart), tmp_path / "songs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: no vocals of any of the 5 songs, such as AM Contra - Heart; expected"
    ):
        compare(str(a), str(tmp_path / "empty"), tmp_path / "songs")


def test_estimates_are_converted_and_that_is_said(tmp_path: Path, vocals: dict[str, Array]) -> None:
    songs = {song: vocals[song] for song in SONGS[:3]}
    for song in SONGS[3:]:
        (tmp_path / "songs" / song).rename(tmp_path / song)
    a = write_estimates(tmp_path / "a", songs, -20)
    shorter, longer, mono = SONGS[:3]
    b = tmp_path / "b"
    write_estimate(b / f"{shorter}.wav", 0.9 * songs[shorter][:, :-4000])
    write_estimate(b / f"{longer}.wav", np.pad(0.9 * songs[longer], ((0, 0), (0, 1105)), constant_values=0.5))
    write_estimate(b / f"{mono}.wav", 0.9 * songs[mono].mean(axis=0, keepdims=True))
    comparison = compare(str(a), str(b), tmp_path / "songs")
    assert sorted(comparison.notes) == [
        "b: 1 estimate mono, taken for both channels",
        "b: 2 estimates cut or padded at the end, by at most 0.1 s",
    ]
    usdr = comparison.songs[comparison.songs.side == "B"].set_index("song").usdr_db
    assert usdr[longer] == pytest.approx(20, abs=1e-3)
    lost = np.sum(songs[shorter][:, -4000:] ** 2) / np.sum(songs[shorter] ** 2)
    assert usdr[shorter] == pytest.approx(-10 * np.log10(lost + 0.01 * (1 - lost)), abs=1e-3)
    doubled = songs[mono] - 0.9 * songs[mono].mean(axis=0)
    assert usdr[mono] == pytest.approx(10 * np.log10(np.sum(songs[mono] ** 2) / np.sum(doubled**2)), abs=1e-3)


def song_like(folder: Path, seed: int, seconds: float = 8) -> Array:
    """Four stems of coloured noise with beats that repeat 0.125 s apart; returns the vocals."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * RATE)
    beat = np.exp(-np.arange(n_samples) % (RATE // 8) / 900.0)
    stems = {}
    for number, stem in enumerate(STEMS):
        noise = sosfilt(butter(1, 2000, fs=RATE, output="sos"), rng.normal(0, 0.1, (2, n_samples)))
        loop = np.tile(noise[:, : RATE // 8], 8 * round(seconds) + 1)[:, :n_samples]
        stems[stem] = np.clip(0.5 * noise + (beat * loop if number else loop), -0.9, 0.9) / 2
    folder.mkdir(parents=True, exist_ok=True)
    for stem, waveform in stems.items():
        write_pcm16(folder / f"{stem}.wav", waveform)
    return np.asarray(read(folder / "vocals.wav")[0], np.float64)


@pytest.mark.parametrize("lag", [1105, 529, 2112, 5186, 312, 20, -1105])
def test_an_encoders_delay_is_taken_back_and_said(lag: int, tmp_path: Path) -> None:
    vocals = {song: song_like(tmp_path / "songs" / song, seed) for seed, song in enumerate(("Song", "B", "C"))}
    a, b = (write_estimates(tmp_path / name, vocals, -20) for name in "ab")
    for song, waveform in vocals.items():
        estimate = np.rint(waveform * 0.9 * 32768) / 32768
        write_estimate(a / song / "vocals.wav", estimate)
        if song != "C":
            late = np.pad(estimate, ((0, 0), (max(lag, 0), 0)))[:, max(-lag, 0) :]
            write_estimate(b / song / "vocals.wav", late[:, : waveform.shape[1] + 4000])
        else:
            write_estimate(b / song / "vocals.wav", estimate)
    comparison = compare(str(a), str(b), tmp_path / "songs")
    scores = comparison.songs.set_index(["song", "side"]).usdr_db
    for song, waveform in vocals.items():
        restored = np.rint(waveform * 0.9 * 32768) / 32768
        if song != "C":
            restored[:, : max(-lag, 0)] = 0
            restored[:, waveform.shape[1] - max(lag - 4000, 0) :] = 0
        error = np.sum((restored - waveform) ** 2)
        assert scores[song, "B"] == pytest.approx(10 * np.log10(np.sum(waveform**2) / error), abs=1e-3)
    notes = [note for note in comparison.notes if "against the mixture" in note]
    assert notes == [
        f"b: 2 estimates {'late' if lag > 0 else 'early'} by {abs(lag):,} samples against the mixture"
        f"{', as encoders leave it' if lag > 0 else ''}: shifted back"
    ]


def test_what_is_in_time_is_not_shifted(tmp_path: Path) -> None:
    vocals = song_like(tmp_path / "Song", seed=5)
    stems = [read(tmp_path / "Song" / f"{stem}.wav")[0] for stem in STEMS]
    mixture = np.sum(stems, axis=0)
    accompaniment = mixture - vocals
    rng = np.random.default_rng(0)
    for estimate in (
        vocals,
        -vocals,
        mixture,
        accompaniment,
        vocals + accompaniment / 2,
        0.01 * vocals + accompaniment,
        vocals + rng.normal(0, vocals.std(), vocals.shape),
        sosfilt(butter(4, 1000, fs=RATE, output="sos"), vocals),
        rng.normal(0, 0.1, vocals.shape),
        0 * vocals,
        vocals * (np.arange(vocals.shape[1]) < RATE),
        (vocals + np.roll(vocals, 1, axis=1)) / 2,
    ):
        assert not measure_lag(np.asarray(estimate, np.float32), mixture)
    time = np.arange(mixture.shape[1]) / RATE
    tone = np.tile(np.sin(2 * np.pi * 100 * time), (2, 1)).astype(np.float32)
    assert measure_lag(tone, mixture + tone) == 0
    assert measure_lag(np.roll(tone, 110, axis=1), mixture + tone) is None, "a quarter of a period, or more"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize(("codec", "suffix"), [("libmp3lame", "mp3"), ("aac", "aac"), ("libvorbis", "ogg")])
def test_estimates_in_real_codecs_are_in_time(codec: str, suffix: str, tmp_path: Path) -> None:
    """An MP3 without a Xing frame and bare AAC do not say by how much their encoder was late."""
    vocals = song_like(tmp_path / "songs/Song", seed=7)
    write_estimate(tmp_path / "a/Song.wav", vocals)
    (tmp_path / "b").mkdir()
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a/Song.wav", "-c:a", codec, "-b:a", "320k"]
    options = ["-write_xing", "0"] if suffix == "mp3" else []
    done = subprocess.run([*command, *options, tmp_path / f"b/Song.{suffix}"], check=False, stderr=subprocess.PIPE)
    if done.returncode:
        pytest.skip(f"this ffmpeg has no {codec}")
    comparison = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path / "songs")
    assert comparison.songs.usdr_db[2] > 15
    assert [note for note in comparison.notes if "late by" in note] or suffix == "ogg"


def test_estimates_at_another_rate_are_resampled(tmp_path: Path) -> None:
    time = np.arange(7 * RATE) / RATE
    tone = 0.3 * np.stack([np.sin(2 * np.pi * 440 * time), np.cos(2 * np.pi * 300 * time)])
    write_song(tmp_path / "songs/Song", seed=0)
    write_pcm16(tmp_path / "songs/Song/vocals.wav", tone)
    time = np.arange(7 * 48000) / 48000
    tone = 0.3 * np.stack([np.sin(2 * np.pi * 440 * time), np.cos(2 * np.pi * 300 * time)])
    write_estimate(tmp_path / "a/Song.wav", 0.9 * tone, 48000)
    comparison = compare(str(tmp_path / "a"), str(tmp_path / "a"), tmp_path / "songs")
    assert comparison.notes[0] == "a (A): 1 estimate resampled from 48000 Hz"
    assert comparison.songs.csdr_sisec_db[1] == pytest.approx(20, abs=0.1)  # the resampler's gain is 1 to 0.04 %


def test_estimates_that_do_not_fit_are_named(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a = write_estimates(tmp_path / "a", vocals, -5)
    path = a / "Song/vocals.wav"
    for broken, message in (
        (vocals["Song"][:, :-6000], r"Song/vocals.wav: 6.86 s, but Song lasts 7.00 s; an estimate has to be as long"),
        (np.full((2, 7 * RATE), np.nan), "Song/vocals.wav: holds NaN"),
        (np.zeros((3, 7 * RATE)), "Song/vocals.wav: 3 channels"),
    ):
        write_estimate(path, broken)
        with pytest.raises(InputError, match=message):
            compare(str(a), str(a), tmp_path / "songs")
    path.write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"Song/vocals.wav: not an audio file"):
        compare(str(a), str(a), tmp_path / "songs")


def test_a_system_against_itself(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a = write_estimates(tmp_path / "estimates", vocals, dict(zip(SONGS, (-3, -4, -5, -6, -7), strict=True)))
    comparison = compare(str(a), str(a), tmp_path / "songs")
    assert comparison.table.title == "estimates (B) against estimates (A)"
    for row, verdict in zip(comparison.table.rows, comparison.verdicts, strict=True):
        assert row["difference"] == 0
        assert verdict.text.startswith("Cannot tell estimates (B) from estimates (A) by ")
        assert "the same in each of 5 songs" in verdict.text
    assert "nan" not in describe(comparison)


def test_perfect_estimates_are_infinite_and_not_averaged_away(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a = write_estimates(tmp_path / "a", vocals, -5)
    comparison = compare(str(a), str(tmp_path / "songs"), tmp_path / "songs", name_b="perfect")
    rows = rows_of(comparison)
    assert rows["cSDR", "thesis"]["B"] == rows["cSDR", "thesis"]["difference"] == np.inf
    assert rows["cSDR", "thesis"]["interval"] == "none: infinite scores"
    assert np.isfinite(float(rows["uSDR", "mdx"]["B"]))
    assert "no interval (infinite scores), 5 songs" in comparison.verdicts[1].text
    assert " inf " in describe(comparison) and "nan" not in describe(comparison)
    both = compare(str(tmp_path / "songs"), str(tmp_path / "songs"), tmp_path / "songs")
    row = rows_of(both)["siSDR", "sisdr"]
    assert (row["A"], row["difference"], row["n_nan"]) == (np.inf, 0, 0)


def test_silent_references_and_estimates_are_counted(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a = write_estimates(tmp_path / "a", vocals, -5)
    b = write_estimates(tmp_path / "b", vocals, -6)
    write_pcm16(tmp_path / "songs/Song/vocals.wav", 0 * vocals["Song"])
    write_estimate(b / "Song 2/vocals.wav", 0 * vocals["Song 2"])
    rows = rows_of(compare(str(a), str(b), tmp_path / "songs"))
    assert (rows["uSDR", "mdx"]["n_songs"], rows["uSDR", "mdx"]["n_nan"]) == (4, 1)
    assert (rows["cSDR", "thesis"]["n_songs"], rows["cSDR", "thesis"]["n_nan"]) == (3, 2)
    assert rows["cSDR", "thesis"]["A"] == pytest.approx(5, abs=1e-3)
    assert (rows["uSDR", "windows"]["n_windows"], rows["uSDR", "windows"]["n_songs"]) == (4, 4)


@pytest.mark.parametrize("n_songs", [1, 2])
def test_few_songs(n_songs: int, tmp_path: Path) -> None:
    vocals = {song: write_song(tmp_path / "songs" / song, seed) for seed, song in enumerate(SONGS[:n_songs])}
    a = write_estimates(tmp_path / "a", vocals, -5)
    b = write_estimates(tmp_path / "b", vocals, dict(zip(vocals, (-6, -6.4), strict=False)))
    comparison = compare(str(a), str(b), tmp_path / "songs")
    row, verdict = comparison.table.rows[0], comparison.verdicts[0].text
    if n_songs == 1:
        assert (row["interval"], row["paired_p"]) == ("none: one song only", pytest.approx(np.nan, nan_ok=True))
        assert "+1.00 dB, no interval (one song only), 1 song." in verdict
    else:
        assert row["interval"] == "paired t" and "+1.20 dB, 95 % CI [-1.34, 3.74], 2 songs" in verdict
    assert len(comparison.excerpts) == n_songs


def test_songs_too_short_for_a_window(tmp_path: Path) -> None:
    vocals = {song: write_song(tmp_path / "songs" / song, seed, seconds=1.5) for seed, song in enumerate(SONGS[:2])}
    a = write_estimates(tmp_path / "a", vocals, -5)
    comparison = compare(str(a), str(write_estimates(tmp_path / "b", vocals, -6)), tmp_path / "songs")
    row = rows_of(comparison)["uSDR", "windows"]
    assert (row["n_windows"], row["n_songs"], row["interval"]) == (0, 0, "none: nothing to compare")
    assert "nothing has a score from both" in comparison.verdicts[-1].text
    assert comparison.excerpts[0].tracks[0].waveform.shape == (2, round(1.5 * RATE))


def test_excerpts_are_where_the_reference_is_loudest(tmp_path: Path) -> None:
    vocals = {song: write_song(tmp_path / "songs" / song, seed, seconds=13) for seed, song in enumerate(SONGS)}
    a = write_estimates(tmp_path / "a", vocals, -5)
    b = write_estimates(tmp_path / "b", vocals, dict(zip(SONGS, (-6, -9, -7, -4, -8), strict=True)))
    excerpts = compare(str(a), str(b), tmp_path / "songs").excerpts
    assert [excerpt.song for excerpt in excerpts] == [SONGS[1], SONGS[2], SONGS[3]]
    assert [excerpt.rule.split()[0] for excerpt in excerpts] == ["largest", "median", "smallest"]
    assert excerpts[0].detail == "whole-song uSDR 5.00 dB a, 9.00 dB b"
    mixture, reference, of_a, of_b = excerpts[0].tracks
    assert [track.name for track in excerpts[0].tracks] == ["mixture", "reference", "a", "b"]
    assert excerpts[0].start_s == 6  # of the windows at 0, 3 and 6 s; the second half is loud
    np.testing.assert_allclose(reference.waveform, vocals[SONGS[1]][:, 6 * RATE : 12 * RATE], atol=1e-6)
    stems = [soundfile.read(tmp_path / "songs" / SONGS[1] / f"{stem}.wav")[0] for stem in STEMS]
    np.testing.assert_allclose(mixture.waveform, sum(stems)[6 * RATE : 12 * RATE].T, atol=1e-6)
    assert reference.usdr_db is None
    assert (of_a.usdr_db, of_b.usdr_db) == pytest.approx((5, 9), abs=1e-3)
    # nothing keeps whole songs in memory
    assert all(track.waveform.base is None for excerpt in excerpts for track in excerpt.tracks)


def test_a_checkpoint_against_its_own_estimates_and_as_evaluated(tmp_path: Path) -> None:
    music = tmp_path / "music"
    windows = tiny.write_music(music)
    model = tiny.new_model()
    checkpoint.save(tmp_path / "runs/mine", model, metadata={})
    separator = Separator.from_checkpoint(tmp_path / "runs/mine", hop_s=0.1)
    for song in "ABC":
        mixture = sum(read(music / "train" / song / f"{stem}.wav")[0] for stem in STEMS)
        write_estimate(tmp_path / "saved" / song / "vocals.wav", separator.separate(np.asarray(mixture)))
    sides = str(tmp_path / "runs/mine"), str(tmp_path / "saved")
    comparison = compare(*sides, music, part="train", hop_s=0.1, device="cpu")
    assert comparison.names == ("mine", "saved")
    assert all(abs(float(row["difference"] or 0)) < 1e-4 for row in comparison.table.rows)
    evaluate(separator, "vocals", music, windows[windows.part == "train"], tiny.WINDOW_S, tmp_path / "scores")
    evaluated = pd.read_csv(tmp_path / "scores/songs.csv").set_index(["song", "system"]).sort_index()
    renamed = comparison.songs.replace({"side": {"A": "model"}}).set_index(["song", "side"]).sort_index()
    for score in SONG_PROTOCOLS:
        for system in ("model", "mixture"):
            np.testing.assert_allclose(
                renamed[score].xs(system, level="side"), evaluated[score].xs(system, level="system"), atol=1e-4
            )


def test_windows_are_those_of_the_checkpoints_profile(tmp_path: Path) -> None:
    vocals = {"Song": write_song(tmp_path / "songs/Song", 0, seconds=8)}
    write_estimates(tmp_path / "estimates", vocals, -5)
    for name, sad in (("short", ("amanteur", 2.0, 1.0)), ("paper", ("paper", 3.0, 2.0)), ("imported", ())):
        metadata = dict(zip(("rule", "window_s", "step_s"), sad, strict=False))
        checkpoint.save(tmp_path / name, tiny.new_model(), metadata=metadata)

    def compared(a: str, b: str) -> Comparison:
        return compare(str(tmp_path / a), str(tmp_path / b), tmp_path / "songs", device="cpu", hop_s=0.1)

    of_vocals = read(tmp_path / "songs/Song/vocals.wav")[0]
    for a, b, sad in (
        ("short", "estimates", ("amanteur", 2.0, 1.0)),
        ("estimates", "paper", ("paper", 3.0, 2.0)),
        ("short", "short", ("amanteur", 2.0, 1.0)),
        ("short", "imported", ("amanteur", 2.0, 1.0)),
        ("imported", "estimates", ("amanteur", 6.0, 3.0)),
    ):
        comparison = compared(a, b)
        n_windows = len(salient_starts(of_vocals, RATE, *sad))
        assert n_windows and set(comparison.songs.n_windows) == {n_windows}
        assert f"windows of {sad[1]:g} s every {sad[2]:g} s, salient by the rule {sad[0]}" in "".join(
            legend(comparison.sad)
        )
        assert not [note for note in comparison.notes if "trained" in note]
        excerpt = comparison.excerpts[0].tracks[0].waveform
        assert excerpt.shape == (2, round(sad[1] * RATE))
    disagreeing = compared("paper", "short")
    assert disagreeing.notes[0] == (
        "windows of 3 s every 2 s, salient by the rule paper, as paper was trained; short was trained on "
        "2 s every 1 s, salient by the rule amanteur"
    )
    assert set(disagreeing.songs.n_windows) == {len(salient_starts(of_vocals, RATE, "paper", 3.0, 2.0))}
    checkpoint.save(tmp_path / "odd", tiny.new_model(), metadata={"rule": "mine", "window_s": 2, "step_s": 1})
    with pytest.raises(InputError, match=r"odd/model\.json: metadata\.rule: input should be"):
        compared("odd", "short")


@pytest.mark.parametrize("form", ["{}", "runs:/{}", "runs:/{}/checkpoint"])
def test_an_mlflow_run_is_its_checkpoint(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_song(tmp_path / "songs/Song", seed=0, seconds=1)
    checkpoint.save(tmp_path / "mine", tiny.new_model(), metadata={})
    with open_run(Store(tmp_path, "test"), "training", params={}, tags={}, run_id_file=None) as run:
        run.log_file(tmp_path / "mine", "checkpoint")
    sides = form.format(run.run_id), str(tmp_path / "mine")
    comparison = compare(*sides, tmp_path / "songs", repository=tmp_path, device="cpu")
    assert comparison.names == (f"run {run.run_id[:8]}", "mine")
    assert "the same in each of 1 song" in comparison.verdicts[0].text
    with pytest.raises(InputError, match="no such run"):
        compare("0" * 32, str(tmp_path / "mine"), tmp_path / "songs", repository=tmp_path, device="cpu")


def test_both_sides_and_the_target_have_to_agree(tmp_path: Path, vocals: dict[str, Array]) -> None:
    a = write_estimates(tmp_path / "a", vocals, -5)
    bass = tmp_path / "bass"
    checkpoint.save(bass, build(tiny.CONFIG, "bass"), metadata={})
    with pytest.raises(InputError, match="no bass of any of the 5 songs"):
        compare(str(a), str(bass), tmp_path / "songs", device="cpu")
    with pytest.raises(InputError, match="bass: extracts bass, not vocals"):
        compare(str(a), str(bass), tmp_path / "songs", target="vocals", device="cpu")
    with pytest.raises(InputError, match="target piano: choose one of vocals, drums"):
        compare(str(a), str(a), tmp_path / "songs", target="piano")
    with pytest.raises(InputError, match="nowhere: no such folder; A and B have to be"):
        compare(str(a), "nowhere", tmp_path / "songs")
    with pytest.raises(InputError, match="hop_s 9"):
        compare(str(a), str(bass), tmp_path / "songs", device="cpu", hop_s=9)


def test_parts_of_the_songs(tmp_path: Path) -> None:
    vocals = {f"{part}-song": write_song(tmp_path / part / f"{part}-song", 0, 1) for part in ("train", "test")}
    a = str(write_estimates(tmp_path / "estimates/a", vocals, -5))
    tested = compare(a, a, tmp_path, name_b="again")
    assert set(zip(tested.songs.part, tested.songs.song, strict=True)) == {("test", "test-song")}
    assert "part test" in tested.table.caption and tested.notes == []
    assert compare(a, a, tmp_path, part="train").songs.song.unique().tolist() == ["train-song"]
    with pytest.raises(InputError, match="no part valid; choose another with --part: train, test"):
        compare(a, a, tmp_path, part="valid")
    with pytest.raises(InputError, match="no part valid; choose another with --part: there are none"):
        compare(a, a, tmp_path / "train", part="valid")
    with pytest.raises(InputError, match="nowhere: no such folder; name a folder of songs with --songs"):
        compare(a, a, tmp_path / "nowhere")
    (tmp_path / "test/test-song/drums.wav").unlink()
    with pytest.raises(InputError, match="test-song: missing stem drums"):
        compare(a, a, tmp_path)
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="void: no songs"):
        compare(a, a, tmp_path / "void")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("out/htdemucs", "out/umx/test", ("htdemucs", "umx")),
        ("x/vocals/", "runs/full/checkpoint", ("x", "full")),
        ("1/out", "2/out", ("1/out", "2/out")),
        ("1/out", "1/out", ("out (A)", "out (B)")),
        ("mixture", "reference", ("mixture", "reference")),
    ],
)
def test_names_come_from_paths(
    a: str, b: str, expected: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vocals = {"Song": write_song(tmp_path / "songs/Song", 0, 1)}
    for folder in {a, b}:
        write_estimates(tmp_path / folder, vocals, -5)
    assert compare(a, b, Path("songs")).names == expected


def test_what_is_written(tmp_path: Path, vocals: dict[str, Array], browser: Browser) -> None:
    a = write_estimates(tmp_path / "a", vocals, -5)
    b = write_estimates(tmp_path / "b", vocals, dict(zip(SONGS, (-6, -9, -7, -4, -8), strict=True)))
    comparison = compare(str(a), str(b), tmp_path / "songs")
    folder = tmp_path / "out"
    folder.mkdir()
    write_comparison(comparison, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(OUTPUTS)
    songs = pd.read_csv(folder / "songs.csv")
    assert songs.groupby("side").size().to_dict() == {"A": 5, "B": 5, "mixture": 5}
    assert songs[(songs.song == "Song") & (songs.side == "B")].usdr_db.item() == pytest.approx(7, abs=1e-3)
    table = pd.read_csv(folder / "comparison.csv")
    assert table.difference[0] == pytest.approx(1.8, abs=1e-3)
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    assert comparison.verdicts[0].text in text
    for protocol in SONG_PROTOCOLS.values():
        assert protocol.description in text
    with quiet_page(browser, viewport={"width": 360, "height": 740}) as page:
        page.goto((folder / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        shown = page.locator(".verdicts li").all_inner_texts()
        assert shown == [verdict.text for verdict in comparison.verdicts]
        # they gain 1, 4, 2, -1 and 3 dB
        assert page.locator(".excerpt h3").all_inner_texts() == [SONGS[1], SONGS[2], SONGS[3]]
        page.locator(".excerpt button.play").first.click()
        page.wait_for_function("listening.players[0].state().playing")
        page.get_by_role("radio", name=re.compile("^b,")).first.check()
        assert page.evaluate("listening.players[0].state().selected") == "b"


def low_passed(waveform: Array, cutoff_hz: float) -> Array:
    filtered: Array = sosfilt(butter(4, cutoff_hz, fs=RATE, output="sos"), waveform)
    return filtered


def test_scores_of_real_songs_are_musevals(real_data: Path, tmp_path: Path) -> None:
    references = {}
    for name, start_s in (("test/Francium", 30), ("train/Lithium", 12)):
        song = name.split("/")[1]
        excerpt = slice(start_s * RATE, start_s * RATE + 7 * RATE + 1234)
        (tmp_path / "songs" / song).mkdir(parents=True)
        stems = {}
        for stem in STEMS:
            stems[stem] = read(real_data / "everything_is_remixed" / name / f"{stem}.flac")[0][:, excerpt]
            soundfile.write(tmp_path / "songs" / song / f"{stem}.flac", stems[stem].T, RATE)
        references[song] = stems["vocals"].astype(float)
        references[song][:, 2 * RATE : 3 * RATE] = 0
        soundfile.write(tmp_path / "songs" / song / "vocals.flac", references[song].T, RATE)
        for side, cutoff_hz, leakage in (("a", 3000, 0.1), ("b", 6000, 0.05)):
            estimate = low_passed(references[song], cutoff_hz) + leakage * (stems["drums"] + stems["other"])
            write_estimate(tmp_path / side / song / "vocals.wav", estimate)
    comparison = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path / "songs")
    table = comparison.songs.set_index(["song", "side"])
    means = []
    for song, reference in references.items():
        for side in "AB":
            estimate = soundfile.read(tmp_path / side.lower() / song / "vocals.wav")[0]
            for score, window_s, hop_s in (("csdr_thesis_db", 2, 1.5), ("csdr_sisec_db", 1, 1)):
                frames = museval.evaluate(
                    reference.T[None], estimate[None], win=int(window_s * RATE), hop=int(hop_s * RATE)
                )[0]
                assert table[score][song, side] == pytest.approx(np.nanmedian(frames), abs=1e-6)
                if score == "csdr_sisec_db":
                    assert np.isnan(frames[0, 2])
                elif side == "B":
                    means.append(np.nanmedian(frames))
    assert rows_of(comparison)["cSDR", "thesis"]["B"] == pytest.approx(np.mean(means), abs=1e-6)
