"""The benchmarks' textbook versions still compute what we compute."""

from pathlib import Path

import pytest

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
