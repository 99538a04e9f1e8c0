"""Holes in the fossa's roof."""

import numpy as np
import pytest

from negvol_pacs.segmentation.grid import lps_geometry, on_grid
from negvol_pacs.training.roof import close_roofs

SPACING_MM = 0.5


@pytest.fixture
def head():
    """Two condyles under a vault 2 mm thick, whose right half has a hole, and which ends behind."""
    shape = (80, 120, 240)
    affine = lps_geometry((-60.0, -30.0, 0.0), shape, SPACING_MM)
    z, y, x = (SPACING_MM * axis + low for axis, low in zip(np.indices(shape), (0.0, -30.0, -60.0), strict=True))
    labels = np.zeros(shape, np.uint8)
    for middle in (-40.0, 40.0):
        labels[
            ((x - middle) ** 2 + y**2 + (z - 12) ** 2 < 5**2) | ((abs(x - middle) < 3) & (abs(y) < 3) & (z < 12))
        ] = 2
    labels[(abs(z - 20 - x / 20) < 1) & (y < 8)] = 1
    whole = labels.copy()
    labels[((x + 40) ** 2 + y**2 < 3**2) & (labels == 1)] = 0
    return on_grid(labels, affine), on_grid(whole, affine)


def test_a_hole_is_closed_as_the_bone_goes_on_and_nothing_else_is_touched(head):
    holed, whole = head
    closed = close_roofs(holed)
    assert (holed.array != whole.array).sum() > 400
    np.testing.assert_array_equal(closed.array == 2, whole.array == 2)
    assert (closed.array != whole.array).sum() < 0.15 * (holed.array != whole.array).sum()  # the roof is steps
    assert (closed.array == 1).any(axis=0)[60, 40]
    np.testing.assert_array_equal(close_roofs(whole).array, whole.array)
