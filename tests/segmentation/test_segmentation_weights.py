import contextlib
import io
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from negvol_pacs.config import Pipeline
from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation import weights
from negvol_pacs.segmentation.bundle import save_bundle, seal
from negvol_pacs.segmentation.networks import VNet

ARGUMENTS = {"channels": [2, 4], "convolutions": [1, 1]}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Bundles of two tiny networks."""
    for seed, name in enumerate(weights.BUNDLES):
        torch.manual_seed(seed)
        save_bundle(
            tmp_path / name,
            VNet(**ARGUMENTS),
            ARGUMENTS,
            spacing_mm=1.6 - seed,
            window=(16, 24, 32),
            version="0.1",
            description="Tiny.",
            card="# Tiny\n",
        )
    return tmp_path


def test_what_is_saved_is_loaded(models: Path) -> None:
    networks = weights.load_networks(models)
    assert networks.localizer.spacing_mm == 1.6
    assert networks.bones.window == (16, 24, 32)
    assert networks.version == "0.1"
    assert len(networks.sha256) == 64
    assert not networks.bones.module.training
    stored = load_file(models / "bones/models/model.safetensors")
    for key, value in networks.bones.module.state_dict().items():
        assert torch.equal(value, stored[key])
    again = weights.load_networks(models)
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        assert torch.equal(networks.bones.module(image), again.bones.module(image))


def test_weights_can_be_read_by_whom_the_card_can(models: Path) -> None:
    weight, card = (models / "bones" / name for name in ("models/model.safetensors", "docs/README.md"))
    assert weight.stat().st_mode == card.stat().st_mode


def test_altered_weights_are_refused(models: Path) -> None:
    path = models / "bones/models/model.safetensors"
    state = load_file(path)
    state["exit.bias"] += 1e-6
    save_file(state, path)
    with pytest.raises(WeightsError, match="its hash differs"):
        weights.load_networks(models)


def test_altered_arguments_are_refused(models: Path) -> None:
    path = models / "localizer/configs/inference.json"
    path.write_text(path.read_text().replace("1.6", "1.5"))
    with pytest.raises(WeightsError, match="its hash differs"):
        weights.load_networks(models)


def test_a_bundle_without_hashes_is_refused(models: Path) -> None:
    path = models / "bones/configs/metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["sha256"]
    path.write_text(json.dumps(metadata))
    with pytest.raises(WeightsError, match="no hashes"):
        weights.load_networks(models)


def test_the_hash_knows_every_weight_and_argument(models: Path) -> None:
    before = weights.load_networks(models).sha256
    path = models / "bones/models/model.safetensors"
    state = load_file(path)
    state["exit.bias"] += 1e-6
    save_file(state, path)
    seal(models / "bones")
    changed = weights.load_networks(models).sha256
    inference = models / "localizer/configs/inference.json"
    inference.write_text(inference.read_text().replace("1.6", "1.5"))
    seal(models / "localizer")
    assert len({before, changed, weights.load_networks(models).sha256}) == 3


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="localizer"):
        weights.load_networks(tmp_path)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("models/model.safetensors", b"\x08\0\0\0\0\0\0\0{broken!"),
        ("configs/inference.json", b"[]"),
        ("configs/inference.json", b'{"network_def": {}}'),
        ("configs/inference.json", b'{"network_def": {"_target_": "os.system"}, "window": [1, 1, 1], "spacing_mm": 1}'),
        ("configs/metadata.json", b"\xff"),
    ],
)
def test_a_damaged_bundle_is_refused(models: Path, part: str, content: bytes) -> None:
    (models / "bones" / part).write_bytes(content)
    if part != "configs/metadata.json":
        seal(models / "bones")
    with pytest.raises(WeightsError):
        weights.load_networks(models)


def test_weights_of_another_network_are_refused(models: Path) -> None:
    save_file({"other": torch.zeros(3)}, models / "bones/models/model.safetensors")
    seal(models / "bones")
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        weights.load_networks(models)


def test_device() -> None:
    assert weights.resolve_device(Pipeline(device="cpu")).type == "cpu"
    assert weights.resolve_device(Pipeline()).type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(WeightsError, match="no such CUDA device"):
        weights.resolve_device(Pipeline(device="cuda:77"))


@pytest.mark.threat(13)
def test_a_pickle_in_the_place_of_weights_runs_nothing(switch, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "run"),)

    path = tmp_path / "model.pt"  # torch.load takes .safetensors for what it says
    torch.save(Evil(), path)
    switch.off(weights, "load", lambda data: torch.load(io.BytesIO(data), weights_only=False))
    with contextlib.suppress(SafetensorError):
        weights.load(path.read_bytes())
    assert (tmp_path / "run").exists() == switch.is_off
