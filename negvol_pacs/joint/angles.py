"""Angles of the condyle: horizontal condylar angle (HCA) and sagittal ramus angle (SRA).

Zhang et al. 2017 measure both on models of the bones. HCA: the condyle's long axis against
the transverse axis, in the axial view. SRA: the ramus against the horizontal, in the lateral
view. The volume of interest holds neither orbitale nor gonion, so the horizontal is the line
from the articular eminence to the postglenoid process, and the ramus is the posterior border
of its neck.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

from negvol_pacs.joint.condyle import HEAD_DEPTH_MM, Condyle
from negvol_pacs.joint.frame import Frame
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.spaces import section

LEVEL_MM = 0.5  # from one point of the border to the next
END_MM = 2.5  # where the volume of interest cuts the neck, its border is not the bone's
LEAST_NECK_MM = 5.0

Point = NDArray[np.float64]


@dataclass(frozen=True)
class PosteriorBorder:
    """Line along the neck's posterior border in the sagittal plane through the condyle's middle, LPS mm."""

    upper: Point
    lower: Point


def horizontal_condylar_angle(condyle: Condyle, frame: Frame, outward: Point) -> float:
    """HCA, degrees; positive where the medial pole lies behind the lateral one.

    Parameters
    ----------
    condyle
        Poles, LPS mm.
    frame
        Axes of the joint.
    outward
        Unit vector to lateral.
    """
    axis = condyle.medial - condyle.lateral
    return float(np.degrees(np.arctan2(axis @ frame.posterior, -axis @ outward)))


def posterior_border(mc: Mesh, condyle: Condyle, frame: Frame) -> PosteriorBorder | None:
    """Fit a line to the hindmost points of the condylar neck (Theil–Sen: bumps do not turn it).

    Parameters
    ----------
    mc
        Condyle with as much of its neck as the volume of interest holds, LPS mm.
    condyle
        Landmarks.
    frame
        Axes of the joint.

    Returns
    -------
    PosteriorBorder or None
        None when there is less than ``LEAST_NECK_MM`` of neck.
    """
    height = (mc.vertices - condyle.middle) @ frame.superior
    heights = np.arange(height.max() - HEAD_DEPTH_MM, height.min() + END_MM, -LEVEL_MM)
    if len(heights) * LEVEL_MM < LEAST_NECK_MM:
        return None
    levels = (section(mc, condyle.middle + level * frame.superior, frame.superior) for level in heights)
    backs = np.array([((level - condyle.middle) @ frame.posterior).max() for level in levels])
    slope, offset, _, _ = theilslopes(backs, heights)

    def at(level: float) -> Point:
        return np.asarray(condyle.middle + level * frame.superior + (offset + slope * level) * frame.posterior)

    return PosteriorBorder(at(heights.max()), at(heights.min()))


def sagittal_ramus_angle(border: PosteriorBorder, frame: Frame) -> float:
    """SRA, degrees: from anterior to the border going down; less than 90 where the ramus runs forward."""
    down = border.lower - border.upper
    return float(np.degrees(np.arctan2(-down @ frame.superior, down @ frame.anterior)))
