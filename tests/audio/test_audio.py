import os
import resource
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalremix.audio import reading, writing
from vocalremix.audio.waveform import resample, resample_blocks, to_stereo
from vocalremix.util.errors import InputError


@pytest.fixture
def noise():
    """One second of stereo noise on the grid of 16 bits, full scale included."""
    steps = np.random.default_rng(0).integers(-32768, 32768, (2, 44100))
    steps[:, :2] = -32768, 32767
    return (steps / 32768).astype(np.float32)


def test_pcm16_comes_back_to_the_last_bit(tmp_path, noise):
    path = tmp_path / "a.wav"
    writing.write_pcm16(path, noise)
    read, sample_rate = reading.read(path)
    assert sample_rate == 44100
    np.testing.assert_array_equal(read, noise)
    np.testing.assert_array_equal(writing.map_pcm16(path).T / 32768, noise)


def test_writing_clips_instead_of_wrapping(tmp_path):
    writing.write_pcm16(tmp_path / "a.wav", [[1.5, -1.5, 0.5]])
    assert writing.map_pcm16(tmp_path / "a.wav")[:, 0].tolist() == [32767, -32768, 16384]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.w64", "a.rf64", "a.au", "a.mp3", "a.caf"])
@pytest.mark.parametrize("kept", [0.5, 0.001, 0])
def test_a_truncated_file_is_refused(tmp_path, noise, name, kept):
    path = tmp_path / name
    soundfile.write(path, np.tile(noise.T, (3, 1)) / 2, 44100)
    assert reading.read(path)[0].shape == (2, 3 * 44100)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=name):
        reading.read(path)


@pytest.mark.parametrize("n_bytes", [2, 104, 105])
def test_a_little_less_of_rf64_is_refused(tmp_path, noise, n_bytes):
    path = tmp_path / "a.rf64"
    soundfile.write(path, noise.T, 44100)
    os.truncate(path, path.stat().st_size - n_bytes)
    with pytest.raises(InputError, match=r"a\.rf64: truncated"):
        reading.read_header(path)


def test_a_wav_of_3_gb_that_lacks_half_is_refused(tmp_path):
    """A header of 2 to 4 GiB is no pipe's; next to none of it takes room on the disk."""
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 44100, 1, "PCM_16") as file:
        file.seek(1_500_000_000)
        file.write(np.array([7], np.int16))
    assert reading.read_header(path).n_samples == 1_500_000_001
    os.truncate(path, 1_500_000_000)
    with pytest.raises(InputError, match=r"a\.wav: truncated"):
        reading.read_header(path)


@pytest.mark.parametrize("n_bytes", [0, 30, 44, 1000, 44 + 4 * 44100 - 1])
def test_a_truncated_wav_is_not_mapped(tmp_path, noise, n_bytes):
    path = tmp_path / "a.wav"
    writing.write_pcm16(path, noise)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(InputError, match=r"a\.wav"):
        writing.map_pcm16(path)


def test_a_wav_from_a_pipe_is_whole(tmp_path, noise):
    soundfile.write(tmp_path / "a.flac", noise.T, 44100)
    piped = subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.flac", "-f", "wav", "-"], capture_output=True)
    (tmp_path / "a.wav").write_bytes(piped.stdout)
    np.testing.assert_array_equal(reading.read(tmp_path / "a.wav")[0], noise)


def test_what_is_too_long_for_wav_is_mapped_whole(tmp_path):
    """4.4 GB, of which only the ends take room on the disk."""
    path, n_samples = tmp_path / "a.wav", 2_200_000_000
    with writing.create_pcm16(path, 44100, 1, n_samples) as file:
        file.write(np.array([3], np.int16))
        file.seek(n_samples - 1)
        file.write(np.array([7], np.int16))
    samples = writing.map_pcm16(path)
    assert samples.shape == (n_samples, 1)
    assert samples[[0, 1, -1], 0].tolist() == [3, 0, 7]
    assert reading.read_header(path) == reading.Header(44100, 1, n_samples)
    os.truncate(path, n_samples)
    with pytest.raises(InputError, match=r"a\.wav: truncated"):
        reading.read_header(path)


