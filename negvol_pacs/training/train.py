"""Train a network on painted heads and write it as a MONAI bundle."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation.bundle import save_bundle
from negvol_pacs.segmentation.networks import build_network
from negvol_pacs.training.augment import crop, vary
from negvol_pacs.training.card import model_card
from negvol_pacs.training.dataset import (
    BONES_SPACING_MM,
    HEAD_SPACING_MM,
    STEPS_A_MM,
    HeadExample,
    JointExample,
)
from negvol_pacs.training.evaluate import score
from negvol_pacs.training.losses import DiceCrossEntropy, gap_weights
from negvol_pacs.training.pool import HeadPlan, Kind, Pool, Row, examples, write_sources

_HELD_OUT_SEED = 1_000_003
"""Examples for the figures of the card are drawn from another row than those for training."""

Progress = Callable[[int, int, float], None]
"""Step, number of steps, smoothed loss."""


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on what, for how long.

    Attributes
    ----------
    network
        ``localizer`` or ``bones``.
    output
        Folder of the bundle.
    steps
        Training steps.
    shapes
        Folder of real shapes; None trains on procedural heads alone.
    heads, head_spacing_mm
        Number of procedural heads, and their spacing.
    seed
        Of everything random.
    channels
        Width of each level of the V-Net.
    stride
        Of the entry: 2 halves the grid at once, which suits the localizer.
    batch
        Examples a step.
    window, patch
        Voxels along each edge that the network sees when used, and in training (None: the same).
    edge
        Voxels along each edge of a painted example; None for the usual size.
    learning_rate
        Highest; it rises and falls over the training (one cycle).
    pool, per_step, painters
        See `negvol_pacs.training.pool.Pool`.
    start
        Bundle of the same network whose weights training starts from; None for random ones.
    version
        Of the weights.
    command
        What was typed, for the model card.
    """

    network: Kind
    output: Path
    steps: int = 4000
    shapes: Path | None = None
    heads: int = 4
    head_spacing_mm: float = 0.5
    seed: int = 0
    channels: Sequence[int] = (8, 16, 32, 64)
    stride: int = 1
    batch: int = 1
    window: int = 88
    patch: int | None = None
    edge: int | None = None
    learning_rate: float = 3e-3
    pool: int = 200
    per_step: float = 0.12
    painters: int = 1
    start: Path | None = None
    version: str = "0.1.0"
    checkpoint_every: int = 50
    held_out: int = 16
    command: Sequence[str] = field(default_factory=tuple)

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result; a checkpoint of another recipe is not resumed."""
        irrelevant = ("output", "command", "painters", "checkpoint_every", "held_out", "version")
        return {key: str(value) for key, value in asdict(self).items() if key not in irrelevant}


def train(config: TrainConfig, runs: Path, progress: Progress | None = None) -> dict[str, float]:
    """Train one network and write its bundle.

    An interrupted training of the same recipe goes on from its last checkpoint.

    Parameters
    ----------
    config
        What to train.
    runs
        Folder for prepared heads and checkpoints.
    progress
        Called after each step.

    Returns
    -------
    dict[str, float]
        Figures on held-out synthetic examples, as the model card gives them.

    Raises
    ------
    TrainingError
        If the heads cannot be made or the loss is no longer a number.
    """
    folder = runs / config.network
    folder.mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.pt"
    names = _sources(config, sources)
    state = _State(config, folder / "checkpoint.pt")
    state.resume()
    began = time.monotonic() - state.seconds
    row = Row(config.network, sources, config.seed, config.edge)
    with Pool(row, config.pool, config.per_step, config.painters, state.step) as pool:
        while state.step < config.steps:
            state.learn(*_batch(config, pool.step(), state.step))
            state.seconds = time.monotonic() - began
            if progress:
                progress(state.step, config.steps, state.loss)
            if state.step % config.checkpoint_every == 0:
                state.save()
    state.save()
    held_out = examples(replace(row, seed=config.seed + _HELD_OUT_SEED), config.held_out)
    figures = score(state.network.eval(), held_out, config.window)
    card = model_card(config, names, figures, state.seconds, state.parameters)
    edge = config.window
    save_bundle(
        config.output,
        state.network,
        state.arguments,
        spacing_mm=BONES_SPACING_MM if config.network == "bones" else HEAD_SPACING_MM,
        window=(edge, edge, edge),
        version=config.version,
        description=f"V-Net for {config.network}, trained on synthetic heads.",
        card=card,
    )
    return figures


def _sources(config: TrainConfig, path: Path) -> list[str]:
    """Prepare the heads once a recipe."""
    plan = HeadPlan(config.shapes, config.heads, config.seed, config.head_spacing_mm)
    key = {name: str(value) for name, value in asdict(plan).items()}
    note = path.with_suffix(".json")
    if path.is_file() and note.is_file():
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["key"] == key:
            return list(known["names"])
    names = write_sources(path, config.network, plan)
    if not names:
        raise TrainingError("No heads to train on: give a folder of shapes or a number of procedural heads.")
    note.write_text(json.dumps({"key": key, "names": names}), encoding="utf-8")
    return names


class _State:
    """Network, optimiser and schedule; what a checkpoint holds."""

    def __init__(self, config: TrainConfig, path: Path) -> None:
        torch.manual_seed(config.seed)
        self._config, self._path = config, path
        self.arguments = {
            "in_channels": 1,
            "out_channels": 3,
            "channels": list(config.channels),
            "convolutions": [1] + [2] * (len(config.channels) - 1),
            "act": "LEAKYRELU",
            "stride": config.stride,
        }
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = build_network("VNet", **self.arguments).to(self.device)
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if config.start is not None:
            _begin_with(self.network, config.start)
        self.parameters = sum(parameter.numel() for parameter in self.network.parameters())
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=0.01)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.1
        )
        self._criterion = DiceCrossEntropy()
        self.step, self.seconds, self.loss = 0, 0.0, math.nan

    def learn(self, image: Tensor, target: Tensor, weights: Tensor | None) -> None:
        """Take one step."""
        image = image.to(self.device, memory_format=torch.channels_last_3d)
        target = target.to(self.device)
        weights = None if weights is None else weights.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits = self.network.coarse(image)
        if logits.shape != target.shape:
            target = functional.adaptive_avg_pool3d(target, logits.shape[2:])
        loss = self._criterion(logits.float(), target, weights)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"The loss is {value} at step {self.step}; lower the learning rate.")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value

    def save(self) -> None:
        """Write a checkpoint; a kill while writing leaves the former one."""
        partial = self._path.with_suffix(".partial")
        content = {
            "recipe": self._config.recipe(),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
        }
        torch.save(content, partial)
        partial.replace(self._path)

    def resume(self) -> None:
        """Go on from a checkpoint of the same recipe, if there is one."""
        if not self._path.is_file():
            return
        content = torch.load(self._path, map_location=self.device, weights_only=True)
        if content["recipe"] != self._config.recipe():
            return
        self.network.load_state_dict(content["network"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._schedule.load_state_dict(content["schedule"])
        self.step, self.seconds, self.loss = content["step"], content["seconds"], content["loss"]


def _begin_with(network: nn.Module, bundle: Path) -> None:
    """Copy a bundle's weights."""
    try:
        network.load_state_dict(load_file(bundle / "models" / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f"{bundle}: training cannot start from these weights: {error}") from error


def _batch(
    config: TrainConfig, pool: Sequence[JointExample | HeadExample], step: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    rng = np.random.default_rng((config.seed, 7, step))
    chosen = [pool[int(number)] for number in rng.integers(len(pool), size=config.batch)]
    parts = [_crop(example, config.patch or config.window, rng) for example in chosen]
    images = torch.stack([vary(image, rng) for image, _, _ in parts])[:, None]
    targets = torch.stack([target for _, target, _ in parts])
    weights = [weight for _, _, weight in parts if weight is not None]
    return images, targets, torch.stack(weights) if weights else None


def _crop(
    example: JointExample | HeadExample, window: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Random window: image, probability of each class, weights."""
    image = torch.from_numpy(example.image).float()
    if isinstance(example, HeadExample):
        labels = torch.from_numpy(example.labels)
        image, right, left = crop(torch.stack([image, labels == 1, labels == 2]), window, rng)
        return image, torch.stack([1 - right - left, right, left]), None
    mandible, skull = (torch.from_numpy(part).float() / STEPS_A_MM for part in (example.mandible, example.skull))
    image, mandible, skull = crop(torch.stack([image, mandible, skull]), window, rng)
    return image, soft_target(mandible, skull), gap_weights(mandible, skull)


def soft_target(mandible: Tensor, skull: Tensor) -> Tensor:
    """Share of each voxel that background, mandible and skull take up.

    Parameters
    ----------
    mandible, skull
        Signed distance of the voxel's centre from the surface, mm, positive inside, same shape.

    Returns
    -------
    Tensor
        Shape (3, …).
    """
    bones = [(0.5 + distance / BONES_SPACING_MM).clamp(0, 1) for distance in (mandible, skull)]
    first = bones[0]
    second = torch.minimum(bones[1], 1 - first)
    return torch.stack([1 - first - second, first, second])
