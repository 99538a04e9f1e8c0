"""Size of the bones' parts in the joint: condylar head and articulating part of the fossa."""

from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold
from scipy.spatial.transform import Rotation

from negvol_pacs.joint.frame import Frame
from negvol_pacs.joint.surface import shared_area

BELOW_WIDEST_MM = 3.0
WIDEST_WITHIN_MM = 10.0  # of the highest point
LEVELS_MM = 0.25
WIDE = 0.92  # sections of so much of the largest width settle where the head is widest


@dataclass(frozen=True)
class Head:
    """The condylar head: the condyle down to ``BELOW_WIDEST_MM`` below its widest level.

    The highest point would be easier to find, but a head that loses its top would gain neck.

    Attributes
    ----------
    volume
        mm³.
    area
        Of the bone's surface, without the cut, mm².
    """

    volume: float
    area: float


def measure_head(mc: Manifold, frame: Frame) -> Head | None:
    """Measure the condylar head, which does not depend on how much neck the image holds.

    Parameters
    ----------
    mc
        Condyle, LPS mm.
    frame
        Axes of the joint.

    Returns
    -------
    Head or None
        None when the condyle is shorter than its head.
    """
    turn, _ = Rotation.align_vectors([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], [frame.superior, frame.left])
    upright = mc.transform(np.column_stack([turn.as_matrix(), np.zeros(3)]))
    _, _, bottom, _, _, top = upright.bounding_box()
    levels = np.arange(top, max(bottom, top - WIDEST_WITHIN_MM), -LEVELS_MM)
    bounds = np.array([upright.slice(level).bounds() for level in levels[1:]])  # the first one touches the top
    width = bounds[:, 2] - bounds[:, 0]  # from side to side: most osteophytes stand in front
    wide = np.maximum(width - WIDE * width.max(), 0)
    cut = float(levels[1:] @ wide / wide.sum()) - BELOW_WIDEST_MM
    if not bottom < cut:
        return None
    head = upright.trim_by_plane((0, 0, 1), cut)
    return Head(head.volume(), shared_area(head, upright))


def articulating_area(space: Manifold, bone: Manifold) -> float:
    """Area, mm², of the bone's surface that bounds the negative volume.

    Parameters
    ----------
    space
        Negative volume, cut out with ``bone`` itself.
    bone
        Temporal bone.
    """
    return shared_area(space, bone)