def test_a_long_stem_comes_back_to_the_last_bit(tmp_path, noise, monkeypatch):
    monkeypatch.setattr(writing, "WAV_BYTES", 4 * 44100 - 1)
    writing.write_pcm16(tmp_path / "a.wav", noise)
    assert soundfile.info(tmp_path / "a.wav").format == "RF64"
    np.testing.assert_array_equal(writing.map_pcm16(tmp_path / "a.wav").T / 32768, noise)
    np.testing.assert_array_equal(reading.read(tmp_path / "a.wav")[0], noise)
    writing.write_pcm16(tmp_path / "b.wav", noise[:, 1:])
    assert soundfile.info(tmp_path / "b.wav").format == "WAV"


def test_ffmpeg_reads_what_libsndfile_cannot(tmp_path):
    sine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
    soundfile.write(tmp_path / "a.wav", sine, 48000)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / "a.m4a"], check=True)
    waveform, sample_rate = reading.read(tmp_path / "a.m4a")
    assert sample_rate == 48000
    assert waveform.shape[0] == 1
    assert np.argmax(np.abs(np.fft.rfft(waveform[0, :48000]))) == 440


@pytest.mark.parametrize(
    ("sample_rate", "subtype", "said"),
    [(48000, "PCM_16", "48000 Hz"), (44100, "FLOAT", "float32"), (44100, "PCM_24", "24|3-byte")],
)
def test_only_44100_hz_16_bit_is_mapped(tmp_path, noise, sample_rate, subtype, said):
    soundfile.write(tmp_path / "a.wav", noise.T, sample_rate, subtype=subtype)
    with pytest.raises(InputError, match=said):
        writing.map_pcm16(tmp_path / "a.wav")


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        reading.read(tmp_path / "none.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 2)), 44100)
    with pytest.raises(InputError, match="no audio"):
        reading.read(tmp_path / "empty.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused(tmp_path, value):
    soundfile.write(tmp_path / "a.wav", [0.1, value, 0.1], 44100, subtype="DOUBLE")
    with pytest.raises(InputError, match=r"a\.wav: holds NaN or infinite samples"):
        reading.read(tmp_path / "a.wav")


def test_resampling_keeps_a_sine():
    seconds = np.arange(16000) / 16000
    resampled = resample(np.sin(2 * np.pi * 1000 * seconds, dtype=np.float32)[None], 16000, 44100)
    assert resampled.shape == (1, 44100)
    expected = np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)
    np.testing.assert_allclose(resampled[0, 1000:-1000], expected[1000:-1000], atol=2e-3)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44101, 44100), (44100, 44056), (12345, 44100)])
def test_resampling_between_odd_rates_keeps_a_sine(from_rate: int, to_rate: int) -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(from_rate) / from_rate, dtype=np.float32)[None]
    resampled = resample(sine, from_rate, to_rate)
    assert resampled.dtype == np.float32
    assert abs(resampled.shape[1] - to_rate) <= 1
    expected = np.sin(2 * np.pi * 1000 * np.arange(resampled.shape[1]) / to_rate)
    np.testing.assert_allclose(resampled[0, 1000:-1000], expected[1000:-1000], atol=2e-3)


def test_mono_is_doubled_and_surround_refused():
    assert to_stereo(np.ones((1, 3), np.float32), "a").tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(InputError, match="song: 6 channels"):
        to_stereo(np.ones((6, 3), np.float32), "song")


def test_a_variable_bit_rate_mp3_without_a_table_of_contents_is_read_to_its_end(tmp_path):
    """libsndfile guesses the length of such a file from its first frames; a loud start makes it guess too little."""
    loud_start = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 10 * 44100)) * (np.arange(10 * 44100) < 2 * 44100)
    writing.write_pcm16(tmp_path / "a.wav", loud_start)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-q:a", "0", "-write_xing", "0", tmp_path / "a.mp3"]
    subprocess.run(command, check=True)
    assert soundfile.info(tmp_path / "a.mp3").frames < 9 * 44100, "libsndfile alone would do"
    assert reading.read(tmp_path / "a.mp3")[0].shape[1] == pytest.approx(10 * 44100, abs=4 * 1152)


