"""Whether the image around a joint is clear enough for its surfaces to be believed.

Two figures, both from what is at hand; `validation.severity` shows against which errors
their limits stand.
"""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from negvol_pacs.quality import QualityFlag

Field = NDArray[np.float32]

REACH_MM = 14.0
"""Around the centre of the condylar head: condyle, fossa, eminence and postglenoid process."""
NOISE_LIMIT_HU = 150.0
SHIFT_LIMIT_MM = 0.1
_FINE_MM = 0.6
_SURFACE_MM = 0.4
_APART_MM = 1.2


def doubts(
    image: Field, outlined: Sequence[Field], snapped: Sequence[Field], radius: Field, spacing: float
) -> frozenset[QualityFlag]:
    """Say what speaks against the surfaces of a joint.

    Parameters
    ----------
    image
        Grey values, roughly HU, on an isotropic grid.
    outlined, snapped
        Signed distance to the surface of each bone, mm, positive inside: from the network, and
        from the grey values (`edges.snap`).
    radius
        Distance from the centre of the condylar head, mm.
    spacing
        Of the grid, mm.
    """
    box = ndi.find_objects((radius < REACH_MM).view(np.uint8))[0]
    image, radius = image[box], radius[box]
    outlined, snapped = [bone[box] for bone in outlined], [bone[box] for bone in snapped]
    near = radius < REACH_MM
    flags = set()
    if noise(image, outlined, near, spacing) > NOISE_LIMIT_HU:
        flags.add(QualityFlag.IMAGE_NOISY)
    if max(shift(a, b, near) for a, b in zip(outlined, snapped, strict=True)) > SHIFT_LIMIT_MM:
        flags.add(QualityFlag.SURFACES_UNCLEAR)
    return frozenset(flags)


def noise(image: Field, bones: Sequence[Field], near: NDArray[np.bool_], spacing: float) -> float:
    """Measure the standard deviation of the fine noise in the soft tissue around the bones, HU.

    From the median of the absolute deviations from the image smoothed over 0.6 mm: muscle and
    fat do not count as noise, nor does the blurred rim of bone.
    """
    soft = near & (np.maximum.reduce(list(bones)) < -_APART_MM)
    fine = (image - ndi.gaussian_filter(image, _FINE_MM / spacing))[soft]
    return float(1.4826 * np.median(np.abs(fine))) if fine.size else 0.0


def shift(outlined: Field, snapped: Field, near: NDArray[np.bool_]) -> float:
    """Measure the root mean square way from the network's surface to the grey values' edge, mm.

    Both err in a different way, so they part where the image is unclear: at streaks, shading
    and bone that is not there. Noise moves neither.
    """
    moved = (snapped - outlined)[near & (np.abs(outlined) < _SURFACE_MM)]
    return float(np.sqrt(np.mean(moved**2))) if moved.size else 0.0
