import logging
import os
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalremix.audio.waveform import resample
from vocalremix.audio.writing import map_pcm16
from vocalremix.corpus import songs
from vocalremix.corpus.folder import import_folder
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS


def write_song(folder: Path, suffix="wav", n_samples=4000, sample_rate=44100, channels=2, seed=0, **format):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for stem in STEMS:
        steps = rng.integers(-4000, 4000, (n_samples, channels)).astype(np.int16)
        soundfile.write(folder / f"{stem}.{suffix}", steps, sample_rate, **format)


@pytest.fixture
def source(tmp_path):
    for name in ("A", "B", "C", "D"):
        write_song(tmp_path / "source" / name)
    return tmp_path / "source"


def parts(root: Path) -> dict[str, list[str]]:
    return {part: [song.name for song in songs(root) if song.part == part] for part in ("train", "valid", "test")}


def refused(source: Path, message: str, **split):
    destination = source.parent / "refused"
    with pytest.raises(InputError, match=message) as caught:
        import_folder(source, destination, **({"valid": ["B"], "test": ["C"]} | split), jobs=1)
    assert "\n" not in str(caught.value)
    assert [name for name in os.listdir(source.parent) if "refused" in name] == []


def test_songs_without_parts_are_sorted_into_them(source, tmp_path):
    import_folder(source, tmp_path / "music", valid=["B"], test=["C"], jobs=1)
    assert parts(tmp_path / "music") == {"train": ["A", "D"], "valid": ["B"], "test": ["C"]}
    assert {song.n_samples for song in songs(tmp_path / "music")} == {4000}


def test_a_wav_in_the_layout_is_copied_byte_for_byte(source, tmp_path):
    import_folder(source, tmp_path / "music", valid=["B"], test=["C"], jobs=1)
    copied = tmp_path / "music" / "valid" / "B" / "drums.wav"
    assert copied.read_bytes() == (source / "B" / "drums.wav").read_bytes()


def test_parts_are_kept_and_a_named_song_moves(tmp_path):
    for song in ("train/A", "train/B", "test/C"):
        write_song(tmp_path / "source" / song)
    import_folder(tmp_path / "source", tmp_path / "music", valid=["B"], jobs=1)
    assert parts(tmp_path / "music") == {"train": ["A"], "valid": ["B"], "test": ["C"]}


def test_lossless_formats_keep_every_sample(tmp_path):
    for name, suffix in (("A", "flac"), ("B", "aiff"), ("C", "caf")):
        write_song(tmp_path / "source" / name, suffix=suffix)
    import_folder(tmp_path / "source", tmp_path / "music", valid=["B"], test=["C"], jobs=1)
    for song in songs(tmp_path / "music"):
        original, _ = soundfile.read(next((tmp_path / "source" / song.name).glob("bass.*")), dtype="int16")
        np.testing.assert_array_equal(map_pcm16(song.folder / "bass.wav"), original)


def test_other_rates_and_mono_come_to_44100_hz_stereo(tmp_path):
    write_song(tmp_path / "source" / "A", suffix="mp3", sample_rate=48000, n_samples=48000)
    write_song(tmp_path / "source" / "B", suffix="ogg", sample_rate=22050, n_samples=22050)
    write_song(tmp_path / "source" / "C", channels=1, subtype="PCM_24", n_samples=44100)
    import_folder(tmp_path / "source", tmp_path / "music", valid=["B"], test=["C"], jobs=1)
    assert [song.n_samples for song in songs(tmp_path / "music")] == [44100, 44100, 44100]
    left, right = map_pcm16(tmp_path / "music" / "test" / "C" / "vocals.wav").T
    np.testing.assert_array_equal(left, right)


def test_names_of_songs_are_checked(source):
    refused(source, "corpus.music.valid: no song 'b'.*is it ", valid=["b"])
    refused(source, "B is named in valid and in test", test=["B"])
    refused(source, "no song for valid; name some in corpus.music.valid", valid=[])
    refused(source, "no song for test; name some in corpus.music.test", test=[])
    refused(source, "no song for train", valid=["A", "B"], test=["C", "D"])


