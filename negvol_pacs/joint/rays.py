"""Rays against a surface."""

from typing import Any

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from negvol_pacs.joint.mesh import Mesh


class Rays:
    """First hits of rays on one surface.

    Parameters
    ----------
    mesh
        Surface, LPS mm.
    """

    def __init__(self, mesh: Mesh) -> None:
        # Open3D computes in float32: near the origin that is 1e-6 mm, at a scanner's coordinates 1e-4 mm.
        self._origin = mesh.vertices.mean(axis=0)
        self._scene: Any = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(_tensor(mesh.vertices - self._origin), _tensor(mesh.triangles, np.uint32))

    def distance(self, start: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance along unit vectors to the first hit, mm; infinite without one.

        Parameters
        ----------
        start
            Shape (..., 3), LPS mm.
        direction
            Unit vectors that broadcast with ``start``.
        """
        start, direction = np.broadcast_arrays(start - self._origin, direction)
        hits = self._scene.cast_rays(_tensor(np.concatenate([start, direction], axis=-1)))
        return np.asarray(hits["t_hit"].numpy(), dtype=np.float64)

    def all_hits(
        self, start: NDArray[np.float64], end: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all pairs of a segment's index and the index of a triangle that it meets."""
        rays = np.concatenate([start - self._origin, end - start], axis=-1)
        hits = self._scene.list_intersections(_tensor(rays))
        within = hits["t_hit"].numpy() <= 1
        pair = (hits[key].numpy()[within].astype(np.int64) for key in ("ray_ids", "primitive_ids"))
        return next(pair), next(pair)

    def nearest(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the surface points nearest to ``points``, shape (..., 3), LPS mm."""
        found = self._scene.compute_closest_points(_tensor(points - self._origin))["points"]
        return np.asarray(found.numpy() + self._origin, dtype=np.float64)

    def nearest_with_normals(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the nearest surface points and the surface's unit normals there, shapes (n, 3).

        A triangle without area has no normal: zero.
        """
        found = self._scene.compute_closest_points(_tensor(points - self._origin))
        nearest = np.asarray(found["points"].numpy() + self._origin, dtype=np.float64)
        return nearest, np.nan_to_num(found["primitive_normals"].numpy().astype(np.float64))

    def signed_distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance to the surface, mm, negative inside."""
        return np.asarray(self._scene.compute_signed_distance(_tensor(points - self._origin)).numpy(), dtype=np.float64)


def _tensor(array: NDArray[Any], kind: type[np.generic] = np.float32) -> Any:
    return o3d.core.Tensor(np.ascontiguousarray(array, dtype=kind))  # type: ignore[call-overload]
