import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalremix import audio
from vocalremix.errors import InputError


@pytest.fixture
def noise():
    """One second of stereo noise on the grid of 16 bits, full scale included."""
    steps = np.random.default_rng(0).integers(-32768, 32768, (2, 44100))
    steps[:, :2] = -32768, 32767
    return (steps / 32768).astype(np.float32)


def test_pcm16_comes_back_to_the_last_bit(tmp_path, noise):
    path = tmp_path / "a.wav"
    audio.write_pcm16(path, noise)
    read, sample_rate = audio.read(path)
    assert sample_rate == 44100
    np.testing.assert_array_equal(read, noise)
    np.testing.assert_array_equal(audio.map_pcm16(path).T / 32768, noise)


def test_writing_clips_instead_of_wrapping(tmp_path):
    audio.write_pcm16(tmp_path / "a.wav", [[1.5, -1.5, 0.5]])
    assert audio.map_pcm16(tmp_path / "a.wav")[:, 0].tolist() == [32767, -32768, 16384]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.w64", "a.rf64", "a.au", "a.mp3", "a.caf"])
@pytest.mark.parametrize("kept", [0.5, 0.001, 0])
def test_a_truncated_file_is_refused(tmp_path, noise, name, kept):
    path = tmp_path / name
    soundfile.write(path, np.tile(noise.T, (3, 1)) / 2, 44100)
    assert audio.read(path)[0].shape == (2, 3 * 44100)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=name):
        audio.read(path)


@pytest.mark.parametrize("n_bytes", [2, 104, 105])
def test_a_little_less_of_rf64_is_refused(tmp_path, noise, n_bytes):
    path = tmp_path / "a.rf64"
    soundfile.write(path, noise.T, 44100)
    os.truncate(path, path.stat().st_size - n_bytes)
    with pytest.raises(InputError, match=r"a\.rf64: truncated"):
        audio.read_header(path)


def test_a_wav_of_3_gb_that_lacks_half_is_refused(tmp_path):
    """A header of 2 to 4 GiB is no pipe's; next to none of it takes room on the disk."""
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 44100, 1, "PCM_16") as file:
        file.seek(1_500_000_000)
        file.write(np.array([7], np.int16))
    assert audio.read_header(path).n_samples == 1_500_000_001
    os.truncate(path, 1_500_000_000)
    with pytest.raises(InputError, match=r"a\.wav: truncated"):
        audio.read_header(path)


@pytest.mark.parametrize("n_bytes", [0, 30, 44, 1000, 44 + 4 * 44100 - 1])
def test_a_truncated_wav_is_not_mapped(tmp_path, noise, n_bytes):
    path = tmp_path / "a.wav"
    audio.write_pcm16(path, noise)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(InputError, match=r"a\.wav"):
        audio.map_pcm16(path)


def test_a_wav_from_a_pipe_is_whole(tmp_path, noise):
    soundfile.write(tmp_path / "a.flac", noise.T, 44100)
    piped = subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.flac", "-f", "wav", "-"], capture_output=True)
    (tmp_path / "a.wav").write_bytes(piped.stdout)
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav")[0], noise)


def test_what_is_too_long_for_wav_is_mapped_whole(tmp_path):
    """4.4 GB, of which only the ends take room on the disk."""
    path, n_samples = tmp_path / "a.wav", 2_200_000_000
    with audio.create_pcm16(path, 44100, 1, n_samples) as file:
        file.write(np.array([3], np.int16))
        file.seek(n_samples - 1)
        file.write(np.array([7], np.int16))
    samples = audio.map_pcm16(path)
    assert samples.shape == (n_samples, 1)
    assert samples[[0, 1, -1], 0].tolist() == [3, 0, 7]
    assert audio.read_header(path) == audio.Header(44100, 1, n_samples)
    os.truncate(path, n_samples)
    with pytest.raises(InputError, match=r"a\.wav: truncated"):
        audio.read_header(path)


def test_a_long_stem_comes_back_to_the_last_bit(tmp_path, noise, monkeypatch):
    monkeypatch.setattr(audio, "WAV_BYTES", 4 * 44100 - 1)
    audio.write_pcm16(tmp_path / "a.wav", noise)
    assert soundfile.info(tmp_path / "a.wav").format == "RF64"
    np.testing.assert_array_equal(audio.map_pcm16(tmp_path / "a.wav").T / 32768, noise)
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav")[0], noise)
    audio.write_pcm16(tmp_path / "b.wav", noise[:, 1:])
    assert soundfile.info(tmp_path / "b.wav").format == "WAV"


