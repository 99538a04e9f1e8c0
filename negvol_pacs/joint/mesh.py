"""Triangle meshes in LPS millimetres."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes
    ----------
    vertices
        Shape (n, 3), float64, LPS mm.
    triangles
        Shape (m, 3), int32, counter-clockwise seen from outside.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int32]
