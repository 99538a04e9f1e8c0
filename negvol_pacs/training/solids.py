"""Signed distances of simple solids, negative inside, and their smooth unions.

Points are arrays that broadcast, one an axis, in millimetres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Vector = Sequence[float]


@dataclass(frozen=True)
class Points:
    """Sample points; x, y and z broadcast against each other (LPS mm)."""

    x: Array
    y: Array
    z: Array

    @classmethod
    def grid(cls, low: Vector, high: Vector, spacing: float) -> "Points":
        """Return a grid from ``low`` to ``high`` (x, y, z), array axes z, y, x."""
        x, y, z = (np.arange(a, b + spacing / 2, spacing, dtype=np.float32) for a, b in zip(low, high, strict=True))
        return cls(x[None, None, :], y[None, :, None], z[:, None, None])

    def from_(self, centre: Vector) -> tuple[Array, Array, Array]:
        """Return the coordinates relative to ``centre`` (x, y, z)."""
        x, y, z = (np.float32(value) for value in centre)
        return self.x - x, self.y - y, self.z - z

    def turned(self, centre: Vector, axes: NDArray[np.float64]) -> "Points":
        """Return the points in the frame with origin ``centre`` and the rows of ``axes``."""
        x, y, z = self.from_(centre)
        u, v, w = (row[0] * x + row[1] * y + row[2] * z for row in axes.astype(np.float32))
        return Points(u, v, w)


def sphere(p: Points, centre: Vector, radius: float) -> Array:
    """Ball."""
    x, y, z = p.from_(centre)
    return np.sqrt(x * x + y * y + z * z) - np.float32(radius)


def ellipsoid(p: Points, centre: Vector, radii: Vector) -> Array:
    """Ellipsoid along the axes; the distance is first-order exact near the surface."""
    x, y, z = p.from_(centre)
    a, b, c = (np.float32(1.0 / radius) for radius in radii)
    u, v, w = x * a, y * b, z * c
    level = np.sqrt(u * u + v * v + w * w)
    u, v, w = u * a, v * b, w * c
    slope = np.sqrt(u * u + v * v + w * w)
    return level * (level - 1) / np.maximum(slope, np.float32(1e-6))


def capsule(p: Points, start: Vector, end: Vector, radius: float, end_radius: float | None = None) -> Array:
    """Rod with round ends, tapering from ``radius`` to ``end_radius``."""
    x, y, z = p.from_(start)
    dx, dy, dz = (np.float32(b - a) for a, b in zip(start, end, strict=True))
    t = np.clip((x * dx + y * dy + z * dz) / (dx * dx + dy * dy + dz * dz), 0, 1)
    gap = np.sqrt((x - t * dx) ** 2 + (y - t * dy) ** 2 + (z - t * dz) ** 2)
    last = radius if end_radius is None else end_radius
    return gap - (np.float32(radius) + t * np.float32(last - radius))


def box(p: Points, centre: Vector, half: Vector, rounding: float) -> Array:
    """Box along the axes with rounded edges, ``half`` its outer half lengths."""
    sides = [np.abs(d) - np.float32(h - rounding) for d, h in zip(p.from_(centre), half, strict=True)]
    outside = np.sqrt(sum(np.maximum(side, 0) ** 2 for side in sides))
    inside = np.minimum(np.maximum(np.maximum(sides[0], sides[1]), sides[2]), 0)
    return np.asarray(outside + inside - np.float32(rounding))


def chain(p: Points, points: Sequence[Vector], radii: Sequence[float], blend: float = 0.0) -> Array:
    """Rods through ``points`` with a radius at each."""
    rods = zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True)
    return union([capsule(p, a, b, r, s) for a, b, r, s in rods], blend)


def union(parts: Sequence[Array], blend: float = 0.0) -> Array:
    """Union whose seams are rounded over ``blend`` millimetres."""
    result = parts[0]
    for part in parts[1:]:
        if blend > 0:
            h = np.maximum(np.float32(blend) - np.abs(result - part), 0) / np.float32(blend)
            result = np.minimum(result, part) - h * h * np.float32(blend / 4)
        else:
            result = np.minimum(result, part)
    return result


def cut(body: Array, tool: Array, blend: float = 0.0) -> Array:
    """``body`` without ``tool``, edges rounded over ``blend`` millimetres."""
    return -union([-body, tool], blend) if blend > 0 else np.maximum(body, -tool)
