"""Left against right (Belikova et al. 2021): area ratio S_LR and Hausdorff distance H_LR."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.operators import face_normals
from negvol_pacs.joint.rays import Rays

SUBSAMPLES = 20
POINTS = 1500  # points of a subsample: one a square millimetre of a negative volume
ALIGNMENT_POINTS = 3000
ALIGNMENT_STEPS = 60
SEED = 20211109


@dataclass(frozen=True)
class Asymmetry:
    """How much the left negative volume differs from the right.

    Attributes
    ----------
    area_ratio
        S_LR: larger area over smaller.
    hausdorff, hausdorff_sd
        H_LR, mm: mean and standard deviation over the subsamples.
    """

    area_ratio: float
    hausdorff: float
    hausdorff_sd: float


def compare(right: Mesh, left: Mesh, transverse: NDArray[np.float64]) -> Asymmetry:
    """Compare the right negative volume with the mirrored left one.

    Parameters
    ----------
    right, left
        Closed surfaces, LPS mm.
    transverse
        Unit vector from right to left, normal of the mid-sagittal plane.

    Returns
    -------
    Asymmetry
        Deterministic: the subsamples come from a fixed seed.
    """
    random = np.random.default_rng(SEED)
    mirrored = align(mirror(left, transverse), right, random)
    on_right, on_mirrored = Rays(right), Rays(mirrored)
    distances = [
        max(_farthest(mirrored, on_right, random), _farthest(right, on_mirrored, random)) for _ in range(SUBSAMPLES)
    ]
    areas = sorted(area(mesh) for mesh in (right, left))
    return Asymmetry(areas[1] / areas[0], float(np.mean(distances)), float(np.std(distances, ddof=1)))


def mirror(mesh: Mesh, normal: NDArray[np.float64]) -> Mesh:
    """Mirror in the plane through the origin with a unit normal; outward stays outward."""
    reflected = mesh.vertices - 2 * np.outer(mesh.vertices @ normal, normal)
    return Mesh(reflected, np.ascontiguousarray(mesh.triangles[:, ::-1]))


def align(moving: Mesh, fixed: Mesh, random: np.random.Generator) -> Mesh:
    """Move a surface rigidly onto another: iterated closest points, both ways (Besl and McKay 1992)."""
    ours, theirs = sample(moving, ALIGNMENT_POINTS, random), sample(fixed, ALIGNMENT_POINTS, random)
    rotation, shift = np.eye(3), theirs.mean(axis=0) - ours.mean(axis=0)
    to_fixed, to_moving = Rays(fixed), Rays(moving)
    for _ in range(ALIGNMENT_STEPS):
        source = np.concatenate([ours, to_moving.nearest((theirs - shift) @ rotation)])
        target = np.concatenate([to_fixed.nearest(ours @ rotation.T + shift), theirs])
        before = rotation, shift
        rotation, shift = _best_motion(source, target)
        moved = source @ (rotation - before[0]).T + shift - before[1]
        if np.abs(moved).max() < 1e-3:
            break
    return Mesh(moving.vertices @ rotation.T + shift, moving.triangles)


def area(mesh: Mesh) -> float:
    """Surface area, mm²."""
    return float(np.linalg.norm(face_normals(mesh.vertices, mesh.triangles), axis=1).sum() / 2)


def sample(mesh: Mesh, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return points spread evenly over the surface, shape (count, 3)."""
    weight = np.cumsum(np.linalg.norm(face_normals(mesh.vertices, mesh.triangles), axis=1))
    triangle = np.searchsorted(weight, random.random(count) * weight[-1]).clip(max=len(weight) - 1)
    u, v = np.sqrt(random.random(count)), random.random(count)
    a, b, c = (mesh.vertices[mesh.triangles[triangle, k]] for k in range(3))
    points: NDArray[np.float64] = (1 - u)[:, None] * a + (u * (1 - v))[:, None] * b + (u * v)[:, None] * c
    return points


def _farthest(mesh: Mesh, other: Rays, random: np.random.Generator) -> float:
    points = sample(mesh, POINTS, random)
    return float(np.linalg.norm(other.nearest(points) - points, axis=1).max())


def _best_motion(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rotation and shift that bring source nearest to target (Kabsch 1976)."""
    a, b = source.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((target - b).T @ (source - a))
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return rotation, b - rotation @ a
