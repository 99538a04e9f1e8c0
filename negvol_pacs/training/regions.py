"""The surroundings of one joint, and a coarse whole head, ready to be deformed and painted.

The mandible is kept apart from all else, so that it can move on its own; bones are signed
distances, so that their surfaces stay smooth under deformation.
"""

from dataclasses import dataclass

import highdicom as hd
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.masks import condyle_centre
from negvol_pacs.training.tissues import Tissue

REGION_MM = 100.0
DEPTH_MM = 7.9
"""Signed distances are cut off here."""
_SMOOTHING_MM = 0.25
_SOFT = (Tissue.SOFT, Tissue.FAT, Tissue.MUSCLE, Tissue.BRAIN)


@dataclass(frozen=True)
class Region:
    """A cube around a right joint, or around a left one in the mirror.

    Attributes
    ----------
    tissues
        `Tissue` of each voxel, uint8, axes z, y, x; the mandible is replaced by the soft
        tissue nearest to it.
    mandible, skull
        Signed distance to the bone's surface, mm, positive inside, float32.
    spacing
        Millimetres; the condylar head's centre is the cube's.
    """

    tissues: Tensor
    mandible: Tensor
    skull: Tensor
    spacing: float


@dataclass(frozen=True)
class Condyle:
    """A cube around a right condyle, or around a left one in the mirror, of a mandible without a skull.

    Attributes
    ----------
    mandible, spacing
        As in `Region`.
    """

    mandible: Tensor
    spacing: float


@dataclass(frozen=True)
class CoarseHead:
    """A whole head.

    Attributes
    ----------
    tissues
        As in `Region`.
    mandible
        1 where the mandible is, float32.
    centres
        Of the condylar heads, index (z, y, x).
    spacing
        Millimetres.
    """

    tissues: Tensor
    mandible: Tensor
    centres: dict[Side, NDArray[np.float64]]
    spacing: float


def cut_region(head: hd.Volume, side: Side) -> Region:
    """Cut out the surroundings of one joint.

    Parameters
    ----------
    head
        `Tissue` of each voxel of a whole head on an isotropic LPS grid.
    side
        Which joint.
    """
    spacing = float(head.spacing[0])
    labels = _cube(head, side)
    skull = (labels == Tissue.SKULL) | (labels == Tissue.AIR_CELL)
    return Region(
        tissues=torch.from_numpy(without_mandible(labels)),
        mandible=_distance(labels == Tissue.MANDIBLE, spacing),
        skull=_distance(skull, spacing),
        spacing=spacing,
    )


def cut_condyle(head: hd.Volume, side: Side) -> Condyle:
    """Cut out the surroundings of one condyle.

    Parameters
    ----------
    head
        `Tissue.MANDIBLE` or another `Tissue` in each voxel on an isotropic LPS grid.
    side
        Which condyle.
    """
    spacing = float(head.spacing[0])
    return Condyle(_distance(_cube(head, side) == Tissue.MANDIBLE, spacing), spacing)


def coarse_head(head: hd.Volume, spacing: float = 1.0) -> CoarseHead:
    """Take every n-th voxel of a head, about ``spacing`` mm apart."""
    step = max(1, round(spacing / float(head.spacing[0])))
    labels = np.ascontiguousarray(head.array[::step, ::step, ::step])
    return CoarseHead(
        tissues=torch.from_numpy(without_mandible(labels)),
        mandible=torch.from_numpy((labels == Tissue.MANDIBLE).astype(np.float32)),
        centres={side: _centre_index(head, side) / step for side in Side},
        spacing=float(head.spacing[0]) * step,
    )


def without_mandible(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the mandible by the nearest soft tissue."""
    bone = labels == Tissue.MANDIBLE
    if not bone.any():
        return labels.copy()
    box = ndimage.find_objects(bone.astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in box)
    part, mask = labels[box], bone[box]
    nearest = ndimage.distance_transform_edt(~np.isin(part, _SOFT), return_distances=False, return_indices=True)
    result = labels.copy()
    result[box] = np.where(mask, part[tuple(nearest)], part)
    return result


def _cube(head: hd.Volume, side: Side) -> NDArray[np.uint8]:
    """Labels around the condylar head, as of a right one."""
    half = int(REGION_MM / 2 / float(head.spacing[0]))
    first = np.round(_centre_index(head, side)).astype(int) - half
    index = [np.clip(np.arange(f, f + 2 * half + 1), 0, n - 1) for f, n in zip(first, head.spatial_shape, strict=True)]
    labels = head.array[np.ix_(*index)]
    return np.ascontiguousarray(labels[:, :, ::-1]) if side is Side.LEFT else np.asarray(labels)


def _centre_index(head: hd.Volume, side: Side) -> NDArray[np.float64]:
    mandible = grid.on_grid(head.array == Tissue.MANDIBLE, head)
    centre = condyle_centre(mandible, side)
    return np.asarray((np.linalg.inv(head.affine) @ np.append(centre, 1.0))[:3])


def _distance(bone: NDArray[np.bool_], spacing: float) -> Tensor:
    """Signed distance by the rule of `segmentation.masks.surface_distance`."""
    if not bone.any():
        return torch.full(bone.shape, -DEPTH_MM)
    half = spacing / 2
    outside = ndimage.distance_transform_edt(~bone, sampling=spacing)
    depth = ndimage.distance_transform_edt(bone, sampling=spacing)
    signed = np.where(bone, depth - half, half - outside).astype(np.float32)
    return torch.from_numpy(ndimage.gaussian_filter(signed.clip(-DEPTH_MM, DEPTH_MM), _SMOOTHING_MM / spacing))
