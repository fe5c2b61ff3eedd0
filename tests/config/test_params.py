"""Configuration: what is refused, and how it is said."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from vocalremix.config.params import AXES, Cell, DemoMusic, FolderMusic, load
from vocalremix.corpus import demo
from vocalremix.util.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


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
        ({"sweep.songs_seed": [1, 2]}, "params.yaml: sweep.songs_seed: draws the songs of data_fraction, and 1 is all"),
        ({"sweep.mix_prob": ["0.10"]}, "params.yaml: sweep.mix_prob.0: must be a number, without quotes, got '0.10'"),
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
        (
            {"profile:training.sweep": {"epochs": 1, "learning_rate": 1, "epoch_examples": 0}},
            "demo.yaml: training.sweep.0.epoch_examples: ",
        ),
        (
            {
                "profile:training.train_full": [
                    {"epochs": 1, "learning_rate": 1, "epoch_examples": 8},
                    {"epochs": 1, "learning_rate": 1},
                ]
            },
            "demo.yaml: training.train_full: give the same epoch_examples in all phases, or in none",
        ),
    ],
)
def test_refuses_with_file_key_and_remedy(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    root = study(tmp_path, **change)
    with pytest.raises(InputError) as error:
        load(root)
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "mistyped", "says"),
    [
        ("mix_prob", "mixx_prob", "params.yaml: mixx_prob: unknown key; did you mean mix_prob?"),
        ("seed", "SEED", "params.yaml: SEED: unknown key; did you mean seed?"),
        ("sweep", "sweeps", "params.yaml: sweeps: unknown key; did you mean sweep?"),
        ("sweep.mix_prob", "mix_probs", "params.yaml: sweep.mix_probs: unknown key; did you mean mix_prob?"),
        (
            "profile:training.common.patience",
            "patients",
            "demo.yaml: training.common.patients: unknown key; did you mean patience?",
        ),
        (
            "profile:training.train_full.0.epochs",
            "epoch",
            "demo.yaml: training.train_full.0.epoch: unknown key; did you mean epochs?",
        ),
        ("profile:corpus.music.train", "trian", "demo.yaml: corpus.music.trian: unknown key; did you mean train?"),
        ("profile:corpus.speech.source", "sorce", "demo.yaml: corpus.speech.sorce: unknown key; did you mean source?"),
    ],
)
def test_a_mistyped_key_is_named_before_the_one_it_stands_for(
    tmp_path: Path, key: str, mistyped: str, says: str
) -> None:
    root = study(tmp_path)
    path = root / ("profiles/demo.yaml" if key.startswith("profile:") else "params.yaml")
    content = yaml.safe_load(path.read_text())
    content.get("training", {})["train_full"] = [{"epochs": 1, "learning_rate": 1.0}]
    *parents, last = key.removeprefix("profile:").split(".")
    place = content
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    place[mistyped] = place.pop(last)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=f"^{re.escape(says)}$"):
        load(root)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"profile:epochs": 1}, "demo.yaml: epochs: unknown key; did you mean training.initial.epochs?"),
        ({"profile:corpus.music.path": "x"}, "demo.yaml: corpus.music.path: unknown key; remove it"),
        ({"profile:corpus.music": {"train": 1}}, "demo.yaml: corpus.music.source: missing key; set it"),
        ({"profile:corpus.music.source": "dmo"}, "demo.yaml: corpus.music.source: input should be one of 'demo', "),
        (
            {"profile:corpus.music": {"source": "folder", "path": "x", "test": [1999]}},
            "demo.yaml: corpus.music.test.0: input should be a valid string, got 1999; put it in quotes",
        ),
        (
            {"profile:compute.devices": -1},
            "demo.yaml: compute.devices: input should be 'auto' or input should be greater than 0, got -1",
        ),
        ({"profile:sad": 3}, "demo.yaml: sad: expected keys and values, got 3"),
    ],
)
def test_says_where_a_key_belongs_and_what_it_takes(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    root = study(tmp_path, **change)
    with pytest.raises(InputError, match=f"^{re.escape(says)}"):
        load(root)


def test_missing_key(tmp_path: Path) -> None:
    root = study(tmp_path)
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("target: vocals\n", ""))
    with pytest.raises(InputError, match="target: missing key"):
        load(root)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"sweep: [1, 2", "not valid YAML: line 1, column 13: "),
        (b"seed: 1\nseed: 2\n", 'not valid YAML: line 2, column 1: found duplicate key "seed"'),
        (b"a: 2020-13-45", "not valid YAML: month must be in 1..12"),
        (b"a: 1\n\tb: 2", "not valid YAML: line 2, column 1: "),
        (b"a: \x07", "not valid YAML: unacceptable character"),
        (b"a: \xff", "not UTF-8 text"),
        (b"- 1", "expected keys and values"),
        (b"", "expected keys and values"),
    ],
)
def test_a_broken_file_ends_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(f'{tmp_path}/params.yaml: {says}')}") as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)


def test_every_name_comes_back_as_dvc_writes_it(tmp_path: Path) -> None:
    """`dvc exp run -S` leaves unquoted what YAML 1.2 takes as a word; YAML 1.1 makes numbers and booleans of it."""
    words = "On off YES no y N true Null ~ 012 08 0o12 0x1F 1:30 1e3 1_000 2020-01-01 2020-13-45 = << .inf 0.10 - ? #1"
    names = [*words.split(), "a: b", " x", "", "*a", "[x]", "Ümläut", "'q'"]
    root = study(tmp_path, **{"profile:corpus.music": {"source": "folder", "path": "songs", "valid": [], "test": []}})
    override = f"corpus.music.valid={json.dumps(names, ensure_ascii=False)}"
    apply_overrides(root / "profiles/demo.yaml", [override, "training.common.ema_decay=1e-4"])
    profile = load(root).profile
    assert isinstance(profile.corpus.music, FolderMusic)
    assert list(profile.corpus.music.valid) == names
    assert profile.training.common.ema_decay == 1e-4


def test_limits_known_elsewhere() -> None:
    """params.py imports nothing slow, so it repeats them."""
    limits = {type(limit).__name__: limit for limit in DemoMusic.model_fields["duration_s"].metadata}
    assert (limits["Ge"].ge, limits["Le"].le) == (demo.MIN_DURATION_S, demo.MAX_DURATION_S)


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    """DVC spells the cells' folders from its own reading of the axes."""
    root = study(tmp_path, **{"mix_prob": "PROBABILITY", "sweep.speech_remix_prob": ["VALUES"]})
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("PROBABILITY", "+.5").replace("- VALUES", "  [1e-1, 0x1, 2.5E-5, 00.5]"))
    params = load(root).params
    assert params.mix_prob == load_yaml(path)["mix_prob"] == 0.5
    values = params.sweep.speech_remix_prob
    assert [str(value) for value in values] == [str(value) for value in load_yaml(path)["sweep"]["speech_remix_prob"]]
    assert values == [0.1, 1, 2.5e-5, 0.5]


def test_cells_are_the_product_of_the_axes_and_keep_their_spelling(tmp_path: Path) -> None:
    root = study(tmp_path, **{"sweep.speech_remix_prob": [0, 0.2], "sweep.seed": [1, 2]})
    names = [cell.name for cell in load(root).params.sweep.cells()]
    assert names == [
        "thesis_speech0_mix0.8_data1_songs42_seed1",
        "thesis_speech0_mix0.8_data1_songs42_seed2",
        "thesis_speech0.2_mix0.8_data1_songs42_seed1",
        "thesis_speech0.2_mix0.8_data1_songs42_seed2",
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
    common = {
        "batch_size": 5,
        "accumulate": 1,
        "clip_norm": 5,
        "ema_decay": 0.9999,
        "ema_examples": 5,
        "patience": 10,
    }
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
