"""Volume and surface area of an analytic joint's space by quadrature, without any mesh."""

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.joint.clipping import FIN_MM
from negvol_pacs.training.analytic_joints import AnalyticJoint

REACH_MM = 15.0
SLAB = 24  # layers at a time: this bounds the memory
_BAND = 1.5  # half width of the smoothed surface, in steps

Array = NDArray[np.float64]


def space(joint: AnalyticJoint, step_mm: float = 0.2, fin_mm: float = FIN_MM) -> tuple[float, float]:
    """Integrate the space between the bones above the opening and within the rims.

    Parameters
    ----------
    joint
        Bones as implicit functions; the opening is level, and no bone overhangs it.
    step_mm
        Of the quadrature.
    fin_mm
        Where the bone is less than this above the opening, there is no space (``joint.clipping``).

    Returns
    -------
    tuple
        Volume, mm³, and surface area, mm²: roof, condyle and opening together, with the upright
        wall where the space under the crests is cut off. The areas of curved surfaces are
        integrals of a smoothed delta function (coarea formula).
    """
    h, low = step_mm, max(1, round(fin_mm / step_mm))
    v = fin_mm / low  # whole layers under the crests
    flat = np.arange(-REACH_MM, REACH_MM, h) + h / 2
    x, y = np.meshgrid(flat, flat, indexing="ij")

    def level(height: float) -> Array:
        return np.stack(np.broadcast_arrays(x, y, height), axis=-1)

    within = joint.inside_rims(level(joint.opening))
    edge = _distance(joint.tb(level(joint.opening + fin_mm)), h, h)
    open_columns, wall = _free(edge, h) * within, _delta(edge, h) * within
    volume, surface = 0.0, float((_free(_distance(joint.mc(level(joint.opening)), h, h), h) * open_columns).sum())
    surface *= h**2
    heights = joint.opening + v * (np.arange(-1, int((joint.depth + 4 * h) / v)) + 0.5)
    starts = [1, *range(1 + low, len(heights) - 1, SLAB)]
    for first, last in zip(starts, [*starts[1:], len(heights) - 1], strict=True):
        points = np.stack(np.broadcast_arrays(x[..., None], y[..., None], heights[first - 1 : last + 1]), axis=-1)
        mc = _distance(joint.mc(points), h, h, v)[:, :, 1:-1]
        free_mc, skin_mc = _free(mc, h), _delta(mc, h)
        if first == 1:  # under the crests: columns that are free or not
            free_tb, skin_tb = open_columns[..., None], wall[..., None]
        else:
            tb = _distance(joint.tb(points), h, h, v)[:, :, 1:-1]
            free_tb, skin_tb = _free(tb, h) * within[..., None], _delta(tb, h) * within[..., None]
        volume += float((free_mc * free_tb).sum()) * h**2 * v
        surface += float((skin_mc * free_tb + skin_tb * free_mc).sum()) * h**2 * v
    return volume, surface


def _distance(value: Array, *steps: float) -> Array:
    """First-order distance to the surface of an implicit function, mm."""
    slope = np.sqrt(sum(part**2 for part in np.gradient(value, *steps)))
    return np.asarray(value / np.maximum(slope, 1e-6))


def _free(distance: Array, h: float) -> Array:
    return np.clip(0.5 + distance / h, 0, 1)


def _delta(distance: Array, h: float) -> Array:
    width = _BAND * h
    return np.where(np.abs(distance) < width, (1 + np.cos(np.pi * distance / width)) / (2 * width), 0.0)
