"""Analytic joints turned, shifted, and in pairs as both sides of a head."""

from collections.abc import Mapping
from dataclasses import replace

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.training.analytic_joints import AnalyticJoint

Array = NDArray[np.float64]

EXTENT_MM = 44.0
CENTRES = {Side.RIGHT: np.array([-48.0, 10.0, 20.0]), Side.LEFT: np.array([48.0, 10.0, 20.0])}


def shifted(joint: AnalyticJoint, by: Array) -> AnalyticJoint:
    """Shift both bones in the joint's axes, mm: another place between the voxels of a grid.

    Only for masks: the rims and the opening stay.
    """
    return replace(joint, mc=lambda points: joint.mc(points - by), tb=lambda points: joint.tb(points - by))


def turned_condyle(joint: AnalyticJoint, hca: float = 0.0, lean: float = 0.0) -> AnalyticJoint:
    """Turn the condyle by its HCA, and lean its neck forward from the vertical, degrees."""
    rotation = Rotation.from_euler("xz", [lean, hca], degrees=True).as_matrix()
    return replace(joint, mc=lambda points: joint.mc(points @ rotation))


def head(
    joints: Mapping[Side, AnalyticJoint],
    spacing_mm: float,
    *,
    turn: Array | None = None,
    shift: Array | None = None,
    thick: bool = False,
) -> dict[Side, JointMasks]:
    """Rasterise both joints of a head.

    Parameters
    ----------
    joints
        By side, each in its own axes.
    spacing_mm
        Of the grid.
    turn
        Rotation of the head in LPS, shape (3, 3).
    shift
        Of the head, mm.
    thick
        Slices of two voxels, interpolated back.
    """
    turn = np.eye(3) if turn is None else turn
    shift = np.zeros(3) if shift is None else shift
    masks = {
        side: joint.masks(side, spacing_mm, turn, turn @ CENTRES[side] + shift, extent_mm=EXTENT_MM)
        for side, joint in joints.items()
    }
    return {side: thick_slices(mask) for side, mask in masks.items()} if thick else masks


def thick_slices(masks: JointMasks) -> JointMasks:
    """Average pairs of slices and interpolate back: what a scan with slices of two voxels leaves."""
    return replace(masks, mc=_thick(masks.mc), tb=_thick(masks.tb))


def _thick(volume: hd.Volume) -> hd.Volume:
    pairs = (volume.array[0::2] + volume.array[1::2]) / 2
    padded = np.concatenate([pairs[:1], pairs, pairs[-1:]])
    array = np.empty_like(volume.array)
    array[0::2] = 0.75 * pairs + 0.25 * padded[:-2]
    array[1::2] = 0.75 * pairs + 0.25 * padded[2:]
    return hd.Volume(array, volume.affine, coordinate_system="PATIENT")