def test_ffmpeg_reads_what_libsndfile_cannot(tmp_path):
    sine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
    soundfile.write(tmp_path / "a.wav", sine, 48000)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / "a.m4a"], check=True)
    waveform, sample_rate = audio.read(tmp_path / "a.m4a")
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
        audio.map_pcm16(tmp_path / "a.wav")


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        audio.read(tmp_path / "none.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 2)), 44100)
    with pytest.raises(InputError, match="no audio"):
        audio.read(tmp_path / "empty.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused(tmp_path, value):
    soundfile.write(tmp_path / "a.wav", [0.1, value, 0.1], 44100, subtype="DOUBLE")
    with pytest.raises(InputError, match=r"a\.wav: holds NaN or infinite samples"):
        audio.read(tmp_path / "a.wav")


def test_resampling_keeps_a_sine():
    seconds = np.arange(16000) / 16000
    resampled = audio.resample(np.sin(2 * np.pi * 1000 * seconds, dtype=np.float32)[None], 16000, 44100)
    assert resampled.shape == (1, 44100)
    expected = np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)
    np.testing.assert_allclose(resampled[0, 1000:-1000], expected[1000:-1000], atol=2e-3)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44101, 44100), (44100, 44056), (12345, 44100)])
def test_resampling_between_odd_rates_keeps_a_sine(from_rate: int, to_rate: int) -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(from_rate) / from_rate, dtype=np.float32)[None]
    resampled = audio.resample(sine, from_rate, to_rate)
    assert resampled.dtype == np.float32
    assert abs(resampled.shape[1] - to_rate) <= 1
    expected = np.sin(2 * np.pi * 1000 * np.arange(resampled.shape[1]) / to_rate)
    np.testing.assert_allclose(resampled[0, 1000:-1000], expected[1000:-1000], atol=2e-3)


def test_mono_is_doubled_and_surround_refused():
    assert audio.to_stereo(np.ones((1, 3), np.float32), "a").tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(InputError, match="song: 6 channels"):
        audio.to_stereo(np.ones((6, 3), np.float32), "song")


def test_a_variable_bit_rate_mp3_without_a_table_of_contents_is_read_to_its_end(tmp_path):
    """libsndfile guesses the length of such a file from its first frames; a loud start makes it guess too little."""
    loud_start = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 10 * 44100)) * (np.arange(10 * 44100) < 2 * 44100)
    audio.write_pcm16(tmp_path / "a.wav", loud_start)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-q:a", "0", "-write_xing", "0", tmp_path / "a.mp3"]
    subprocess.run(command, check=True)
    assert soundfile.info(tmp_path / "a.mp3").frames < 9 * 44100, "libsndfile alone would do"
    assert audio.read(tmp_path / "a.mp3")[0].shape[1] == pytest.approx(10 * 44100, abs=4 * 1152)


