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
from negvol_pacs.joint.operators import face_normals, lengths
from negvol_pacs.segmentation.masks import JointMasks

SMOOTHING_VOXELS = 0.5  # moves a surface of 5 mm radius by less than 0.01 mm at 0.4 mm spacing
CRUMB_MM3 = 5.0  # smaller pieces of temporal bone are noise and must not confine the joint space
SIMPLIFY_VOXELS = 0.025  # collapses marching cubes' slivers, which spoil cotangents
MARGIN_MM = 1.0
LONGEST_EDGE_MM = 1.0  # of the condyle: where simplifying left a flat piece bare, nothing could inflate


@dataclass(frozen=True)
class JointSurfaces:
    """Closed surfaces of condyle and temporal bone of one side, LPS mm.

    Attributes
    ----------
    mc, tb
        Surfaces.
    mc_solid
        The condyle as a solid for boolean operations.
    head, bone
        Probability of condyle and temporal bone; ``tb`` is the 0.5 level, ``mc`` too but for the slivers.
    """

    mc: Mesh
    tb: Mesh
    mc_solid: Manifold
    head: hd.Volume
    bone: hd.Volume

    def tb_solid(self, near: Manifold) -> Manifold:
        """Return the temporal bone within ``MARGIN_MM`` of the box around a solid, as a solid.

        Its surface is ``tb`` but where the box cuts it. The whole bone would cost booleans ten times their time.

        Raises
        ------
        SegmentationEmpty
            If there is no bone in the box.
        """
        box = np.array(near.bounding_box())
        low, high = box[:3] - MARGIN_MM, box[3:] + MARGIN_MM
        corners = np.stack(np.meshgrid(*np.transpose([low, high]), indexing="ij"), axis=-1).reshape(-1, 3)
        index = self.bone.map_reference_to_indices(corners, round_output=False)
        first = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
        last = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, self.bone.spatial_shape)
        if (last <= first).any():
            raise SegmentationEmpty("no temporal bone near the condyle")
        return to_manifold(_surface(self.bone[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]))


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
    head, skull = _cropped(masks.mc, "condyle"), _cropped(masks.tb, "temporal bone")
    condyle, bone = _smoothed(head), _smoothed(skull)
    mc = _pieces(head, "condyle")
    condyle[(mc != _nearest_piece(mc, head, masks.centre)) & (head.array >= 0.5)] = 0
    bone[(_pieces(skull, "temporal bone") == 0) & (skull.array >= 0.5)] = 0
    head, skull = _without_cavities(head, condyle), _without_cavities(skull, bone)
    tolerance = SIMPLIFY_VOXELS * min(head.spacing)
    mc_solid = to_manifold(_surface(head)).simplify(tolerance).refine_to_length(LONGEST_EDGE_MM)
    return JointSurfaces(from_manifold(mc_solid), _surface(skull), mc_solid, head, skull)


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


def shared_area(result: Manifold, source: Manifold) -> float:
    """Area, mm², of those of a boolean's triangles that are parts of the source's, left in place."""
    mesh, own = result.to_mesh64(), dict(_runs(source.to_mesh64()))
    vertices, triangles = np.asarray(mesh.vert_properties)[:, :3], np.asarray(mesh.tri_verts).astype(np.int32)
    ends = np.asarray(mesh.run_index).astype(np.int64) // 3
    total = 0.0
    for start, end, (identity, place) in zip(ends[:-1], ends[1:], _runs(mesh), strict=True):
        if identity in own and np.allclose(place, own[identity], atol=1e-9):
            total += float(lengths(face_normals(vertices, triangles[start:end])).sum() / 2)
    return total


def _runs(mesh: Mesh64) -> list[tuple[int, NDArray[np.float64]]]:
    """Identity and place of the solids whose parts a mesh consists of; an unmoved solid may have no place."""
    places = np.asarray(mesh.run_transform, dtype=np.float64).reshape(-1, 12)
    unmoved = np.vstack([np.eye(3), np.zeros(3)]).ravel()
    identities = [int(identity) for identity in mesh.run_original_id]
    return list(zip(identities, places if len(places) else [unmoved] * len(identities), strict=True))


def _cropped(volume: hd.Volume, name: str) -> hd.Volume:
    """Return the part with any bone, and a margin as wide as the smoothing."""
    bone = volume.array > 0
    box = []
    for axis, size in enumerate(bone.shape):
        found = np.flatnonzero(bone.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(found):
            raise SegmentationEmpty(f"no {name} in the volume of interest")
        box.append(slice(max(0, found[0] - 2), min(size, found[-1] + 3)))
    return volume[tuple(box)]


def _smoothed(volume: hd.Volume) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(np.asarray(volume.array, np.float32), SMOOTHING_VOXELS, truncate=3.0))


def _pieces(volume: hd.Volume, name: str) -> NDArray[np.int32]:
    """Label connected pieces of at least ``CRUMB_MM3``; 0 elsewhere."""
    labels, _ = ndimage.label(volume.array >= 0.5)
    sizes = np.bincount(labels.ravel()) * abs(np.linalg.det(volume.affine[:3, :3]))
    keep = sizes >= CRUMB_MM3
    keep[0] = False
    if not keep.any():
        raise SegmentationEmpty(f"no {name} in the volume of interest")
    return np.asarray(np.where(keep, np.arange(len(keep)), 0).astype(np.int32).take(labels))


def _nearest_piece(labels: NDArray[np.int32], volume: hd.Volume, centre: NDArray[np.float64]) -> int:
    """Return the label of the piece with most volume within 8 mm of the head's centre, else the largest."""
    index = np.argwhere(labels > 0)
    found = labels[labels > 0]
    points = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    near = np.linalg.norm(points - centre, axis=1) < 8.0
    return int(np.bincount(found[near] if near.any() else found).argmax())


def _without_cavities(volume: hd.Volume, probability: NDArray[np.float32]) -> hd.Volume:
    """Put a probability in place of a volume's own, and 1 into cavities that bone encloses."""
    around, spaces = ndimage.label(np.pad(probability < 0.5, 1, constant_values=True))
    if spaces > 1:
        inside = np.arange(spaces + 1) > 0
        inside[around[0, 0, 0]] = False
        probability[inside.take(around)[1:-1, 1:-1, 1:-1]] = 1
    return volume.with_array(probability)


def _surface(volume: hd.Volume) -> Mesh:
    """Return the 0.5 level, closed where the volume ends."""
    field = np.pad(volume.array, 1)
    if not field.max() > 0.5:
        raise SegmentationEmpty("no bone is left where its surface is sought")
    vertices, triangles, _, _ = marching_cubes(field, 0.5)
    affine = volume.affine
    vertices = (vertices - 1) @ affine[:3, :3].T + affine[:3, 3]
    mesh = Mesh(vertices.astype(np.float64), triangles.astype(np.int32))
    # scikit-image winds inward for a right-handed grid
    return Mesh(mesh.vertices, mesh.triangles[:, ::-1]) if np.linalg.det(affine[:3, :3]) > 0 else mesh
