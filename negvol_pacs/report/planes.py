"""Planes through a joint: the image, and where meshes cross it."""

from dataclasses import dataclass

import highdicom as hd
import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from negvol_pacs.joint.mesh import Mesh


@dataclass(frozen=True)
class Plane:
    """A square piece of a plane, as it is shown.

    Attributes
    ----------
    name
        Heading.
    right, up
        Unit vectors of the picture's axes, LPS.
    letters
        What lies at the picture's left, right, top and bottom.
    """

    name: str
    right: tuple[float, float, float]
    up: tuple[float, float, float]
    letters: str

    def project(self, points: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Picture coordinates in mm, (n, 2), of points in LPS mm, (n, 3)."""
        projected: NDArray[np.float64] = (np.atleast_2d(points) - centre) @ np.array([self.right, self.up]).T
        return projected

    def points(self, centre: NDArray[np.float64], size_mm: float, pixels: int) -> NDArray[np.float64]:
        """LPS mm, (pixels, pixels, 3), of the pixels' centres; the first row is the top."""
        offset = (np.arange(pixels) + 0.5) / pixels * size_mm - size_mm / 2
        right, up = np.array(self.right), np.array(self.up)
        grid: NDArray[np.float64] = centre + offset[None, :, None] * right - offset[:, None, None] * up
        return grid


# Radiological convention: the patient's right is at the left of the picture.
AXIAL = Plane("Axial", (1, 0, 0), (0, -1, 0), "RLAP")
CORONAL = Plane("Coronal", (1, 0, 0), (0, 0, 1), "RLSI")
SAGITTAL = Plane("Sagittal", (0, 1, 0), (0, 0, 1), "APSI")


def reslice(
    volume: hd.Volume, plane: Plane, centre: NDArray[np.float64], size_mm: float, pixels: int
) -> NDArray[np.float32]:
    """Image of a plane, interpolated linearly; NaN outside the volume.

    Parameters
    ----------
    volume
        HU, of any orientation.
    plane
        Which plane.
    centre
        Its middle, LPS mm.
    size_mm, pixels
        Length of a side, in mm and in pixels.
    """
    inverse = np.linalg.inv(volume.affine)
    index = plane.points(centre, size_mm, pixels) @ inverse[:3, :3].T + inverse[:3, 3]
    image: NDArray[np.float32] = map_coordinates(
        volume.array, np.moveaxis(index, -1, 0), order=1, output=np.float32, cval=np.nan
    )
    return image


def outline(mesh: Mesh, plane: Plane, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Line segments, picture coordinates in mm, (n, 2, 2), in which a mesh crosses a plane."""
    tensor = o3d.core.Tensor.from_numpy
    surface = o3d.t.geometry.TriangleMesh(tensor(mesh.vertices), tensor(mesh.triangles))
    lines = surface.slice_plane(tensor(centre), tensor(np.cross(plane.right, plane.up).astype(np.float64)))
    if lines.is_empty():
        return np.empty((0, 2, 2))
    points = plane.project(lines.point.positions.numpy().astype(np.float64), centre)
    segments: NDArray[np.float64] = points[lines.line.indices.numpy()]
    return segments


def _is_closed(mesh: Mesh) -> bool:
    edges = np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    _, uses = np.unique(edges[:, 0] * len(mesh.vertices) + edges[:, 1], return_counts=True)
    return not np.any(uses % 2)


def inside(
    mesh: Mesh, plane: Plane, centre: NDArray[np.float64], size_mm: float, pixels: int
) -> NDArray[np.bool_] | None:
    """Pixels inside a mesh, (pixels, pixels); None when the mesh is not closed."""
    if not _is_closed(mesh):
        return None
    tensor = o3d.core.Tensor.from_numpy
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.triangles.astype(np.uint32)))
    points = plane.points(centre, size_mm, pixels).astype(np.float32)
    hit: NDArray[np.bool_] = scene.compute_occupancy(tensor(points), nthreads=1, nsamples=3).numpy() > 0
    return hit
