"""Configuration: what is refused, and how it is said."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from vocalremix import audio, params
from vocalremix.corpus import demo
from vocalremix.errors import InputError
from vocalremix.params import AXES, Cell, DemoMusic, load

ROOT = Path(__file__).resolve().parents[1]


def study(tmp_path: Path, **changes: Any) -> Path:
    """A folder with params.yaml and the demo profile, changed at dotted keys (`profile:` prefix for the profile)."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = yaml.safe_load((ROOT / "profiles/demo.yaml").read_text())
    for key, value in changes.items():
        place = profile if key.startswith("profile:") else params
        *parents, last = key.removeprefix("profile:").split(".")
        for parent in parents:
            place = place[parent]
        place[last] = value
    (tmp_path / "profiles").mkdir()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "profiles/demo.yaml").write_text(yaml.safe_dump(profile))
    return tmp_path


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
def test_every_profile_is_valid(tmp_path: Path, name: str) -> None:
    root = study(tmp_path, profile=name)
    (root / f"profiles/{name}.yaml").write_text((ROOT / f"profiles/{name}.yaml").read_text())
    assert load(root).params.profile == name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mix_probability": 0.5}, "params.yaml: mix_probability: unknown key; did you mean mix_prob?"),
        (
            {"speech_remix_prob": 1.2},
            "params.yaml: speech_remix_prob: input should be less than or equal to 1, got 1.2",
        ),
        ({"mix_prob": True}, "params.yaml: mix_prob: must be a number"),
        ({"target": "choir"}, "params.yaml: target: input should be 'vocals', 'drums', 'bass' or 'other', got 'choir'"),
        ({"sweep.speech_remix_prob": [0, 0.0]}, "params.yaml: sweep.speech_remix_prob: names a value twice: [0, 0.0]"),
        ({"sweep.data_fraction": [0]}, "params.yaml: sweep.data_fraction.0: input should be greater than 0, got 0"),
        ({"sweep.seed": []}, "params.yaml: sweep.seed: list should have at least 1 item"),
        ({"profile": "absent"}, "params.yaml: profile: there is no "),
        ({"profile:corpus.music.trian": 3}, "demo.yaml: corpus.music.trian: unknown key; did you mean train?"),
        ({"profile:augment.tempo": [1.0]}, "demo.yaml: augment.tempo: [1.0] holds 1 (no change)"),
        ({"profile:corpus.music.duration_s": 5}, "demo.yaml: corpus.music.duration_s: input should be greater than or"),
        (
            {"profile:corpus.speech.seed": -1},
            "demo.yaml: corpus.speech.seed: input should be greater than or",
        ),
        ({"profile:model.sample_rate": 48000}, "demo.yaml: model.sample_rate: 48000, but all audio of a study has"),
        (
            {
                "target": "drums",
                "profile:model.bands": None,
                "profile:model.n_fft": 512,
                "profile:model.hop_samples": 256,
            },
            "demo.yaml: model.bands: the 50 Hz band below 150 Hz is empty",
        ),
        ({"profile:separation.hop_s": 99}, "demo.yaml: separation.hop_s: 99 s leaves gaps"),
        (
            {"profile:model.chunk_samples": 1024 * 1024},
            "demo.yaml: model.chunk_samples: 1048576 is longer than a window",
        ),
        ({"profile:training.sweep": {"epochs": 0, "learning_rate": 1}}, "demo.yaml: training.sweep.0.epochs: "),
    ],
)
def test_refuses_with_file_key_and_remedy(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    root = study(tmp_path, **change)
    with pytest.raises(InputError) as error:
        load(root)
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_missing_key_and_broken_yaml(tmp_path: Path) -> None:
    root = study(tmp_path)
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("target: vocals\n", ""))
    with pytest.raises(InputError, match="target: missing key"):
        load(root)
    path.write_text("sweep: [1, 2")
    with pytest.raises(InputError, match="not valid YAML"):
        load(root)


def test_limits_known_elsewhere() -> None:
    """params.py imports nothing slow, so it repeats them."""
    limits = {type(limit).__name__: limit for limit in DemoMusic.model_fields["duration_s"].metadata}
    assert (limits["Ge"].ge, limits["Le"].le) == (demo.MIN_DURATION_S, demo.MAX_DURATION_S)
    assert params.SAMPLE_RATE == audio.SAMPLE_RATE


def test_numbers_that_yaml_reads_as_strings(tmp_path: Path) -> None:
    """PyYAML reads `1e-4` as a string, and `dvc exp run -S` writes 3e-05."""
    root = study(
        tmp_path, speech_remix_prob="1e-1", **{"profile:training.sweep": {"epochs": 1, "learning_rate": "3e-05"}}
    )
    settings = load(root)
    assert settings.params.speech_remix_prob == 0.1
    assert settings.profile.training.sweep[0].learning_rate == 3e-5


def test_cells_are_the_product_of_the_axes_and_keep_their_spelling(tmp_path: Path) -> None:
    root = study(tmp_path, **{"sweep.speech_remix_prob": [0, 0.2], "sweep.seed": [1, 2]})
    names = [cell.name for cell in load(root).params.sweep.cells()]
    assert names == [
        "thesis_speech0_mix0.8_data1_seed1",
        "thesis_speech0_mix0.8_data1_seed2",
        "thesis_speech0.2_mix0.8_data1_seed1",
        "thesis_speech0.2_mix0.8_data1_seed2",
    ]


def test_dvc_yaml_spells_the_axes() -> None:
    """The only other place that names them: a matrix over each, and paths that are the cells' names."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    name = Cell(**{axis: f"${{item.{axis}}}" for axis in AXES}).name
    for stage, folder in (
        ("sweep", "data/${profile}/runs/sweep"),
        ("evaluate_sweep", "reports/${profile}/scores/sweep"),
    ):
        assert stages[stage]["matrix"] == {axis: f"${{sweep.{axis}}}" for axis in AXES}
        assert stages[stage]["outs"] == [f"{folder}/{name}"]
    assert f"data/${{profile}}/runs/sweep/{name}" in stages["evaluate_sweep"]["deps"]


def test_thesis_profile_is_the_thesis(tmp_path: Path) -> None:
    """The settings of thesis 4.4 and 5.5, and of FACTS.md."""
    root = study(tmp_path, profile="thesis")
    (root / "profiles/thesis.yaml").write_text((ROOT / "profiles/thesis.yaml").read_text())
    settings = load(root)
    training = settings.profile.training
    common = {"batch_size": 5, "accumulate": 1, "clip_norm": 5, "ema_decay": 0.9999, "ema_examples": 5, "patience": 10}
    assert training.common.model_dump() == common
    assert [(phase.epochs, phase.learning_rate) for phase in training.train_full] == [
        (30, 1.2e-3),
        (30, 1e-3),
        (40, 8e-4),
    ]
    assert (training.sweep[0].epochs, training.sweep[0].learning_rate, training.sweep[0].decay) == (400, 8e-4, 0.99)
    assert training.train[0].epochs == 100
    assert [cell.speech_remix_prob for cell in settings.params.sweep.cells()] == [0, 0.1, 0.2, 0.3, 0.5, 1]
    assert settings.params.mix_prob == 0.8
    assert settings.params.speech_snr_db == (-5, 15)
    assert (settings.params.gain_prob, settings.params.gain_db) == (0.5, (-10, 10))
    assert settings.profile.initial.mix_prob == 0.25
