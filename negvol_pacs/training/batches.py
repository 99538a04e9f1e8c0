"""From painted examples to what the network sees at one step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from negvol_pacs.training.augment import crop, vary
from negvol_pacs.training.dataset import BONES_SPACING_MM, STEPS_A_MM, HeadExample, JointExample
from negvol_pacs.training.losses import Loss, weights_for
from negvol_pacs.training.recipe import TrainConfig


@dataclass(frozen=True)
class Batch:
    """Images (batch, 1, z, y, x), target (batch, classes, …), weights and known voxels (batch, …) or None."""

    image: Tensor
    target: Tensor
    weights: Tensor | None = None
    known: Tensor | None = None


def draw(config: TrainConfig, pool: Sequence[JointExample | HeadExample], step: int) -> Batch:
    """Draw the batch of a step: it depends on the seed, the step and the pool alone."""
    rng = np.random.default_rng((config.seed, 7, step))
    chosen = [pool[int(number)] for number in rng.integers(len(pool), size=config.batch)]
    parts = [_crop(example, config, rng) for example in chosen]
    weak = rng.random(len(parts)) >= config.augmentation
    images = [part.image if plain else vary(part.image, rng) for part, plain in zip(parts, weak, strict=True)]
    weights = [part.weights for part in parts if part.weights is not None]
    known = [torch.ones_like(part.image) if part.known is None else part.known for part in parts]
    return Batch(
        torch.stack(images)[:, None],
        torch.stack([part.target for part in parts]),
        torch.stack(weights) if weights else None,
        torch.stack(known) if any(part.known is not None for part in parts) else None,
    )


def _crop(example: JointExample | HeadExample, config: TrainConfig, rng: np.random.Generator) -> Batch:
    """Random window of one example, without a batch's axis."""
    window = config.patch or config.window
    turned = 0.35 * config.augmentation
    image = torch.from_numpy(example.image).float()
    if isinstance(example, HeadExample):
        labels = torch.from_numpy(example.labels)
        image, right, left = crop(torch.stack([image, labels == 1, labels == 2]), window, rng, turned)
        return Batch(image, torch.stack([1 - right - left, right, left]))
    bones = [torch.from_numpy(part).float() / STEPS_A_MM for part in (example.mandible, example.skull)]
    layers = [image, *bones] if example.known is None else [image, *bones, torch.from_numpy(example.known).float()]
    image, mandible, skull, *known = crop(torch.stack(layers), window, rng, turned)
    weights = weights_for(config.loss, mandible, skull)
    target = soft_target(mandible, skull, config.spacing_mm)
    return Batch(image, target, weights, (known[0] > 0.5).float() if known else None)


def whole(example: JointExample, loss: Loss, spacing_mm: float = BONES_SPACING_MM) -> Batch:
    """Put a whole example into a batch of one, unchanged."""
    mandible, skull = (torch.from_numpy(part).float() / STEPS_A_MM for part in (example.mandible, example.skull))
    weights = weights_for(loss, mandible, skull)
    known = None if example.known is None else torch.from_numpy(example.known).float()[None]
    image = torch.from_numpy(example.image).float()[None, None]
    target = soft_target(mandible, skull, spacing_mm)[None]
    return Batch(image, target, None if weights is None else weights[None], known)


def soft_target(mandible: Tensor, skull: Tensor, spacing_mm: float = BONES_SPACING_MM) -> Tensor:
    """Share of each voxel that background, mandible and skull take up.

    Parameters
    ----------
    mandible, skull
        Signed distance of the voxel's centre from the surface, mm, positive inside, same shape.
    spacing_mm
        Edge of a voxel.

    Returns
    -------
    Tensor
        Shape (3, …).
    """
    bones = [(0.5 + distance / spacing_mm).clamp(0, 1) for distance in (mandible, skull)]
    first = bones[0]
    second = torch.minimum(bones[1], 1 - first)
    return torch.stack([1 - first - second, first, second])
