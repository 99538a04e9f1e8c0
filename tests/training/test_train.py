import json
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from negvol_pacs.errors import ConfigError, TrainingError
from negvol_pacs.segmentation.shipped import BUNDLES, models_folder
from negvol_pacs.segmentation.weights import load_bundle, load_networks
from negvol_pacs.training.batches import soft_target, whole
from negvol_pacs.training.card import model_card
from negvol_pacs.training.dataset import JointExample
from negvol_pacs.training.learner import Learner
from negvol_pacs.training.losses import LOSSES, Loss
from negvol_pacs.training.recipe import TrainConfig, load_recipe
from negvol_pacs.training.train import spacing_of, train

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
        precision="bf16",
        tensorboard=False,
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


KILLED = """
import os, pickle, signal, sys
from negvol_pacs.training.recipe import load_recipe
from negvol_pacs.training.train import train

def show(step, steps, loss):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

train(pickle.loads(bytes.fromhex(sys.argv[1])), sys.argv[2], show)
"""


@pytest.mark.slow
def test_killed_training_goes_on_to_the_same_weights(
    trained: tuple[TrainConfig, list[float], Path], tmp_path: Path
) -> None:
    config, _, runs = trained
    for name in ("whole", "runs"):  # the heads need not be made anew
        shutil.copytree(runs, tmp_path / name, ignore=shutil.ignore_patterns("checkpoint*"))
    short = replace(config, steps=8, painters=0, pool=2, output=tmp_path / "whole" / "bones")
    train(short, tmp_path / "whole")
    again = replace(short, output=tmp_path / "bones")
    program = KILLED.replace("sys.argv[2]", "pathlib.Path(sys.argv[2])").replace("import os", "import os, pathlib")
    command = [sys.executable, "-c", program, pickle.dumps(again).hex(), str(tmp_path / "runs")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    steps: list[int] = []
    train(again, tmp_path / "runs", lambda step, _steps, _loss: steps.append(step))
    # The checkpoint after step 4 is the last one written before the kill.
    assert steps == list(range(5, 9))
    first, second = weights(short), weights(again)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=1e-4)


def test_a_bundle_of_another_name_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="must be called bones"):
        train(TrainConfig("bones", tmp_path / "mine"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_training_stops_early_and_keeps_the_best_weights(config: TrainConfig, tmp_path: Path) -> None:
    # A learning rate of next to nothing: the first look is the best one.
    still = replace(
        config,
        learning_rate=1e-12,
        validate_every=1,
        patience=2,
        painters=0,
        pool=1,
        held_out=1,
        tensorboard=True,
        output=tmp_path / "bones",
    )
    steps: list[int] = []
    train(still, tmp_path / "runs", lambda step, _steps, _loss: steps.append(step))
    assert len(steps) <= 4
    assert f"Seed 0, {len(steps)} steps" in (tmp_path / "bones" / "docs" / "README.md").read_text()
    pytest.importorskip("tensorboard")
    assert list((tmp_path / "runs" / "bones" / "tensorboard").glob("events*"))


@pytest.mark.parametrize(("loss", "architecture"), list(zip(LOSSES, cycle(["unet", "multiplanar-unet"]), strict=False)))
def test_every_loss_trains_other_networks(loss: Loss, architecture: str, config: TrainConfig, tmp_path: Path) -> None:
    chosen = replace(config, loss=loss, architecture=architecture, channels=(4, 4, 8), tensorboard=False)
    learner = Learner(chosen, tmp_path / "checkpoint.pt")
    rng = np.random.default_rng(0)
    mandible = np.full((32, 32, 32), -60, np.int8)
    mandible[:12] = 60
    skull = mandible[::-1].copy()
    image = np.where((mandible > 0) | (skull > 0), 1, 0) + rng.normal(0, 0.1, mandible.shape)
    example = JointExample(image.astype(np.float16), mandible, skull)
    losses = [learner.learn(whole(example, loss)) for _ in range(12)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_what_is_not_known_teaches_nothing(config: TrainConfig, tmp_path: Path) -> None:
    bone = np.full((32, 32, 32), -60, np.int8)
    known = np.zeros(bone.shape, np.bool_)
    known[:8] = True
    lies = np.where(known, bone, 60).astype(np.int8)
    image = np.zeros(bone.shape, np.float16)
    changed = []
    for skull in (bone, lies):
        learner = Learner(replace(config, loss="dice+ce", precision="fp32"), tmp_path / "checkpoint.pt")
        learner.learn(whole(JointExample(image, bone, skull, known), "dice+ce"))
        changed.append(learner.network.state_dict()["exit.bias"].clone())
    torch.testing.assert_close(changed[0], changed[1])


def test_recipe_comes_from_a_file_and_options_go_before_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('architecture = "unet"\nsteps = 7\nchannels = [4, 8, 8]\n')
    recipe = load_recipe(path, {"network": "bones", "output": tmp_path, "steps": 9, "seed": None}, {"seed": 3})
    assert (recipe.architecture, recipe.steps, recipe.seed, list(recipe.channels)) == ("unet", 9, 3, [4, 8, 8])
    path.write_text('archtecture = "unet"\nloss = "l2"\n')
    with pytest.raises(ConfigError, match=r"loss: .*archtecture: Unexpected|archtecture: .*loss: "):
        load_recipe(path, {"network": "bones", "output": tmp_path})


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


@pytest.mark.parametrize(("variety", "absent"), [(0.0, True), (1.0, False)])
def test_card_says_whether_children_were_among_the_heads(tmp_path: Path, variety: float, absent: bool) -> None:
    config = TrainConfig("bones", tmp_path, variety=variety)
    card = model_card(config, ["procedural 1"], figures={}, seconds=60, parameters=1, steps=1)
    assert ("children, tumours" in card) == absent
    assert "fused joints were not among the heads" in card


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


@pytest.mark.parametrize(("edge", "spacing"), [(None, 1.6), (160, 1.6), (128, 2.0), (64, 4.0)])
def test_a_localizer_is_used_at_the_spacing_that_it_learnt_at(edge: int | None, spacing: float) -> None:
    """Its examples show the same cube however many voxels they have."""
    assert spacing_of(TrainConfig("localizer", Path("localizer"), edge=edge)) == pytest.approx(spacing)


def test_a_small_localizer_is_saved_with_its_spacing(tmp_path: Path) -> None:
    config = TrainConfig(
        "localizer", tmp_path / "localizer", steps=1, heads=1, head_spacing_mm=3.0, channels=(4, 8), stride=2,
        window=32, edge=32, pool=1, per_step=0.0, painters=0, held_out=1, precision="fp32", tensorboard=False,
    )  # fmt: skip
    train(config, tmp_path / "runs")
    assert load_bundle(config.output).spacing_mm == pytest.approx(8.0)


def test_shipped_bundles_load() -> None:
    networks = load_networks(models_folder())
    assert networks.bones.spacing_mm == 0.5
    assert networks.localizer.spacing_mm == 1.6
