"""Random fields and blurring for synthetic images, on float32 tensors of one volume."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def tensor_generator(rng: np.random.Generator) -> torch.Generator:
    """Return a torch generator whose state comes from ``rng``."""
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))


def smooth_field(
    shape: Sequence[int], spacing: Sequence[float], cell_mm: float, generator: torch.Generator, most: int = 64
) -> Tensor:
    """Draw Gaussian noise that varies over about ``cell_mm``.

    Parameters
    ----------
    shape
        Of the field, three axes.
    spacing
        Millimetres along each axis.
    cell_mm
        Distance between independent values, which are interpolated linearly.
    generator
        Source of the values.
    most
        Largest number of independent values along an axis.

    Returns
    -------
    Tensor
        Shape ``shape``, float32, mean about 0, standard deviation about 0.6 to 1.
    """
    cells = [min(most, n, max(2, math.ceil(n * s / cell_mm) + 1)) for n, s in zip(shape, spacing, strict=True)]
    coarse = torch.randn((1, 1, *cells), generator=generator)
    return functional.interpolate(coarse, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def blur(volume: Tensor, sigma: Sequence[float]) -> Tensor:
    """Blur with a Gaussian, borders repeated.

    Parameters
    ----------
    volume
        Shape (z, y, x), float32.
    sigma
        Standard deviation in voxels along each axis; below 0.2 nothing happens.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    for axis, width in enumerate(sigma):
        if width >= 0.2:
            volume = _blur_axis(volume, axis, width)
    return volume


def _blur_axis(volume: Tensor, axis: int, sigma: float) -> Tensor:
    # Sums of shifted views: several times faster than a convolution with one channel.
    length = volume.shape[axis]
    radius = min(max(1, math.ceil(2.5 * sigma)), length - 1)
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(radius + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    first, last = volume.narrow(axis, 0, 1), volume.narrow(axis, length - 1, 1)
    size = [-1, -1, -1]
    size[axis] = radius
    padded = torch.cat([first.expand(size), volume, last.expand(size)], dim=axis)
    result = volume * (weights[0] / total)
    for step in range(1, radius + 1):
        for offset in (radius - step, radius + step):
            result.add_(padded.narrow(axis, offset, length), alpha=weights[step] / total)
    return result


def average_slices(volume: Tensor, factor: float) -> Tensor:
    """Replace slices by averages over ``factor`` slices, then interpolate back.

    This is what a thick slice does to an image that is later resampled to a fine grid.
    """
    depth = volume.shape[0]
    count = max(2, round(depth / factor))
    stack = volume.reshape(1, 1, depth, -1)
    thick = functional.interpolate(stack, size=(count, stack.shape[-1]), mode="area")
    back = functional.interpolate(thick, size=(depth, stack.shape[-1]), mode="bilinear", align_corners=False)
    return back.reshape(volume.shape)
