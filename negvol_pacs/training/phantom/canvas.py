"""The voxel grid on which solids become labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from negvol_pacs.training.bone_map import Labels
from negvol_pacs.training.fields import smooth_field, tensor_generator
from negvol_pacs.training.solids import Array, Points, Solid, Vector
from negvol_pacs.training.tissues import Tissue

Window = tuple[slice, slice, slice]

_WRAP_MM = 2.0
"""Spacing at which skin is laid out."""

_HOLLOW_MM = 16.0
"""Skin spans hollows up to twice as wide."""


@dataclass(frozen=True)
class Canvas:
    """Labels, and the points at which solids are sampled.

    Attributes
    ----------
    labels
        `Tissue` of each voxel, axes z, y, x.
    points
        Voxel centres in the frame in which the solids are given.
    spacing
        Of the voxels, mm.
    relief
        Unevenness of natural surfaces, about unit amplitude, one value a voxel.
    """

    labels: Labels
    points: Points
    spacing: float
    relief: Array

    @classmethod
    def of(cls, low: Vector, high: Vector, spacing: float, scale: Vector, rng: np.random.Generator) -> "Canvas":
        """Return an empty canvas between two corners; solids appear enlarged by ``scale``."""
        axes = [np.arange(round((b - a) / spacing)) * spacing + a for a, b in zip(low, high, strict=True)]
        points = Points.mesh(*(axis / factor for axis, factor in zip(axes, scale, strict=True)))
        generator = tensor_generator(rng)
        relief = smooth_field(points.shape, (spacing,) * 3, 8.0, generator)
        relief.add_(smooth_field(points.shape, (spacing,) * 3, 3.5, generator), alpha=0.35)
        return cls(np.zeros(points.shape, np.uint8), points, spacing, relief.numpy())

    def field(self, solid: Solid, step_mm: float) -> tuple[Array, Window] | None:
        """Return distances in the window around a solid, sampled every ``step_mm`` and interpolated."""
        window = self.points.window([a - 2 for a in solid.low], [b + 2 for b in solid.high])
        if window is None:
            return None
        near = self.points[window]
        axes = (near.x.ravel(), near.y.ravel(), near.z.ravel())
        counts = [min(axis.size, max(2, round(axis.size * self.spacing / step_mm))) for axis in axes]
        if all(count == axis.size for count, axis in zip(counts, axes, strict=True)):
            return solid.distance(near), window
        coarse = Points.mesh(*(np.linspace(a[0], a[-1], n) for a, n in zip(axes, counts, strict=True)))
        distance = torch.from_numpy(solid.distance(coarse))[None, None]
        fine = functional.interpolate(distance, size=near.shape, mode="trilinear", align_corners=True)
        return fine[0, 0].numpy(), window

    def draw(
        self,
        solid: Solid | None,
        tissue: Tissue,
        step_mm: float,
        *,
        rough_mm: float = 0.0,
        over: Sequence[Tissue] | None = None,
        fine: Sequence[tuple[Vector, Vector]] = (),
    ) -> None:
        """Write a tissue inside a solid.

        Parameters
        ----------
        solid
            Nothing happens when None.
        tissue
            What it is made of.
        step_mm
            Distance between samples; finer than the grid never happens.
        rough_mm
            Unevenness of its surface.
        over
            Tissues that may be overwritten, all when None.
        fine
            Boxes (low, high) in which every voxel is sampled.
        """
        found = None if solid is None else self.field(solid, step_mm)
        if solid is None or found is None:
            return
        distance, window = found
        for low, high in fine:
            inner = self.points[window].window(low, high)
            if inner is not None:
                distance[inner] = solid.distance(self.points[window][inner])
        if rough_mm:
            distance += np.float32(rough_mm) * self.relief[window]
        part = self.labels[window]
        inside = distance < 0
        if over is not None:
            inside &= np.isin(part, over)
        part[inside] = tissue

    def wrap(self, outline: Solid, cover_mm: float, skin: Tissue, inner: Tissue) -> None:
        """Put skin around an outline and at least ``cover_mm`` over all that is drawn, in the air."""
        factor = max(1, round(_WRAP_MM / self.spacing))
        near = self.points[::factor, ::factor, ::factor]
        pad, step = round(2 * _HOLLOW_MM / _WRAP_MM), factor * self.spacing
        drawn = np.pad(self.labels[::factor, ::factor, ::factor] != Tissue.AIR, pad, mode="edge")
        swollen = ndimage.distance_transform_edt(~drawn, sampling=step) < _HOLLOW_MM
        depth = ndimage.distance_transform_edt(swollen, sampling=step)[(slice(pad, -pad),) * 3].astype(np.float32)
        coarse = np.minimum(outline.distance(near), np.float32(_HOLLOW_MM - cover_mm) - depth)
        coarse = ndimage.gaussian_filter(coarse, 1.0, mode="nearest")
        size = [n * factor for n in coarse.shape]
        offset = torch.from_numpy(coarse)[None, None]
        large = functional.interpolate(offset, size=size, mode="trilinear", align_corners=False)[0, 0]
        # Samples lie at the first voxel of each block, interpolation takes them for its middle.
        shift = (factor - 1) // 2
        distance = np.roll(large.numpy(), (-shift,) * 3, axis=(0, 1, 2))[tuple(slice(n) for n in self.labels.shape)]
        free = self.labels == Tissue.AIR
        self.labels[free & (distance < 0)] = skin
        self.labels[free & (distance < -1.8)] = inner

    def noise(self, window: Window, cell_mm: float, rng: np.random.Generator) -> Array:
        """Return unit noise in a window."""
        shape = self.labels[window].shape
        return smooth_field(shape, (self.spacing,) * 3, cell_mm, tensor_generator(rng), most=160).numpy()