@pytest.mark.parametrize("name", ["Re:Stacks.m4a", "-x.m4a"])
def test_names_are_neither_protocols_nor_options(tmp_path, noise, monkeypatch, name):
    soundfile.write(tmp_path / "a.wav", noise.T, 44100)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "alac", tmp_path / name]
    subprocess.run(command, check=True)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(audio.read(Path(name))[0], noise)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_flac_from_a_pipe_is_whole(tmp_path, noise, subtype):
    """Its header tells no length."""
    whole = np.tile(noise, 3)
    soundfile.write(tmp_path / "a.wav", whole.T, 44100, subtype=subtype)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-f", "flac", "-"]
    (tmp_path / "a.flac").write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    assert audio.read_header(tmp_path / "a.flac") == audio.Header(44100, 2, None)
    np.testing.assert_array_equal(audio.read(tmp_path / "a.flac")[0], whole)
    np.testing.assert_array_equal(
        next(audio.read_blocks(tmp_path / "a.flac", 100, start=99_999)), whole[:, 99_999:][:, :100]
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
    assert audio.read_header(path) == audio.Header(44100, 2, None if name == "a.m4a" else whole.shape[1])
    blocks = list(audio.read_blocks(path, 10_000))
    assert {block.shape[1] for block in blocks[:-1]} == {10_000}
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
    if name != "a.mp3":  # libsndfile says itself that its seeking there is fuzzy
        np.testing.assert_array_equal(next(audio.read_blocks(path, 10_000, start=12_345)), whole[:, 12_345:22_345])


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
    pieces = list(audio.resample_blocks(blocks, from_rate, to_rate))
    assert len(pieces) <= len(sizes) + 1
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), audio.resample(waveform, from_rate, to_rate), atol=2e-6)


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


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ogg", ["-c:a", "libvorbis"]), ("a.opus", ["-c:a", "libopus"]), ("a.oga", ["-c:a", "flac", "-f", "ogg"])],
)
def test_all_links_of_a_chained_stream_are_read(tmp_path, name, options):
    """`cat a.ogg b.ogg` is a stream of two links by the format's own rules; the first alone was read."""
    links = [encode(tmp_path, name, sine(frequency), *options).read_bytes() for frequency in (330, 550)]
    one, _ = audio.read(tmp_path / name)
    (tmp_path / name).write_bytes(b"".join(links))
    both, _ = audio.read(tmp_path / name)
    assert abs(both.shape[1] - 2 * one.shape[1]) < 1000
    np.testing.assert_array_equal(both, plainly_decoded(tmp_path / name))


@pytest.mark.parametrize("name", ["a.aac", "a.m4a"])
def test_ffmpeg_decodes_without_options_that_change_samples(tmp_path, name):
    """Asked to seek to 0, it changed the first 704 samples of AAC by up to 0.53."""
    path = encode(tmp_path, name, sine(440), "-c:a", "aac")
    whole, _ = audio.read(path)
    np.testing.assert_array_equal(whole, plainly_decoded(path))
    later = np.concatenate(list(audio.read_blocks(path, 10_000, start=12_345)), axis=1)
    np.testing.assert_array_equal(later, whole[:, 12_345:])


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.wav"])
def test_files_joined_byte_by_byte_are_no_silent_loss(tmp_path, name):
    path = encode(tmp_path, name, sine(330))
    audio.read(path)
    path.write_bytes(2 * path.read_bytes())
    for function in (audio.read_header, audio.read):
        with pytest.raises(InputError, match="several files joined into one"):
            function(path)


@pytest.mark.parametrize("xing", ["0", "1"])
def test_zeros_behind_an_mp3_are_no_damage(tmp_path, xing):
    path = encode(tmp_path, "a.mp3", sine(330), "-write_xing", xing)
    whole, _ = audio.read(path)
    path.write_bytes(path.read_bytes() + bytes(20_000))
    np.testing.assert_array_equal(audio.read(path)[0], whole)


@pytest.mark.parametrize(
    ("options", "channels"),
    [(["-c:a", "libmp3lame", "-f", "wav"], 2), (["-ar", "8000", "-ac", "1", "-c:a", "libgsm_ms"], 1)],
)
def test_compressed_sound_in_wav_is_read(tmp_path, options, channels):
    path = encode(tmp_path, "a.wav", sine(330), *options)
    waveform, _ = audio.read(path)
    np.testing.assert_allclose(waveform, plainly_decoded(path, channels), rtol=0, atol=1e-4)


@pytest.mark.parametrize("sizes", [("data",), ("RIFF", "data")])
def test_a_wav_whose_recorder_crashed_is_read(tmp_path, noise, sizes):
    path = tmp_path / "a.wav"
    audio.write_pcm16(path, noise)
    content = bytearray(path.read_bytes())
    for name in sizes:
        place = content.index(name.encode())
        content[place + 4 : place + 8] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(audio.read(path)[0], noise)


def test_what_is_no_file_is_called_so(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for name, reason in (("pipe.wav", "pipe or a device"), ("folder.wav", "Is a directory"), (300 * "a", "too long")):
        with pytest.raises(InputError, match=reason):
            audio.read_header(tmp_path / name)
    (tmp_path / "secret.wav").touch()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"secret\.wav: cannot be read \(Permission denied\)"):
        audio.read_header(tmp_path / "secret.wav")
