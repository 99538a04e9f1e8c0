"""A hollow mastoid is filled; the skull's grooves, the auditory canal and all else stay."""

import highdicom as hd
import numpy as np
import pytest
from scipy import ndimage

from negvol_pacs.segmentation.grid import lps_geometry, on_grid
from negvol_pacs.training.mastoid import CANAL_MM, fill_mastoids
from negvol_pacs.training.shapes import load_shapes

SPACING_MM = 1.0
MIDDLE = np.array([0.0, 27.0, -8.0])  # of a mastoid, LPS mm from the top of its condyle


def head(hollow_mm: float, mouth_mm: float) -> tuple[hd.Volume, dict[int, np.ndarray]]:
    """Two condyles, and behind each a ball of bone that is hollow and open to behind."""
    z, y, x = (np.arange(n) * SPACING_MM - off for n, off in ((100, 60.0), (110, 30.0), (180, 90.0)))
    labels = np.zeros((len(z), len(y), len(x)), np.uint8)
    balls = {}
    for sign in (-1, 1):
        place = (z[:, None, None] + 8) ** 2, (y[:, None] - 27) ** 2, (x - sign * 50) ** 2
        away = np.sqrt(place[0] + place[1] + place[2])
        tube = (np.sqrt(place[0] + place[2]) < mouth_mm) & (y[:, None] > 27)
        labels[(away < 14) & ~((away < hollow_mm) | tube)] = 1
        condyle = (z[:, None, None] <= 0) & (z[:, None, None] > -40) & (np.abs(y[:, None]) < 5) & (place[2] < 36)
        labels[condyle] = 2
        balls[sign] = away
    return on_grid(labels, lps_geometry((-90.0, -30.0, -60.0), labels.shape, SPACING_MM)), balls


def test_a_bowl_becomes_bone_on_both_sides() -> None:
    bones, balls = head(hollow_mm=10, mouth_mm=3)
    filled = fill_mastoids(bones).array
    behind = np.arange(bones.array.shape[1])[:, None] * SPACING_MM - 30 > CANAL_MM + 1
    for away in balls.values():
        hollow = (away < 10) & behind
        assert (bones.array[hollow] == 0).all()
        assert (filled[hollow] == 1).mean() > 0.95
    np.testing.assert_array_equal(filled[bones.array > 0], bones.array[bones.array > 0])


@pytest.mark.parametrize(("hollow_mm", "mouth_mm"), [(5.0, 2.0), (11.0, 12.0)])
def test_small_cavities_and_wide_recesses_stay(hollow_mm: float, mouth_mm: float) -> None:
    bones, _ = head(hollow_mm, mouth_mm)
    filled = fill_mastoids(bones).array
    assert ((filled == 1) & (bones.array == 0)).sum() < 0.1 * (bones.array == 1).sum()


@pytest.mark.slow
def test_of_the_real_heads_one_was_hollow(shared_data) -> None:
    for shape in load_shapes(shared_data / "shapes"):
        again = fill_mastoids(shape.bones)
        new = (again.array != shape.bones.array).sum()
        assert new < 200  # mm³ / 8: nothing is left to fill
        solid = ndimage.binary_erosion(shape.bones.array == 1, iterations=6)
        assert solid.sum() > 1000
