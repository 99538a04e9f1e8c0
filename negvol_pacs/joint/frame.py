"""The head's own axes: measurements must not depend on how the head lay in the scanner."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side

Vector = NDArray[np.float64]
SCANNER_LEFT = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True)
class Frame:
    """Right-handed axes of one joint, unit vectors in LPS.

    Attributes
    ----------
    left
        The head's transverse axis, to the patient's left.
    superior
        Perpendicular to ``left``, out of the fossa's opening into its roof.
    """

    left: Vector
    superior: Vector

    @property
    def posterior(self) -> Vector:
        """Unit vector to posterior."""
        return np.cross(self.superior, self.left)

    @property
    def anterior(self) -> Vector:
        """Unit vector to anterior."""
        return -self.posterior

    def lateral(self, side: Side) -> Vector:
        """Return the unit vector away from the head's middle."""
        return self.left if side is Side.LEFT else -self.left


@dataclass(frozen=True)
class Plane:
    """A plane in LPS mm: a point of it and its unit normal."""

    point: Vector
    normal: Vector

    def height(self, points: Vector) -> Vector:
        """Return signed distances of ``points``, shape (..., 3), mm; positive on the normal's side."""
        return np.asarray((points - self.point) @ self.normal)


def make_frame(left: Vector, superior: Vector) -> Frame:
    """Make axes from a transverse direction and a rough superior one.

    Raises
    ------
    ValueError
        If the two are parallel.
    """
    left = unit(left)
    return Frame(left, unit(superior - (superior @ left) * left))


def transverse_axis(centres: Mapping[Side, Vector]) -> Vector:
    """Return the transverse axis from the centres of the condylar heads found.

    Parameters
    ----------
    centres
        LPS mm, shape (3,), for the sides that were found.

    Returns
    -------
    ndarray
        Unit vector from the right to the left joint. The scanner's axis when only one joint is
        known: a head's yaw in the scanner is less than the spread of condylar angles (12.7° ± 6°),
        so the condyle's own axis would be the worse guess.
    """
    if len(centres) < 2:
        return SCANNER_LEFT
    axis = centres[Side.LEFT] - centres[Side.RIGHT]
    return unit(axis) if np.linalg.norm(axis) > 10 else SCANNER_LEFT


def unit(vector: Vector) -> Vector:
    """Return a vector of length 1.

    Raises
    ------
    ValueError
        If the vector has no length.
    """
    length = float(np.linalg.norm(vector))
    if not length > 1e-9:
        raise ValueError("a direction has no length")
    return vector / length
