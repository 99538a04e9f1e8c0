"""Solids as signed distances (negative inside), evaluated only near themselves.

Everything is in millimetres; vectors are (x, y, z), arrays have axes z, y, x.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Vector = Sequence[float]

FAR = np.float32(30.0)
"""Distance given for points too far away to matter."""

_REACH = 8.0
"""A part is evaluated up to so far outside its bounds, mm."""


@dataclass(frozen=True)
class Points:
    """Sample points whose coordinates broadcast against each other to (z, y, x)."""

    x: Array
    y: Array
    z: Array

    @classmethod
    def mesh(cls, x: NDArray[np.floating], y: NDArray[np.floating], z: NDArray[np.floating]) -> "Points":
        """Return the grid over three axes."""
        return cls(
            x.astype(np.float32)[None, None, :],
            y.astype(np.float32)[None, :, None],
            z.astype(np.float32)[:, None, None],
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the arrays over these points."""
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape)

    def window(self, low: Vector, high: Vector) -> tuple[slice, slice, slice] | None:
        """Return the smallest window of a grid that holds a box, None if they do not meet."""
        slices = []
        for axis, a, b in zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True):
            hit = np.flatnonzero((axis.ravel() >= a) & (axis.ravel() <= b))
            if len(hit) == 0:
                return None
            slices.append(slice(int(hit[0]), int(hit[-1]) + 1))
        return slices[0], slices[1], slices[2]

    def __getitem__(self, window: tuple[slice, slice, slice]) -> "Points":
        return Points(self.x[:, :, window[2]], self.y[:, window[1], :], self.z[window[0], :, :])

    def minus(self, centre: Vector) -> tuple[Array, Array, Array]:
        """Return the coordinates relative to ``centre``."""
        x, y, z = (np.float32(value) for value in centre)
        return self.x - x, self.y - y, self.z - z


