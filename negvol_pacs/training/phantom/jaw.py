"""Mandible and teeth of both jaws."""

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.training.phantom.anatomy import Individual, JointSizes
from negvol_pacs.training.solids import Solid, capsule, chain, ellipsoid, plate, union

OCCLUSION = -45.0
"""Height at which the teeth meet."""

_WIDTHS = (4.8, 4.9, 3.5, 3.4, 3.7, 3.2, 4.0)
"""Half widths of the teeth from second molar to incisor."""


def mandible(individual: Individual) -> Solid:
    """Mandible with the teeth closed; see `motion`."""
    sides = [_half(joint) for joint in individual.joints.values()]
    chin = [ellipsoid((0, -86, -77), (13, 5.5, 7)), ellipsoid((0, -80, -66), (8, 5, 12))]
    return union([*sides, *chin], blend=3.0)


def condyle(joint: JointSizes) -> Solid:
    """Condylar head and neck."""
    m, a, h = joint.half_width, joint.half_depth, joint.half_height
    head = ellipsoid((0, 0, 0), (m, a, h))
    crest = capsule((-m * 0.55, 0.2, h * 0.25), (m * 0.5, -0.2, h * 0.15), a * 0.8, a * 0.78)
    funnel = [
        chain([(-m * 0.35, 0.5, -2), (-3.0, 0.5, -9), (-2.5, -1, -17)], [a * 0.95, 3.8, 3.2], blend=1.0),
        chain([(m * 0.4, 0.3, -2), (0.5, 0.8, -9), (0.0, 0.0, -17)], [a * 0.9, 3.8, 3.6], blend=1.0),
    ]
    return union([head, crest, *funnel], blend=2.0).placed(joint.centre, joint.axes)


def motion(individual: Individual) -> tuple[list[float], NDArray[np.float64]]:
    """Centre and axes that place the mandible, drawn closed, in the opened mouth.

    The condyles turn about their common axis and glide down the eminence.
    """
    angle = np.radians(individual.opening)
    c, s = np.cos(angle), np.sin(angle)
    # Rows are the mandible's axes in the head: the chin goes down and back.
    axes = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    joints = individual.joints.values()
    depth = float(np.mean([joint.fossa_depth for joint in joints]))
    length = float(np.mean([joint.eminence for joint in joints]))
    down = depth * np.sin(0.5 * np.pi * min(individual.glide / length, 1.0)) ** 2 + 0.1 * individual.glide
    return [0.0, -individual.glide, -float(down)], axes


def teeth(individual: Individual, *, upper: bool, metal: bool) -> Solid | None:
    """Natural teeth or crowns of one jaw, None where there are none."""
    numbers = range(14) if upper else range(14, 28)
    present = [n for n in numbers if n not in individual.missing_teeth]
    if metal:
        present = [n for n in present if n in individual.crowns]
    if not present:
        return None
    return union([_tooth(n % 14, upper=upper, crown_only=metal) for n in present])


def _half(joint: JointSizes) -> Solid:
    at = joint.at
    x, y, z = abs(joint.centre[0]), joint.centre[1], joint.centre[2]
    outline = [
        (y + 4.0, z - 9),
        (2.5, -30),
        (-3, -50),
        (-8, -60),
        (-18, -66),
        (-36, -68),
        (-44, -56),
        (-42, -38),
        (-37, -24),
        (-37.5, -8),
        (-37, 3),
        (-34, 4),
        (-28, -5),
        (-20, -10),
        (-11, -10),
        (y - 4.0, z - 6),
    ]
    # The ramus leans inwards to the front and below.
    by_y, by_z = 0.07, 0.055
    base = (x - 1.5 - by_y * y - by_z * (z - 9)) * joint.out
    ramus = plate(outline, (base, by_y * joint.out, by_z * joint.out), 3.4, 2.6)
    lower = [at(46, -14, -61), at(43, -34, -65), at(35, -55, -69), at(24, -72, -74), at(12, -81, -78), at(0, -84, -79)]
    middle = [at(45, -30, -52), at(42, -42, -55), at(34, -58, -58), at(23, -70, -61), at(12, -78, -63), at(0, -81, -64)]
    ridge = [
        at(38, -33, -54),
        at(31, -44, -53),
        at(27.5, -56, -53),
        at(22, -66, -54),
        at(12, -75, -55),
        at(0, -78, -55),
    ]
    body = [
        chain(lower, [5.0, 6.0, 6.0, 6.2, 6.2, 6.2], blend=2.0),
        chain(middle, [4.0, 5.6, 5.8, 5.4, 5.0, 4.8], blend=2.0),
        chain(ridge, [4.0, 5.2, 5.0, 4.4, 3.8, 3.6], blend=2.0),
    ]
    return union([condyle(joint), union([ramus, *body], blend=9.0)], blend=3.0)


def _tooth(number: int, *, upper: bool, crown_only: bool) -> Solid:
    """One tooth; 0 is the right second molar, 13 the left one."""
    index = min(number, 13 - number)
    out = -1 if number < 7 else 1
    x, y = _along_arch(index)
    # The lower arch lies within the upper one.
    shrink = 1.0 if upper else 0.95
    x, y = out * x * shrink, y + (0 if upper else 1.5)
    up = 1 if upper else -1
    half = _WIDTHS[index] * (0.98 if upper else 0.94)
    bite = OCCLUSION + 0.6 * up + (-1.5 if upper and index > 4 else 0)
    crown = ellipsoid((x, y, bite + up * 4.0), (half, half, 4.6))
    if crown_only:
        return crown.grown(0.4)
    roots = [(-half * 0.4, 0.0), (half * 0.4, 0.0)] if index < 3 else [(0.0, 0.0)]
    length = 18 if index == 4 else 14
    legs = [
        capsule((x + a, y + b, bite + up * 6), (x + a * 1.4, y + b + 1.5, bite + up * length), half * 0.55, 1.0)
        for a, b in roots
    ]
    return union([crown, *legs], blend=1.5)


def _along_arch(index: int) -> tuple[float, float]:
    """Middle of a tooth on the dental arch."""
    points = np.array([(0, -81), (13, -77), (23, -66), (28, -52), (30, -36)], float)
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    widths = [2 * half for half in _WIDTHS[::-1]]
    middle = float(np.cumsum(widths)[6 - index] - widths[6 - index] / 2)
    return float(np.interp(middle, way, points[:, 0])), float(np.interp(middle, way, points[:, 1]))


def condyle_centre(individual: Individual, side: Side) -> NDArray[np.float64]:
    """Centre of the condylar head where the mandible is, head frame before scaling."""
    way, axes = motion(individual)
    return np.asarray(individual.joints[side].centre) @ axes + way