@pytest.mark.parametrize(("on_disk", "in_profile"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_may_be_spelled_otherwise_than_on_disk(source, tmp_path, on_disk, in_profile):
    """macOS and some archives write é as e with an accent, a keyboard writes one character."""
    for name in ("Café", "Até já"):
        write_song(source / unicodedata.normalize(on_disk, name))
    valid, test = ([unicodedata.normalize(in_profile, name)] for name in ("Café", "Até já"))
    import_folder(source, tmp_path / "music", valid=valid, test=test, jobs=1)
    assert parts(tmp_path / "music") == {
        "train": ["A", "B", "C", "D"],
        "valid": [unicodedata.normalize(on_disk, "Café")],
        "test": [unicodedata.normalize(on_disk, "Até já")],
    }
    refused(source, "is named in valid and in test", valid=["Café"], test=[unicodedata.normalize("NFD", "Café")])


def test_a_song_in_two_parts_under_two_spellings_is_refused(tmp_path):
    for song in ("train/A", f"train/{unicodedata.normalize('NFC', 'Café')}", "valid/B"):
        write_song(tmp_path / "source" / song)
    write_song(tmp_path / "source" / "test" / unicodedata.normalize("NFD", "Café"))
    refused(tmp_path / "source", "is in train and in test", valid=[], test=[])


def test_a_song_in_two_parts_is_refused(tmp_path):
    for song in ("train/A", "train/C", "valid/B", "test/C"):
        write_song(tmp_path / "source" / song)
    refused(tmp_path / "source", "C is in train and in test", valid=[], test=[])


def test_a_test_song_named_for_validation_is_refused(tmp_path):
    for song in ("train/A", "test/B", "test/C"):
        write_song(tmp_path / "source" / song)
    refused(tmp_path / "source", "corpus.music.valid: B lies in .*test", test=[])


def test_a_missing_stem_is_refused(source):
    (source / "D" / "bass.wav").unlink()
    refused(source, r"D: missing stem bass")


def test_two_files_for_one_stem_are_refused(source):
    soundfile.write(source / "D" / "bass.flac", np.zeros((4000, 2)), 44100)
    refused(source, r"D: two files for bass: bass\.flac and bass\.wav")


def test_stems_of_unequal_length_are_refused(source):
    soundfile.write(source / "D" / "other.wav", np.zeros((4001, 2)), 44100)
    refused(source, "D: stems of unequal length in samples: vocals 4000, .* other 4001")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_is_not_finite_is_refused(source, value):
    soundfile.write(source / "D" / "other.wav", np.full((4000, 2), value), 44100, subtype="FLOAT")
    refused(source, r"other\.wav: holds NaN or infinite samples; export it again")


def ffmpeg(*arguments: str | Path) -> bytes:
    return subprocess.run(["ffmpeg", "-v", "error", *arguments], check=True, capture_output=True).stdout


def test_lengths_that_no_header_tells_are_left_to_decoding(tmp_path):
    """libsndfile guesses that of an MP3 of variable bit rate without a table of contents from its first frames."""
    for name in "ABC":
        write_song(tmp_path / "source" / name, n_samples=5 * 44100)
    quiet_start = np.random.default_rng(0).uniform(-0.9, 0.9, (5 * 44100, 2)) * (np.arange(5 * 44100) > 99_999)[:, None]
    soundfile.write(tmp_path / "source" / "A" / "bass.wav", quiet_start, 44100)
    for stem in STEMS:
        wav = tmp_path / "source" / "A" / f"{stem}.wav"
        ffmpeg("-i", wav, "-q:a", "0", "-write_xing", "0", wav.with_suffix(".mp3"))
        wav.unlink()
    guesses = {soundfile.info(path).frames for path in (tmp_path / "source" / "A").iterdir()}
    assert len(guesses) > 1, "libsndfile alone would do"
    # written to a pipe
    wav = tmp_path / "source" / "B" / "bass.wav"
    wav.with_suffix(".flac").write_bytes(ffmpeg("-i", wav, "-f", "flac", "-"))
    wav.unlink()
    import_folder(tmp_path / "source", tmp_path / "music", valid=["B"], test=["C"], jobs=1)
    lengths = {song.name: song.n_samples for song in songs(tmp_path / "music")}
    assert (lengths["B"], lengths["C"]) == (5 * 44100, 5 * 44100)
    assert lengths["A"] == pytest.approx(5 * 44100, abs=4 * 1152)


def test_surround_is_refused(source):
    soundfile.write(source / "D" / "other.wav", np.zeros((4000, 6)), 44100)
    refused(source, r"other\.wav: 6 channels")


@pytest.mark.parametrize("n_bytes", [0, 20, 3000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_unreadable_and_truncated_files_are_refused(tmp_path, suffix, n_bytes):
    for name in "ABC":
        write_song(tmp_path / "source" / name, suffix=suffix)
    broken = tmp_path / "source" / "A" / f"vocals.{suffix}"
    broken.write_bytes(broken.read_bytes()[:n_bytes])
    refused(tmp_path / "source", rf"vocals\.{suffix}: ")


def test_no_folder_and_no_songs_are_refused(tmp_path):
    refused(tmp_path / "none", "no such folder; corpus.music.path")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no songs; expected <song>")


def test_a_mixture_is_compared_with_the_sum_and_not_copied(source, tmp_path, caplog):
    stems = {stem: soundfile.read(source / "A" / f"{stem}.wav")[0] for stem in STEMS}
    soundfile.write(source / "A" / "mixture.wav", sum(stems.values()), 44100)
    soundfile.write(source / "D" / "mixture.wav", 0.5 * sum(stems.values()), 44100)
    with caplog.at_level(logging.WARNING):
        import_folder(source, tmp_path / "music", valid=["B"], test=["C"], jobs=1)
    (warning,) = caplog.messages
    assert warning.startswith(f"{source / 'D'}: mixture minus sum of stems is at")
    assert sorted(os.listdir(tmp_path / "music" / "train" / "D")) == sorted(f"{stem}.wav" for stem in STEMS)


def test_several_processes_write_the_same(source, tmp_path):
    import_folder(source, tmp_path / "one", valid=["B"], test=["C"], jobs=1)
    import_folder(source, tmp_path / "two", valid=["B"], test=["C"], jobs=2)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.wav"))
    assert len(files) == 16
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def test_real_songs(real_data, tmp_path):
    source = real_data / "everything_is_remixed"
    import_folder(source, tmp_path / "music", valid=["Rubidium"], jobs=2)
    assert parts(tmp_path / "music") == {
        "train": ["Caesium", "Hydrogen", "Lithium", "Sodium"],
        "valid": ["Rubidium"],
        "test": ["Francium", "Potassium"],
    }
    original, _ = soundfile.read(source / "train" / "Rubidium" / "vocals.flac", dtype="int16")
    np.testing.assert_array_equal(map_pcm16(tmp_path / "music" / "valid" / "Rubidium" / "vocals.wav"), original)


class TestSongs:
    """What reading the layout refuses."""

    @pytest.fixture
    def music(self, tmp_path):
        for song in ("train/A", "valid/B", "test/C"):
            write_song(tmp_path / "music" / song)
        return tmp_path / "music"

    def test_sorted_by_part_and_name(self, music):
        write_song(music / "train" / "0")
        assert [(song.part, song.name) for song in songs(music)] == [
            ("test", "C"),
            ("train", "0"),
            ("train", "A"),
            ("valid", "B"),
        ]

    def test_missing_stem(self, music):
        (music / "train" / "A" / "bass.wav").unlink()
        with pytest.raises(InputError, match=r"train/A/bass\.wav: missing stem"):
            songs(music)

    def test_unequal_lengths(self, music):
        soundfile.write(music / "train" / "A" / "bass.wav", np.zeros((3999, 2)), 44100)
        with pytest.raises(InputError, match=r"train/A: stems of unequal length"):
            songs(music)

    @pytest.mark.parametrize(
        ("shape", "sample_rate", "subtype", "said"),
        [
            ((4000,), 44100, "PCM_16", "1 channels"),
            ((4000, 2), 48000, "PCM_16", "48000 Hz"),
            ((4000, 2), 44100, "FLOAT", "float32"),
        ],
    )
    def test_wrong_format(self, music, shape, sample_rate, subtype, said):
        soundfile.write(music / "test" / "C" / "other.wav", np.zeros(shape), sample_rate, subtype=subtype)
        with pytest.raises(InputError, match=rf"C/other\.wav: .*{said}"):
            songs(music)

    def test_a_song_in_two_parts(self, music):
        write_song(music / "test" / "A")
        with pytest.raises(InputError, match="A is in train and in test"):
            songs(music)

    def test_no_songs(self, tmp_path):
        with pytest.raises(InputError, match="no songs"):
            songs(tmp_path)


def test_stems_of_joined_files_are_imported_to_their_end(source, tmp_path):
    waveform = np.random.default_rng(1).uniform(-0.5, 0.5, (4000, 2))
    for stem in STEMS:
        (source / "A" / f"{stem}.wav").unlink()
        path = source / "A" / f"{stem}.flac"
        soundfile.write(path, waveform, 44100)
        path.write_bytes(2 * path.read_bytes())
    import_folder(source, tmp_path / "music", valid=["B"], test=["C"], jobs=1)
    stored = map_pcm16(tmp_path / "music" / "train" / "A" / "bass.wav") / 32768
    np.testing.assert_allclose(stored, np.tile(waveform, (2, 1)), rtol=0, atol=0.51 / 32768)


def test_what_resampling_takes_beyond_full_scale_is_not_clipped(source, tmp_path, caplog):
    rng = np.random.default_rng(1)
    squares = {stem: np.sign(rng.uniform(-1, 1, (8000, 2))).astype(np.float32) for stem in STEMS}
    for stem, waveform in squares.items():
        soundfile.write(source / "A" / f"{stem}.wav", waveform, 48000, "FLOAT")
    import_folder(source, tmp_path / "music", valid=["B"], test=["C"], jobs=1)
    resampled = {stem: resample(waveform.T, 48000, 44100) for stem, waveform in squares.items()}
    peak = max(np.abs(waveform).max() for waveform in resampled.values())
    assert peak > 1.1
    for stem, waveform in resampled.items():
        stored = map_pcm16(tmp_path / "music" / "train" / "A" / f"{stem}.wav") / 32768
        np.testing.assert_allclose(stored, waveform.T * 32767 / 32768 / peak, rtol=0, atol=0.51 / 32768)
    assert len(caplog.messages) == 1


def test_a_song_beyond_full_scale_is_made_quieter_as_a_whole(tmp_path, caplog):
    """Clipped alone, a stem of peak 1.8 would lose its shape, and the mixture would no longer be the sum."""
    rng = np.random.default_rng(3)
    for song, peak in (("Loud", 1.8), ("Quiet", 0.5), ("Third", 0.5)):
        (tmp_path / "songs" / song).mkdir(parents=True)
        for stem in STEMS:
            waveform = rng.uniform(-0.4, 0.4, (500, 2))
            if stem == "vocals":
                waveform[:, 0] *= peak / np.abs(waveform[:, 0]).max()
            kind = "PCM_16" if stem == "bass" else "FLOAT"
            soundfile.write(tmp_path / "songs" / song / f"{stem}.wav", waveform, 44100, kind)
    before = {path: path.read_bytes() for path in (tmp_path / "songs").rglob("*.wav")}
    import_folder(tmp_path / "songs", tmp_path / "music", valid=["Quiet"], test=["Third"], link=True, jobs=1)
    gain = 32767 / 32768 / 1.8
    for path in before:
        part = {"Loud": "train", "Quiet": "valid", "Third": "test"}[path.parent.name]
        original, _ = soundfile.read(path)
        stored, _ = soundfile.read(tmp_path / "music" / part / path.parent.name / path.name)
        expected = original * (gain if part == "train" else 1)
        np.testing.assert_allclose(stored, expected, rtol=0, atol=0.51 / 32768)
    assert {path: path.read_bytes() for path in before} == before, "a link to the user's file was written through"
    (warning,) = caplog.messages
    assert "Loud" in warning and "5.11 dB quieter" in warning
