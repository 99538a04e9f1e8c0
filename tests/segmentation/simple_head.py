"""A head of simple shapes, seen on any grid, and networks that know tissues by their grey value.

The networks are real modules; only their knowledge is simple. What is tested with them is
everything around the weights: grids, sides, windows, masks.
"""

from functools import cache
from itertools import pairwise

import highdicom as hd
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.intensity import normalise_voi
from negvol_pacs.segmentation.weights import Bundle, Networks

AIR, SOFT, CONDYLE, SKULL = -1000.0, 40.0, 1000.0, 1800.0
CENTRES = {Side.RIGHT: np.array([-50.0, 12.0, 3.0]), Side.LEFT: np.array([50.0, 10.0, 5.0])}


def tissue(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Hounsfield units at LPS mm, shape (..., 3): a head with two condyles under two roofs."""
    x, y, z = np.moveaxis(points, -1, 0)
    head = (x / 78) ** 2 + (y / 95) ** 2 + ((z - 25) / 105) ** 2
    result = np.where(head < 1, SOFT, AIR).astype(np.float32)
    vault = (head < 0.9) & (head > 0.75) & (z > 15)
    result[vault] = SKULL
    for right, back, up in CENTRES.values():
        near = (np.abs(x - right) < 20) & (np.abs(y - back) < 16) & (np.abs(z - up + 8) < 22)
        dx, dy, dz = x[near] - right, y[near] - back, z[near] - up
        found = result[near]
        found[((dx / 12) ** 2 + (dy / 8) ** 2 + (dz / 9) ** 2 > 1) & (dz > -2)] = SKULL
        neck = (np.abs(dx) < 4) & (np.abs(dy) < 4) & (dz < 0)
        found[((dx / 9) ** 2 + (dy / 5) ** 2 + (dz / 6) ** 2 < 1) | neck] = CONDYLE
        result[near] = found
    return result


def see(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> hd.Volume:
    """Scan the head on any grid; each voxel is the mean of eight points in it."""
    index = np.moveaxis(np.indices(shape, dtype=np.float32), 0, -1)
    turn, first = affine[:3, :3].T.astype(np.float32), affine[:3, 3].astype(np.float32)
    total = np.zeros(shape, dtype=np.float32)
    for shift in np.ndindex(2, 2, 2):
        total += tissue((index + (np.array(shift, dtype=np.float32) - 0.5) / 2) @ turn + first)
    return hd.Volume((total / 8).round().astype(np.int16), affine, coordinate_system="PATIENT")


@cache
def axial(spacing: tuple[float, float, float] = (1.0, 0.9, 0.9)) -> hd.Volume:
    """The head in axial slices, first slice lowest."""
    low, high = np.array([-90.0, -105.0, -70.0]), np.array([90.0, 105.0, 135.0])
    slices, rows, columns = spacing
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, columns], [0, rows, 0], [slices, 0, 0]])
    affine[:3, 3] = low
    shape = tuple(int(length / step) for length, step in zip((high - low)[::-1], spacing, strict=True))
    return see(affine, shape)  # type: ignore[arg-type]


class KnowsCondyles(nn.Module):
    """Localizer double: condyle-like grey values, right or left of the middle of what is given."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of background, right, left."""
        share = ((image > 0.35) & (image < 1.35)).float()
        for reach in np.diag((2, 2, 2)).tolist():  # axis by axis: a quarter of the time of a cube
            share = nn.functional.avg_pool3d(share, [2 * n + 1 for n in reach], stride=1, padding=reach)
        joint = 20.0 * (share - 0.45)
        left = torch.arange(image.shape[-1]) >= image.shape[-1] // 2
        never = torch.full_like(joint, -20.0)
        return torch.cat((torch.zeros_like(joint), torch.where(left, never, joint), torch.where(left, joint, never)), 1)


class KnowsBones(nn.Module):
    """Bones double: logits by distance of the grey value from two levels of a VOI in HU."""

    def __init__(self, levels: tuple[float, float, float]) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.levels = levels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of background, MC, TB."""
        soft, condyle, skull = self.levels
        low, high = ((a + b) / 2 for a, b in pairwise((soft, condyle, skull)))
        mc = torch.minimum(image - low, high - image)
        return 10.0 * torch.cat((torch.zeros_like(image), mc, torch.minimum(image - high, 2 * (image - low))), 1)


def knowing_networks() -> Networks:
    """Networks that know this head."""
    voi = grid.resample(axial(), grid.canonical_grid(CENTRES[Side.RIGHT], 0.5), order=3)
    normal = normalise_voi(voi)
    core = (voi > -100) & (voi < 2000)
    slope, zero = np.polyfit(voi[core], normal[core], 1)
    soft, condyle, skull = (float(slope * hu + zero) for hu in (SOFT, CONDYLE, SKULL))
    return Networks(
        localizer=Bundle(KnowsCondyles(), 1.6, (160, 160, 160), "test"),
        bones=Bundle(KnowsBones((soft, condyle, skull)), 0.5, (96, 96, 96), "test"),
        device=torch.device("cpu"),
        sha256="0" * 64,
        version="test",
    )