@pytest.mark.parametrize("name", ["Re:Stacks.m4a", "-x.m4a"])
def test_names_are_neither_protocols_nor_options(tmp_path, noise, monkeypatch, name):
    soundfile.write(tmp_path / "a.wav", noise.T, 44100)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "alac", tmp_path / name]
    subprocess.run(command, check=True)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(reading.read(Path(name))[0], noise)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_flac_from_a_pipe_is_whole(tmp_path, noise, subtype):
    """Its header tells no length."""
    whole = np.tile(noise, 3)
    soundfile.write(tmp_path / "a.wav", whole.T, 44100, subtype=subtype)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-f", "flac", "-"]
    (tmp_path / "a.flac").write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    assert reading.read_header(tmp_path / "a.flac") == reading.Header(44100, 2, None)
    np.testing.assert_array_equal(reading.read(tmp_path / "a.flac")[0], whole)
    np.testing.assert_array_equal(
        next(reading.read_blocks(tmp_path / "a.flac", 100, start=99_999)), whole[:, 99_999:][:, :100]
    )


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a"])
def test_blocks_are_the_whole_file(tmp_path, noise, name):
    source, path = tmp_path / "source.wav", tmp_path / name
    soundfile.write(source, np.tile(noise.T, (3, 1)) / 2, 44100)
    if name == "a.m4a":
        subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-c:a", "alac", path], check=True)
    else:
        soundfile.write(path, soundfile.read(source)[0], 44100)
    whole = soundfile.read(source if name == "a.m4a" else path, dtype="float32")[0].T
    assert reading.read_header(path) == reading.Header(44100, 2, None if name == "a.m4a" else whole.shape[1])
    blocks = list(reading.read_blocks(path, 10_000))
    assert {block.shape[1] for block in blocks[:-1]} == {10_000}
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
    if name != "a.mp3":  # libsndfile says itself that its seeking there is fuzzy
        np.testing.assert_array_equal(next(reading.read_blocks(path, 10_000, start=12_345)), whole[:, 12_345:22_345])


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 44100), (48000, 44100), (44100, 8000), (22050, 44100)])
@pytest.mark.parametrize("sizes", [[88200], [1, 500, 40_000, 3, 30_000], [700] * 100])
def test_resampling_in_blocks_is_resampling_the_whole(from_rate, to_rate, sizes):
    check_blocks(from_rate, to_rate, sizes)


@pytest.mark.parametrize("sizes", [[200_000], [50_000] * 4])
def test_resampling_in_blocks_between_odd_rates(sizes):
    check_blocks(44101, 44100, sizes)


def check_blocks(from_rate, to_rate, sizes):
    waveform = np.random.default_rng(0).uniform(-1, 1, (2, sum(sizes))).astype(np.float32)
    blocks = np.split(waveform, np.cumsum(sizes)[:-1], axis=1)
    pieces = list(resample_blocks(blocks, from_rate, to_rate))
    assert len(pieces) <= len(sizes) + 1
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), resample(waveform, from_rate, to_rate), atol=2e-6)


def sine(frequency, seconds=2):
    time_s = np.arange(44100 * seconds) / 44100
    return 0.3 * np.sin(2 * np.pi * frequency * np.stack([time_s, 1.01 * time_s], axis=1))


def encode(folder, name, waveform, *options):
    """A file that ffmpeg makes."""
    soundfile.write(folder / "source.wav", waveform, 44100)
    command = ["ffmpeg", "-v", "error", "-y", "-i", folder / "source.wav", *options, folder / name]
    subprocess.run(command, check=True)
    return folder / name


def plainly_decoded(path, channels=2):
    """What ffmpeg makes of a file without any option."""
    command = ["ffmpeg", "-v", "quiet", "-i", path, "-f", "f32le", "-"]
    samples = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(samples, "<f4").reshape(-1, channels).T


