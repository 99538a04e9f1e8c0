"""Where a surface crosses itself, and how a fold of the inflated membrane is drawn smooth."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.operators import averaging, edges, face_normals, lengths
from negvol_pacs.joint.rays import Rays

TOLERANCE_MM = 1e-3  # rays are cast in float32, and booleans are exact only to rounding
ROUNDS = 6


def crossings(mesh: Mesh, among: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Find where a surface crosses itself.

    Every edge is held against all triangles; a candidate counts when in double precision
    both ends lie more than a micrometre off the triangle's plane, on either side, and the
    edge passes more than a micrometre inside the triangle's sides.

    Parameters
    ----------
    mesh
        Closed surface, mm.
    among
        Vertices whose edges are held against it, shape (n,); default: all.

    Returns
    -------
    ndarray
        Vertices of the crossing edges and crossed triangles, sorted; empty when there is none.
    """
    edge = edges(mesh.triangles)
    if among is not None:
        edge = edge[among[edge].any(axis=1)]
    rays = Rays(mesh)
    edge = edge[_meets_something(rays, *(mesh.vertices[edge[:, k]] for k in (0, 1)))]
    start, end = mesh.vertices[edge[:, 0]], mesh.vertices[edge[:, 1]]
    ray, triangle = rays.all_hits(start, end)
    own = (mesh.triangles[triangle][:, :, None] == edge[ray][:, None, :]).any(axis=(1, 2))
    ray, triangle = ray[~own], triangle[~own]
    corners = mesh.vertices[mesh.triangles[triangle]]
    normal = _unit(face_normals(mesh.vertices, mesh.triangles[triangle]))
    before = np.einsum("ij,ij->i", start[ray] - corners[:, 0], normal)
    behind = np.einsum("ij,ij->i", end[ray] - corners[:, 0], normal)
    through = (before * behind < 0) & (np.minimum(np.abs(before), np.abs(behind)) > TOLERANCE_MM)
    share = np.divide(before, before - behind, out=np.zeros_like(before), where=through)
    point = start[ray] + share[:, None] * (end[ray] - start[ray])
    for k in range(3):
        side = corners[:, (k + 1) % 3] - corners[:, k]
        inward = _unit(np.cross(normal, side))
        through &= np.einsum("ij,ij->i", point - corners[:, k], inward) > TOLERANCE_MM
    return np.unique(np.concatenate([edge[ray[through]].ravel(), mesh.triangles[triangle[through]].ravel()]))


def _meets_something(rays: Rays, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether segments meet any triangle farther from their ends than those that share them: quickly told."""
    inset = TOLERANCE_MM / 2
    length, along = lengths(end - start), _unit(end - start)
    return rays.distance(start + inset * along, along) < length - 2 * inset


def unfold(mesh: Mesh, allowed: NDArray[np.bool_]) -> Mesh:
    """Replace folds by the membrane that their surroundings span.

    Parameters
    ----------
    mesh
        Inflated surface, LPS mm.
    allowed
        Vertices that may move, shape (n,).

    Returns
    -------
    Mesh
        The same triangles; usually without crossings, which the caller checks on the result.
    """
    vertices = mesh.vertices
    average = averaging(mesh.triangles, len(vertices))
    for rings in range(2, 2 + ROUNDS):
        crossing = crossings(Mesh(vertices, mesh.triangles), allowed)
        patch = np.zeros(len(vertices))
        patch[crossing] = 1
        patch *= allowed
        if not patch.any():
            break
        for _ in range(rings):
            patch = average @ patch
        vertices = _span(vertices, average, (patch > 0) & allowed)
    return Mesh(vertices, mesh.triangles)


def _span(vertices: NDArray[np.float64], average: sparse.csr_matrix, patch: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Put each vertex of the patch into the mean of its neighbours."""
    inner, outer = np.flatnonzero(patch), np.flatnonzero(~patch)
    laplace = (sparse.identity(len(vertices)) - average).tocsr()[inner]
    spanned = vertices.copy()
    spanned[inner] = splu(laplace[:, inner].tocsc()).solve(-(laplace[:, outer] @ vertices[outer]))
    return spanned


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(lengths(vectors)[:, None], 1e-15))
