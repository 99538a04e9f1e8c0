"""Random poses: of the whole head, and of the mandible on its own.

All maps go from the new picture back to the source: millimetres from the joint's centre,
components in array order (z, y, x), as `torch.nn.functional.grid_sample` needs them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from negvol_pacs.training.fields import smooth_field, tensor_generator


@dataclass(frozen=True)
class Affine:
    """p → matrix · p + shift."""

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    def __call__(self, points: Tensor) -> Tensor:
        """Map points, shape (3, ...)."""
        matrix = torch.from_numpy(self.matrix.astype(np.float32))
        shift = torch.from_numpy(self.shift.astype(np.float32))
        return (matrix @ points.reshape(3, -1)).add_(shift[:, None]).reshape(points.shape)

    def direction(self, source: Sequence[float]) -> tuple[float, float, float]:
        """Say where a direction of the source points in the new picture: a unit vector (z, y, x)."""
        z, y, x = np.linalg.solve(self.matrix, np.asarray(source))
        length = math.hypot(z, y, x)
        return float(z) / length, float(y) / length, float(x) / length


def rotation(angles: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix on (z, y, x) components, radians about the z, the y and the x axis."""
    about_z, about_y, about_x = angles
    result = np.eye(3)
    for (i, j), angle in (((1, 2), about_z), ((0, 2), about_y), ((0, 1), about_x)):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        result = turn @ result
    return result


def head_pose(
    rng: np.random.Generator, most_degrees: Sequence[float], shift_mm: Sequence[float], *, own_size: bool = False
) -> Affine:
    """Draw turn, shift, and unless it keeps its own, size (0.87 to 1.15, each axis a little apart) of a head."""
    limits = np.radians(most_degrees)
    size = 1.0 if own_size else rng.uniform(0.9, 1.12) * rng.uniform(0.96, 1.04, 3)
    return Affine(rotation(rng.uniform(-limits, limits)) / size, rng.uniform(-1, 1, 3) * np.asarray(shift_mm))


def jaw_pose(rng: np.random.Generator) -> Affine:
    """Draw the mandible's pose about the condyle: closed, a little off, or up to wide open.

    To open, the condyle turns about the transverse axis (the chin goes down and back) and
    slides down and forward along the eminence.
    """
    kind = rng.random()
    angles = rng.uniform(-0.05, 0.05, 3)
    if kind < 0.45:
        slide = rng.uniform(-0.5, 0.5, 3)
    elif kind < 0.7:
        slide = rng.uniform((-2.0, -2.0, -1.5), (0.8, 1.2, 1.5))
    else:
        opening = rng.uniform(0.1, 1.0)
        angles[2] += -0.45 * opening
        forward = 13.0 * opening * rng.uniform(0.3, 1.0)
        slide = np.array([-forward * rng.uniform(0.3, 0.7), -forward, 0.0]) + rng.uniform(-0.6, 0.6, 3)
    back = rotation(angles).T
    return Affine(back, -back @ slide)


def wobble(shape: Sequence[int], spacing: float, rng: np.random.Generator, coarse_mm: float, fine_mm: float) -> Tensor:
    """Draw a smooth deformation, mm, shape (3, z, y, x): amplitudes over 20 mm and over 9 mm cells."""
    generator = tensor_generator(rng)
    steps = (spacing,) * 3

    def component() -> Tensor:
        fine = smooth_field(shape, steps, 9.0, generator)
        return smooth_field(shape, steps, 20.0, generator).mul_(coarse_mm).add_(fine, alpha=fine_mm)

    return torch.stack([component() for _ in range(3)])


def mesh(shape: Sequence[int], spacing: float) -> Tensor:
    """Millimetres of a grid's voxels from its middle, shape (3, z, y, x)."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * spacing for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def sample(volume: Tensor, points: Tensor, spacing: float, middle: Sequence[float], nearest: bool = False) -> Tensor:
    """Look up a volume at points.

    Parameters
    ----------
    volume
        Shape (z, y, x).
    points
        Millimetres from ``middle``, shape (3, ...).
    spacing
        Of the volume, mm.
    middle
        Index (z, y, x) of the origin.
    nearest
        Nearest voxel instead of linear interpolation.
    """
    size = torch.tensor(volume.shape, dtype=torch.float32)
    index = points / spacing + torch.tensor([float(m) for m in middle]).view(3, 1, 1, 1)
    unit = ((index * 2 + 1) / size.view(3, 1, 1, 1) - 1).flip(0).movedim(0, -1)[None]
    mode = "nearest" if nearest else "bilinear"
    source = volume[None, None].float()
    return functional.grid_sample(source, unit, mode=mode, padding_mode="border", align_corners=False)[0, 0]