def whole(path, start=0, size=10_000):
    """What `read_blocks` gives, and that `read` gives the same."""
    blocks = np.concatenate(list(reading.read_blocks(path, size, start=start)), axis=1)
    np.testing.assert_allclose(reading.read(path)[0][:, start:], blocks, rtol=0, atol=1e-6)
    return blocks


MP3 = ["-id3v2_version", "0", "-write_xing", "0"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ogg", ["-c:a", "libvorbis"]),
        ("a.opus", ["-c:a", "libopus"]),
        ("a.oga", ["-c:a", "flac", "-f", "ogg"]),
        ("a.spx", ["-c:a", "libspeex", "-ar", "16000"]),
        ("a.mp3", ["-b:a", "128k"]),
        ("a.mp3", ["-q:a", "4"]),
        ("a.mp3", ["-ar", "16000", "-id3v2_version", "0"]),
        *((name, []) for name in ("a.flac", "a.wav", "a.aiff", "a.caf", "a.m4a")),
    ],
)
def test_all_files_joined_into_one_are_read(tmp_path, name, options):
    """`cat a.ogg b.ogg > c.ogg` is a stream of two links by the format's own rules; only the first was read."""
    path = tmp_path / name
    links, contents = [], []
    for frequency, seconds in ((330, 2), (550, 1)):
        contents.append(encode(tmp_path, name, sine(frequency, seconds), *options).read_bytes())
        links.append(reading.read(path)[0])
    path.write_bytes(b"".join([*contents, *contents[::-1]]))
    expected = np.concatenate([*links, *links[::-1]], axis=1)
    np.testing.assert_allclose(whole(path), expected, rtol=0, atol=1e-5)
    start = expected.shape[1] // 2 + 1000
    np.testing.assert_allclose(whole(path, start), expected[:, start:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["a.mp3", "a.mp2", "a.aac"])
def test_joined_streams_of_frames_are_what_ffmpeg_makes_of_them(tmp_path, name):
    path, options = tmp_path / name, MP3 if name == "a.mp3" else []
    contents = [encode(tmp_path, name, sine(frequency), *options).read_bytes() for frequency in (330, 550)]
    path.write_bytes(b"".join(contents))
    expected = plainly_decoded(path)
    assert expected.shape[1] > 4 * 44100
    np.testing.assert_array_equal(whole(path), expected)


@pytest.mark.parametrize("name", ["a.ogg", "a.oga", "a.mp3", "a.wav"])
@pytest.mark.parametrize("option", [["-ar", "48000"], ["-ac", "1"]])
def test_joined_files_that_differ_are_refused(tmp_path, name, option):
    oga = ["-c:a", "flac", "-f", "ogg"] if name == "a.oga" else []
    contents = [encode(tmp_path, name, sine(330), *oga, *options).read_bytes() for options in ([], option)]
    (tmp_path / name).write_bytes(b"".join(contents))
    with pytest.raises(InputError, match="several files in one, which differ: 44100 Hz with 2 "):
        reading.read_header(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_without_ffmpeg_joined_files_are_refused(tmp_path, monkeypatch, name):
    path = encode(tmp_path, name, sine(330))
    path.write_bytes(2 * path.read_bytes())
    monkeypatch.setattr(reading.shutil, "which", lambda program: None)
    with pytest.raises(InputError, match="install ffmpeg"):
        reading.read(path)


@pytest.mark.parametrize("name", ["a.aac", "a.m4a"])
def test_ffmpeg_decodes_without_options_that_change_samples(tmp_path, name):
    """Asked to seek to 0, it changed the first 704 samples of AAC by up to 0.53."""
    path = encode(tmp_path, name, sine(440), "-c:a", "aac")
    whole, _ = reading.read(path)
    np.testing.assert_array_equal(whole, plainly_decoded(path))
    later = np.concatenate(list(reading.read_blocks(path, 10_000, start=12_345)), axis=1)
    np.testing.assert_array_equal(later, whole[:, 12_345:])


TAG = b"TAG" + bytes(125)


@pytest.mark.parametrize(("name", "options"), [("a.mp3", []), ("a.mp3", MP3), ("a.mp2", [])])
def test_what_stands_behind_the_frames_is_no_damage(tmp_path, name, options):
    """The sound ends silent, so that its last frames are nearly all zeros themselves."""
    path = encode(tmp_path, name, sine(330) * (np.arange(88200) < 44100)[:, None], *options)
    before, content = whole(path), path.read_bytes()
    for tail in (bytes(20_000), bytes(417), TAG, b"<html>no such file</html>" * 99, TAG + bytes(9999)):
        path.write_bytes(content + tail)
        np.testing.assert_array_equal(reading.read(path)[0], before)


@pytest.mark.parametrize(
    ("options", "frames", "n_bytes"),
    [
        (["-b:a", "128k"], 0.5, 1),
        (["-b:a", "128k"], 0, 0),
        (["-q:a", "4"], 0.5, 0.5),
        (["-q:a", "4"], 1, 0.5),
        (["-q:a", "4"], 1, 0),
    ],
)
def test_an_mp3_whose_header_counts_too_little_is_read_to_its_end(tmp_path, options, frames, n_bytes):
    path = encode(tmp_path, "a.mp3", sine(330, 4), *options)
    n_samples = reading.read(path)[0].shape[1]
    content = bytearray(path.read_bytes())
    place = max(content.find(b"Xing"), content.find(b"Info"))
    for offset, factor in ((8, frames), (12, n_bytes)):
        count = int.from_bytes(content[place + offset :][:4], "big")
        content[place + offset : place + offset + 4] = int(factor * count).to_bytes(4, "big")
    path.write_bytes(content)
    assert n_samples == 4 * 44100
    # what the encoder appended to the last frame is left out where the header tells
    assert 0 <= whole(path).shape[1] - n_samples < 1152


@pytest.mark.parametrize("damage", [np.random.default_rng(0).bytes(700), bytes(4000)])
@pytest.mark.parametrize("xing", ["0", "1"])
def test_damage_within_an_mp3_is_named(tmp_path, damage, xing):
    path = encode(tmp_path, "a.mp3", sine(330, 4), "-write_xing", xing)
    content = bytearray(path.read_bytes())
    content[30_000 : 30_000 + len(damage)] = damage
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp3: (damaged|truncated)"):
        reading.read(path)


@pytest.mark.parametrize("options", [["-b:a", "32k"], ["-q:a", "9"], ["-ar", "16000", "-ac", "1"]])
def test_blocks_of_mp3_join_without_a_seam(tmp_path, options):
    """After a seek, a decoder lacks what frames of a low rate keep in those before: libsndfile was 0.2 off there."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 12 * 44100))
    path = encode(tmp_path, "a.mp3", noise.T, *options)
    expected = plainly_decoded(path, reading.read_header(path).channels)
    for size in (5000, 12_345):
        np.testing.assert_allclose(whole(path, size=size), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(whole(path, 77_777), expected[:, 77_777:], rtol=0, atol=1e-5)


def test_a_flac_whose_header_counts_too_little_is_read_to_its_end(tmp_path, noise):
    path, samples = tmp_path / "a.flac", np.tile(noise, 4)
    soundfile.write(path, samples.T, 44100)
    content = bytearray(path.read_bytes())
    packed = int.from_bytes(content[18:26], "big")
    content[18:26] = (packed >> 36 << 36 | 50_000).to_bytes(8, "big")
    path.write_bytes(content)
    np.testing.assert_array_equal(whole(path), samples)


@pytest.mark.parametrize("tail", [TAG, bytes(20_000), b"APETAGEX" + b"x" * 20_000])
@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.aiff", "a.ogg"])
def test_tags_and_zeros_behind_are_no_sound(tmp_path, noise, name, tail):
    path = tmp_path / name
    soundfile.write(path, noise.T / 2, 44100)
    before = reading.read(path)[0]
    path.write_bytes(path.read_bytes() + tail)
    np.testing.assert_array_equal(whole(path), before)


@pytest.mark.parametrize(
    ("name", "chunk", "size"),
    [("a.wav", b"data", "<I"), ("a.aiff", b"SSND", ">I"), ("a.caf", b"data", ">Q"), ("a.au", b".snd", ">I")],
)
def test_sound_behind_the_end_that_a_header_names_is_no_silent_loss(tmp_path, noise, name, chunk, size):
    """A recorder that brings its header up to date now and then leaves the last such state when it fails."""
    path = tmp_path / name
    soundfile.write(path, noise.T, 44100)
    content = bytearray(path.read_bytes())
    struct.pack_into(size, content, content.index(chunk) + 4 + 4 * (name == "a.au"), 100_008)
    path.write_bytes(content)
    for function in (reading.read_header, reading.read):
        with pytest.raises(InputError, match=r"header counts 25\d\d\d samples, but 76\d\d\d bytes follow"):
            function(path)


@pytest.mark.parametrize(
    ("options", "channels"),
    [(["-c:a", "libmp3lame", "-f", "wav"], 2), (["-ar", "8000", "-ac", "1", "-c:a", "libgsm_ms"], 1)],
)
def test_compressed_sound_in_wav_is_read(tmp_path, options, channels):
    path = encode(tmp_path, "a.wav", sine(330), *options)
    waveform, _ = reading.read(path)
    np.testing.assert_allclose(waveform, plainly_decoded(path, channels), rtol=0, atol=1e-4)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize(
    ("sizes", "chunk", "n_lost_bytes"),
    [
        (("data",), b"", 0),
        (("RIFF", "data"), b"", 3),
        (("RIFF", "data"), b"JUNK" + struct.pack("<I", 6000) + bytes(6000), 3),
    ],
)
def test_a_wav_whose_recorder_crashed_is_read(tmp_path, noise, subtype, sizes, chunk, n_lost_bytes):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise.T, 44100, subtype)
    content = bytearray(path.read_bytes())
    content[12:12] = chunk
    for name in sizes:
        place = content.index(name.encode())
        content[place + 4 : place + 8] = bytes(4)
    path.write_bytes(content[: len(content) - n_lost_bytes])
    n_samples = 44100 - (n_lost_bytes > 0)
    np.testing.assert_allclose(whole(path), noise[:, :n_samples], rtol=0, atol=1e-7)


@pytest.mark.parametrize(("name", "n_bytes"), [("a.rf64", 24), ("a.caf", 8)])
def test_a_longer_recording_whose_recorder_crashed_is_read(tmp_path, noise, name, n_bytes):
    path = tmp_path / name
    soundfile.write(path, noise.T, 44100, "PCM_16")
    content = bytearray(path.read_bytes())
    place = content.index(b"ds64") + 8 if name == "a.rf64" else content.index(b"data") + 4
    content[place : place + n_bytes] = bytes(n_bytes)
    path.write_bytes(content)
    # what stands before the sound in CAF is its number of edits, and some room
    np.testing.assert_array_equal(whole(path), noise)


def test_what_is_no_file_is_called_so(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for name, reason in (("pipe.wav", "pipe or a device"), ("folder.wav", "Is a directory"), (300 * "a", "too long")):
        with pytest.raises(InputError, match=reason):
            reading.read_header(tmp_path / name)
    (tmp_path / "secret.wav").touch()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"secret\.wav: cannot be read \(Permission denied\)"):
        reading.read_header(tmp_path / "secret.wav")


def test_a_disk_that_is_full_is_the_reason(tmp_path, noise):
    """libsndfile says "System error."; a limit to the size of files stands for the end of the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"a\.wav: cannot be written \(File too large\)"):
            writing.write_pcm16(tmp_path / "a.wav", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(InputError, match=r"none/a\.wav: cannot be written \(No such file or directory\)"):
        writing.write_pcm16(tmp_path / "none" / "a.wav", noise)
