"""From probabilities to closed surfaces in LPS millimetres."""

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from manifold3d import Error, Manifold, Mesh64
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes

from negvol_pacs.errors import SegmentationEmpty, SurfaceError
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.segmentation.masks import JointMasks

SMOOTHING_VOXELS = 0.5  # moves a surface of 5 mm radius by less than 0.01 mm at 0.4 mm spacing
CRUMB_MM3 = 5.0  # smaller pieces of temporal bone are noise and must not confine the joint space
SIMPLIFY_MM = 0.005  # collapses marching cubes' slivers, which spoil cotangents


@dataclass(frozen=True)
class JointSurfaces:
    """Closed surfaces of condyle and temporal bone of one side, LPS mm."""

    mc: Mesh
    tb: Mesh


def build_surfaces(masks: JointMasks) -> JointSurfaces:
    """Build the surfaces of both bones at the 0.5 level of their probabilities.

    Parameters
    ----------
    masks
        Probabilities of one joint.

    Returns
    -------
    JointSurfaces
        Closed and oriented, also where the volume of interest cuts the bone. The condyle
        is one piece; enclosed cavities are filled.

    Raises
    ------
    SegmentationEmpty
        If either bone is missing.
    SurfaceError
        If no closed surface can be built.
    """
    mc = _pieces(masks.mc, "condyle", CRUMB_MM3)
    label = _nearest_piece(mc, masks.mc, masks.centre)
    condyle = np.where((mc == label) | (masks.mc.array < 0.5), _smoothed(masks.mc), 0)
    tb = _pieces(masks.tb, "temporal bone", CRUMB_MM3)
    bone = np.where((tb > 0) | (masks.tb.array < 0.5), _smoothed(masks.tb), 0)
    return JointSurfaces(_closed_surface(condyle, masks.mc.affine), _closed_surface(bone, masks.tb.affine))


def to_manifold(mesh: Mesh) -> Manifold:
    """Return the mesh as a solid for boolean operations.

    Raises
    ------
    SurfaceError
        If the mesh is not closed and oriented.
    """
    solid = Manifold(Mesh64(np.ascontiguousarray(mesh.vertices), mesh.triangles.astype(np.uint64)))
    if solid.status() != Error.NoError or solid.is_empty():
        raise SurfaceError(f"the surface is not closed ({solid.status().name})")
    return solid


def from_manifold(solid: Manifold) -> Mesh:
    """Return a solid's surface, oriented outward."""
    mesh = solid.to_mesh64()
    return Mesh(np.array(mesh.vert_properties[:, :3], dtype=np.float64), np.array(mesh.tri_verts, dtype=np.int32))


def _smoothed(volume: hd.Volume) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(volume.array.astype(np.float32), SMOOTHING_VOXELS, truncate=3.0))


def _pieces(volume: hd.Volume, name: str, smallest_mm3: float) -> NDArray[np.int32]:
    """Label connected pieces of at least ``smallest_mm3``; 0 elsewhere."""
    labels, _ = ndimage.label(volume.array >= 0.5)
    sizes = np.bincount(labels.ravel()) * abs(np.linalg.det(volume.affine[:3, :3]))
    keep = sizes >= smallest_mm3
    keep[0] = False
    if not keep.any():
        raise SegmentationEmpty(f"no {name} in the volume of interest")
    return np.where(keep[labels], labels, 0).astype(np.int32)


def _nearest_piece(labels: NDArray[np.int32], volume: hd.Volume, centre: NDArray[np.float64]) -> int:
    """Return the label of the piece with most volume within 8 mm of the head's centre, else the largest."""
    index = np.argwhere(labels > 0)
    found = labels[labels > 0]
    points = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    near = np.linalg.norm(points - centre, axis=1) < 8.0
    return int(np.bincount(found[near] if near.any() else found).argmax())


def _closed_surface(probability: NDArray[np.float32], affine: NDArray[np.float64]) -> Mesh:
    filled = ndimage.binary_fill_holes(probability >= 0.5)
    field = np.where(filled & (probability < 0.5), np.float32(1), probability)
    field = np.pad(field, 1)  # closes the surface where the volume of interest cuts the bone
    if not field.max() > 0.5:
        raise SegmentationEmpty("the bone vanishes when smoothed")
    vertices, triangles, _, _ = marching_cubes(field, 0.5)
    vertices = (vertices - 1) @ affine[:3, :3].T + affine[:3, 3]
    mesh = Mesh(vertices.astype(np.float64), triangles.astype(np.int32))
    if np.linalg.det(affine[:3, :3]) > 0:  # scikit-image winds inward for a right-handed grid
        mesh = Mesh(mesh.vertices, mesh.triangles[:, ::-1])
    return from_manifold(to_manifold(mesh).simplify(SIMPLIFY_MM))
