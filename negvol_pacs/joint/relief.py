"""The temporal bone's underside as heights above lines in a sagittal or coronal plane."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.joint.rays import Rays

STEP_MM = 0.1
REACH_MM = 24.0
RISE_MM = 0.7  # bone that rises by less behind its lowest point has no rim there
BELOW_MM = 14.0  # rays start this far below the middle of the condyle, under every rim
CREST_MM = 1.0  # a crest's neighbourhood reaches no farther
LEVEL_MM = 0.15


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
        Position and height of the rim's lowest point, mm, on a cubic fitted to the crest;
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
    """Return position and height of a lowest (or highest) point between samples, mm.

    A cubic is fitted to the neighbourhood that is level within ``LEVEL_MM``: beside a steep
    wall that is a short stretch, on a broad crest a long one.
    """
    position, height = float(profile.position[index]), float(profile.height[index])
    level = np.abs(profile.height - height) <= LEVEL_MM
    far = np.abs(profile.position - position) > CREST_MM
    first = int(np.flatnonzero(~level[:index] | far[:index])[-1]) + 1
    last = index + 1 + int(np.flatnonzero(~level[index + 1 :] | far[index + 1 :])[0])
    x, y = profile.position[first:last] - position, profile.height[first:last]
    if len(x) < 5:
        return position, height
    d, c, b, a = np.polyfit(x, y, 3)
    root = c * c - 3 * b * d  # of the slope b + 2 c x + 3 d x²
    if root < 0 or abs(c) < 1e-3:
        return position, height
    offset = -b / (c + np.copysign(np.sqrt(root), c))  # the extreme of the same kind as the parabola's
    if not x[0] <= offset <= x[-1]:
        return position, height
    return position + float(offset), float(a + offset * (b + offset * (c + offset * d)))
