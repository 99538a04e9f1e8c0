"""Where the patient is in the field of view, and whether it can be a head."""

from dataclasses import dataclass

import highdicom as hd
import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from negvol_pacs.errors import NoHead
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.calibration import Calibration

_COARSE_MM = 4.0
_SKIN_HU, _BONE_HU = -400.0, 250.0
_SMALLEST_CM3, _WIDEST_CM2, _LEAST_BONE = 100.0, 450.0, 0.03
_HEAD_MM = 200.0


@dataclass(frozen=True)
class Body:
    """The patient's part of the field of view.

    Attributes
    ----------
    top, bottom
        Highest and lowest z, LPS mm.
    centre
        Centroid of the uppermost 200 mm, LPS mm.
    head_like
        False where the sections are wider than any head.
    """

    top: float
    bottom: float
    centre: NDArray[np.float64]
    head_like: bool


def find_body(coarse: hd.Volume, calibration: Calibration) -> Body:
    """Find the patient.

    Parameters
    ----------
    coarse
        The volume at a spacing of about a millimetre or more, grey values.
    calibration
        Of the grey values.

    Raises
    ------
    NoHead
        If there is no patient, or hardly any bone.
    """
    small = grid.shrink(coarse, _COARSE_MM)
    pieces, _ = ndi.label(ndi.binary_opening(small.array > calibration.grey(_SKIN_HU)))
    sizes = np.bincount(pieces.ravel())
    if sizes.size < 2 or sizes[1:].max() * small.voxel_volume < 1000 * _SMALLEST_CM3:
        raise NoHead("There is no patient in the images, or nearly nothing of one.")
    index = np.argwhere(pieces == 1 + sizes[1:].argmax())
    points = grid.world(small, index)
    top, bottom = float(points[:, 2].max()), float(points[:, 2].min())
    upper = points[:, 2] > top - _HEAD_MM
    grey = small.array[tuple(index[upper].T)]
    if np.mean(grey > calibration.grey(_BONE_HU)) < _LEAST_BONE:
        raise NoHead("There is too little bone in the images for a head.")
    thickness = min(top - bottom, _HEAD_MM) + float(np.mean(small.spacing))
    section_cm2 = upper.sum() * small.voxel_volume / thickness / 100.0
    return Body(top, bottom, points[upper].mean(axis=0), bool(section_cm2 < _WIDEST_CM2))
