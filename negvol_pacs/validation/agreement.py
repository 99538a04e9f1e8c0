"""Mirrored identical joints must be symmetric; growth in voxels must give the same negative volume."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import JointMeasurements, Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.rays import Rays
from negvol_pacs.segmentation.grid import world
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.training.analytic_joints import AnalyticJoint
from negvol_pacs.validation.check import Check, below
from negvol_pacs.validation.heads import EXTENT_MM, head, shifted

OFFSET = np.array([0.37, -0.21, 0.29])  # of the left joint: its grid is not the right one's mirror image
LARGEST_RATIO = 1.01
LARGEST_HAUSDORFF_MM = 0.3
LEAST_DICE = 0.93
LARGEST_DIFFERENCE = 4.0
GROWTH_MM = 8.0


def mirrored(name: str, joint: AnalyticJoint, spacing_mm: float = 0.4) -> list[Check]:
    """Measure one joint as both sides of a head: S_LR and H_LR."""
    masks = head({Side.RIGHT: joint, Side.LEFT: shifted(joint, OFFSET * spacing_mm / 0.4)}, spacing_mm)
    found = measure(masks).symmetry.measurements
    place = ("Mirrored identical joints", name)
    ratio = found[Quantity.S_LR].value
    excess = None if ratio is None else ratio - 1
    return [
        below((*place, "S_LR - 1", f"{spacing_mm} mm"), excess, LARGEST_RATIO - 1, ""),
        below((*place, "H_LR", f"{spacing_mm} mm"), found[Quantity.H_LR].value, LARGEST_HAUSDORFF_MM, "mm"),
    ]


def voxels(name: str, joint: AnalyticJoint, spacing_mm: float = 0.4) -> list[Check]:
    """Compare the negative volume with geodesic growth from the condyle through voxels free of bone."""
    masks = joint.masks(Side.RIGHT, spacing_mm, extent_mm=EXTENT_MM)
    found = measure({Side.RIGHT: masks}).joints[Side.RIGHT]
    place = ("Growth in voxels", name)
    if found.nv is None:
        return [below((*place, "1 - Dice", f"{spacing_mm} mm"), None, 1 - LEAST_DICE, "")]
    grown = grow(masks, joint)
    inside = _inside(found.nv, _points(masks))
    dice = 2 * (grown & inside).sum() / (grown.sum() + inside.sum())
    difference = 100 * (_volume(found) / (grown.sum() * spacing_mm**3) - 1)
    return [
        below((*place, "1 - Dice", f"{spacing_mm} mm"), float(1 - dice), 1 - LEAST_DICE, ""),
        below((*place, "volume", f"{spacing_mm} mm"), float(difference), LARGEST_DIFFERENCE, "%"),
    ]


def grow(masks: JointMasks, joint: AnalyticJoint) -> NDArray[np.bool_]:
    """Grow the condyle voxel by voxel above the opening and within the rims; neither mesh nor inflation.

    The masks are of a right joint at the origin.
    """
    points = _points(masks)
    own = points * [-1, -1, 1]
    free = (masks.mc.array < 0.5) & (masks.tb.array < 0.5) & (own[..., 2] > joint.opening) & joint.inside_rims(own)
    grown = masks.mc.array >= 0.5
    for _ in range(round(GROWTH_MM / masks.mc.spacing[0])):
        grown |= ndimage.binary_dilation(grown) & free
    return np.asarray(grown & free)


def _inside(mesh: Mesh, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    inside = ((points > low) & (points < high)).all(axis=-1)
    inside[inside] = Rays(mesh).signed_distance(points[inside]) < 0
    return np.asarray(inside)


def _points(masks: JointMasks) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in masks.mc.array.shape), indexing="ij"), axis=-1)
    return world(masks.mc, index)


def _volume(found: JointMeasurements) -> float:
    value = found.measurements[Quantity.NV_VOLUME].value
    assert value is not None  # there is a negative volume
    return value
