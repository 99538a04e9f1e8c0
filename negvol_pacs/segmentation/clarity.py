"""Whether the image around a joint is clear enough for its surfaces to be believed.

Three figures, all from what is at hand; `validation.severity` shows against which errors
their limits stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from negvol_pacs.quality import QualityFlag

Field = NDArray[np.float32]

REACH_MM = 14.0
"""Around the centre of the condylar head: condyle, fossa, eminence and postglenoid process."""
NOISE_LIMIT_HU = 150.0
SHIFT_LIMITS_MM = (0.28, 0.47)
"""Of the condyle and of the temporal bone, whose thin and cellular parts part the two surfaces in clear images too."""
HESITATION_LIMIT = 0.025
_FINE_MM = 0.6
_SURFACE_MM = 0.4
_APART_MM = 1.2
_DEEP_MM = 1.0


@dataclass(frozen=True)
class Traced:
    """One bone, as found.

    Attributes
    ----------
    odds
        Log-odds from the network.
    outlined, snapped
        Signed distance to the surface, mm, positive inside: from the network, and from the
        grey values (`edges.snap`).
    """

    odds: Field
    outlined: Field
    snapped: Field


def doubts(image: Field, bones: Sequence[Traced], radius: Field, spacing: float) -> frozenset[QualityFlag]:
    """Say what speaks against the surfaces of a joint.

    Parameters
    ----------
    image
        Grey values, roughly HU, on an isotropic grid.
    bones
        Condyle and temporal bone, in this order, on that grid.
    radius
        Distance from the centre of the condylar head, mm.
    spacing
        Of the grid, mm.
    """
    box = ndi.find_objects((radius < REACH_MM).view(np.uint8))[0]
    near = radius[box] < REACH_MM
    bones = [Traced(bone.odds[box], bone.outlined[box], bone.snapped[box]) for bone in bones]
    flags = set()
    if noise(image[box], [bone.outlined for bone in bones], near, spacing) > NOISE_LIMIT_HU:
        flags.add(QualityFlag.IMAGE_NOISY)
    if any(shift(bone, near) > limit for bone, limit in zip(bones, SHIFT_LIMITS_MM, strict=True)):
        flags.add(QualityFlag.SURFACES_UNCLEAR)
    if max(hesitation(bone, near) for bone in bones) > HESITATION_LIMIT:
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


def shift(bone: Traced, near: NDArray[np.bool_]) -> float:
    """Measure how far the network's surface and the grey values' edge are apart, mm: the 99th percentile.

    Both err in a different way, so they part where the image is unclear: at streaks, shading
    and bone that is not there. Noise moves neither. A streak crosses a small part of the
    surface, which a mean would hide.
    """
    moved = (bone.snapped - bone.outlined)[near & (np.abs(bone.outlined) < _SURFACE_MM)]
    return float(np.percentile(np.abs(moved), 99)) if moved.size else 0.0


def hesitation(bone: Traced, near: NDArray[np.bool_]) -> float:
    """Measure the mean entropy of the network's answer more than 1 mm inside a bone, nats.

    Thick bone is beyond doubt in a clear image; the dark bands of streaks are not. At most
    ln 2, where nothing is known.
    """
    deep = bone.odds[near & (bone.outlined > _DEEP_MM)]
    return float(-(expit(deep) * log_expit(deep) + expit(-deep) * log_expit(-deep)).mean()) if deep.size else 0.0
