"""Medial, central and lateral joint space in the coronal plane through the condyle's middle.

Ikeda et al. 2011 measure the three in a coronal section along the condyle's long axis. The
points of the condyle are its upper outline at a sixth, a half and five sixths of its width;
from each the space goes to the nearest point of the temporal bone in the section, which is
perpendicular to it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.errors import FossaNotFound, SurfaceError
from negvol_pacs.joint.condyle import HEAD_DEPTH_MM, Condyle
from negvol_pacs.joint.fossa import Fossa
from negvol_pacs.joint.frame import unit
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.spaces import Space, nearest_on, section

SHARES = (1 / 6, 1 / 2, 5 / 6)  # of the head's width, from medial


@dataclass(frozen=True)
class CoronalSpaces:
    """The three joint spaces in the coronal plane along the condyle's long axis."""

    medial: Space
    central: Space
    lateral: Space


def measure_coronal_spaces(mc: Mesh, tb: Mesh, condyle: Condyle, fossa: Fossa) -> CoronalSpaces:
    """Measure MJS, CJS and LJS.

    Parameters
    ----------
    mc, tb
        Surfaces, LPS mm.
    condyle, fossa
        Landmarks; the plane goes through both poles of the condyle, upright in the fossa's frame.

    Raises
    ------
    FossaNotFound
        If there is no temporal bone in the plane.
    SurfaceError
        If the plane misses the condyle.
    """
    up = fossa.frame.superior
    across = condyle.lateral - condyle.medial
    across = unit(across - (across @ up) * up)
    plane = np.stack([across, up])
    head, bone = ((section(mesh, condyle.middle, np.cross(across, up)) - condyle.middle) @ plane.T for mesh in (mc, tb))
    if len(head) < 3:
        raise SurfaceError("The coronal plane through the condyle's middle misses the condyle.")
    if len(bone) < 3:
        raise FossaNotFound("There is no bone in the coronal plane through the condyle's middle.")
    points = head.reshape(-1, 2)
    wide = points[points[:, 1] > points[:, 1].max() - HEAD_DEPTH_MM, 0]
    spaces = []
    for share in SHARES:
        start = _highest_at(head, (1 - share) * wide.min() + share * wide.max())
        start, end = (condyle.middle + point @ plane for point in (start, nearest_on(bone, start)))
        spaces.append(Space(start, end))
    return CoronalSpaces(*spaces)


def _highest_at(segments: NDArray[np.float64], position: float) -> NDArray[np.float64]:
    """Return the highest point of line segments, shape (n, 2, 2), at a position of the first axis."""
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    steep = np.abs(along[:, 0]) < 1e-9
    share = (position - start[:, 0]) / np.where(steep, 1, along[:, 0])
    height = start[:, 1] + share * along[:, 1]
    crossed = ~steep & (share >= 0) & (share <= 1)
    if not crossed.any():
        raise SurfaceError("The condyle's outline has a gap.")
    return np.array([position, height[crossed].max()])
