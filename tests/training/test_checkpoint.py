"""Checkpoints: golden values of amanteur's model, round trips, and every refusal."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vocalremix.models.base import SeparationModel
from vocalremix.models.bsrnn import BandSplitRNN
from vocalremix.models.configs import BSRNNConfig
from vocalremix.models.registry import build
from vocalremix.training.checkpoint import export_amanteur, import_amanteur, load, load_initial, read_metadata, save
from vocalremix.util.errors import InputError

TINY = {
    "n_fft": 256,
    "hop_samples": 64,
    "chunk_samples": 1024,
    "bands": ((2000, 500), (8000, 2000)),
    "features": 6,
    "layers": 1,
    "hidden": 5,
    "mlp": 7,
}
AMANTEUR = BSRNNConfig(flavour="amanteur", **TINY)
PAPER = BSRNNConfig(flavour="paper", **TINY)


@pytest.fixture(scope="session")
def golden_config(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "bsrnn_tiny.json").read_text())


@pytest.fixture(scope="session")
def golden_tensors(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "bsrnn_tiny.safetensors")


@pytest.fixture
def golden_state(golden_tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("state."): t for name, t in golden_tensors.items() if name.startswith("state.")}


def model(config: BSRNNConfig = AMANTEUR, target: str = "vocals", seed: int = 0) -> SeparationModel:
    torch.manual_seed(seed)
    return build(config, target)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_import_computes_the_golden_output(
    golden_config: dict[str, Any], golden_tensors: dict[str, Tensor], golden_state: dict[str, Tensor], prefix: str
) -> None:
    state = {prefix + name: tensor for name, tensor in golden_state.items()}
    if prefix:
        state["featurizer.window"] = torch.ones(3)  # what Lightning's module holds beside its model
    network = import_amanteur(state, golden_config)
    assert not network.training
    with torch.no_grad():
        output = network(torch.complex(golden_tensors["input.real"], golden_tensors["input.imag"]))
    expected = torch.complex(golden_tensors["output.real"], golden_tensors["output.imag"])
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


def test_export_gives_back_what_was_imported(golden_config: dict[str, Any], golden_state: dict[str, Tensor]) -> None:
    exported = export_amanteur(import_amanteur(golden_state, golden_config))
    assert exported.keys() == golden_state.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in golden_state.items())


def test_full_size_has_the_golden_layout(golden: Path) -> None:
    layout = json.loads((golden / "bsrnn_v7_layout.json").read_text())
    with torch.device("meta"):
        network = build(BSRNNConfig(), "vocals").network
    exported = export_amanteur(network)
    assert {name: list(tensor.shape) for name, tensor in exported.items()} == layout["state_dict_shapes"]
    assert list(exported) == list(layout["state_dict_shapes"])
    assert sum(tensor.numel() for tensor in exported.values()) == layout["n_parameters"]


def test_mono_is_one_channel(golden_config: dict[str, Any]) -> None:
    edges = [(0, 6), (6, 12), (12, 20)]
    source = BandSplitRNN([b - a for a, b in edges], channels=1, features=4, layers=1, hidden=3, mlp=5, locked_frames=9)
    config = golden_config | {"sr": 1000, "n_fft": 38, "is_mono": True, "bandsplits": [[300, 150]]}
    config |= {"t_timesteps": 9, "fc_dim": 4, "rnn_dim": 3, "num_layers": 1, "mlp_dim": 5}
    x = torch.randn(2, 1, 20, 9, dtype=torch.complex64)
    network = import_amanteur(export_amanteur(source), config)
    torch.testing.assert_close(network(x), source(x))


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def edit(content: dict[str, Any]) -> dict[str, Any]:
        content = dict(content)
        change(content)
        return content

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bandsplit.fcs.3.bias"), r"tensor bandsplit.fcs.3.bias of shape \(16,\) is missing"),
        (
            lambda s: s.update({"bandsplit.fcs.3.weight": torch.zeros(16, 20), "maskest.mlp.0.mlp.0.bias": None}),
            r"tensor bandsplit.fcs.3.weight has shape \(16, 20\) where this model has \(16, 24\)",
        ),
        (lambda s: s.update({"bandsplit.fcs.3.weight": "text"}), "bandsplit.fcs.3.weight is not a tensor"),
        (
            lambda s: s.update({"bandsplit.fcs.13.weight": torch.zeros(1)}),
            "bandsplit.fcs.13.weight is not in this model",
        ),
    ],
)
def test_import_names_the_first_tensor_that_does_not_fit(
    golden_config: dict[str, Any], golden_state: dict[str, Tensor], change: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        import_amanteur(edited(change)(golden_state), golden_config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("mlp_dim"), "amanteur's config: mlp_dim: field required"),
        (lambda c: c.update(rnn_type="GRU"), "amanteur's config: rnn_type: input should be 'LSTM'"),
        (lambda c: c.update(complex_as_channel=False), "complex_as_channel"),
        (lambda c: c.update(t_timesteps=0), "t_timesteps"),
        (lambda c: c.update(bandsplits=[[2000, 700]]), "not a whole number of 700 Hz bands"),
        (lambda c: c.update(attention=True), "attention"),
        (
            lambda c: c.update(t_timesteps=32),
            r"layernorms.0.weight has shape \(24, 31\) where this model has \(24, 32\)",
        ),
    ],
)
def test_import_names_the_setting_that_does_not_fit(
    golden_config: dict[str, Any], golden_state: dict[str, Tensor], change: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        import_amanteur(golden_state, edited(change)(golden_config))


@pytest.mark.parametrize("config", [AMANTEUR, PAPER])
def test_what_was_saved_is_loaded(tmp_path: Path, config: BSRNNConfig) -> None:
    saved = model(config, "drums")
    metadata = {"run": "train", "commit": "394cc2f", "metrics": {"usdr_db": 7.5}}
    save(tmp_path / "checkpoint", saved, metadata=metadata)
    loaded = load(tmp_path / "checkpoint")
    assert same_weights(loaded, saved) and not loaded.training
    assert (loaded.config, loaded.target, loaded.sample_rate) == (config, "drums", 44100)
    assert read_metadata(tmp_path / "checkpoint") == metadata
    waveform = torch.randn(1, 2, config.chunk_samples)
    with torch.no_grad():
        assert torch.equal(loaded(waveform), saved.eval()(waveform))


def test_saving_replaces_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    first, second = model(seed=1), model(seed=2)
    save(path, first, metadata={})
    with pytest.raises(ValueError, match="serialize"):
        save(path, second, metadata={"run": object()})
    assert same_weights(load(path), first) and list(tmp_path.iterdir()) == [path]
    save(path, second, metadata={})
    assert same_weights(load(path), second) and list(tmp_path.iterdir()) == [path]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def change_json(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "model.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), r"model.json: cannot be read \(No such file"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json: not valid JSON"),
        (lambda folder: (folder / "model.json").write_text("[1]"), "model.json: "),
        (change_json(model={"name": "bsrnn", "feature": 3}), "model.json: model.feature: extra inputs"),
        (change_json(model={"name": "scnet"}), "model.json: model.name: input should be 'bsrnn'"),
        (change_json(model={"hop_samples": 2000}), "model.json: model: .*hop_samples: 2000 is more than half"),
        (change_json(model=PAPER.model_dump()), "model.safetensors: tensor network.split.norms.0.weight has shape"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors: no such file"),
        (lambda folder: truncate(folder / "model.safetensors"), "model.safetensors: cannot be read"),
    ],
)
@pytest.mark.parametrize("read", [load, lambda path: load_initial(path, AMANTEUR, "vocals")])
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, read: Callable[[Path], Any], damage: Callable[[Path], Any], message: str
) -> None:
    save(tmp_path / "checkpoint", model(), metadata={})
    damage(tmp_path / "checkpoint")
    with pytest.raises(InputError, match=message if read is load else None) as caught:
        read(tmp_path / "checkpoint")
    assert "\n" not in str(caught.value)


def test_initial_weights_from_our_own_folder(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint", model(PAPER, seed=1), metadata={})
    shorter = PAPER.model_copy(update={"chunk_samples": 512})
    initial = load_initial(tmp_path / "checkpoint", shorter, "vocals")
    assert same_weights(initial, model(PAPER, seed=1))
    assert initial.chunk_samples == 512


@pytest.mark.parametrize(
    ("config", "target", "message"),
    [
        (PAPER, "drums", "extracts vocals, not drums"),
        (AMANTEUR, "vocals", "made with flavour paper instead of amanteur"),
        (PAPER.model_copy(update={"hop_samples": 128}), "vocals", "made with hop_samples 64 instead of 128"),
        (PAPER.model_copy(update={"hidden": 6}), "vocals", "made with hidden 5 instead of 6"),
        (PAPER.model_copy(update={"bands": ((2000, 500), (10000, 2000))}), "vocals", "made with other bands"),
    ],
)
def test_initial_weights_of_another_model_are_refused(
    tmp_path: Path, config: BSRNNConfig, target: str, message: str
) -> None:
    save(tmp_path / "checkpoint", model(PAPER), metadata={})
    with pytest.raises(InputError, match=message):
        load_initial(tmp_path / "checkpoint", config, target)


def test_another_chunk_is_another_model_for_amanteur(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint", model(), metadata={})
    with pytest.raises(InputError, match="made with chunk_samples 1024 instead of 512"):
        load_initial(tmp_path / "checkpoint", AMANTEUR.model_copy(update={"chunk_samples": 512}), "vocals")


@pytest.mark.parametrize("name", ["state.safetensors", "state.pt", "lightning.ckpt"])
def test_initial_weights_from_amanteurs_layout(tmp_path: Path, name: str) -> None:
    source = model(seed=1)
    state = export_amanteur(source.network)
    if name.endswith(".safetensors"):
        save_file(state, tmp_path / name)
    elif name.endswith(".pt"):
        torch.save(state, tmp_path / name)
    else:
        torch.save({"epoch": 3, "state_dict": {f"model.{k}": v for k, v in state.items()}}, tmp_path / name)
    assert same_weights(load_initial(tmp_path / name, AMANTEUR, "vocals"), source)


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("lightning", [True, False])
def test_nothing_but_tensors_is_unpickled(tmp_path: Path, lightning: bool) -> None:
    file, sprung = tmp_path / "hostile.pt", tmp_path / "sprung"
    content = {"state_dict": export_amanteur(model().network), "hyper_parameters": Trap(sprung)}
    if lightning:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content["hyper_parameters"], protocol=2))
    with pytest.raises(InputError, match=r"hostile.pt: damaged, or holds Python objects") as caught:
        load_initial(file, AMANTEUR, "vocals")
    assert not sprung.exists() and "\n" not in str(caught.value)


def write_text(file: Path) -> None:
    file.write_text("no tensors in here")


def write_list(file: Path) -> None:
    torch.save([torch.zeros(3)], file)


def write_other_model(file: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, file)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.pt", None, "a.pt: no such file"),
        ("a.safetensors", None, "a.safetensors: no such file"),
        ("a.pt", write_text, "a.pt: damaged"),
        ("a.safetensors", write_text, "a.safetensors: cannot be read"),
        ("a.pt", write_list, r"a.pt: not a state dict \(names and tensors\) but a list"),
        ("a.pt", write_other_model, "a.pt: tensor bandsplit.layernorms.0.weight of shape .* is missing"),
    ],
)
def test_files_that_are_no_weights_are_refused(
    tmp_path: Path, name: str, write: Callable[[Path], None] | None, message: str
) -> None:
    if write:
        write(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        load_initial(tmp_path / name, AMANTEUR, "vocals")
    assert "\n" not in str(caught.value)


def test_the_papers_flavour_cannot_start_from_amanteurs_layout(tmp_path: Path) -> None:
    save_file(export_amanteur(model().network), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="which only bsrnn of flavour amanteur can start from"):
        load_initial(tmp_path / "a.safetensors", PAPER, "vocals")
    with pytest.raises(InputError, match="flavour paper has no counterpart"):
        export_amanteur(model(PAPER).network)


def test_weights_are_as_open_to_others_as_their_description(tmp_path: Path) -> None:
    save(tmp_path / "model", model(PAPER), metadata={})
    assert (tmp_path / "model/model.safetensors").stat().st_mode == (tmp_path / "model/model.json").stat().st_mode


def test_weights_that_cannot_be_opened_say_why(tmp_path: Path) -> None:
    """safetensors says "No such file" of whatever it cannot open."""
    save(tmp_path / "model", model(PAPER), metadata={})
    (tmp_path / "model/model.safetensors").unlink()
    (tmp_path / "model/model.safetensors").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        load(tmp_path / "model")
