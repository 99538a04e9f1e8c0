"""The temporal bone's underside as heights above lines in a sagittal or coronal plane."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.joint.rays import Rays

STEP_MM = 0.2
REACH_MM = 24.0
RISE_MM = 0.7  # bone that rises by less behind its lowest point has no rim there
BELOW_MM = 14.0  # rays start this far below the middle of the condyle, under every rim
CREST_MM = 1.0  # half of the stretch to which a parabola is fitted at a crest


@dataclass(frozen=True)
class Profile:
    """Heights of the underside along a line.

    Attributes
    ----------
    origin
        LPS mm; heights and positions count from here.
    along, up
        Perpendicular unit vectors.
    position
        mm along the line, shape (n,), evenly spaced and increasing.
    height
        mm, shape (n,); infinite where there is no bone above.
    """

    origin: NDArray[np.float64]
    along: NDArray[np.float64]
    up: NDArray[np.float64]
    position: NDArray[np.float64]
    height: NDArray[np.float64]

    def point(self, position: float, height: float) -> NDArray[np.float64]:
        """Return a point of the profile in LPS mm."""
        result: NDArray[np.float64] = self.origin + position * self.along + height * self.up
        return result

    def at(self, position: float) -> float:
        """Return the height at a position, mm."""
        return float(np.interp(position, self.position, self.height))


def cut(bone: Rays, origin: NDArray[np.float64], along: NDArray[np.float64], up: NDArray[np.float64]) -> Profile:
    """Sample the underside ``REACH_MM`` both ways along a line through ``origin``."""
    position = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM)
    start = origin + position[:, None] * along - BELOW_MM * up
    return Profile(origin, along, up, position, bone.distance(start, up) - BELOW_MM)


def walk_to_rim(profile: Profile, start: float, direction: int, rise_mm: float = RISE_MM) -> tuple[float, float] | None:
    """Go downhill from the roof to the first rim.

    Parameters
    ----------
    profile
        Underside.
    start
        Position of the roof, mm.
    direction
        1 or -1 along the profile.
    rise_mm
        So much must the bone rise again behind the rim (or end there).

    Returns
    -------
    tuple or None
        Position and height of the rim's lowest point, mm, on a parabola fitted to the crest;
        None when the bone only descends.
    """
    order = np.flatnonzero((profile.position - start) * direction >= 0)[::direction]
    height = profile.height[order]
    lowest = np.minimum.accumulate(height)
    risen = np.flatnonzero(height > lowest + rise_mm)
    if not len(risen) or not np.isfinite(height[0]):
        return None
    rim = int(order[np.argmin(height[: risen[0]])])
    return refine_crest(profile, rim)


def refine_crest(profile: Profile, index: int) -> tuple[float, float]:
    """Return position and height of a lowest (or highest) point between samples, mm."""
    reach = round(CREST_MM / STEP_MM)
    window = slice(max(index - reach, 0), index + reach + 1)
    x, y = profile.position[window] - profile.position[index], profile.height[window]
    sample = float(profile.position[index]), float(profile.height[index])
    # Beyond a bone's edge the profile jumps: a parabola is fitted only where it is smooth.
    if len(x) < 2 * reach + 1 or not np.isfinite(y).all() or np.abs(np.diff(y)).max() > 2 * STEP_MM:
        return sample
    a, b, c = np.polyfit(x, y, 2)
    if abs(a) < 1e-3 or abs(b / (2 * a)) > CREST_MM:
        return sample
    offset = -b / (2 * a)
    return sample[0] + float(offset), float(c + offset * b / 2)
