import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation.weights import BUNDLES, load_networks, models_folder
from negvol_pacs.training.batches import soft_target
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.train import train

LARGEST_BYTES = 16 << 20


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return TrainConfig(
        "bones",
        tmp_path_factory.mktemp("bundle") / "bones",
        steps=24,
        heads=1,
        head_spacing_mm=2.0,
        channels=(4, 8),
        window=32,
        edge=48,
        pool=8,
        per_step=0.0,
        learning_rate=1e-2,
        checkpoint_every=1,
        held_out=2,
        command=("negvol", "train", "bones"),
    )


@pytest.fixture(scope="module")
def trained(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, list[float], Path]:
    losses: list[float] = []
    runs = tmp_path_factory.mktemp("runs")
    train(config, runs, lambda _step, _steps, loss: losses.append(loss))
    return config, losses, runs


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(config.output / "models" / "model.safetensors")


@pytest.mark.slow
def test_training_lowers_the_loss(trained: tuple[TrainConfig, list[float], Path]) -> None:
    _, losses, _ = trained
    assert len(losses) == 24
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.slow
def test_interrupted_training_goes_on_to_the_same_weights(
    trained: tuple[TrainConfig, list[float], Path], tmp_path: Path
) -> None:
    config, _, _ = trained
    again = replace(config, output=tmp_path / "bones")

    def interrupt(step: int, _steps: int, _loss: float) -> None:
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(again, tmp_path / "runs", interrupt)
    steps: list[int] = []
    train(again, tmp_path / "runs", lambda step, _steps, _loss: steps.append(step))
    # The checkpoint after step 9 is the last one written before the interruption.
    assert steps == list(range(10, 25))
    first, second = weights(config), weights(again)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_bundle_says_how_it_was_made(trained: tuple[TrainConfig, list[float], Path]) -> None:
    config, _, _ = trained
    card = (config.output / "docs" / "README.md").read_text(encoding="utf-8")
    assert "research use only" in card.lower()
    assert "`negvol train bones`" in card
    assert "Seed 0, 24 steps" in card


@pytest.mark.slow
def test_weights_of_another_network_are_no_start(
    trained: tuple[TrainConfig, list[float], Path], tmp_path: Path
) -> None:
    config, _, _ = trained
    other = replace(config, output=tmp_path / "bones", channels=(4, 4), start=config.output)
    runs = trained[2]
    with pytest.raises(TrainingError, match="cannot start"):
        train(other, runs)


def test_nothing_to_train_on_is_an_error(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No heads"):
        train(replace(config, heads=0), tmp_path)


def test_target_is_the_share_of_each_bone() -> None:
    mandible = torch.tensor([-2.0, 0.0, 2.0, -2.0, 0.0])
    skull = torch.tensor([-2.0, -2.0, -2.0, 2.0, 0.0])
    target = soft_target(mandible, skull)
    np.testing.assert_allclose(target.sum(0), 1.0)
    np.testing.assert_allclose(target[1], [0, 0.5, 1, 0, 0.5])
    np.testing.assert_allclose(target[2], [0, 0, 0, 1, 0.5])


@pytest.mark.parametrize("name", BUNDLES)
def test_shipped_bundle_has_a_card_true_to_it(name: str) -> None:
    folder = models_folder() / name
    card = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    inference = json.loads((folder / "configs" / "inference.json").read_text(encoding="utf-8"))
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    file = folder / "models" / "model.safetensors"
    parameters = sum(tensor.numel() for tensor in load_file(file).values())
    assert file.stat().st_size <= LARGEST_BYTES
    assert f"# {name} {metadata['version']}" in card
    assert "Trained on synthetic heads; research use only" in card
    assert f"{parameters:,} parameters" in card
    assert "-".join(map(str, inference["network_def"]["channels"])) in card
    assert f"negvol train {name}" in card
    assert "Seed " in card
    assert " minutes" in card


def test_shipped_bundles_load() -> None:
    networks = load_networks(models_folder())
    assert networks.bones.spacing_mm == 0.5
    assert networks.localizer.spacing_mm == 1.6
