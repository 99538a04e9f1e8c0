"""Inflation of the condyle until the temporal bone confines it.

Belikova et al. 2021 (Fig. 3) sketch it: the condyle's mesh grows along its normals up to
the temporal bone, with Laplacian regularisation. Here it is an obstacle problem: the
thickness d of the layer over the condyle minimises

    1/2 |grad d|^2 + p w (u - d)     subject to     0 <= d <= u,

where u is the distance to the bone along the normal: a membrane under tension, blown
against the bone by a pressure p. The problem is convex, so its solution is unique and
steady. The pressure fades (w) where the bone is far. Where there is none, d is harmonic and
carries on the joint space of its border; fissures narrower than about 2 mm are bridged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from negvol_pacs.errors import InflationError
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.operators import averaging, cotangent_stiffness, face_normals, smooth_normals, vertex_areas
from negvol_pacs.joint.rays import Rays

STEPS = 4
NORMAL_ROUNDS = 12  # about 1 mm at a 0.4 mm mesh
PRESSURE = 1.2  # p, 1/mm: a fissure of width a is entered by p a² / 8
NEAR_MM, FAR_MM = 6.0, 9.0  # bone nearer than the first confines, farther than the second does not
MARGIN_MM = 2.5  # so far below the opening the condyle is still inflated: the membrane's free border
FADE_MM = 7.0  # so far below the opening nothing moves
PUSH_MM = 0.25  # into the confining bone, which is subtracted: no film is left between
CONVERGED_MM = 0.05


@dataclass(frozen=True)
class Inflation:
    """The inflated condyle.

    Attributes
    ----------
    mesh
        LPS mm; vertex by vertex from the condyle's mesh; confined parts reach ``PUSH_MM`` into the bone.
    thickness
        Distance gone at each vertex up to the bone, mm, shape (n,).
    confined
        Weight in [0, 1] of the bone at each vertex.
    converged
        False when the last step still moved the free membrane by more than 0.05 mm.
    """

    mesh: Mesh
    thickness: NDArray[np.float64]
    confined: NDArray[np.float64]
    converged: bool


def inflate(mc: Mesh, bone: Rays, opening: Plane) -> Inflation:
    """Inflate the condyle's head above the plane of the fossa's opening.

    Parameters
    ----------
    mc
        Closed surface of the condyle, LPS mm.
    bone
        Temporal bone.
    opening
        Plane of the opening; the normal points into the fossa.

    Raises
    ------
    InflationError
        If no part of the condyle faces bone.
    """
    height = opening.height(mc.vertices)
    fading = np.clip((height + FADE_MM) / (FADE_MM - MARGIN_MM), 0, 1)
    average = averaging(mc.triangles, len(mc.vertices))
    head = height > -FADE_MM
    position, thickness = mc.vertices.copy(), np.zeros(len(mc.vertices))
    for step in range(STEPS):
        shape = Mesh(position, mc.triangles)
        normals = smooth_normals(shape, average, NORMAL_ROUNDS)
        room = np.zeros(len(position))
        room[head] = bone.distance(position[head], normals[head])
        weight = _confinement(room + thickness) * (height > -MARGIN_MM)
        if not (weight[height > 0] > 0).any():
            raise InflationError("No bone faces the condyle.")
        layer = _Membrane(shape, head).solve(room, weight)
        share = 1 / (STEPS - step)
        moved = share * layer * fading
        position = position + moved[:, None] * normals
        thickness += moved
    touching = weight * np.clip(1 - (room - layer) / PUSH_MM, 0, 1)
    position = position + PUSH_MM * touching[:, None] * normals
    return Inflation(Mesh(position, mc.triangles), thickness, touching, True)


def _confinement(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    far = np.clip((distance - NEAR_MM) / (FAR_MM - NEAR_MM), 0, 1)
    return np.asarray(np.cos(far * np.pi / 2) ** 2)


class _Membrane:
    """The obstacle problem on the head, with a free border."""

    def __init__(self, shape: Mesh, head: NDArray[np.bool_]) -> None:
        self._index = np.flatnonzero(head)
        number = np.full(len(head), -1)
        number[self._index] = np.arange(len(self._index))
        triangles = number[shape.triangles[head[shape.triangles].all(axis=1)]].astype(np.int32)
        vertices = shape.vertices[self._index]
        self._mass = vertex_areas(vertices, triangles) + 1e-9
        self._matrix = (cotangent_stiffness(vertices, triangles) + sparse.diags(1e-6 * self._mass)).tocsr()

    def solve(self, room: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return d at all vertices (0 off the head) by a primal-dual active set."""
        u = np.minimum(room[self._index], 4 * FAR_MM)
        load = PRESSURE * self._mass * weight[self._index]
        bound = weight[self._index] > 0
        for self.rounds in range(40):
            d = _solve_bound(self._matrix, load, u, bound)
            now = (d > u + 1e-9) | (bound & (load - self._matrix @ d > 0))
            if (now == bound).all():
                break
            bound = now
        result = np.zeros(len(room))
        result[self._index] = np.clip(d, 0, u)
        return result


def _solve_bound(
    matrix: sparse.csc_matrix, load: NDArray[np.float64], u: NDArray[np.float64], bound: NDArray[np.bool_]
) -> NDArray[np.float64]:
    free = np.flatnonzero(~bound)
    d = u.copy()
    if len(free):
        rows = matrix[free]
        d[free] = splu(rows[:, free].tocsc()).solve(load[free] - rows @ np.where(bound, u, 0.0))
    return d


def flipped(before: Mesh, after: Mesh) -> NDArray[np.bool_]:
    """Return the triangles whose normal turned by more than a right angle, shape (m,)."""
    a, b = face_normals(before.vertices, before.triangles), face_normals(after.vertices, after.triangles)
    return np.asarray(np.einsum("ij,ij->i", a, b) < 0)
