"""The masks of one joint, and the one rule that makes them.

The same rule holds for true masks, for the networks' labels and for the networks' output:
MC is the mandible within 20 mm of the centre of the condylar head, one piece; TB is the
skull's bone within 28 mm; enclosed cavities belong to the bone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import highdicom as hd
import numpy as np
import scipy.ndimage as ndi
from numpy.typing import ArrayLike, NDArray
from scipy.signal import find_peaks

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.errors import JointNotFound, SegmentationEmpty
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import grid

MC_RADIUS_MM = 20.0
TB_RADIUS_MM = 28.0
HEAD_RADIUS_MM = 10.0
RAMP_MM = 1.0
"""A probability goes from 0 to 1 between this far outside and this far inside the surface."""
_SMALLEST_PIECE_MM3 = 20.0
_FAR_MM, _SMALLEST_FAR_PIECE_MM3 = 15.0, 200.0
"""So far from the head's centre a small piece confines nothing; beside the ramus it would touch the condyle."""
_RAMUS_BESIDE = 0.03
"""Share of a piece's voxels beside the mandible: a ramus cut across has over 5 %, a temporal bone under 1 %."""
_PROMINENCE_MM = 4.0
_LEAST_PIECE = 0.2
"""Of the largest piece: a field of view that ends above the chin leaves two."""
_SMOOTHING_MM = 0.25


@dataclass(frozen=True)
class JointMasks:
    """Mandibular condyle (MC) and temporal bone (TB) of one side.

    Both volumes share one grid: isotropic, axis-aligned in LPS, array axes (z to
    superior, y to posterior, x to left), covering the volume of interest.

    Attributes
    ----------
    side
        Side of the patient.
    mc, tb
        Probability, float32 in [0, 1]; the bone's surface is the 0.5 level, placed with
        sub-voxel accuracy. Never both above 0.5 in one voxel.
    centre
        Centre of the condylar head, LPS mm, shape (3,).
    inside
        Optional mask on the same grid: True where the source image has data. None when
        all of the grid lies inside the field of view.
    flags
        What the segmentation doubts.
    dice
        Predicted Dice of MC and TB (`segmentation.confidence`); empty for true masks.
    """

    side: Side
    mc: hd.Volume
    tb: hd.Volume
    centre: NDArray[np.float64]
    inside: hd.Volume | None = None
    flags: frozenset[QualityFlag] = field(default_factory=frozenset)
    dice: Mapping[Structure, float] = field(default_factory=dict)


def joint_masks_from_labels(
    mandible: hd.Volume,
    skull: hd.Volume,
    side: Side,
    spacing_mm: float = grid.SPACING_MM,
    centre: ArrayLike | None = None,
) -> JointMasks:
    """Masks of one joint from whole bones.

    Parameters
    ----------
    mandible, skull
        bool, the same grid of any orientation; the mandible with teeth or without.
    side
        Which joint.
    spacing_mm
        Of the canonical grid (64 mm cube around the condylar head).
    centre
        Centre of the condylar head, LPS mm, where it is known; else it is found in the
        mandible, which must then have both sides.

    Raises
    ------
    JointNotFound
        If there is no mandible on that side.
    SegmentationEmpty
        If condyle or temporal bone is missing around the centre.
    """
    middle = condyle_centre(mandible, side) if centre is None else np.asarray(centre, dtype=np.float64)
    geometry = grid.canonical_grid(middle, spacing_mm)
    mc = probability(surface_distance(mandible, geometry))
    tb = probability(surface_distance(skull, geometry))
    mc, tb = clip_to_joint(mc, tb, geometry, middle)
    inside = grid.inside_field(mandible, geometry)
    return JointMasks(
        side=side,
        mc=grid.on_grid(mc, geometry),
        tb=grid.on_grid(tb, geometry),
        centre=middle,
        inside=None if inside.all() else grid.on_grid(inside, geometry),
    )


def condyle_centre(mandible: hd.Volume, side: Side) -> NDArray[np.float64]:
    """Centre of one condylar head of a mandible with both sides, LPS mm.

    Seen from the side, a half of the mandible ends above in two peaks, the coronoid
    process and behind it the condyle. The centre is the centroid of the bone within 10 mm
    of the condyle's highest point.

    Raises
    ------
    JointNotFound
        If there is no mandible on that side.
    """
    pieces, count = ndi.label(mandible.array)
    if count == 0:
        raise JointNotFound("There is no mandible.")
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    points = grid.world(mandible, np.argwhere((sizes >= _LEAST_PIECE * sizes.max())[pieces]))
    midline = (points[:, 0].min() + points[:, 0].max()) / 2
    points = points[(points[:, 0] < midline) == (side is Side.RIGHT)]
    if not len(points):
        raise JointNotFound(f"There is no mandible on the {side} side.")
    return _head_centre(points, _hindmost_peak(points))


