"""Local width of the joint space over the condyle: the many parameters beside the few named ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.inflation import MARGIN_MM, Inflation
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.operators import vertex_areas


@dataclass(frozen=True)
class WidthMap:
    """Width of the joint space at vertices of the condyle.

    Attributes
    ----------
    vertices
        Shape (n, 3), LPS mm.
    width
        Way of the inflating condyle along its normals to the temporal bone, mm, shape (n,).
    area
        Of the condyle's surface around each vertex, mm², shape (n,).
    """

    vertices: NDArray[np.float64]
    width: NDArray[np.float64]
    area: NDArray[np.float64]

    def percentile(self, percent: float) -> float:
        """Return the width that ``percent`` of the surface's area do not exceed, mm."""
        order = np.argsort(self.width, kind="stable")
        share = np.cumsum(self.area[order]) - self.area[order] / 2
        return float(np.interp(percent / 100 * self.area.sum(), share, self.width[order]))


def map_widths(mc: Mesh, inflation: Inflation, opening: Plane) -> WidthMap | None:
    """Return the widths where the condyle stands above the opening and bone confines it.

    Parameters
    ----------
    mc
        Condyle, LPS mm.
    inflation
        Of this condyle under this opening.
    opening
        Plane of the fossa's opening.

    Returns
    -------
    WidthMap or None
        None when bone confines no vertex.
    """
    height = opening.height(mc.vertices)
    near = np.flatnonzero(height > -MARGIN_MM)
    kept = inflation.confined & (height[near] > 0)
    if not kept.any():
        return None
    chosen = near[kept]
    areas = vertex_areas(mc.vertices, mc.triangles)[chosen]
    return WidthMap(mc.vertices[chosen], inflation.thickness[kept], areas)
