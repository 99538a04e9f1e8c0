"""Volume and surface area of an analytic joint's space by quadrature, without any mesh."""

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.training.analytic_joints import AnalyticJoint

REACH_MM = 15.0
_BAND = 1.5  # half width of the smoothed surface, in steps


def space(joint: AnalyticJoint, step_mm: float = 0.15) -> tuple[float, float]:
    """Integrate the space between the bones above the opening and within the rims.

    Parameters
    ----------
    joint
        Bones as implicit functions; the opening is level.
    step_mm
        Of the quadrature.

    Returns
    -------
    tuple
        Volume, mm³, and surface area, mm²: roof, condyle and opening together. The areas of
        curved surfaces are integrals of a smoothed delta function (coarea formula).
    """
    h = step_mm
    flat = np.arange(-REACH_MM, REACH_MM, h) + h / 2
    height = joint.opening + np.arange(-0.5 * h, joint.depth + 4 * h, h)  # one layer below for the gradient
    x, y = np.meshgrid(flat, flat, indexing="ij")
    volume = surface = 0.0
    for first in range(1, len(height) - 1, 24):  # a slab at a time bounds the memory
        z = height[first - 1 : min(first + 25, len(height))]
        points = np.stack(np.broadcast_arrays(x[..., None], y[..., None], z), axis=-1)
        within = joint.inside_rims(points[:, :, 1:-1])
        mc, tb = (_distance(solid(points), h)[:, :, 1:-1] for solid in (joint.mc, joint.tb))
        free_mc, free_tb = _free(mc, h), _free(tb, h)
        volume += float((free_mc * free_tb * within).sum()) * h**3
        walls = _delta(mc, h) * free_tb + _delta(tb, h) * free_mc
        surface += float((walls * within).sum()) * h**3
    points = np.stack(np.broadcast_arrays(x, y, joint.opening), axis=-1)
    open_mc, open_tb = (_free(_distance(solid(points), h), h) for solid in (joint.mc, joint.tb))
    return volume, surface + float((open_mc * open_tb * joint.inside_rims(points)).sum()) * h**2


def _distance(value: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    """First-order distance to the surface of an implicit function, mm."""
    slope = np.sqrt(sum(part**2 for part in np.gradient(value, h)))
    return np.asarray(value / np.maximum(slope, 1e-6))


def _free(distance: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    return np.clip(0.5 + distance / h, 0, 1)


def _delta(distance: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    width = _BAND * h
    return np.where(np.abs(distance) < width, (1 + np.cos(np.pi * distance / width)) / (2 * width), 0.0)
