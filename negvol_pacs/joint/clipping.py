"""The negative volume: inflated condyle minus condyle minus temporal bone above the opening."""

import numpy as np
from manifold3d import Error, Manifold
from scipy.spatial.transform import Rotation

from negvol_pacs.errors import InflationError
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.surface import shared_area

SMALLEST_SHARE = 0.01  # smaller pieces are crumbs of the subtraction
FIN_MM = 0.3  # where the plane of the opening touches a crest, thinner space is cut off


def above(solid: Manifold, opening: Plane) -> Manifold:
    """Return a solid's part on the normal's side of the plane of the fossa's opening."""
    return solid.trim_by_plane(tuple(opening.normal), float(opening.point @ opening.normal))


def negative_volume(inflated: Manifold, mc: Manifold, tb: Manifold, opening: Plane) -> Manifold:
    """Cut the joint space out of the inflated condyle.

    Parameters
    ----------
    inflated, mc, tb
        Solids in one frame, mm. Of the inflated condyle the part above the opening is enough;
        the less of the bone there is beside it, the faster.
    opening
        Plane of the fossa's opening; the normal points into the fossa.

    Returns
    -------
    Manifold
        Closed and oriented; the pieces that touch the condyle.

    Raises
    ------
    InflationError
        If nothing is left, or the result is not closed.
    """
    space = subtract(above(inflated, opening), mc, tb, _under_crests(tb, opening))
    if space.status() != Error.NoError or space.is_empty():
        raise InflationError("The negative volume is empty or not closed.")
    pieces = [piece for piece in space.decompose() if piece.volume() > SMALLEST_SHARE * space.volume()]
    pieces = [piece for piece in pieces if shared_area(piece, mc) > 0]
    if not pieces:
        raise InflationError("No part of the negative volume touches the condyle.")
    return Manifold.compose(pieces)


def subtract(solid: Manifold, *parts: Manifold) -> Manifold:
    """Subtract solids one after another: lazily, they would be united first, which takes twice the time."""
    for part in parts:
        solid = solid - part
        solid.num_tri()
    return solid


def _under_crests(bone: Manifold, opening: Plane) -> Manifold:
    """Return the columns between the plane of the opening and the bone less than ``FIN_MM`` above it.

    The plane is tangent to the crests, so the space between would end in a fin of no
    thickness whose length is chance.
    """
    turn, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [opening.normal])
    level = np.column_stack([turn.as_matrix(), -turn.apply(opening.point)])
    low = bone.transform(level).slice(FIN_MM)
    columns = Manifold.extrude(low, FIN_MM + 1).translate((0, 0, -1))  # well through: faces in one plane leave films
    back = np.column_stack([turn.as_matrix().T, opening.point])
    return columns.transform(back)
