"""Mastoids that the outline of a real head leaves hollow.

A threshold takes the thin walls of air cells for air, and what is left of the mastoid is a bowl. No patient has
soft tissue there: the bowl is bone, in which `negvol_pacs.training.bone_map.carve_cells` makes cells again.
"""

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from negvol_pacs.training.bone_map import condyle_tops, window

BEHIND_MM, BELOW_MM, RADIUS_MM = 27.0, 8.0, 18.0
"""Where a mastoid lies from the top of the condyle, and how far it reaches."""
CANAL_MM = 18.0
"""The auditory canal, which stays open, ends so far behind the top of the condyle."""
MOUTH_MM = 7.0
"""A bowl's mouth is narrower than twice this."""
LEAST_MM3 = 1500.0
"""What is smaller is a groove of the skull."""
_MARGIN_MM = 12.0


def fill_mastoids(bones: hd.Volume) -> hd.Volume:
    """Fill hollow mastoids with bone.

    Parameters
    ----------
    bones
        uint8 on an isotropic LPS grid (axes z, y, x): 0 nothing, 1 skull, 2 mandible.

    Returns
    -------
    hd.Volume
        With skull in the bowls.

    Raises
    ------
    ValueError
        If a side has no mandible.
    """
    labels, spacing = bones.array.copy(), float(bones.spacing[0])
    for top in condyle_tops(labels == 2, bones.spacing).values():
        middle = top + np.array([0.0, BEHIND_MM, -BELOW_MM])
        box = window(labels.shape, bones.spacing, middle, RADIUS_MM + _MARGIN_MM)
        part = labels[box]
        points = np.moveaxis(np.indices(part.shape), 0, -1) + [side.start for side in box]
        away = np.linalg.norm(points * spacing - middle[::-1], axis=-1)
        place = (away < RADIUS_MM) & (points[..., 1] * spacing > top[1] + CANAL_MM)
        bowl = _enclosed(part == 1, spacing) & place & (part == 0)
        if bowl.sum() * spacing**3 >= LEAST_MM3:
            part[bowl] = 1
    return bones.with_array(labels)


def _enclosed(skull: NDArray[np.bool_], spacing: float) -> NDArray[np.bool_]:
    """Bone, and all that a ball of the mouth's size cannot reach from outside."""
    margin = round(2 * MOUTH_MM / spacing)
    wide = ndimage.distance_transform_edt(~np.pad(skull, margin), sampling=spacing) <= MOUTH_MM
    closed = ndimage.binary_fill_holes(ndimage.distance_transform_edt(wide, sampling=spacing) > MOUTH_MM)
    return np.asarray(closed[(slice(margin, -margin),) * 3])