@dataclass(frozen=True)
class Solid:
    """Signed distance and the box outside which the solid certainly is not."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    distance: Callable[[Points], Array]

    def grown(self, mm: float) -> "Solid":
        """Return the solid with its surface moved outwards."""
        step = np.float32(mm)
        low, high = tuple(a - mm for a in self.low), tuple(b + mm for b in self.high)
        return Solid(low, high, lambda p: self.distance(p) - step)

    def placed(self, centre: Vector, axes: NDArray[np.float64]) -> "Solid":
        """Return the solid, so far in the frame ``centre`` and rows of ``axes``, in world coordinates."""
        corners = np.array(list(product(*zip(self.low, self.high, strict=True)))) @ axes + np.asarray(centre)
        rows = axes.astype(np.float32)

        def distance(p: Points) -> Array:
            x, y, z = p.minus(centre)
            u, v, w = (row[0] * x + row[1] * y + row[2] * z for row in rows)
            return self.distance(Points(u, v, w))

        return Solid(tuple(corners.min(0).tolist()), tuple(corners.max(0).tolist()), distance)


def sphere(centre: Vector, radius: float) -> Solid:
    """Ball."""
    return ellipsoid(centre, (radius, radius, radius))


def ellipsoid(centre: Vector, radii: Vector) -> Solid:
    """Ellipsoid along the axes; the distance is exact to first order near the surface."""

    def distance(p: Points) -> Array:
        a, b, c = (np.float32(1.0 / radius) for radius in radii)
        u, v, w = (d * k for d, k in zip(p.minus(centre), (a, b, c), strict=True))
        level = np.sqrt(u * u + v * v + w * w)
        slope = np.sqrt((u * a) ** 2 + (v * b) ** 2 + (w * c) ** 2)
        return np.asarray(level * (level - 1) / np.maximum(slope, np.float32(1e-6)))

    return Solid(*_bounds([centre], max(radii), radii), distance)


def capsule(start: Vector, end: Vector, radius: float, end_radius: float | None = None) -> Solid:
    """Rod with round ends, tapering from ``radius`` to ``end_radius``."""
    last = radius if end_radius is None else end_radius

    def distance(p: Points) -> Array:
        x, y, z = p.minus(start)
        dx, dy, dz = (np.float32(b - a) for a, b in zip(start, end, strict=True))
        t = np.clip((x * dx + y * dy + z * dz) / (dx * dx + dy * dy + dz * dz), 0, 1)
        gap = np.sqrt((x - t * dx) ** 2 + (y - t * dy) ** 2 + (z - t * dz) ** 2)
        return np.asarray(gap - (np.float32(radius) + t * np.float32(last - radius)))

    return Solid(*_bounds([start, end], max(radius, last)), distance)


def box(centre: Vector, half: Vector, rounding: float) -> Solid:
    """Box along the axes, ``half`` its outer half lengths, with rounded edges."""

    def distance(p: Points) -> Array:
        a, b, c = (np.abs(d) - np.float32(h - rounding) for d, h in zip(p.minus(centre), half, strict=True))
        outside = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2 + np.maximum(c, 0) ** 2)
        return np.asarray(outside + np.minimum(np.maximum(np.maximum(a, b), c), 0) - np.float32(rounding))

    return Solid(*_bounds([centre], 0, half), distance)


def plate(outline: Sequence[tuple[float, float]], middle: Vector, half_thickness: float, rounding: float) -> Solid:
    """Sagittal plate: an outline in (y, z) as thick in x as told.

    Parameters
    ----------
    outline
        Corners (y, z), in order.
    middle
        Its middle surface: x = middle[0] + middle[1]·y + middle[2]·z.
    half_thickness, rounding
        Millimetres; the outline is kept, its edges are rounded.
    """
    corners = np.asarray(outline, np.float32)

    def distance(p: Points) -> Array:
        side = _polygon(p.y, p.z, corners) + np.float32(rounding)
        base, by_y, by_z = (np.float32(value) for value in middle)
        across = np.abs(p.x - base - by_y * p.y - by_z * p.z) - np.float32(half_thickness - rounding)
        outside = np.sqrt(np.maximum(side, 0) ** 2 + np.maximum(across, 0) ** 2)
        return np.asarray(outside + np.minimum(np.maximum(side, across), 0) - np.float32(rounding))

    (y0, z0), (y1, z1) = corners.min(0).tolist(), corners.max(0).tolist()
    sheet = [middle[0] + middle[1] * y + middle[2] * z for y in (y0, y1) for z in (z0, z1)]
    return Solid((min(sheet) - half_thickness, y0, z0), (max(sheet) + half_thickness, y1, z1), distance)


def chain(points: Sequence[Vector], radii: Sequence[float], blend: float = 0.0) -> Solid:
    """Rods through ``points`` with a radius at each."""
    rods = zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True)
    return union([capsule(a, b, r, s) for a, b, r, s in rods], blend)


def union(parts: Sequence[Solid], blend: float = 0.0) -> Solid:
    """Union whose seams are filled over ``blend`` millimetres."""
    low = np.min([part.low for part in parts], axis=0) - blend / 4
    high = np.max([part.high for part in parts], axis=0) + blend / 4

    def distance(p: Points) -> Array:
        result = np.full(p.shape, FAR, np.float32)
        for part in parts:
            _merge(result, p, part, blend)
        return result

    return Solid(tuple(low.tolist()), tuple(high.tolist()), distance)


def cut(body: Solid, tools: Sequence[Solid], blend: float = 0.0) -> Solid:
    """``body`` without ``tools``, edges rounded over ``blend`` millimetres."""

    def distance(p: Points) -> Array:
        result = np.negative(body.distance(p))
        for tool in tools:
            _merge(result, p, tool, blend)
        return np.negative(result, out=result)

    return Solid(body.low, body.high, distance)


def common(body: Solid, other: Solid, blend: float = 0.0) -> Solid:
    """Intersection; bounds are those of ``body``."""

    def distance(p: Points) -> Array:
        return -_smooth_minimum(-body.distance(p), -other.distance(p), blend)

    return Solid(body.low, body.high, distance)


def above(height: float, axis: int = 2, sign: int = 1) -> Solid:
    """Half space beyond ``height`` along an axis (0 x, 1 y, 2 z), or before it where ``sign`` is -1."""

    def distance(p: Points) -> Array:
        return np.asarray(np.float32(sign) * (np.float32(height) - (p.x, p.y, p.z)[axis]))

    return Solid((-np.inf,) * 3, (np.inf,) * 3, distance)


def _merge(result: Array, p: Points, part: Solid, blend: float) -> None:
    reach = _REACH + blend
    if p.x.size == p.shape[2] and p.y.size == p.shape[1] and p.z.size == p.shape[0]:
        window = p.window([a - reach for a in part.low], [b + reach for b in part.high])
        if window is None:
            return
        view, p = result[window], p[window]
    else:
        view = result
    view[...] = _smooth_minimum(view, part.distance(p), blend)


def _smooth_minimum(a: Array, b: Array, blend: float) -> Array:
    if blend <= 0:
        return np.minimum(a, b)
    h = np.maximum(np.float32(blend) - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - h * h * np.float32(0.25 / blend))


def _bounds(
    points: Sequence[Vector], radius: float, radii: Vector | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    margin = np.full(3, radius) if radii is None else np.asarray(radii)
    array = np.asarray(points, np.float64)
    return tuple((array.min(0) - margin).tolist()), tuple((array.max(0) + margin).tolist())


def _polygon(y: Array, z: Array, corners: Array) -> Array:
    """Exact signed distance of a simple polygon, after I. Quilez."""
    nearest = np.full(np.broadcast_shapes(y.shape, z.shape), np.inf, np.float32)
    inside = np.zeros(nearest.shape, np.bool_)
    for (ay, az), (by, bz) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ey, ez = by - ay, bz - az
        py, pz = y - ay, z - az
        t = np.clip((py * ey + pz * ez) / (ey * ey + ez * ez), 0, 1)
        nearest = np.minimum(nearest, (py - t * ey) ** 2 + (pz - t * ez) ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            crosses = ((az > z) != (bz > z)) & (y < ey * (z - az) / ez + ay)
        inside ^= crosses
    return np.asarray(np.where(inside, -np.sqrt(nearest), np.sqrt(nearest)), np.float32)
