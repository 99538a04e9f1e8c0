"""The manual way to a negative volume (Belikova et al. 2021): a rough sphere minus the bones.

A person places a sphere in the joint and subtracts the masks. Here the sphere stands on the
line from eminence to postglenoid process as its diameter, so it is the same every time; it
is a value to compare with, not a measurement of the joint space: it misses what lies further
medial and lateral than half the fossa's width.
"""

import numpy as np
from manifold3d import Manifold

from negvol_pacs.errors import InflationError
from negvol_pacs.joint.clipping import SMALLEST_SHARE, above, subtract
from negvol_pacs.joint.fossa import Fossa
from negvol_pacs.joint.surface import shared_area

SEGMENTS = 96  # of the sphere's equator; its volume is 0.2 % too small


def sphere_volume(mc: Manifold, tb: Manifold, fossa: Fossa) -> float:
    """Volume of the half sphere over the fossa's opening, minus the bones, mm³.

    Parameters
    ----------
    mc, tb
        Solids, LPS mm.
    fossa
        Landmarks.

    Raises
    ------
    InflationError
        If no part of it touches the condyle.
    """
    space = subtract(ball_over(fossa), mc, tb)
    pieces = [piece for piece in space.decompose() if piece.volume() > SMALLEST_SHARE * space.volume()]
    pieces = [piece for piece in pieces if shared_area(piece, mc) > 0]  # the sphere may reach through the roof
    if not pieces:
        raise InflationError("No part of the sphere over the fossa touches the condyle.")
    return float(np.sum([piece.volume() for piece in pieces]))


def ball_over(fossa: Fossa) -> Manifold:
    """Return the half ball over the opening whose diameter is the fossa's width."""
    middle = (fossa.eminence + fossa.postglenoid) / 2
    return above(Manifold.sphere(fossa.width / 2, SEGMENTS).translate(tuple(middle)), fossa.opening)
