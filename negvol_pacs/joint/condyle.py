"""Poles, middle and top of the condylar head."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.errors import SegmentationEmpty
from negvol_pacs.joint.frame import Frame
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.operators import vertex_areas

HEAD_DEPTH_MM = 9.0  # the poles lie within this depth below the top; the neck begins under them
LEAST_ELONGATION = 1.15  # long over short axis
LARGEST_TURN = np.radians(60.0)
CAP_MM = 0.1


@dataclass(frozen=True)
class Condyle:
    """Landmarks of the condylar head, LPS mm.

    Attributes
    ----------
    top
        Highest point.
    medial, lateral
        Poles.
    has_axis
        False when the head is so round in the axial view, or so turned, that its long axis is
        a guess; the poles then lie along the transverse axis.
    """

    top: NDArray[np.float64]
    medial: NDArray[np.float64]
    lateral: NDArray[np.float64]
    has_axis: bool

    @property
    def middle(self) -> NDArray[np.float64]:
        """Middle of the medio-lateral axis: the sagittal plane of measurement goes through it."""
        return (self.medial + self.lateral) / 2


def find_condyle(mc: Mesh, frame: Frame, outward: NDArray[np.float64]) -> Condyle:
    """Find the landmarks of the condylar head.

    Parameters
    ----------
    mc
        Condyle, LPS mm.
    frame
        Axes of the joint.
    outward
        Unit vector to lateral.

    Returns
    -------
    Condyle
        The highest point, and the ends of the head's long axis in the axial view.

    Raises
    ------
    SegmentationEmpty
        If there is no head to speak of.
    """
    height = mc.vertices @ frame.superior
    high = height > height.max() - HEAD_DEPTH_MM
    head, weight = mc.vertices[high], vertex_areas(mc.vertices, mc.triangles)[high]
    if len(head) < 20:
        raise SegmentationEmpty("The condylar head is too small to measure.")
    axes = np.stack([outward, frame.anterior])
    flat = (head - np.average(head, axis=0, weights=weight)) @ axes.T
    spread, vectors = np.linalg.eigh(
        np.cov(flat.T, aweights=weight)
    )  # of the surface, however it is cut into triangles
    has_axis = bool(spread[1] > LEAST_ELONGATION**2 * spread[0] and abs(vectors[0, 1]) > np.cos(LARGEST_TURN))
    along = vectors[:, 1] if has_axis else np.array([1.0, 0.0])
    position = flat @ (along * np.sign(along[0]))
    return Condyle(
        top=_extreme(head, weight, head @ frame.superior),
        medial=_extreme(head, weight, -position),
        lateral=_extreme(head, weight, position),
        has_axis=has_axis,
    )


def _extreme(
    points: NDArray[np.float64], weight: NDArray[np.float64], value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the middle of the surface within `CAP_MM` of the extreme: steadier than one vertex."""
    near = value >= value.max() - CAP_MM
    return np.asarray(np.average(points[near], axis=0, weights=weight[near]))
