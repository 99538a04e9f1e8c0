"""Differential operators on a triangle mesh."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

SMALLEST_COTANGENT = 0.05  # keeps the stiffness an M-matrix, for which the obstacle problem has one solution
LARGEST_COTANGENT = 10.0


def cotangent_stiffness(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> sparse.csr_matrix:
    """Return the positive semi-definite cotangent Laplacian, shape (n, n) (Pinkall and Polthier 1993)."""
    rows, columns, weights = [], [], []
    corners = [vertices.take(triangles[:, k], axis=0) for k in range(3)]
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        a, b = corners[i] - corners[k], corners[j] - corners[k]
        cotangent = np.einsum("ij,ij->i", a, b) / np.maximum(lengths(np.cross(a, b)), 1e-12)
        rows += [triangles[:, i], triangles[:, j]]
        columns += [triangles[:, j], triangles[:, i]]
        weights += [np.clip(cotangent, SMALLEST_COTANGENT, LARGEST_COTANGENT) / 2] * 2
    places = np.concatenate(rows), np.concatenate(columns)
    coupling = sparse.coo_matrix((np.concatenate(weights), places), (len(vertices), len(vertices))).tocsr()
    return (sparse.diags(np.asarray(coupling.sum(axis=1)).ravel()) - coupling).tocsr()


def factorise(matrix: sparse.spmatrix, ordering: str = "NATURAL") -> SuperLU:
    """Factorise a symmetric positive definite matrix: without pivots it fills in less.

    Parameters
    ----------
    matrix
        Shape (n, n).
    ordering
        Of its rows; ``MMD_AT_PLUS_A`` seeks one that fills in little.
    """
    return splu(matrix.tocsc(), permc_spec=ordering, diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def vertex_areas(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return a third of the adjacent triangles' area at each vertex, mm²."""
    area = lengths(face_normals(vertices, triangles)) / 6
    return np.asarray(np.bincount(triangles.ravel(), np.repeat(area, 3), len(vertices)), dtype=np.float64)


def face_normals(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return normals of length twice the triangle's area."""
    a, b, c = (vertices.take(triangles[:, k], axis=0) for k in range(3))
    normals: NDArray[np.float64] = np.cross(b - a, c - a)
    return normals


def lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lengths of vectors, shape (n,): numpy's norm takes six times as long."""
    x, y, z = vectors.T
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def averaging(triangles: NDArray[np.int32], n: int) -> sparse.csr_matrix:
    """Return the matrix that averages a vertex (weight one half) with its neighbours."""
    i = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    link = sparse.coo_matrix((np.ones(len(i)), (i[:, 0], i[:, 1])), (n, n)).tocsr()
    link = ((link + link.T) > 0).astype(np.float64)
    degree = np.maximum(np.asarray(link.sum(axis=1)).ravel(), 1)
    return (sparse.diags(0.5 / degree) @ link + sparse.identity(n) * 0.5).tocsr()


def edges(triangles: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return each edge of a closed, oriented mesh once, shape (k, 2)."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return sides[sides[:, 0] < sides[:, 1]]


def vertex_normals(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return unit normals, weighted by the adjacent triangles' areas, shape (n, 3)."""
    faces = face_normals(vertices, triangles)
    spread = [np.bincount(triangles.ravel(), np.repeat(faces[:, k], 3), len(vertices)) for k in range(3)]
    normals = np.stack(spread, axis=1)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12), dtype=np.float64)
