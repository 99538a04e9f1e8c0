"""Real bone label maps made whole: marrow, air cells, and where the condyles are."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from negvol_pacs.anatomy import Side
from negvol_pacs.training.fields import smooth_field, tensor_generator
from negvol_pacs.training.tissues import Tissue

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Tops = Mapping[Side, NDArray[np.float64]]

_LARGEST_CAVITY_MM2 = 200.0
_CREVICE_MM = 1.5


def lateral(side: Side) -> int:
    """Return the sign of x towards the outside."""
    return -1 if side is Side.RIGHT else 1


def condyle_tops(mandible: Mask, spacing: Sequence[float]) -> dict[Side, NDArray[np.float64]]:
    """Return the highest point of each condyle, (x, y, z) in mm from the first voxel.

    Raises
    ------
    ValueError
        If a side has no mandible.
    """
    points = np.argwhere(mandible)
    if len(points) == 0:
        raise ValueError("no mandible in the label map")
    middle = (points[:, 2].min() + points[:, 2].max()) / 2
    tops = {}
    for side, half in ((Side.RIGHT, points[points[:, 2] < middle]), (Side.LEFT, points[points[:, 2] >= middle])):
        if len(half) == 0:
            raise ValueError(f"no {side} condyle in the label map")
        # The coronoid is as high as the condyle but lies some 30 mm in front of it.
        upper = half[half[:, 0] > half[:, 0].max() - 12.0 / spacing[0]]
        head = upper[upper[:, 1] > upper[:, 1].max() - 15.0 / spacing[1]]
        cap = head[head[:, 0] > head[:, 0].max() - 4.0 / spacing[0]]
        tops[side] = (cap.mean(0) * spacing)[::-1]
    return tops


def fill_marrow(labels: Labels, lower_teeth: Mask, spacing: Sequence[float]) -> None:
    """Give the cavities inside the mandible to the mandible, in place.

    A cavity is what is enclosed in two of the three planes.
    """
    mandible = labels == Tissue.MANDIBLE
    inside = tuple(slice(s.start, s.stop) for s in ndimage.find_objects(mandible.astype(np.uint8))[0])
    solid = mandible[inside] | lower_teeth[inside]
    votes = np.zeros(solid.shape, np.uint8)
    for axis in range(3):
        planes, counts = np.moveaxis(solid, axis, 0), np.moveaxis(votes, axis, 0)
        largest = _LARGEST_CAVITY_MM2 * spacing[axis] / float(np.prod(spacing))
        for plane, count in zip(planes, counts, strict=True):
            if plane.any():
                np.add(count, _small_holes(plane, largest), out=count)
    view = labels[inside]
    view[(votes >= 2) & (view == Tissue.AIR)] = Tissue.MANDIBLE


def _small_holes(plane: Mask, largest: float) -> Mask:
    holes = ndimage.binary_fill_holes(plane) & ~plane
    parts, _ = ndimage.label(holes)
    sizes = np.bincount(parts.ravel())
    keep = sizes <= largest
    keep[0] = False
    return np.asarray(keep[parts], np.bool_)


def carve_cells(labels: Labels, spacing: Sequence[float], tops: Tops, rng: np.random.Generator) -> None:
    """Mastoid cells: cavities that the map leaves open, and more inside thick bone, in place.

    A cortex covers them all: no air lies against soft tissue. In one patient of seven the mastoid is not aerated.
    """
    aerated = rng.random() < 0.85
    for side, top in tops.items():
        part = labels[window(labels.shape, spacing, top + np.array([lateral(side) * 2.0, 26.0, -8.0]), 30.0)]
        if part.size == 0:
            continue
        skull = part == Tissue.SKULL
        closed = _closed(skull, spacing)
        cavity = closed & (part == Tissue.AIR)
        part[cavity] = Tissue.SKULL
        if aerated:
            deep = ndimage.distance_transform_edt(closed, sampling=spacing) > max(rng.uniform(0.8, 1.6), *spacing)
            part[deep & (cavity | (skull & _cells(part.shape, spacing, rng)))] = Tissue.AIR_CELL


def _cells(shape: Sequence[int], spacing: Sequence[float], rng: np.random.Generator) -> Mask:
    generator = tensor_generator(rng)
    small = smooth_field(shape, spacing, rng.uniform(2.0, 4.0), generator)
    large = smooth_field(shape, spacing, 12.0, generator)
    return np.asarray(small.add_(large, alpha=0.5).numpy() > rng.uniform(0.1, 0.9), np.bool_)


def _closed(skull: Mask, spacing: Sequence[float]) -> Mask:
    reach = [max(1, round(_CREVICE_MM / step)) for step in spacing]
    ball = sum(d**2 for d in np.meshgrid(*[np.arange(-r, r + 1) / r for r in reach], indexing="ij")) <= 1.0
    margin = max(reach)
    inner = (slice(margin, -margin),) * 3
    return np.asarray(ndimage.binary_closing(np.pad(skull, margin), ball)[inner], np.bool_)


def window(
    shape: Sequence[int], spacing: Sequence[float], centre: NDArray[np.float64], radius: float
) -> tuple[slice, ...]:
    """Return the cube around a point, (x, y, z) in mm from the first voxel, as far as it lies in the grid."""
    middle = centre[::-1] / spacing
    return tuple(
        slice(max(0, int(m - radius / s)), max(0, min(n, int(m + radius / s) + 1)))
        for m, n, s in zip(middle, shape, spacing, strict=True)
    )
