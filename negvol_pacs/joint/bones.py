"""Size of the bones' parts in the joint: condylar head and articulating part of the fossa."""

from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold

from negvol_pacs.joint.condyle import HEAD_DEPTH_MM
from negvol_pacs.joint.frame import Frame
from negvol_pacs.joint.surface import shared_area


@dataclass(frozen=True)
class Head:
    """The condylar head: the condyle down to ``HEAD_DEPTH_MM`` below its highest point.

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
    vertices = np.asarray(mc.to_mesh64().vert_properties)[:, :3]
    height = vertices @ frame.superior
    cut = float(height.max()) - HEAD_DEPTH_MM
    if not height.min() < cut:
        return None
    head = mc.trim_by_plane(tuple(frame.superior), cut)
    return Head(head.volume(), shared_area(head, mc))


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
