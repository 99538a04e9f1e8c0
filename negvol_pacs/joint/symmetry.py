"""Left against right (Belikova et al. 2021): area ratio S_LR and Hausdorff distance H_LR."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.operators import face_normals
from negvol_pacs.joint.rays import Rays

SUBSAMPLES = 20
POINTS = 1500  # points of a subsample: one a square millimetre of a negative volume
ALIGNMENT_POINTS = 2000
ALIGNMENT_STEPS = 30
ALIGNED_MM = 1e-3
DAMPING = 1e-3
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
    """Move a surface rigidly onto another: iterated closest points, both ways, along the normals.

    Chen and Medioni 1992; a little damping holds the directions in which the shape slides on itself.
    """
    vertices = moving.vertices + centroid(fixed) - centroid(moving)
    theirs, ours = sample(fixed, ALIGNMENT_POINTS, random), _sample_places(moving, ALIGNMENT_POINTS, random)
    to_fixed = Rays(fixed)
    for _ in range(ALIGNMENT_STEPS):
        points = np.einsum("nk,nkj->nj", ours[1], vertices[moving.triangles[ours[0]]])
        there, normals = to_fixed.nearest_with_normals(points)
        back, own_normals = Rays(Mesh(vertices, moving.triangles)).nearest_with_normals(theirs)
        source, target = np.concatenate([points, back]), np.concatenate([there, theirs])
        rotation, shift = _best_motion(source, target, np.concatenate([normals, own_normals]))
        moved = vertices @ rotation.T + shift
        step = np.abs(moved - vertices).max()
        vertices = moved
        if step < ALIGNED_MM:
            break
    return Mesh(vertices, moving.triangles)


def centroid(mesh: Mesh) -> NDArray[np.float64]:
    """Centre of mass of the solid inside a closed surface, shape (3,)."""
    origin = mesh.vertices.mean(axis=0)
    corners = mesh.vertices[mesh.triangles] - origin
    volumes = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return np.asarray(origin + volumes @ corners.sum(axis=1) / (4 * volumes.sum()))


def area(mesh: Mesh) -> float:
    """Surface area, mm²."""
    return float(np.linalg.norm(face_normals(mesh.vertices, mesh.triangles), axis=1).sum() / 2)


def sample(mesh: Mesh, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return points spread evenly over the surface, shape (count, 3)."""
    triangle, weights = _sample_places(mesh, count, random)
    return np.asarray(np.einsum("nk,nkj->nj", weights, mesh.vertices[mesh.triangles[triangle]]))


def _sample_places(
    mesh: Mesh, count: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw triangles by area and barycentric coordinates in them."""
    weight = np.cumsum(np.linalg.norm(face_normals(mesh.vertices, mesh.triangles), axis=1))
    triangle = np.searchsorted(weight, random.random(count) * weight[-1]).clip(max=len(weight) - 1)
    u, v = np.sqrt(random.random(count)), random.random(count)
    return triangle, np.stack([1 - u, u * (1 - v), u * v], axis=1)


def _farthest(mesh: Mesh, other: Rays, random: np.random.Generator) -> float:
    points = sample(mesh, POINTS, random)
    return float(np.linalg.norm(other.nearest(points) - points, axis=1).max())


def _best_motion(
    source: NDArray[np.float64], target: NDArray[np.float64], normals: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the small rotation and shift that bring source nearest to target along the normals."""
    middle = target.mean(axis=0)
    arm = source - middle
    jacobian = np.concatenate([np.cross(arm, normals), normals], axis=1)
    distance = np.einsum("ij,ij->i", target - source, normals)
    reach = float(np.mean(np.sum(arm**2, axis=1)))
    damping = DAMPING * len(source) * np.array([reach] * 3 + [1.0] * 3)
    turn = np.linalg.solve(jacobian.T @ jacobian + np.diag(damping), jacobian.T @ distance)
    rotation = Rotation.from_rotvec(turn[:3]).as_matrix()
    return rotation, middle + turn[3:] - rotation @ middle
