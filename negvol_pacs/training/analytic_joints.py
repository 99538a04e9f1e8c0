"""Joints as implicit functions, whose measurements are known without meshes.

In a joint's own axes (x to lateral, y to anterior, z to superior, mm) a bone is a function
that is negative inside and grows by about 1 per mm.
"""

from collections.abc import Callable
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.masks import JointMasks

Array = NDArray[np.float64]
Solid = Callable[[Array], Array]

RAMP_MM = 0.8  # a probability goes from 0 to 1 within this


@dataclass(frozen=True)
class AnalyticJoint:
    """A joint in its own axes.

    Attributes
    ----------
    mc, tb
        Points, shape (..., 3), to signed distance-like values, shape (...), negative inside.
    opening
        Height of the plane of the opening, mm.
    inside_rims
        True for points (..., 3) that lie within the rims in the axial view.
    width, depth
        FW and FD, mm.
    anterior, superior, posterior
        AJS, SJS, PJS, mm; None where there is no closed form.
    """

    mc: Solid
    tb: Solid
    opening: float
    inside_rims: Callable[[Array], NDArray[np.bool_]]
    width: float
    depth: float
    superior: float
    anterior: float | None = None
    posterior: float | None = None

    def volume(self, step_mm: float = 0.15) -> float:
        """NV, mm³: quadrature of the space above the opening between the bones."""
        axis = np.arange(-14, 14, step_mm) + step_mm / 2
        heights = np.arange(self.opening, self.opening + self.depth + 0.5, step_mm) + step_mm / 2
        total = 0.0
        for height in heights:  # a slab at a time bounds the memory
            points = np.stack(np.broadcast_arrays(axis[:, None], axis[None, :], height), axis=-1)
            outside = [np.clip(0.5 + solid(points) / step_mm, 0, 1) for solid in (self.mc, self.tb)]
            total += float((outside[0] * outside[1] * self.inside_rims(points)).sum())
        return total * step_mm**3

    def masks(
        self,
        side: Side = Side.RIGHT,
        spacing_mm: float = 0.4,
        turn: Array | None = None,
        centre: Array | None = None,
        *,
        extent_mm: float = 64.0,
    ) -> JointMasks:
        """Rasterise to probabilities on the canonical grid.

        Parameters
        ----------
        side
            Side of the patient.
        spacing_mm
            Of the grid.
        turn
            Rotation of the head about the joint, shape (3, 3), in LPS.
        centre
            Where the joint lies, LPS mm.
        extent_mm
            Width of the grid; less is faster and cuts the bone sooner.
        """
        turn = np.eye(3) if turn is None else turn
        centre = np.zeros(3) if centre is None else np.asarray(centre, dtype=np.float64)
        lateral = 1.0 if side is Side.LEFT else -1.0
        axes = turn @ np.array([[lateral, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])  # joint's axes as columns in LPS
        n = round(extent_mm / spacing_mm)
        offset = (np.arange(n) - (n - 1) / 2) * spacing_mm
        z, y, x = np.meshgrid(offset, offset, offset, indexing="ij")
        points = np.stack([x, y, z], axis=-1) @ axes
        reach = np.linalg.norm(points, axis=-1)
        affine = np.eye(4)
        affine[:3, :3] = spacing_mm * np.eye(3)[:, ::-1]
        affine[:3, 3] = centre + offset[0]
        ball = {"mc": 20.0, "tb": 28.0}
        volumes = {}
        for name, solid in (("mc", self.mc), ("tb", self.tb)):
            value = np.maximum(solid(points), reach - ball[name])
            probability = np.clip(0.5 - value / RAMP_MM, 0, 1).astype(np.float32)
            volumes[name] = hd.Volume(probability, affine, coordinate_system="PATIENT")
        return JointMasks(side=side, centre=centre, **volumes)


def sphere_in_cup(condyle_mm: float = 6.5, cup_mm: float = 9.0, opening_mm: float = -1.0) -> AnalyticJoint:
    """Return a ball on a neck in a spherical cup with the same centre."""
    return ellipsoid_in_fossa((condyle_mm,) * 3, (cup_mm,) * 3, opening_mm)


def ellipsoid_in_fossa(
    condyle_mm: tuple[float, float, float] = (9.0, 4.5, 5.5),
    fossa_mm: tuple[float, float, float] = (12.0, 7.5, 8.0),
    opening_mm: float = -1.0,
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> AnalyticJoint:
    """Return an ellipsoid on a neck in an ellipsoidal fossa with upright walls below and rounded crests.

    Parameters
    ----------
    condyle_mm, fossa_mm
        Half axes: medio-lateral, antero-posterior, vertical.
    opening_mm
        Height of the rims above the fossa's centre, at most 0.
    shift_mm
        Of the condyle from the fossa's centre.
    """
    inner, outer, shift = np.array(condyle_mm), np.array(fossa_mm), np.array(shift_mm)
    rise, radius = 0.35, 0.8  # the underside rises away from the crest, which is rounded
    slope = np.hypot(1, rise)
    turn = np.arctan2(slope, rise)  # where the rounded crest is lowest
    crest = radius * (1 - np.cos(turn))
    floor_height = opening_mm - rise * crest + slope * radius * (np.sin(turn) - 1)

    def mc(points: Array) -> Array:
        return np.asarray(np.minimum(_ellipsoid(points - shift, inner), _neck(points - shift, float(inner[1]) * 0.6)))

    def wall(points: Array) -> Array:
        flat = _ellipsoid(points[..., :2], outer[:2])
        return np.asarray(np.where(points[..., 2] > 0, _ellipsoid(points, outer), flat))

    def tb(points: Array) -> Array:
        out = _ellipsoid(points[..., :2], outer[:2])
        floor = (floor_height + rise * out - points[..., 2]) / slope
        lower = _rounded_intersection(-wall(points), floor, radius)
        return np.asarray(np.maximum(lower, points[..., 2] - outer[2] - 3))

    concentric = not shift.any() and len(set(condyle_mm)) == 1 == len(set(fossa_mm))
    gap = float(outer[2] - inner[2] - shift[2])
    return AnalyticJoint(
        mc=mc,
        tb=tb,
        opening=opening_mm,
        inside_rims=lambda points: _ellipsoid(points[..., :2], outer[:2]) < crest,
        width=float(2 * (outer[1] + crest)),
        depth=float(outer[2] - opening_mm),
        superior=gap if not shift[:2].any() else float(np.hypot(shift[1], gap)),
        anterior=gap if concentric else None,
        posterior=gap if concentric else None,
    )


def parametric_fossa(
    *,
    width_mm: tuple[float, float] = (10.0, 8.0),
    sides_mm: tuple[float, float] = (11.0, 12.0),
    depth_mm: float = 7.0,
    condyle_mm: tuple[float, float, float] = (9.0, 4.5, 6.0),
    gap_mm: float = 2.5,
    steepness: float = 3.0,
) -> AnalyticJoint:
    """Return a fossa between eminence, postglenoid process and side rims, with a condyle on a neck.

    Parameters
    ----------
    width_mm
        From the roof to the eminence's and to the postglenoid process's lowest point.
    sides_mm
        From the roof to the lateral and to the medial rim's lowest point.
    depth_mm
        Of the roof above the rims.
    condyle_mm
        Half axes of the condyle.
    gap_mm
        Superior joint space.
    steepness
        Exponent of the walls: 2 is a bowl, more is a box.
    """
    half = np.array(condyle_mm)
    centre = np.array([0.0, 0.0, depth_mm - gap_mm - half[2]])  # heights count from the opening

    def ring(points: Array) -> Array:
        across = np.where(points[..., 0] > 0, points[..., 0] / sides_mm[0], points[..., 0] / sides_mm[1])
        along = np.where(points[..., 1] > 0, points[..., 1] / width_mm[0], points[..., 1] / width_mm[1])
        return np.hypot(across, along)

    def tb(points: Array) -> Array:
        q = ring(points)
        inside = depth_mm * np.cos(np.pi / 2 * np.clip(q, 0, 1) ** (steepness / 2)) ** 2
        outside = 25.0 * np.clip(q - 1, 0, 1.0) ** 2
        height = np.where(q < 1, inside, outside)
        slope = np.pi / 2 * depth_mm / 9.0
        steep = np.hypot(1, slope / 2)
        return np.asarray(np.maximum(height - points[..., 2], points[..., 2] - depth_mm - 4) / steep)

    def mc(points: Array) -> Array:
        return np.asarray(np.minimum(_ellipsoid(points - centre, half), _neck(points - centre, float(half[1]) * 0.6)))

    return AnalyticJoint(
        mc=mc,
        tb=tb,
        opening=0.0,
        inside_rims=lambda points: ring(points) < 1,
        width=float(sum(width_mm)),
        depth=depth_mm,
        superior=gap_mm,
    )


def _ellipsoid(points: Array, half: Array) -> Array:
    """First-order distance to an ellipsoid; exact for a sphere."""
    scaled = np.linalg.norm(points / half, axis=-1)
    gradient = np.linalg.norm(points / half**2, axis=-1)
    return np.asarray(np.where(gradient > 1e-9, scaled * (scaled - 1) / np.maximum(gradient, 1e-9), -half.min()))


def _rounded_intersection(a: Array, b: Array, radius: float) -> Array:
    """Intersection of two solids whose common edge is rounded."""
    outside = np.hypot(np.maximum(a + radius, 0), np.maximum(b + radius, 0))
    return np.asarray(np.minimum(np.maximum(a, b), -radius) + np.where(outside > 0, outside, 0.0))


def _neck(points: Array, radius: float) -> Array:
    """Return a vertical cylinder from the head's centre down."""
    return np.asarray(np.maximum(np.hypot(points[..., 0], points[..., 1]) - radius, points[..., 2]))
