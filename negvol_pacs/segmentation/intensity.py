"""Grey values that mean the same in every scan: Hounsfield units, shifted, scaled or 8-bit.

Both functions are affine-invariant: ``f(a * image + b) == f(image)`` for a > 0. Training
and inference use the same ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

AIR, METAL = -1.5, 2.5
"""Bounds of a normalised image; at calibrated units about -1000 HU is near -0.7 in a VOI."""


def normalise_voi(image: NDArray[Any], inside: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Map soft tissue to 0 and dense bone to 1, in a volume of interest around a joint.

    Parameters
    ----------
    image
        Grey values, any unit.
    inside
        True where the scan has data; the rest is ignored and becomes soft tissue.

    Returns
    -------
    NDArray[np.float32]
        ``(image - median) / (98th percentile - median)``, clipped to [AIR, METAL]. More than
        half of such a volume is soft tissue and about a tenth is bone, in every head.
    """
    known = image if inside is None else image[inside]
    soft, dense = np.percentile(known, (50, 98)) if known.size else (0.0, 1.0)
    normal = _scale(image, soft, dense)
    if inside is not None:
        normal[~inside] = 0
    return normal


def normalise_head(image: NDArray[Any]) -> NDArray[np.float32]:
    """Map air to -1 and soft tissue to 0, in a volume that holds a head and air around it.

    Parameters
    ----------
    image
        Grey values, any unit.

    Returns
    -------
    NDArray[np.float32]
        ``(image - soft) / (soft - air)``, clipped to [AIR, METAL]: soft is the median of the
        brighter class of Otsu's threshold, air the median of the darker one.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    if not high > low:
        return np.zeros(image.shape, np.float32)
    threshold = threshold_otsu(np.clip(image.ravel()[::7], low, high))
    bright = image > threshold
    soft, air = np.median(image[bright]), np.median(image[~bright])
    return _scale(image, float(soft), float(2 * soft - air))


def _scale(image: NDArray[Any], zero: float, one: float) -> NDArray[np.float32]:
    unit = max(float(one) - float(zero), 1e-6)
    scaled = (image.astype(np.float32) - np.float32(zero)) / np.float32(unit)
    return np.asarray(np.clip(scaled, AIR, METAL), dtype=np.float32)
