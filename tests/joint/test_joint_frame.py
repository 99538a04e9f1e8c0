"""The head's own axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.frame import Plane, make_frame, transverse_axis, unit

vectors = hnp.arrays(np.float64, 3, elements=st.floats(-1, 1))


@given(vectors, vectors)
def test_axes_are_right_handed_and_orthonormal(left, superior):
    try:
        frame = make_frame(left, superior)
    except ValueError:
        assert np.linalg.norm(np.cross(left, superior)) < 1e-6
        return
    axes = np.stack([frame.left, frame.posterior, frame.superior])
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1)
    assert np.allclose(frame.anterior, -frame.posterior)


def test_lps_axes_of_an_upright_head():
    frame = make_frame(np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    assert np.allclose(frame.posterior, [0, 1, 0])
    assert np.allclose(frame.lateral(Side.RIGHT), [-1, 0, 0])  # the right side has the smaller x
    assert np.allclose(frame.lateral(Side.LEFT), [1, 0, 0])


def test_transverse_axis_goes_from_right_to_left():
    centres = {Side.RIGHT: np.array([-50.0, 3, 0]), Side.LEFT: np.array([50.0, -3, 10])}
    axis = transverse_axis(centres)
    assert np.allclose(axis, unit(np.array([100.0, -6, 10])))
    assert np.allclose(transverse_axis({Side.LEFT: centres[Side.LEFT]}), [1, 0, 0])
    assert np.allclose(transverse_axis({}), [1, 0, 0])
    same = dict.fromkeys(Side, centres[Side.LEFT])
    assert np.allclose(transverse_axis(same), [1, 0, 0])


def test_height_over_a_plane():
    plane = Plane(np.array([1.0, 2, 3]), np.array([0, 0, 1.0]))
    assert plane.height(np.array([[5.0, 5, 5], [0, 0, 0]])) == pytest.approx([2, -3])
