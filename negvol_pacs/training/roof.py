"""Holes in the roof of the fossa, which thin bone leaves in outlines of real heads.

A joint under a hole has no joint space to speak of: what is measured would lead into the skull.
"""

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import griddata

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.segmentation.masks import condyle_centre

REACH_MM = 10.0  # around the condyle's middle, seen from above
HEIGHT_MM = 25.0  # the roof begins within it above the condyle's middle
LEAST_MM = 1.0  # thickness of the bone that closes a hole


def close_roofs(bones: hd.Volume) -> hd.Volume:
    """Close holes in the roofs of both fossae as the bone around them goes on.

    Parameters
    ----------
    bones
        uint8 on an LPS grid (axes z, y, x): 1 skull, 2 mandible.

    Returns
    -------
    hd.Volume
        With skull where no bone was above the condyle, but around it.

    Raises
    ------
    JointNotFound
        If the mandible lacks a side.
    """
    labels = bones.array.copy()
    for side in Side:
        centre = condyle_centre(on_grid(labels == 2, bones), side)
        z, y, x = np.rint(bones.map_reference_to_indices(centre[None])[0]).astype(int)
        reach, height = round(REACH_MM / bones.spacing[0]), round(HEIGHT_MM / bones.spacing[0])
        box = (slice(z, z + height), slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
        labels[box] = _closed(labels[box], round(LEAST_MM / bones.spacing[0]))
    return bones.with_array(labels)


def _closed(labels: NDArray[np.uint8], least: int) -> NDArray[np.uint8]:
    skull = labels == 1
    radius = skull.shape[1] // 2
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    pieces, _ = ndimage.label(~skull.any(axis=0) & (y**2 + x**2 <= radius**2))
    rim = y**2 + x**2 > (radius - 1) ** 2
    hole = (pieces > 0) & ~np.isin(pieces, pieces[rim])  # what reaches the rim is where the roof ends
    if not hole.any():
        return labels
    level = np.arange(len(labels))[:, None, None]
    below = skull.argmax(axis=0)
    above = np.where(level >= below, ~skull, False).argmax(axis=0)
    low, high = (_carried_on(face, hole) for face in (below, above))
    bone = hole & (level >= low) & (level < np.maximum(high, low + least))
    return np.where(bone & (labels == 0), np.uint8(1), labels)


def _carried_on(face: NDArray[np.int_], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Carry a face's height on into holes, as straight as their edges allow."""
    edge = ndimage.binary_dilation(hole, np.ones((3, 3))) & ~hole
    carried = face.astype(np.float64)
    carried[hole] = np.rint(griddata(np.argwhere(edge), face[edge], np.argwhere(hole)))
    return carried
