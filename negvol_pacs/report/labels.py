"""The structures of both joints as one label map on the source grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import highdicom as hd
import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.segmentation.masks import JointMasks

_CHUNK_VOXELS = 1 << 19

ORDER = tuple(product((Side.RIGHT, Side.LEFT), Structure))
"""Order of the segments: right MC, TB, NV, left MC, TB, NV."""


@dataclass(frozen=True)
class LabelBox:
    """Label map of the slices that hold anything.

    Attributes
    ----------
    first
        Index in the source grid of the first slice.
    labels
        uint8, (slices, rows, columns), whole frames; 0 is background and n is
        ``segments[n - 1]``.
    segments
        Those that have at least one voxel, in :data:`ORDER`.
    """

    first: int
    labels: NDArray[np.uint8]
    segments: tuple[tuple[Side, Structure], ...]


def label_box(
    geometry: hd.Volume, masks: Mapping[Side, JointMasks], meshes: Mapping[Side, Mesh | None]
) -> LabelBox | None:
    """Sample masks and meshes at the centres of the source voxels.

    Parameters
    ----------
    geometry
        Source grid: index (slice, row, column) to LPS mm, of any orientation.
    masks
        Sides that were segmented: a voxel is bone where the probability, interpolated
        linearly, exceeds one half.
    meshes
        Negative volumes, closed, LPS mm; ignored for a side without masks. Bone wins where
        the two disagree by less than a voxel.

    Returns
    -------
    LabelBox or None
        None when nothing lies within the grid.
    """
    parts = [part for side in masks for part in _parts(geometry, masks[side], meshes.get(side))]
    parts = [part for part in parts if part[2].any()]
    if not parts:
        return None
    extent = [(_filled_slices(inside) + box[0].start) for _, box, inside in parts]
    first, stop = int(min(e[0] for e in extent)), int(max(e[1] for e in extent))
    labels = np.zeros((stop - first, *geometry.spatial_shape[1:]), dtype=np.uint8)
    for key, box, inside in parts:
        start, end = max(box[0].start, first), min(box[0].stop, stop)
        view = labels[start - first : end - first, box[1], box[2]]
        view[inside[start - box[0].start : end - box[0].start] & (view == 0)] = ORDER.index(key) + 1
    return _renumber(first, labels)


_Box = tuple[slice, slice, slice]
_Part = tuple[tuple[Side, Structure], _Box, NDArray[np.bool_]]


def _parts(geometry: hd.Volume, masks: JointMasks, nv: Mesh | None) -> list[_Part]:
    """MC, TB and NV of one side, each within its box of the source grid; bone first."""
    parts: list[_Part] = []
    for structure, probability in ((Structure.MC, masks.mc), (Structure.TB, masks.tb)):
        box = _index_box(geometry, _corners(probability))
        if box is not None:
            parts.append(((masks.side, structure), box, _sample(geometry, box, probability)))
    box = _index_box(geometry, _mesh_corners(nv)) if nv is not None else None
    if nv is not None and box is not None:
        parts.append(((masks.side, Structure.NV), box, _voxelise(geometry, box, nv)))
    return parts


def _filled_slices(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    filled = np.flatnonzero(inside.any(axis=(1, 2)))
    return np.array([filled[0], filled[-1] + 1])


def _renumber(first: int, labels: NDArray[np.uint8]) -> LabelBox:
    # Slice by slice, since bincount widens its argument to eight bytes a voxel.
    present = np.sum([np.bincount(frame.ravel(), minlength=len(ORDER) + 1) for frame in labels], axis=0)[1:] > 0
    table = np.zeros(len(ORDER) + 1, dtype=np.uint8)
    table[1:][present] = np.arange(1, present.sum() + 1)
    segments = tuple(key for key, found in zip(ORDER, present, strict=True) if found)
    return LabelBox(first, labels if present.all() else table[labels], segments)


def _corners(volume: hd.Volume) -> NDArray[np.float64]:
    indices = np.array(list(product(*((0, n - 1) for n in volume.spatial_shape))), dtype=np.float64)
    corners: NDArray[np.float64] = indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return corners


def _mesh_corners(mesh: Mesh) -> NDArray[np.float64]:
    lower, upper = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    return np.array(list(product(*zip(lower, upper, strict=True))))


def _index_box(geometry: hd.Volume, points: NDArray[np.float64]) -> _Box | None:
    """Smallest box of source voxels around some points, or None where they all lie outside."""
    inverse = np.linalg.inv(geometry.affine)
    indices = points @ inverse[:3, :3].T + inverse[:3, 3]
    start = np.maximum(np.floor(indices.min(axis=0)).astype(int), 0)
    stop = np.minimum(np.ceil(indices.max(axis=0)).astype(int) + 1, geometry.spatial_shape)
    if np.any(stop <= start):
        return None
    box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return box[0], box[1], box[2]


def _sample(geometry: hd.Volume, box: _Box, probability: hd.Volume) -> NDArray[np.bool_]:
    start = np.array([s.start for s in box])
    shape = tuple(s.stop - s.start for s in box)
    to_voi = np.linalg.inv(probability.affine) @ geometry.affine
    offset = to_voi[:3, :3] @ start + to_voi[:3, 3]
    sampled = affine_transform(probability.array, to_voi[:3, :3], offset, shape, order=1, output=np.float32)
    inside: NDArray[np.bool_] = sampled > 0.5
    return inside


def _voxelise(geometry: hd.Volume, box: _Box, mesh: Mesh) -> NDArray[np.bool_]:
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    tensor = o3d.core.Tensor.from_numpy
    scene.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.triangles.astype(np.uint32)))
    shape = tuple(s.stop - s.start for s in box)
    inside = np.zeros(shape, dtype=bool)
    step = max(1, _CHUNK_VOXELS // (shape[1] * shape[2]))
    for first in range(0, shape[0], step):
        slices = np.arange(box[0].start + first, min(box[0].start + first + step, box[0].stop))
        index = np.stack(np.meshgrid(slices, *(np.arange(s.start, s.stop) for s in box[1:]), indexing="ij"), axis=-1)
        points = index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
        # Three rays a voxel: one alone miscounts where it meets an edge of the mesh.
        hits = scene.compute_occupancy(tensor(points.astype(np.float32)), nthreads=1, nsamples=3)
        inside[first : first + len(slices)] = hits.numpy() > 0
    return inside
