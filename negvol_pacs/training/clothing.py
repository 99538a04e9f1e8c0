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
from negvol_pacs.training.bone_map import Labels, Mask, Tops, carve_cells, condyle_tops, fill_marrow, lateral
from negvol_pacs.training.fields import smooth_field, tensor_generator
from negvol_pacs.training.solids import Array, Points, Solid, above, box, capsule, chain, common, ellipsoid, union
from negvol_pacs.training.tissues import Tissue

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
    tops = condyle_tops(labels == Tissue.MANDIBLE, steps)
    fill_marrow(labels, bones == 4, steps)
    carve_cells(labels, steps, tops, rng)
    layout = _Layout.of(labels, steps, tops)
    result = layout.soft_tissue(labels, rng)
    layout.airways(result, rng)
    _neighbours(result, steps, tops, rng)
    if rng.random() < 0.5:
        _fillings(result, steps, rng)
    return result


@dataclass(frozen=True)
class _Layout:
    """The head at a coarse spacing, as signed distances from which fine masks are cut."""

    shape: tuple[int, ...]
    factors: tuple[int, ...]
    spacing: tuple[float, ...]
    tops: Tops
    bone: Mask
    skull: Mask
    jaw: Mask

    @classmethod
    def of(cls, labels: Labels, spacing: Sequence[float], tops: Tops) -> "_Layout":
        factors = tuple(max(1, round(COARSE_MM / step)) for step in spacing)

        def shrink(mask: Mask) -> Mask:
            grid = np.pad(mask, [(0, -n % f) for n, f in zip(mask.shape, factors, strict=True)])
            blocks = grid.reshape([k for n, f in zip(grid.shape, factors, strict=True) for k in (n // f, f)])
            return np.asarray(blocks.any((1, 3, 5)), np.bool_)

        skull = (labels == Tissue.SKULL) | (labels == Tissue.AIR_CELL)
        masks = (labels != Tissue.AIR, skull, labels == Tissue.MANDIBLE)
        coarse = tuple(s * f for s, f in zip(spacing, factors, strict=True))
        return cls(labels.shape, factors, coarse, tops, *(shrink(mask) for mask in masks))

    @property
    def middle(self) -> NDArray[np.float64]:
        return (self.tops[Side.RIGHT] + self.tops[Side.LEFT]) / 2

    @property
    def points(self) -> Points:
        z, y, x = (
            (np.arange(n) + 0.5 - 0.5 / f) * s
            for n, s, f in zip(self.bone.shape, self.spacing, self.factors, strict=True)
        )
        return Points.mesh(x, y, z)

    def fine(self, field: Array | Mask) -> Array:
        """Interpolate a coarse field on the label map's grid."""
        size = [n * f for n, f in zip(field.shape, self.factors, strict=True)]
        tensor = torch.from_numpy(np.ascontiguousarray(field, np.float32))[None, None]
        large = functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)[0, 0]
        return large[tuple(slice(n) for n in self.shape)].numpy()

    def inside(self, solid: Solid) -> Mask:
        """Voxels of the label map in a solid."""
        return self.fine(solid.distance(self.points)) < 0

    def brain(self) -> Mask:
        """Return the cranial cavity: inside the skull's hull on axial planes, above its base, behind its front."""
        reach = 5
        inner = (slice(reach, -reach),) * 3
        closed = ndimage.binary_closing(np.pad(self.skull, reach), iterations=3)[inner]
        gap = np.ones((1, round(16 / self.spacing[1]), round(16 / self.spacing[2])), bool)
        below = ndimage.binary_closing(np.maximum.accumulate(closed, axis=0), gap)
        cavity = _hulls(self.skull) & below & np.maximum.accumulate(closed, axis=1) & ~self.skull
        parts, count = ndimage.label(ndimage.binary_opening(cavity & ~closed, iterations=3))
        if count == 0:
            return np.zeros_like(self.skull)
        largest = parts == np.bincount(parts[parts > 0]).argmax()
        return np.asarray(ndimage.binary_dilation(largest, iterations=4, mask=cavity | largest), np.bool_)

    def skin(self, brain: Mask, rng: np.random.Generator) -> Array:
        """Return the depth under the skin in mm, negative outside."""
        margin, inner = 20, (slice(20, -20),) * 3
        solid = np.pad(self.bone | brain | _hulls(self.jaw), margin)
        reach = rng.uniform(22.0, 32.0)
        wide = ndimage.distance_transform_edt(~solid, sampling=self.spacing) < reach
        depth = ndimage.distance_transform_edt(wide, sampling=self.spacing)[inner].astype(np.float32)
        depth += np.float32(rng.uniform(5.0, 9.0) - reach)
        depth += 1.5 * smooth_field(depth.shape, self.spacing, 50.0, tensor_generator(rng)).numpy()
        x, y, z = self.middle
        column = capsule((x, y + 25, z - 20), (x, y + 30, z - 200), rng.uniform(48, 60))
        head = Solid((-np.inf,) * 3, (np.inf,) * 3, lambda _: -depth)
        return -union([head, column], blend=25.0).distance(self.points)

    def soft_tissue(self, labels: Labels, rng: np.random.Generator) -> Labels:
        """Return the labels with skin, fat, muscle, brain and what lies outside."""
        brain = self.brain()
        depth = self.skin(brain, rng)
        generator = tensor_generator(rng)
        lobules = smooth_field(depth.shape, self.spacing, 6.0, generator)
        lobules.add_(smooth_field(depth.shape, self.spacing, 15.0, generator), alpha=0.7)
        fat = np.maximum(2.0 + rng.uniform(0, 6) - depth, lobules.numpy() - rng.uniform(0.0, 1.2))
        result = np.full(self.shape, Tissue.AIR, np.uint8)
        under = self.fine(depth)
        result[under > 0] = Tissue.SOFT
        deep = under > 2.0
        result[deep] = np.where(self.fine(fat)[deep] > 0, np.uint8(Tissue.FAT), np.uint8(Tissue.MUSCLE))
        result[self.fine(brain) > 0.5] = Tissue.BRAIN
        if rng.random() < 0.6:
            result[self.inside(self._headrest(rng)) & (under < 0)] = Tissue.HEADREST
        bone = labels != Tissue.AIR
        result[bone] = labels[bone]
        return result

    def _headrest(self, rng: np.random.Generator) -> Solid:
        """Return a cradle behind the head: a bent sheet of foam or plastic."""
        x, y, z = self.middle
        inner, thick = rng.uniform(125, 150), rng.uniform(2, 16)
        tilt = rng.uniform(-20, 20)
        outside, hollow = (
            capsule((x, y - 40, z - 300), (x, y - 40 + tilt, z + 300), radius) for radius in (inner + thick, inner)
        )
        ring = Solid(outside.low, outside.high, lambda p: np.maximum(outside.distance(p), -hollow.distance(p)))
        return common(ring, above(y + 20, axis=1))

    def airways(self, result: Labels, rng: np.random.Generator) -> None:
        """Nose, sinuses, pharynx, mouth and meatus, in place; bones stay."""
        x, y, z = self.middle
        throat = [(0, -75, -15), (0, -30, -12), (0, -3, -14), (0, 2, -50), (0, 8, -110)]
        widths = [6, 8, rng.uniform(4, 9), rng.uniform(4, 9), rng.uniform(6, 10)]
        air = [chain([(x + a, y + b, z + c) for a, b, c in throat], widths, blend=4.0)]
        if rng.random() < 0.8:
            air += [ellipsoid((x + s * 25, y - 50, z - 16), (11, 15, 15)) for s in (-1, 1)]
            air += [box((x, y - 45, z + 6), (10, 18, 10), 5.0), ellipsoid((x, y - 18, z - 2), (11, 9, 9))]
        if rng.random() < 0.3:
            air.append(ellipsoid((x, y - 50, z - 55), (18, 20, rng.uniform(3, 12))))
        for side, top in self.tops.items():
            inner = top + np.array([-lateral(side) * 8, rng.uniform(13, 17), rng.uniform(-4, 1)])
            outer = inner + np.array([lateral(side) * 45, rng.uniform(-2, 4), rng.uniform(-3, 3)])
            canal = capsule(inner.tolist(), outer.tolist(), rng.uniform(3.0, 4.5))
            air.append(common(canal, above(float(top[1]) + 9.0, axis=1)))
        soft = (result == Tissue.FAT) | (result == Tissue.MUSCLE)
        result[self.inside(union(air)) & soft] = Tissue.AIRWAY


def _hulls(mask: Mask) -> Mask:
    """Convex hull of each axial plane."""
    return np.stack([convex_hull_image(plane) if plane.any() else plane for plane in mask])


def _neighbours(result: Labels, spacing: Sequence[float], tops: Tops, rng: np.random.Generator) -> None:
    """Vertebrae, hyoid and styloid processes where the map shows no bone, in place."""
    x, y, z = (tops[Side.RIGHT] + tops[Side.LEFT]) / 2
    bone = np.isin(result, (Tissue.SKULL, Tissue.MANDIBLE, Tissue.TEETH, Tissue.AIR_CELL))
    apart = ~ndimage.binary_dilation(bone, iterations=max(1, round(1.0 / min(spacing))))
    dens = (x, y + rng.uniform(17, 23), z - rng.uniform(12, 22))
    _stamp(result, spacing, neck.vertebrae(dens, rng.uniform(-1.0, 4.0)), Tissue.VERTEBRA, apart)
    shift = rng.uniform(-8, 8)
    _stamp(result, spacing, neck.hyoid((x, y - 38 + shift, z - 100 + shift)), Tissue.OTHER_BONE, apart)
    for side, top in tops.items():
        out = lateral(side)
        start = top + np.array([-out * 6, rng.uniform(11, 16), -rng.uniform(10, 16)])
        end = start + np.array([-out * rng.uniform(3, 10), -rng.uniform(0, 14), -rng.uniform(15, 35)])
        styloid = capsule(start.tolist(), end.tolist(), rng.uniform(1.0, 2.2), 0.7)
        _stamp(result, spacing, styloid, Tissue.SKULL, ~bone)


def _stamp(result: Labels, spacing: Sequence[float], solid: Solid, tissue: Tissue, free: Mask) -> None:
    """Write ``tissue`` where ``solid`` and ``free`` are inside the head, in place."""
    z, y, x = (np.arange(n) * s for n, s in zip(result.shape, spacing, strict=True))
    points = Points.mesh(x, y, z)
    window = points.window(solid.low, solid.high)
    if window is not None:
        part = result[window]
        part[(solid.distance(points[window]) < 0) & free[window] & (part != Tissue.AIR)] = tissue


def _fillings(result: Labels, spacing: Sequence[float], rng: np.random.Generator) -> None:
    """Metal crowns on a few teeth, in place."""
    teeth = np.argwhere(result == Tissue.TEETH)
    if len(teeth) == 0:
        return
    for seed in teeth[rng.integers(0, len(teeth), int(rng.integers(1, 6)))]:
        near = (((teeth - seed) * spacing) ** 2).sum(1) < rng.uniform(1.5, 4.0) ** 2
        result[tuple(teeth[near].T)] = Tissue.METAL
