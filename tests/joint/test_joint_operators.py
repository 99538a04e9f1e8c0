"""Vectors and the cotangent Laplacian."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats, integers

from negvol_pacs.joint.operators import cotangent_stiffness, face_normals, lengths

vectors = integers(1, 5).flatmap(lambda n: arrays(np.float64, (n, 3), elements=floats(-100, 100, width=32)))


@given(vectors)
def test_lengths_are_numpy_s(found):
    np.testing.assert_allclose(lengths(found), np.linalg.norm(found, axis=1), rtol=1e-15)


def test_normal_of_a_triangle_is_twice_its_area():
    corners = np.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 0]])
    np.testing.assert_array_equal(face_normals(corners, np.array([[0, 1, 2]], np.int32)), [[0, 0, 6]])


def test_stiffness_of_a_square_cut_in_two():
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    found = cotangent_stiffness(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32)).toarray()
    assert found == pytest.approx(found.T)
    assert found.sum(axis=1) == pytest.approx(np.zeros(4))
    assert found[0, 1] == pytest.approx(-0.5)  # cot 45° / 2
    assert found[0, 2] == pytest.approx(-0.05)  # both opposite angles are right: the smallest cotangent
