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

from negvol_pacs.errors import InflationError
from negvol_pacs.joint.folding import unfold
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.operators import cotangent_stiffness, factorise, vertex_areas, vertex_normals
from negvol_pacs.joint.rays import Rays

STEPS = 5
NORMAL_SMOOTHING_MM = 2.5  # normals of a hollow of the condyle would cross each other
PRESSURE = 1.2  # p, 1/mm: a fissure of width a is entered by p a² / 8
NEAR_MM, FAR_MM = 6.0, 9.0  # bone nearer than the first confines, farther than the second does not
MARGIN_MM = 2.5  # so far below the opening the condyle is still inflated: the membrane's free border
FADE_MM = 7.0  # so far below the opening nothing moves
PUSH_MM = 0.25  # into the confining bone, which is subtracted: no film is left between
STOPPED_MM = 0.05  # bone nearer than this has stopped the membrane
MOST_SOLVES = 40


@dataclass(frozen=True)
class Inflation:
    """The inflated condyle.

    Attributes
    ----------
    mesh
        LPS mm; vertex by vertex from the condyle's mesh; confined parts reach ``PUSH_MM`` into the bone.
    thickness
        Distance that each vertex of the head went, in the mesh's order, mm, shape (k,).
    confined
        True where bone stopped it, shape (k,).
    converged
        False when the set of confined vertices did not settle.
    """

    mesh: Mesh
    thickness: NDArray[np.float64]
    confined: NDArray[np.bool_]
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
    if not (height > 0).any():
        raise InflationError("No part of the condyle stands above the opening.")
    head = _ordered(mc, np.flatnonzero(height > -FADE_MM))
    fading = np.clip((height + FADE_MM) / (FADE_MM - MARGIN_MM), 0, 1)[head]
    near = height[head] > -MARGIN_MM
    triangles = _renumbered(mc.triangles, head)
    position, thickness, bound = mc.vertices[head], np.zeros(len(head)), np.ones(len(head), dtype=np.bool_)
    converged = True
    for step in range(STEPS):
        membrane = _Membrane(position, triangles)
        normals = membrane.smooth(vertex_normals(position, triangles))
        room = bone.distance(position, normals)
        weight = _confinement(room + thickness) * near
        if not (weight[height[head] > 0] > 0).any():
            raise InflationError("No bone faces the condyle.")
        layer, bound, settled = membrane.inflate(np.minimum(room, 4 * FAR_MM), weight, bound & (weight > 0))
        moved = layer * fading / (STEPS - step)
        position = position + moved[:, None] * normals
        thickness += moved
        converged &= settled
    touching = weight * np.clip(1 - (room - layer) / PUSH_MM, 0, 1)
    vertices = mc.vertices.copy()
    vertices[head] = position + PUSH_MM * touching[:, None] * normals
    confined = (weight > 0) & (room - layer < STOPPED_MM)
    inflated = unfold(Mesh(vertices, mc.triangles), height > -MARGIN_MM)
    back = np.argsort(head)
    back = back[near[back]]
    return Inflation(inflated, thickness[back], confined[back], converged)


def _confinement(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    far = np.clip((distance - NEAR_MM) / (FAR_MM - NEAR_MM), 0, 1)
    return np.where(far < 1, np.cos(far * np.pi / 2) ** 2, 0.0)


def _renumbered(triangles: NDArray[np.int32], chosen: NDArray[np.intp]) -> NDArray[np.int32]:
    """Return the triangles between chosen vertices, whose places number their corners."""
    number = np.full(triangles.max() + 1, -1, dtype=np.int32)
    number[chosen] = np.arange(len(chosen))
    renumbered = number[triangles]
    return np.ascontiguousarray(renumbered[(renumbered >= 0).all(axis=1)])


def _ordered(mesh: Mesh, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """Order vertices once so that the matrices over them, and over parts of them, fill in little."""
    matrix = cotangent_stiffness(mesh.vertices[chosen], _renumbered(mesh.triangles, chosen))
    filled = factorise(matrix + sparse.identity(len(chosen)), "MMD_AT_PLUS_A")
    return np.asarray(chosen[np.argsort(filled.perm_c)])


class _Membrane:
    """A piece of surface with a free border."""

    def __init__(self, vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> None:
        self._mass = vertex_areas(vertices, triangles) + 1e-9
        self._stiffness = cotangent_stiffness(vertices, triangles)

    def smooth(self, normals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Diffuse unit vectors over ``NORMAL_SMOOTHING_MM`` of the surface."""
        system = sparse.diags(self._mass) + NORMAL_SMOOTHING_MM**2 * self._stiffness
        smoothed = factorise(system).solve(self._mass[:, None] * normals)
        return np.asarray(smoothed / np.maximum(np.linalg.norm(smoothed, axis=1, keepdims=True), 1e-12))

    def inflate(
        self, u: NDArray[np.float64], weight: NDArray[np.float64], bound: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], bool]:
        """Solve the obstacle problem by its active set (Hintermüller et al. 2002).

        Parameters
        ----------
        u, weight
            Obstacle, mm, and confinement at each vertex.
        bound
            Guess of the vertices at the obstacle.

        Returns
        -------
        tuple
            d, the vertices at the obstacle, and whether they settled.
        """
        matrix = (self._stiffness + sparse.diags(1e-6 * self._mass)).tocsr()
        load = PRESSURE * self._mass * weight
        for _ in range(MOST_SOLVES):
            d = _solve_bound(matrix, load, u, bound)
            now = (d > u + 1e-9) | (bound & (load - matrix @ d > 0))
            if (now == bound).all():
                return np.clip(d, 0, u), bound, True
            bound = now
        return np.clip(d, 0, u), bound, False


def _solve_bound(
    matrix: sparse.csc_matrix, load: NDArray[np.float64], u: NDArray[np.float64], bound: NDArray[np.bool_]
) -> NDArray[np.float64]:
    free = np.flatnonzero(~bound)
    d = u.copy()
    if len(free):
        rows = matrix[free]
        d[free] = factorise(rows[:, free]).solve(load[free] - rows @ np.where(bound, u, 0.0))
    return d
