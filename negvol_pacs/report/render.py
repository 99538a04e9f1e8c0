"""Shaded picture of a joint by casting rays on the CPU: needs no graphics driver."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.report.palette import BACKGROUND, COLOURS

_FAR_MM = 200.0
_OPACITY = {Structure.MC: 1.0, Structure.TB: 1.0, Structure.NV: 0.62}
_GHOST_OPACITY = 0.09
_CAP_SHADE = 0.55

_Image = NDArray[np.floating]


@dataclass(frozen=True)
class Camera:
    """A parallel projection.

    Attributes
    ----------
    right, up, forward
        Orthonormal, LPS; ``forward`` points into the picture.
    """

    right: NDArray[np.float64]
    up: NDArray[np.float64]
    forward: NDArray[np.float64]

    def rays(self, centre: NDArray[np.float64], size_mm: float, pixels: int) -> NDArray[np.float64]:
        """Origins, (pixels, pixels, 3), LPS mm."""
        offset = (np.arange(pixels) + 0.5) / pixels * size_mm - size_mm / 2
        origins: NDArray[np.float64] = (
            centre - _FAR_MM * self.forward + offset[None, :, None] * self.right - offset[:, None, None] * self.up
        )
        return origins


def lateral_camera(side: Side, turn_deg: float = 28, raise_deg: float = 14) -> Camera:
    """Look at a joint from the side of the face, a little from the front and from above."""
    outward = -1.0 if side is Side.RIGHT else 1.0
    turn, height = np.deg2rad([turn_deg, raise_deg])
    eye = np.array([outward * np.cos(turn) * np.cos(height), -np.sin(turn) * np.cos(height), np.sin(height)])
    forward = -eye
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return Camera(right, np.cross(right, forward), forward)


def render_joint(
    meshes: dict[Structure, Mesh], centre: NDArray[np.float64], side: Side, size_mm: float, pixels: int
) -> NDArray[np.float32]:
    """Draw MC and NV whole and TB cut open at the condyle's sagittal plane.

    The part of TB in front of the cut stays as a faint ghost.

    Parameters
    ----------
    meshes
        LPS mm; those that exist.
    centre
        Centre of the condylar head, LPS mm: middle of the picture and place of the cut.
    side
        Side of the patient; the camera stands on that side.
    size_mm, pixels
        Length of a side of the picture.

    Returns
    -------
    ndarray
        RGB in [0, 1], float32, (pixels, pixels, 3).
    """
    fine = 2 * pixels
    camera = lateral_camera(side)
    origins = camera.rays(centre, size_mm, fine)
    # Depth along each ray of the sagittal plane through the centre.
    to_cut = (centre[0] - origins[..., 0]) / camera.forward[0]
    layers = []
    for structure, mesh in meshes.items():
        colour = np.array(COLOURS[structure], dtype=np.float32) / 255
        caster = _Caster(mesh, camera)
        if structure is Structure.TB:
            depth, shade = caster.cast(origins, to_cut)
            layers.append((depth, shade, colour, _OPACITY[structure]))
            depth, shade = caster.cast(origins, np.zeros_like(to_cut))
            layers.append((np.where(depth < to_cut, depth, np.inf), shade, colour, _GHOST_OPACITY))
        else:
            layers.append((*caster.cast(origins, np.zeros_like(to_cut)), colour, _OPACITY[structure]))
    image = _composite(layers, (fine, fine))
    halved: NDArray[np.float32] = image.reshape(pixels, 2, pixels, 2, 3).mean(axis=(1, 3), dtype=np.float32)
    return halved


class _Caster:
    """Rays against one mesh, shaded with smooth normals."""

    def __init__(self, mesh: Mesh, camera: Camera) -> None:
        tensor = o3d.core.Tensor.from_numpy
        self._camera = camera
        self._triangles = mesh.triangles
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.triangles.astype(np.uint32)))
        surface = o3d.t.geometry.TriangleMesh(tensor(mesh.vertices), tensor(mesh.triangles))
        surface.compute_vertex_normals()
        self._normals = surface.vertex.normals.numpy().astype(np.float32)

    def cast(self, origins: NDArray[np.float64], start: NDArray[np.float64]) -> tuple[_Image, _Image]:
        """Depth, infinite where nothing is hit, and brightness; a hit from within is a cut face."""
        begin = origins + start[..., None] * self._camera.forward
        rays = np.concatenate([begin, np.broadcast_to(self._camera.forward, begin.shape)], axis=-1)
        hits = self._scene.cast_rays(o3d.core.Tensor.from_numpy(rays.astype(np.float32)), nthreads=1)
        depth = hits["t_hit"].numpy()
        found = np.isfinite(depth)
        brightness = np.zeros(depth.shape, dtype=np.float32)
        normals = self._interpolate(hits["primitive_ids"].numpy()[found], hits["primitive_uvs"].numpy()[found])
        face = hits["primitive_normals"].numpy()[found]
        from_within = face @ self._camera.forward.astype(np.float32) > 0
        cut = from_within & (start[found] > 0)
        brightness[found] = np.where(cut, _CAP_SHADE, self._shade(normals))
        depth[found] = np.where(cut, 0, depth[found])
        return (depth + start).astype(np.float32), brightness

    def _interpolate(self, faces: NDArray[np.uint32], uv: _Image) -> _Image:
        corners = self._normals[self._triangles[faces]]
        weights = np.stack([1 - uv.sum(axis=1), uv[:, 0], uv[:, 1]], axis=1).astype(np.float32)
        normals = (corners * weights[..., None]).sum(axis=1)
        unit: _Image = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        return unit

    def _shade(self, normals: _Image) -> _Image:
        camera = self._camera
        key = -camera.forward + 0.9 * camera.up - 0.5 * camera.right
        key /= np.linalg.norm(key)
        facing = np.abs(normals @ camera.forward)
        lit = np.maximum(normals @ key, 0)
        brightness: _Image = (0.16 + 0.34 * facing + 0.55 * lit + 0.25 * lit**24).astype(np.float32)
        return brightness


def _composite(layers: Sequence[tuple[_Image, _Image, _Image, float]], shape: tuple[int, int]) -> _Image:
    """Blend the layers of every pixel, the nearest on top."""
    image = np.broadcast_to(np.array(BACKGROUND, dtype=np.float32) / 255, (*shape, 3)).copy()
    if not layers:
        return image
    depths = np.stack([layer[0] for layer in layers])
    order = np.argsort(-depths, axis=0, kind="stable")
    for rank in range(len(layers)):
        for number, (depth, shade, colour, opacity) in enumerate(layers):
            here = (order[rank] == number) & np.isfinite(depth)
            paint = np.clip(shade[here][:, None] * colour, 0, 1)
            image[here] = (1 - opacity) * image[here] + opacity * paint
    return image
