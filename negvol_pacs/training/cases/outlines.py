"""Outlined bones on the grid of an image: from DICOM SEG, from meshes, from label maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import open3d as o3d
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import MALFORMED, JointError, TrainingError
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.masks import MC_RADIUS_MM, condyle_centre, head_centre
from negvol_pacs.training.cases.alignment import check_alignment
from negvol_pacs.training.cases.case import MANDIBLE, SKULL, Case, Scope

_CODES = {
    "67183008": (MANDIBLE, "joint"),  # SCT condyloid process of mandible
    "91609006": (MANDIBLE, "whole"),  # mandible
    "60911003": (SKULL, "joint"),  # temporal bone
    "89546000": (SKULL, "whole"),  # skull
}
_SIDES = {"24028007": Side.RIGHT, "7771000": Side.LEFT}
_WIDER = 1 << 22
_APART_MM = 50.0
"""Condyles are farther apart, in children too; half a mandible is not as wide."""


def from_seg(path: Path, image: hd.Volume, provenance: Mapping[str, str]) -> Case:
    """Make a case of a DICOM SEG of an image: condyles or mandible, temporal bones or skull.

    Parameters
    ----------
    path
        DICOM Segmentation, BINARY, FRACTIONAL or LABELMAP, on any grid.
    image
        What it outlines.
    provenance
        See `Case`.

    Raises
    ------
    TrainingError
        If it is no such SEG, or does not lie on the bones of the image.
    """
    try:
        seg = hd.seg.segread(path)
        outlined = [item for number in seg.segment_numbers if (item := _segment(seg, int(number)))]
        if {kind for kind, _, _ in outlined} != {MANDIBLE, SKULL}:
            raise TrainingError(f"{path.name} does not outline mandible (or condyle) and skull (or temporal bone).")
        labels = np.zeros(image.spatial_shape, np.uint8)
        for kind, _, number in sorted(outlined, reverse=True):  # where both claim a voxel, the mandible has it
            volume = seg.get_volume(combine_segments=False, segment_numbers=[number])
            labels[_on(volume, image)] = kind
    except MALFORMED as error:
        raise TrainingError(f"{path.name} cannot be read as a segmentation: {error}.") from error
    scope: Scope = "joint" if all(extent == "joint" for _, extent, _ in outlined) else "whole"
    return make_case(image, labels, scope, provenance)


def make_case(image: hd.Volume, labels: NDArray[np.uint8], scope: Scope, provenance: Mapping[str, str]) -> Case:
    """Make a case once its outlines are found to lie on the bones of the image.

    Raises
    ------
    TrainingError
        If they do not, or no condylar head is outlined.
    """
    outlines = grid.on_grid(labels, image)
    check_alignment(image, outlines)
    centres = {side: centre for side in Side if (centre := _centre(outlines, scope, side)) is not None}
    if not centres:
        raise TrainingError("No condylar head is outlined.")
    if len(centres) == 2 and abs(centres[Side.LEFT][0] - centres[Side.RIGHT][0]) < _APART_MM:
        raise TrainingError("Only one side of the mandible is outlined: as a whole it must have both.")
    return Case(image, outlines, centres, scope, provenance)


def from_label_map(path: Path, image: hd.Volume, provenance: Mapping[str, str]) -> Case:
    """Make a case of a NIfTI label map (1 skull, 2 mandible, as in `training.shapes`) of an image.

    Raises
    ------
    TrainingError
        As `make_case`, and if the file cannot be read.
    """
    try:
        volume = hd.Volume.from_nibabel(nib.load(path))
    except (ImageFileError, *MALFORMED) as error:
        raise TrainingError(f"{path.name} cannot be read: {error}.") from error
    labels = np.zeros(image.spatial_shape, np.uint8)
    for code, kind in ((1, SKULL), (2, MANDIBLE)):
        labels[_on(grid.on_grid(volume.array == code, volume), image)] = kind
    return make_case(image, labels, "whole", provenance)


def from_meshes(
    mandible: Sequence[Path], skull: Sequence[Path], image: hd.Volume, provenance: Mapping[str, str]
) -> Case:
    """Make a case of surface meshes (STL, OBJ, PLY) of an image, LPS or RAS millimetres.

    Which of the two it is, the image decides.

    Raises
    ------
    TrainingError
        If neither lies on the bones of the image; the message is that of LPS.
    """
    refused: TrainingError | None = None
    for signs in ((1.0, 1.0, 1.0), (-1.0, -1.0, 1.0)):
        try:
            labels = np.zeros(image.spatial_shape, np.uint8)
            for kind, paths in ((SKULL, skull), (MANDIBLE, mandible)):
                for path in paths:
                    labels[voxelise(path, image, signs)] = kind
            return make_case(image, labels, "whole", provenance)
        except TrainingError as error:
            refused = refused or error
    raise refused or TrainingError("There are no meshes.")


def voxelise(path: Path, image: hd.Volume, signs: Sequence[float] = (1.0, 1.0, 1.0)) -> NDArray[np.bool_]:
    """Fill a mesh on the grid of an image.

    Triangles are split until every edge is below the spacing (Belikova 2021), so that the voxels of their
    corners are a shell without gaps; a closed mesh is then filled by rays, an open one by its shell.

    Parameters
    ----------
    path
        Surface mesh, mm.
    image
        Grid of the result.
    signs
        Of x, y, z: (-1, -1, 1) for RAS.

    Raises
    ------
    TrainingError
        If the file holds no triangles.
    """
    mesh = o3d.io.read_triangle_mesh(path)
    mesh.remove_duplicated_vertices()  # STL has none shared
    if not len(mesh.triangles):
        raise TrainingError(f"{path.name} holds no triangles.")
    inverse = np.linalg.inv(np.asarray(image.affine))
    corners = np.asarray(mesh.vertices) * signs @ inverse[:3, :3].T + inverse[:3, 3]
    triangles = corners[np.asarray(mesh.triangles)]
    result = np.zeros(image.spatial_shape, np.bool_)
    points = np.round(split(triangles)).astype(int).reshape(-1, 3)
    inside = ((points >= 0) & (points < result.shape)).all(1)
    result[tuple(points[inside].T)] = True
    if not mesh.is_watertight():
        return np.asarray(ndimage.binary_fill_holes(result))
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(corners.astype(np.float32)),
        o3d.core.Tensor.from_numpy(np.asarray(mesh.triangles).astype(np.uint32)),
    )
    rows, columns = np.mgrid[: result.shape[1], : result.shape[2]].astype(np.float32)
    low, high = max(0, int(corners[:, 0].min())), min(len(result), int(corners[:, 0].max()) + 2)
    result[:] = False
    for index in range(low, high):
        plane = np.stack([np.full_like(rows, index), rows, columns], axis=-1)
        result[index] = scene.compute_occupancy(o3d.core.Tensor.from_numpy(plane)).numpy() > 0
    return result


def split(triangles: NDArray[np.float64], longest: float = 1.0) -> NDArray[np.float64]:
    """Split triangles, shape (n, 3, 3), at the middles of their edges until none is longer."""
    done = []
    while len(triangles):
        edges = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2).max(1)
        done.append(triangles[edges <= longest])
        long = triangles[edges > longest]
        if len(long) > _WIDER:
            raise TrainingError("The mesh is far larger than the image.")
        middles = (long + np.roll(long, -1, axis=1)) / 2
        a, b, c = long.transpose(1, 0, 2)
        ab, bc, ca = middles.transpose(1, 0, 2)
        parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        triangles = np.concatenate([np.stack(part, axis=1) for part in parts])
    return np.concatenate(done)


def segment_kind(description: Dataset) -> tuple[int, Scope] | None:
    """Label and extent of a segment by its type (PS3.3 C.8.20.2); None where it is another structure."""
    types = description.get("SegmentedPropertyTypeCodeSequence") or ()
    found = [_CODES[item.CodeValue] for item in types if item.get("CodeValue") in _CODES]
    return (found[0][0], "joint" if found[0][1] == "joint" else "whole") if found else None


def _segment(seg: hd.seg.Segmentation, number: int) -> tuple[int, Scope, int] | None:
    kind = segment_kind(seg.get_segment_description(number))
    return None if kind is None else (*kind, number)


def _on(volume: hd.Volume, image: hd.Volume) -> NDArray[np.bool_]:
    """Take the nearest voxel; a finer outline is not smoothed away."""
    array = volume.array.reshape(volume.spatial_shape).astype(np.float32)
    if volume.spatial_shape == image.spatial_shape and np.allclose(volume.affine, image.affine, atol=1e-3):
        return np.asarray(array > 0.5)
    matrix = grid.index_map(volume, image)
    found = ndimage.affine_transform(array, matrix[:3, :3], matrix[:3, 3], image.spatial_shape, order=0, cval=0.0)
    return np.asarray(found > 0.5)


def _centre(labels: hd.Volume, scope: Scope, side: Side) -> NDArray[np.float64] | None:
    mandible = grid.on_grid(labels.array == MANDIBLE, labels)
    try:
        if scope == "whole":
            return condyle_centre(mandible, side)
        return _head_of(mandible, side)
    except JointError:
        return None


def _head_of(condyles: hd.Volume, side: Side) -> NDArray[np.float64]:
    """Centre of one of two separate condyles, or of the only one."""
    pieces, count = ndimage.label(condyles.array)
    sizes = np.bincount(pieces.ravel())[1:] * condyles.voxel_volume
    large = [label for label in np.argsort(-sizes)[:2] + 1 if sizes[label - 1] > 0.2 * sizes.max()] if count else []
    centres = [head_centre(grid.on_grid(pieces == label, condyles)) for label in large]
    x = [float(centre[0]) for centre in centres]
    if len(x) == 2 and abs(x[0] - x[1]) > 2 * MC_RADIUS_MM:
        return centres[int(np.argmin(x) if side is Side.RIGHT else np.argmax(x))]
    middle = grid.world(condyles, (np.array(condyles.spatial_shape) - 1) / 2)[0]
    if x and (x[0] < middle) == (side is Side.RIGHT):
        return centres[0]
    raise JointError(f"No condyle is outlined on the {side} side.")
