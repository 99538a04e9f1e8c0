"""Joint spaces of an analytic joint from the outlines of its implicit functions, without any mesh.

The definitions are those of docs/measurements.md, in the joint's own planes x = 0 and y = 0.
"""

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from negvol_pacs.joint.condyle import HEAD_DEPTH_MM
from negvol_pacs.joint.coronal import SHARES
from negvol_pacs.joint.findings import Quantity
from negvol_pacs.joint.spaces import TANGENT_DEPTH_MM
from negvol_pacs.training.analytic_joints import AnalyticJoint, Solid

STEP_MM = 0.03
REACH_MM = 16.0

Array = NDArray[np.float64]


def joint_spaces(joint: AnalyticJoint) -> dict[Quantity, float]:
    """Return AJS, PJS, MJS, CJS and LJS, mm, of a condyle whose long axis is x and whose roof is at x = y = 0."""
    head, bone = (outline(solid, 1) for solid in (joint.mc, joint.tb))
    roof = np.array([0.0, joint.opening + joint.depth])
    upper = head[head[:, 1] > head[:, 1].max() - TANGENT_DEPTH_MM]
    angle = np.arctan2(upper[:, 0], roof[1] - upper[:, 1])  # seen from the roof, tangents have the extreme angles
    front, back = upper[angle.argmax()], upper[angle.argmin()]
    found = {
        Quantity.AJS: _nearest(bone[bone[:, 0] > 0], front),
        Quantity.PJS: _nearest(bone[bone[:, 0] < 0], back),
    }
    head, bone = (outline(solid, 0) for solid in (joint.mc, joint.tb))
    upper = head[head[:, 1] > head[:, 1].max() - HEAD_DEPTH_MM]
    medial, lateral = upper[:, 0].min(), upper[:, 0].max()
    for quantity, share in zip((Quantity.MJS, Quantity.CJS, Quantity.LJS), SHARES, strict=True):
        beside = upper[np.abs(upper[:, 0] - (1 - share) * medial - share * lateral) < STEP_MM]
        found[quantity] = _nearest(bone, beside[beside[:, 1].argmax()])
    return found


def outline(solid: Solid, axis: int) -> Array:
    """Return points of a bone's outline in the plane of the joint's x (0) or y (1) axis and z, shape (n, 2), mm."""
    along = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM)
    points = np.zeros((len(along), len(along), 3))
    points[..., axis], points[..., 2] = along[:, None], along[None, :]
    return np.asarray(np.concatenate(find_contours(solid(points), 0.0)) * STEP_MM - REACH_MM)


def _nearest(outline: Array, point: Array) -> float:
    return float(np.linalg.norm(outline - point, axis=1).min())
