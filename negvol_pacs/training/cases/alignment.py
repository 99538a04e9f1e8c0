"""Whether outlines lie on the bones of their image (Belikova 2021, preprocessing)."""

from itertools import product

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from negvol_pacs.errors import TrainingError

REACH_MM = 5.0
MOST_MM = 2.0
"""Outlines drawn by hand are off by a voxel; a mesh in another frame is off by much more."""
_SAMPLES = 4000


def check_alignment(image: hd.Volume, labels: hd.Volume) -> None:
    """Refuse labels that do not lie on the bright bones of their image.

    At the labels' border the image is brighter inside than outside. The labels are shifted up to 5 mm each
    way; where another place fits much better than their own, they are off.

    Parameters
    ----------
    image
        Grey values.
    labels
        The same grid; 0 is background.

    Raises
    ------
    TrainingError
        If there are no labels, they are not brighter than what surrounds them, or fit elsewhere.
    """
    mask = labels.array > 0
    if not mask.any():
        raise TrainingError("Nothing is outlined within the image.")
    inner, outer = _border(mask)
    spacing = np.asarray(image.spacing)
    # At coarse spacing the neighbours count, too.
    reach = np.maximum(np.round(REACH_MM / spacing), 1).astype(int)
    grey = image.array.astype(np.float32)
    steps = list(product(*(sorted({-r, -(r // 2), 0, r // 2, r}) for r in reach)))
    scores = {step: _contrast(grey, inner, outer, np.array(step)) for step in steps}
    best = max(scores, key=lambda step: scores[step])
    here = scores[0, 0, 0]
    distance = float(np.linalg.norm(np.array(best) * spacing))
    if here <= 0:
        raise TrainingError(
            "What is outlined is not brighter than what surrounds it: these are no bones of this image."
        )
    if distance > MOST_MM and scores[best] > 1.25 * here:
        raise TrainingError(
            f"The outlines do not lie on the bones of the image: they fit better {distance:.1f} mm away."
        )


def _border(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxels just inside and just outside, a sample of each."""
    box = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in ndimage.find_objects(mask.astype(np.uint8))[0])
    part = mask[box]
    first = np.array([s.start for s in box])
    inside = part & ~ndimage.binary_erosion(part)
    outside = ndimage.binary_dilation(part, iterations=2) & ~ndimage.binary_dilation(part)
    rng = np.random.default_rng(0)
    found = []
    for shell in (inside, outside):
        points = np.argwhere(shell) + first
        found.append(points[rng.permutation(len(points))[:_SAMPLES]])
    return found[0], found[1]


def _contrast(
    grey: NDArray[np.float32], inner: NDArray[np.int64], outer: NDArray[np.int64], step: NDArray[np.int64]
) -> float:
    last = np.array(grey.shape) - 1
    return float(
        np.median(grey[tuple(np.clip(inner + step, 0, last).T)])
        - np.median(grey[tuple(np.clip(outer + step, 0, last).T)])
    )
