"""The benchmarks' textbook versions still compute what we compute."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_training_examples(tmp_path: Path) -> None:
    from benchmarks import examples

    examples.write_corpus(tmp_path, songs=2, song_s=9)
    for speech_remix_prob in (0, 1):
        textbook, ours = examples.pair(tmp_path, speech_remix_prob)
        examples.check(textbook, ours, [(epoch, index) for epoch in range(2) for index in range(len(ours))])


def test_band_split_rnn() -> None:
    import tiny

    from benchmarks import bsrnn

    config = tiny.CONFIG.model_copy(update={"flavour": "amanteur"})
    bsrnn.check(bsrnn.pair(config, examples=2))


@pytest.mark.usefixtures("bf16")
def test_bf16_band_split_rnn() -> None:
    import tiny

    from benchmarks import bsrnn

    config = tiny.CONFIG.model_copy(update={"flavour": "amanteur"})
    bsrnn.check(bsrnn.pair(config, examples=2), bf16=True)


@pytest.mark.usefixtures("bf16")
def test_loss_curves_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiny

    from benchmarks import bsrnn

    monkeypatch.setattr(bsrnn, "STEPS", 5)
    models = bsrnn.pair(tiny.CONFIG.model_copy(update={"flavour": "amanteur"}), examples=2)
    first, again = bsrnn.learn(models, models.ours), bsrnn.learn(models, models.ours)
    assert first == again and first[-1] < first[0]
    assert bsrnn.curves(models).ours.startswith(f"{first[0]:.3f}"[:4])


def test_static_copies(tmp_path: Path) -> None:
    from benchmarks import copies

    copies.write_song(tmp_path, seconds=7)
    copies.check(tmp_path)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="without oneDNN, an LSTM is many small operations")
def test_operations_are_counted() -> None:
    from benchmarks import floor

    left, right = torch.randn(3, 5), torch.randn(5, 7)
    assert floor.operations(lambda: left @ right) == 2 * 3 * 5 * 7
    length, batch, features, hidden = 6, 4, 3, 8
    lstm = torch.nn.LSTM(features, hidden, bidirectional=True)
    x = torch.randn(length, batch, features)
    forward = 2 * 2 * length * batch * 4 * hidden * (features + hidden)
    with torch.no_grad():
        assert floor.operations(lambda: lstm(x)) == forward
    assert floor.operations(lambda: lstm(x)[0].sum().backward()) == 3 * forward


def test_scale_measures_every_stage(tmp_path: Path) -> None:
    from benchmarks import scale

    song_s = 6
    scale.write_corpora(tmp_path, songs=3, song_s=song_s)
    found = {stage: scale.measure(stage, tmp_path, 3) for stage in scale.STAGES}
    assert all(row.seconds > 0 and row.peak_mb > 50 for row in found.values())
    # import and resample write 16-bit samples; index writes a table; rubberband's copies are as long as the songs
    samples_mb = {name: 44100 * seconds * 2 / 1e6 for name, seconds in (("song", 3 * 8 * song_s), ("speech", 3 * 12))}
    assert found["import"].disk_mb == pytest.approx(samples_mb["song"], rel=0.05)
    assert found["resample"].disk_mb == pytest.approx(samples_mb["speech"], rel=0.05)
    assert found["augment"].disk_mb == pytest.approx(samples_mb["song"] / 3 * 2 * (1 + 1 / 0.9), rel=0.05)
    assert found["index"].disk_mb < 0.1 and found["check"].disk_mb == 0


def test_a_line_is_fitted() -> None:
    from benchmarks import scale

    rows = [scale.Measured("index", songs, 3 + 0.5 * songs, 0, 0) for songs in (10, 20, 40)]
    assert scale.fit(rows) == pytest.approx((3, 0.5))