def _hindmost_peak(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Highest point of the rearmost process of half a mandible."""
    bins = np.floor(points[:, 1] - points[:, 1].min()).astype(int)
    floor = points[:, 2].min() - 1.0
    profile = np.full(bins.max() + 3, floor)  # One empty bin on each side: an end can be a peak.
    np.maximum.at(profile, bins + 1, points[:, 2])
    peaks, _ = find_peaks(profile, prominence=_PROMINENCE_MM)
    top = profile[peaks[-1]] if len(peaks) else profile.max()
    near = points[np.abs(bins + 1 - (peaks[-1] if len(peaks) else profile.argmax())) <= 1]
    return np.asarray(near[near[:, 2] >= top - 1e-3].mean(axis=0))


def _head_centre(points: NDArray[np.float64], top: NDArray[np.float64]) -> NDArray[np.float64]:
    near = np.linalg.norm(points - top, axis=1) <= HEAD_RADIUS_MM
    return np.asarray(points[near].mean(axis=0))


def head_centre(mc: hd.Volume) -> NDArray[np.float64]:
    """Centre of the condylar head of an MC mask (probability or bool), LPS mm.

    Raises
    ------
    SegmentationEmpty
        If the mask is empty.
    """
    points = grid.world(mc, np.argwhere(mc.array > 0.5))
    if not len(points):
        raise SegmentationEmpty("No condyle in the volume of interest.")
    top = points[points[:, 2] >= points[:, 2].max() - 1e-3].mean(axis=0)
    return _head_centre(points, top)


def surface_distance(labels: hd.Volume, geometry: hd.VolumeGeometry) -> NDArray[np.float32]:
    """Signed distance to a labelled bone's smoothed surface, mm, positive inside.

    The distance is smoothed instead of the label: thin bone stays, and curved bone does
    not shrink. Between label voxels the surface lies half-way.
    """
    # A margin, so that the distance is right up to the crop's border.
    part = grid.crop_around(labels, geometry, margin=int(np.ceil(4.0 / min(labels.spacing))))
    if part is None or not part.array.any():
        return np.full(geometry.spatial_shape, -grid.EXTENT_MM, dtype=np.float32)
    bone = part.array.astype(np.bool_)
    if bone.all():
        return np.full(geometry.spatial_shape, grid.EXTENT_MM, dtype=np.float32)
    signed = grid.distance_to_faces(bone, part.spacing)
    signed = ndi.gaussian_filter(np.clip(signed, -9.0, 9.0), _SMOOTHING_MM / np.asarray(part.spacing))
    return grid.resample(grid.on_grid(signed, part), geometry, order=1, fill=-grid.EXTENT_MM)


def probability(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Signed distance (mm, positive inside) to a probability; 0.5 is the surface."""
    return np.asarray(np.clip(0.5 + distance / np.float32(2 * RAMP_MM), 0.0, 1.0), dtype=np.float32)


def clip_to_joint(
    mc: NDArray[np.float32], tb: NDArray[np.float32], geometry: hd.VolumeGeometry, centre: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keep of the bones what belongs to the joint.

    Parameters
    ----------
    mc, tb
        Probabilities on the canonical grid; left unchanged.
    geometry
        The canonical grid.
    centre
        Centre of the condylar head, LPS mm.

    Raises
    ------
    SegmentationEmpty
        If nothing remains of one of them.
    """
    radius = grid.distance_from(geometry, centre)
    voxel = geometry.voxel_volume
    mc, tb = _part(_filled(mc), _filled(tb))
    mandible = mc > 0.5
    mc = np.minimum(mc, probability(np.float32(MC_RADIUS_MM) - radius))
    tb = np.minimum(tb, probability(np.float32(TB_RADIUS_MM) - radius))
    mc = _only(mc, _pieces_at(mc > 0.5, radius < HEAD_RADIUS_MM))
    tb = _only(tb, _temporal_pieces(tb > 0.5, mandible, radius, voxel))
    if not (mc > 0.5).any():
        raise SegmentationEmpty("No condyle in the volume of interest.")
    if not (tb > 0.5).any():
        raise SegmentationEmpty("No temporal bone in the volume of interest.")
    return mc, tb


def _filled(bone: NDArray[np.float32]) -> NDArray[np.float32]:
    cavity = ndi.binary_fill_holes(bone > 0.5) & (bone <= 0.5)
    return np.where(cavity, np.float32(1.0), bone)


def _part(mc: NDArray[np.float32], tb: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """No voxel belongs to both: the less likely bone stays under 0.5."""
    both = np.minimum(mc, tb) >= 0.5
    below = np.float32(0.499)
    return np.where(both & (mc < tb), below, mc), np.where(both & (tb <= mc), below, tb)


def _pieces_at(bone: NDArray[np.bool_], seed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the one piece with most voxels in the seed."""
    pieces, count = ndi.label(bone)
    shares = np.bincount(pieces[seed], minlength=count + 1)
    shares[0] = 0
    return np.asarray(pieces == shares.argmax()) if shares.any() else np.zeros_like(bone)


def _temporal_pieces(
    bone: NDArray[np.bool_], mandible: NDArray[np.bool_], radius: NDArray[np.float32], voxel_mm3: float
) -> NDArray[np.bool_]:
    """Keep the large pieces; a far one that the mandible goes on into is a part of the ramus under another name.

    Never the one with most bone near the condyle, the roof.
    """
    pieces, count = ndi.label(bone)
    index = np.arange(count + 1)
    beside = ndi.mean(ndi.binary_dilation(mandible, iterations=2), pieces, index)
    ramus = (ndi.mean(radius, pieces, index) >= _FAR_MM) & (beside > _RAMUS_BESIDE)
    ramus[np.bincount(pieces[bone & (radius < _FAR_MM)], minlength=count + 1).argmax()] = False
    least = np.where(ndi.minimum(radius, pieces, index) < _FAR_MM, _SMALLEST_PIECE_MM3, _SMALLEST_FAR_PIECE_MM3)
    kept = (np.bincount(pieces.ravel()) * voxel_mm3 >= least) & ~ramus
    kept[0] = False
    return np.asarray(kept[pieces])


def _only(bone: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Probability of the kept voxels and of the slope beside them; elsewhere no bone."""
    dropped = (bone > 0.5) & ~kept
    slope = ndi.binary_dilation(kept, iterations=3) & ~dropped
    return np.where(slope, bone, np.float32(0.0))
