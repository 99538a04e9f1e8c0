"""Anterior, superior and posterior joint space in the sagittal plane through the condyle's middle.

Kamelchuk et al. 1996, Ikeda and Kawamura 2009: from the roof's highest point tangents are
drawn to the condyle; the anterior and posterior spaces are measured from the points of
tangency, perpendicular to the fossa; the superior one goes from roof to condyle's top.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.errors import SurfaceError
from negvol_pacs.joint.condyle import Condyle
from negvol_pacs.joint.fossa import Fossa
from negvol_pacs.joint.mesh import Mesh

TANGENT_DEPTH_MM = 8.0  # tangents touch the head, not the neck

Point = NDArray[np.float64]


@dataclass(frozen=True)
class Space:
    """A joint space: its two ends in LPS mm."""

    condyle: Point
    fossa: Point

    @property
    def width(self) -> float:
        """Distance between the ends, mm."""
        return float(np.linalg.norm(self.condyle - self.fossa))


@dataclass(frozen=True)
class Spaces:
    """The three joint spaces in the sagittal plane."""

    anterior: Space
    superior: Space
    posterior: Space


def measure_spaces(mc: Mesh, tb: Mesh, condyle: Condyle, fossa: Fossa) -> Spaces:
    """Measure AJS, SJS and PJS.

    Parameters
    ----------
    mc, tb
        Surfaces, LPS mm.
    condyle, fossa
        Landmarks; the sagittal plane goes through the middle of the condyle.

    Raises
    ------
    SurfaceError
        If the sagittal plane misses one of the bones.
    """
    plane = np.stack([fossa.frame.anterior, fossa.frame.superior])
    sections = [section(mesh, condyle.middle, fossa.frame.left) for mesh in (mc, tb)]
    if any(len(segments) < 3 for segments in sections):
        raise SurfaceError("The sagittal plane through the condyle's middle misses a bone.")
    head, bone = ((segments - fossa.roof) @ plane.T for segments in sections)  # mm from the roof
    top_height = head[..., 1].max()
    points = head.reshape(-1, 2)
    points = points[points[:, 1] > top_height - TANGENT_DEPTH_MM]
    top = points[points[:, 1] > top_height - 0.02].mean(axis=0)
    # Angle at the roof from straight down, positive to anterior: tangents have the extreme angles.
    angle = np.arctan2(points[:, 0], -points[:, 1])

    def lift(point: Point) -> Point:
        lifted: Point = fossa.roof + point @ plane
        return lifted

    def space(tangency: Point, direction: int) -> Space:
        wall = bone[(bone[..., 0] * direction > 0).any(axis=1)]
        if not len(wall):
            raise SurfaceError("There is no wall beside the condyle.")
        return Space(lift(tangency), lift(nearest_on(wall, tangency)))

    return Spaces(
        anterior=space(points[angle.argmax()], 1),
        superior=Space(lift(top), fossa.roof),
        posterior=space(points[angle.argmin()], -1),
    )


def section(mesh: Mesh, origin: Point, normal: Point) -> NDArray[np.float64]:
    """Cut a surface with a plane.

    Returns
    -------
    ndarray
        Line segments, shape (n, 2, 3), LPS mm.
    """
    side = (mesh.vertices - origin) @ normal
    side = np.where(np.abs(side) < 1e-9, 1e-9, side)
    a, b, c = (side > 0)[mesh.triangles.T]
    cut = mesh.triangles[(a != b) | (b != c)]
    above = side[cut] > 0
    lone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), (~above).argmax(axis=1))
    row = np.arange(len(cut))
    apex = cut[row, lone]
    ends = []
    for k in (1, 2):
        other = cut[row, (lone + k) % 3]
        share = side[apex] / (side[apex] - side[other])
        ends.append(mesh.vertices[apex] + share[:, None] * (mesh.vertices[other] - mesh.vertices[apex]))
    return np.stack(ends, axis=1)


def nearest_on(segments: NDArray[np.float64], point: Point) -> Point:
    """Return the point on line segments, shape (n, 2, 2), nearest to ``point``."""
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    length = np.maximum(np.einsum("ij,ij->i", along, along), 1e-18)
    share = np.clip(np.einsum("ij,ij->i", point - start, along) / length, 0, 1)
    candidates = start + share[:, None] * along
    nearest: Point = candidates[np.linalg.norm(candidates - point, axis=1).argmin()]
    return nearest
