"""Positions of a head in the scanner, and the grids on which it is sampled."""

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

POSES = 30
TURN_DEG, SHIFT_MM = 20.0, 30.0
GRIDS = ((0.3, False), (0.4, False), (0.5, False), (0.6, False), (0.4, True))
"""Spacing in mm, and whether slices are twice as thick."""
SEED = 20211109


@dataclass(frozen=True)
class Pose:
    """A position of the head and a grid.

    Attributes
    ----------
    number
        From 0; each scan has its own noise.
    turn, shift
        Rotation about the origin in LPS, shape (3, 3), then shift, mm.
    spacing_mm
        Of the voxels.
    thick
        Whether slices are twice as thick.
    """

    number: int
    turn: NDArray[np.float64]
    shift: NDArray[np.float64]
    spacing_mm: float
    thick: bool

    @property
    def grid(self) -> str:
        """The grid in words."""
        return f"{self.spacing_mm}{f' × {2 * self.spacing_mm:g}' if self.thick else ''}"

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring points of the upright head, shape (..., 3), LPS mm, into the pose."""
        return np.asarray(points @ self.turn.T + self.shift)

    def move(self, volume: hd.Volume) -> hd.Volume:
        """Return a volume of the upright head in the pose: the same voxels with another affine."""
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = self.turn, self.shift
        return hd.Volume(volume.array, place @ volume.affine, coordinate_system="PATIENT")


def poses(count: int = POSES) -> list[Pose]:
    """Draw positions: rotation up to 20° about each axis, shift up to 30 mm, the grids in turn."""
    random = np.random.default_rng(SEED)
    drawn = []
    for k in range(count):
        turn = Rotation.from_euler("xyz", random.uniform(-TURN_DEG, TURN_DEG, 3), degrees=True).as_matrix()
        drawn.append(Pose(k, turn, random.uniform(-SHIFT_MM, SHIFT_MM, 3), *GRIDS[k % len(GRIDS)]))
    return drawn
