"""Soft tissue, airways and neighbouring bones around real bones.

A network that has only seen bare bones takes whatever is dense near the joint for the
condyle; so a head made from a bone label map gets what a CT shows around its bones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image
from torch.nn import functional

from negvol_pacs.anatomy import Side
from negvol_pacs.training import neck
from negvol_pacs.training.fields import smooth_field, tensor_generator
from negvol_pacs.training.solids import Points, box, capsule, chain, ellipsoid, union
from negvol_pacs.training.tissues import Tissue

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]

COARSE_MM = 2.0
"""Spacing at which soft tissue is laid out."""

_BONE_CODES = {1: Tissue.SKULL, 2: Tissue.MANDIBLE, 3: Tissue.TEETH, 4: Tissue.TEETH, 5: Tissue.MANDIBLE}


def clothe(bones: Labels, spacing: Sequence[float], rng: np.random.Generator) -> Labels:
    """Give bones the soft tissue, air and neighbouring bones of a head.

    Parameters
    ----------
    bones
        0 nothing, 1 skull, 2 mandible, 3 and 4 upper and lower teeth, 5 mandibular canal;
        shape (z, y, x), z to superior, y to posterior, x to left. May be cropped.
    spacing
        Millimetres along (z, y, x).
    rng
        Source of everything random; call again for another patient in the same bones.

    Returns
    -------
    NDArray[np.uint8]
        `Tissue` of each voxel, same shape.

    Raises
    ------
    ValueError
        If there is no mandible with two condyles to orient by.
    """
    table = np.zeros(256, np.uint8)
    for code, tissue in _BONE_CODES.items():
        table[code] = tissue
    labels = table[bones]
    steps = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    fill_marrow(labels, bones == 4, steps)
    heads = condyle_tops(labels == Tissue.MANDIBLE, steps)
    _cells(labels, steps, heads, rng)
    layout = _Layout.of(labels, steps, heads)
    result = layout.soft_tissue(labels, rng)
    layout.airways(result, rng)
    _neighbours(result, steps, heads, rng)
    if rng.random() < 0.5:
        _fillings(result, steps, rng)
    return result


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
    low, high = points.min(0), points.max(0)
    middle = (low[2] + high[2]) / 2
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
        most = 800.0 * spacing[axis] / np.prod(spacing)
        for plane, count in zip(planes, counts, strict=True):
            if plane.any():
                np.add(count, _small_holes(plane, most), out=count)
    view = labels[inside]
    view[(votes >= 2) & (view == Tissue.AIR)] = Tissue.MANDIBLE


def _small_holes(plane: Mask, most: float) -> Mask:
    holes = ndimage.binary_fill_holes(plane) & ~plane
    if not holes.any():
        return holes
    parts, _ = ndimage.label(holes)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    keep = (sizes > 0) & (sizes <= most)
    return np.asarray(keep[parts])


def _cells(
    labels: Labels, spacing: Sequence[float], heads: dict[Side, NDArray[np.float64]], rng: np.random.Generator
) -> None:
    """Mastoid cells: cavities that the map leaves open, and more inside thick bone, in place."""
    aerated = rng.random() < 0.85
    for side, top in heads.items():
        lateral = -1 if side is Side.RIGHT else 1
        centre = top + np.array([lateral * 2.0, 26.0, -8.0])
        window = _window(labels.shape, spacing, centre, 30.0)
        part = labels[window]
        if part.size == 0:
            continue
        skull = part == Tissue.SKULL
        radius = [max(1, round(1.5 / step)) for step in spacing]
        ball = np.stack(np.meshgrid(*[np.arange(-r, r + 1) / r for r in radius], indexing="ij"))
        closed = ndimage.binary_closing(np.pad(skull, 8), (ball**2).sum(0) <= 1.0)[8:-8, 8:-8, 8:-8]
        cavities = closed & ~skull & (part == Tissue.AIR)
        part[cavities] = Tissue.AIR_CELL if aerated else Tissue.SKULL
        if not aerated:
            continue
        deep = ndimage.distance_transform_edt(closed, sampling=spacing) > rng.uniform(0.8, 1.6)
        generator = tensor_generator(rng)
        size = rng.uniform(2.0, 4.0)
        cells = smooth_field(part.shape, spacing, size, generator) + 0.5 * smooth_field(
            part.shape, spacing, 12.0, generator
        )
        part[deep & skull & (cells.numpy() > rng.uniform(0.1, 0.9))] = Tissue.AIR_CELL


def _window(
    shape: Sequence[int], spacing: Sequence[float], centre: NDArray[np.float64], radius: float
) -> tuple[slice, ...]:
    middle = centre[::-1] / spacing
    return tuple(
        slice(max(0, int(m - radius / s)), max(0, min(n, int(m + radius / s) + 1)))
        for m, n, s in zip(middle, shape, spacing, strict=True)
    )


@dataclass(frozen=True)
class _Layout:
    """The head at a coarse spacing, as signed distances from which fine masks are cut."""

    shape: tuple[int, ...]
    factors: tuple[int, ...]
    spacing: NDArray[np.float64]
    heads: dict[Side, NDArray[np.float64]]
    bone: Mask
    skull: Mask
    jaw: Mask

    @classmethod
    def of(cls, labels: Labels, spacing: Sequence[float], heads: dict[Side, NDArray[np.float64]]) -> "_Layout":
        factors = tuple(max(1, round(COARSE_MM / step)) for step in spacing)

        def shrink(mask: Mask) -> Mask:
            padding = [(0, -n % f) for n, f in zip(mask.shape, factors, strict=True)]
            grid = np.pad(mask, padding)
            blocks = grid.reshape([k for n, f in zip(grid.shape, factors, strict=True) for k in (n // f, f)])
            return np.asarray(blocks.any((1, 3, 5)))

        skull = (labels == Tissue.SKULL) | (labels == Tissue.AIR_CELL)
        coarse = np.array([s * f for s, f in zip(spacing, factors, strict=True)])
        jaw = shrink(labels == Tissue.MANDIBLE)
        return cls(labels.shape, factors, coarse, heads, shrink(labels != Tissue.AIR), shrink(skull), jaw)

    @property
    def middle(self) -> NDArray[np.float64]:
        return (self.heads[Side.RIGHT] + self.heads[Side.LEFT]) / 2

    @property
    def points(self) -> Points:
        z, y, x = (
            ((np.arange(n) + 0.5 - 0.5 / f) * s).astype(np.float32)
            for n, s, f in zip(self.bone.shape, self.spacing, self.factors, strict=True)
        )
        return Points(x[None, None, :], y[None, :, None], z[:, None, None])

    def fine(self, field: NDArray[np.floating]) -> NDArray[np.float32]:
        size = [n * f for n, f in zip(field.shape, self.factors, strict=True)]
        tensor = torch.from_numpy(np.ascontiguousarray(field, np.float32))[None, None]
        large = functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)[0, 0]
        nz, ny, nx = self.shape
        return large[:nz, :ny, :nx].numpy()

    def brain(self) -> Mask:
        """Return the cranial cavity: inside the skull's hull on axial planes, above its base and behind its front."""
        reach = 5
        closed = ndimage.binary_closing(np.pad(self.skull, reach), iterations=3)[
            reach:-reach, reach:-reach, reach:-reach
        ]
        ring = np.stack([convex_hull_image(plane) if plane.any() else plane for plane in self.skull])
        gap = np.ones((1, round(16 / self.spacing[1]), round(16 / self.spacing[2])), bool)
        below = ndimage.binary_closing(np.maximum.accumulate(closed, axis=0), gap)
        before = np.maximum.accumulate(closed, axis=1)
        inside = ring & below & before & ~self.skull
        core = ndimage.binary_opening(inside & ~closed, iterations=3)
        parts, count = ndimage.label(core)
        if count == 0:
            return np.zeros_like(self.skull)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        largest = parts == sizes.argmax()
        return np.asarray(ndimage.binary_dilation(largest, iterations=4, mask=inside | largest))

    def skin(self, brain: Mask, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the depth under the skin in mm, negative outside."""
        margin = 20
        floor = np.stack([convex_hull_image(plane) if plane.any() else plane for plane in self.jaw])
        solid = np.pad(self.bone | brain | floor, margin)
        reach = rng.uniform(22.0, 32.0)
        wide = ndimage.distance_transform_edt(~solid, sampling=self.spacing) < reach
        depth = ndimage.distance_transform_edt(wide, sampling=self.spacing)[
            margin:-margin, margin:-margin, margin:-margin
        ]
        thickness = smooth_field(depth.shape, self.spacing, 50.0, tensor_generator(rng)).numpy()
        depth = depth - reach + rng.uniform(5.0, 9.0) + 1.5 * thickness
        x, y, z = self.middle
        throat = rng.uniform(48, 60)
        column = capsule(self.points, (x, y + 25, z - 20), (x, y + 30, z - 200), throat)
        return -union([-depth.astype(np.float32), column], blend=25.0)

    def soft_tissue(self, labels: Labels, rng: np.random.Generator) -> Labels:
        """Return the labels with skin, fat, muscle, brain and what lies outside."""
        brain = self.brain()
        depth = self.skin(brain, rng)
        generator = tensor_generator(rng)
        lobules = smooth_field(depth.shape, self.spacing, 6.0, generator).numpy()
        lobules += 0.7 * smooth_field(depth.shape, self.spacing, 15.0, generator).numpy()
        fat = np.maximum(2.0 + rng.uniform(0, 6) - depth, lobules - rng.uniform(0.0, 1.2))
        result = np.full(self.shape, Tissue.AIR, np.uint8)
        outside = self.fine(depth)
        result[outside > 0] = Tissue.SOFT
        deep = outside > 2.0
        result[deep] = np.where(self.fine(fat)[deep] > 0, np.uint8(Tissue.FAT), np.uint8(Tissue.MUSCLE))
        result[self.fine(brain) > 0.5] = Tissue.BRAIN
        if rng.random() < 0.6:
            self._headrest(result, outside, rng)
        bone = labels != Tissue.AIR
        result[bone] = labels[bone]
        return result

    def _headrest(self, result: Labels, depth: NDArray[np.float32], rng: np.random.Generator) -> None:
        x, y, z = self.middle
        p = self.points
        tilt = rng.uniform(-0.3, 0.3)
        away = np.hypot(p.x - x, p.y - y + 40) - rng.uniform(135, 160) + tilt * (p.z - z)
        rest = self.fine(np.maximum(np.abs(away) - rng.uniform(1, 8), -(p.y - y - 20)).astype(np.float32))
        result[(rest < 0) & (depth < 0)] = Tissue.HEADREST

    def airways(self, result: Labels, rng: np.random.Generator) -> None:
        """Nose, sinuses, pharynx, mouth and meatus, in place; bones stay."""
        p, (x, y, z) = self.points, self.middle
        air = [
            chain(
                p,
                [(x, y - 75, z - 15), (x, y - 30, z - 12), (x, y - 3, z - 14), (x, y + 2, z - 50), (x, y + 8, z - 110)],
                [6, 8, rng.uniform(4, 9), rng.uniform(4, 9), rng.uniform(6, 10)],
                blend=4.0,
            )
        ]
        if rng.random() < 0.8:
            air += [ellipsoid(p, (x + s * 25, y - 50, z - 16), (11, 15, 15)) for s in (-1, 1)]
            air += [box(p, (x, y - 45, z + 6), (10, 18, 10), 5.0), ellipsoid(p, (x, y - 18, z - 2), (11, 9, 9))]
        if rng.random() < 0.3:
            air.append(ellipsoid(p, (x, y - 50, z - 55), (18, 20, rng.uniform(3, 12))))
        soft = (result == Tissue.FAT) | (result == Tissue.MUSCLE)
        result[(self.fine(union(air)) < 0) & soft] = Tissue.AIRWAY
        for side, top in self.heads.items():
            lateral = -1 if side is Side.RIGHT else 1
            inner = top + np.array([-lateral * 8, rng.uniform(13, 17), rng.uniform(-4, 1)])
            outer = inner + np.array([lateral * 45, rng.uniform(-2, 4), rng.uniform(-3, 3)])
            canal = capsule(p, tuple(inner), tuple(outer), rng.uniform(3.0, 4.5))
            behind = top[1] + 9.0 - p.y
            result[(self.fine(np.maximum(canal, behind)) < 0) & soft] = Tissue.AIRWAY


def _neighbours(
    result: Labels, spacing: Sequence[float], heads: dict[Side, NDArray[np.float64]], rng: np.random.Generator
) -> None:
    """Vertebrae, hyoid and calcified ligaments where the map shows no bone, in place."""
    x, y, z = (heads[Side.RIGHT] + heads[Side.LEFT]) / 2
    dens = (x, y + rng.uniform(17, 23), z - rng.uniform(12, 22))
    lean = rng.uniform(-1.0, 4.0)
    shift = rng.uniform(-8, 8)

    def bones(p: Points) -> NDArray[np.float32]:
        return neck.vertebrae(p, dens, lean)

    _stamp(result, spacing, bones, (x - 45, y - 5, z - 115), (x + 45, y + 90, z - 5), Tissue.VERTEBRA)
    front = (x, y - 38 + shift, z - 100 + shift)

    def horseshoe(p: Points) -> NDArray[np.float32]:
        return neck.hyoid(p, front)

    _stamp(
        result,
        spacing,
        horseshoe,
        (x - 30, front[1] - 8, front[2] - 8),
        (x + 30, y + 5, front[2] + 12),
        Tissue.OTHER_BONE,
    )
    for side, top in heads.items():
        lateral = -1 if side is Side.RIGHT else 1
        start = top + np.array([-lateral * 6, rng.uniform(11, 16), -rng.uniform(10, 16)])
        end = start + np.array([-lateral * rng.uniform(3, 10), -rng.uniform(0, 14), -rng.uniform(15, 35)])
        radius = rng.uniform(1.0, 2.2)

        def process(p: Points, start=start, end=end, radius=radius) -> NDArray[np.float32]:  # type: ignore[no-untyped-def]
            return capsule(p, tuple(start), tuple(end), radius, 0.7)

        low, high = np.minimum(start, end) - 4, np.maximum(start, end) + 4
        _stamp(result, spacing, process, tuple(low), tuple(high), Tissue.SKULL)


def _stamp(result, spacing, solid, low, high, tissue) -> None:  # type: ignore[no-untyped-def]
    """Write ``tissue`` where ``solid`` is, between ``low`` and ``high``, over soft tissue only."""
    first = [max(0, int(value / step)) for value, step in zip(low[::-1], spacing, strict=True)]
    last = [
        min(n, max(0, int(value / step) + 1)) for value, step, n in zip(high[::-1], spacing, result.shape, strict=True)
    ]
    if any(a >= b for a, b in zip(first, last, strict=True)):
        return
    z, y, x = (np.arange(a, b, dtype=np.float32) * np.float32(s) for a, b, s in zip(first, last, spacing, strict=True))
    inside = solid(Points(x[None, None, :], y[None, :, None], z[:, None, None])) < 0
    part = result[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    bone = np.isin(part, (Tissue.SKULL, Tissue.MANDIBLE, Tissue.TEETH, Tissue.AIR_CELL))
    free = ~ndimage.binary_dilation(bone, iterations=max(1, round(1.0 / min(spacing))))
    if tissue is Tissue.SKULL:
        free = ~bone
    part[inside & free & (part != Tissue.AIR)] = tissue


def _fillings(result: Labels, spacing: Sequence[float], rng: np.random.Generator) -> None:
    """Metal crowns on a few teeth, in place."""
    teeth = np.argwhere(result == Tissue.TEETH)
    if len(teeth) == 0:
        return
    for seed in teeth[rng.integers(0, len(teeth), int(rng.integers(1, 6)))]:
        near = (((teeth - seed) * spacing) ** 2).sum(1) < rng.uniform(1.5, 4.0) ** 2
        result[tuple(teeth[near].T)] = Tissue.METAL
