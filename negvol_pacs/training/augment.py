"""Cheap changes to painted examples, fresh at every step."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from negvol_pacs.segmentation.intensity import AIR, METAL
from negvol_pacs.training.fields import average_slices, blur, tensor_generator
from negvol_pacs.training.motion import head_pose


def crop(channels: Tensor, edge: int, rng: np.random.Generator, turned: float = 0.35) -> Tensor:
    """Cut a random cube; every third time or so turned and scaled a little.

    Parameters
    ----------
    channels
        Shape (channels, z, y, x), float32; linear interpolation must suit all of them.
    edge
        Voxels of the result, no more than the input has.
    rng
        Source of everything random.
    turned
        How often it is turned.
    """
    spare = np.array(channels.shape[1:]) - edge
    first = [int(rng.integers(0, n + 1)) for n in spare]
    if rng.random() > turned:
        box = (slice(None), *(slice(f, f + edge) for f in first))
        return channels[box].clone()
    size = torch.tensor(channels.shape[1:], dtype=torch.float32)
    pose = head_pose(rng, (10, 10, 10), (0, 0, 0)).matrix
    middle = (torch.tensor(first, dtype=torch.float32) + edge / 2) * 2 / size - 1
    # Rows and columns of theta are in (x, y, z) order.
    matrix = torch.from_numpy(pose.astype(np.float32)) * edge / size[:, None]
    theta = torch.cat((matrix.flip(0, 1), middle.flip(0)[:, None]), dim=1)[None]
    grid = functional.affine_grid(theta, [1, len(channels), edge, edge, edge], align_corners=False)
    return functional.grid_sample(channels[None], grid, padding_mode="border", align_corners=False)[0]


def vary(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Change contrast, sharpness, noise and slice thickness of a normalised image.

    Parameters
    ----------
    image
        Shape (z, y, x), float32; may be changed in place.
    """
    if rng.random() < 0.25:
        image = average_slices(image, rng.uniform(1.5, 6.0))
    if rng.random() < 0.15:
        image = blur(image, (rng.uniform(0.3, 1.2),) * 3)
    if rng.random() < 0.3:
        power = rng.uniform(0.75, 1.35)
        image = torch.where(image > 0, image.clamp(min=1e-4) ** power, image)
    image = image.mul_(rng.uniform(0.8, 1.25)).add_(rng.uniform(-0.12, 0.12))
    if rng.random() < 0.4:
        noise = torch.randn(image.shape, generator=tensor_generator(rng))
        image.add_(noise, alpha=rng.uniform(0.0, 0.2))
    if rng.random() < 0.08:
        _cut_field(image, rng)
    return image.clamp_(AIR, METAL)


def _cut_field(image: Tensor, rng: np.random.Generator) -> None:
    """Hide a slab at one border, as where the field of view ends."""
    axis = int(rng.integers(3))
    depth = int(rng.integers(2, image.shape[axis] // 3))
    start = 0 if rng.random() < 0.5 else image.shape[axis] - depth
    image.narrow(axis, start, depth).zero_()
