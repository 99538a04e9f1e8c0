"""Left against right (Belikova et al. 2021): area ratio, Hausdorff, mean and Wasserstein distances."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.operators import face_normals, lengths
from negvol_pacs.joint.rays import Rays

SUBSAMPLES = 20
POINTS = 6000  # of each surface: about six a square millimetre of a negative volume
SHARE = 4  # a subsample has one of so many of the points
ALIGNMENT_POINTS = 2000
ALIGNMENT_STEPS = 30
ALIGNED_MM = 5e-3  # a step so small: the whole way left is about as much
DAMPING = 1e-3
CLOUD_POINTS = 4096
DIRECTIONS = 64
SEED = 20211109


class Spread(NamedTuple):
    """Mean and standard deviation over the subsamples."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Asymmetry:
    """How much the left negative volume differs from the right.

    Attributes
    ----------
    area_ratio
        S_LR: larger area over smaller.
    hausdorff
        H_LR, mm: symmetric Hausdorff distance.
    hausdorff_95
        The same with the 95th percentile of the distances in place of their maximum, mm.
    mean_distance
        Mean surface distance, both ways, mm.
    wasserstein
        Sliced 1-Wasserstein distance, mm.
    """

    area_ratio: float
    hausdorff: Spread
    hausdorff_95: Spread
    mean_distance: Spread
    wasserstein: float


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
    mirrored = align(mirror(left, transverse), right)
    there, back = surface_distances(mirrored, right, random), surface_distances(right, mirrored, random)
    areas = sorted(area(mesh) for mesh in (right, left))
    return Asymmetry(
        area_ratio=areas[1] / areas[0],
        hausdorff=_spread(np.maximum(there.max(axis=1), back.max(axis=1))),
        hausdorff_95=_spread(np.maximum(*(np.percentile(found, 95, axis=1) for found in (there, back)))),
        mean_distance=_spread((there.mean(axis=1) + back.mean(axis=1)) / 2),
        wasserstein=sliced_wasserstein(mirrored, right),
    )


def _spread(values: NDArray[np.float64]) -> Spread:
    return Spread(float(values.mean()), float(values.std(ddof=1)))


def mirror(mesh: Mesh, normal: NDArray[np.float64]) -> Mesh:
    """Mirror in the plane through the origin with a unit normal; outward stays outward."""
    reflected = mesh.vertices - 2 * np.outer(mesh.vertices @ normal, normal)
    return Mesh(reflected, np.ascontiguousarray(mesh.triangles[:, ::-1]))


def align(moving: Mesh, fixed: Mesh) -> Mesh:
    """Move a surface rigidly onto another: iterated closest points, both ways, along the normals.

    Chen and Medioni 1992; a little damping holds the directions in which the shape slides on itself.
    """
    rotation, shift = np.eye(3), centroid(fixed) - centroid(moving)
    theirs, ours = (sample_evenly(mesh, ALIGNMENT_POINTS) for mesh in (fixed, moving))
    on_fixed, on_moving = Rays(fixed), Rays(moving)
    for _ in range(ALIGNMENT_STEPS):
        points = ours @ rotation.T + shift
        there, normals = on_fixed.nearest_with_normals(points)
        back, own_normals = on_moving.nearest_with_normals((theirs - shift) @ rotation)
        source = np.concatenate([points, back @ rotation.T + shift])
        target = np.concatenate([there, theirs])
        turn, push = best_motion(source, target, np.concatenate([normals, own_normals @ rotation.T]))
        rotation, shift = turn @ rotation, turn @ shift + push
        if np.abs(points @ turn.T + push - points).max() < ALIGNED_MM:
            break
    return Mesh(moving.vertices @ rotation.T + shift, moving.triangles)


def centroid(mesh: Mesh) -> NDArray[np.float64]:
    """Centre of mass of the solid inside a closed surface, shape (3,)."""
    origin = mesh.vertices.mean(axis=0)
    corners = mesh.vertices[mesh.triangles] - origin
    volumes = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return np.asarray(origin + volumes @ corners.sum(axis=1) / (4 * volumes.sum()))


def area(mesh: Mesh) -> float:
    """Surface area, mm²."""
    return float(lengths(face_normals(mesh.vertices, mesh.triangles)).sum() / 2)


def sample(mesh: Mesh, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return points spread evenly over the surface, shape (count, 3)."""
    triangle = _triangles_at(mesh, random.random(count))
    u, v = np.sqrt(random.random(count)), random.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    return np.asarray(np.einsum("nk,nkj->nj", weights, mesh.vertices[mesh.triangles[triangle]]))


def sample_evenly(mesh: Mesh, count: int) -> NDArray[np.float64]:
    """Return middles of triangles, shape (count, 3), one for each equal part of the area: without chance."""
    triangle = _triangles_at(mesh, (np.arange(count) + 0.5) / count)
    return np.asarray(mesh.vertices[mesh.triangles[triangle]].mean(axis=1))


def sliced_wasserstein(a: Mesh, b: Mesh) -> float:
    """Sliced 1-Wasserstein distance of two surfaces, mm (Bonneel et al. 2015).

    The mean, over directions spread evenly, of the area between the distribution functions
    of both surfaces along the direction. A shift by t without change of shape gives t / 2.
    """
    clouds = []
    for mesh in (a, b):
        along = sample_evenly(mesh, CLOUD_POINTS) @ _directions(DIRECTIONS).T
        clouds.append(np.sort(np.ascontiguousarray(along.T), axis=1))
    return float(np.abs(clouds[0] - clouds[1]).mean())


def _directions(count: int) -> NDArray[np.float64]:
    """Return unit vectors spread evenly over half a sphere, shape (count, 3)."""
    i = np.arange(count) + 0.5
    height, turn = i / count, np.pi * (1 + np.sqrt(5)) * i
    radius = np.sqrt(1 - height**2)
    return np.stack([np.cos(turn) * radius, np.sin(turn) * radius, height], axis=1)


def _triangles_at(mesh: Mesh, share: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the triangles in which shares, 0 to 1, of the whole area are reached."""
    weight = np.cumsum(lengths(face_normals(mesh.vertices, mesh.triangles)))
    return np.asarray(np.searchsorted(weight, share * weight[-1]).clip(max=len(weight) - 1))


def surface_distances(mesh: Mesh, other: Mesh, random: np.random.Generator) -> NDArray[np.float64]:
    """Distances of points of a surface to another, mm, by subsample, shape (SUBSAMPLES, POINTS / SHARE)."""
    points = sample(mesh, POINTS, random)
    distance = np.linalg.norm(Rays(other).nearest(points) - points, axis=-1)
    return np.stack([random.choice(distance, POINTS // SHARE, replace=False) for _ in range(SUBSAMPLES)])


def best_motion(
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
