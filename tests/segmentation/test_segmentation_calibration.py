import numpy as np
import pytest
import simple_head
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from negvol_pacs.segmentation.calibration import estimate
from negvol_pacs.segmentation.grid import shrink

HU = shrink(simple_head.axial((3.0, 3.0, 3.0)), 3.0).array + np.random.default_rng(0).normal(0, 25, (68, 70, 60))


def test_hounsfield_units_are_taken_as_they_are() -> None:
    line = estimate(HU)
    assert line.hounsfield
    assert line.hu(np.float32([5.0]))[0] == 5.0
    assert line.grey(-300.0) == -300.0


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 5.0), st.floats(1200, 5000))
def test_shifted_and_scaled_values_come_back(slope: float, offset: float) -> None:
    air = offset - 1000 * slope
    assume(abs(air + 1000) > 150 and abs(air - 40) > 250)  # There it could be Hounsfield units.
    line = estimate(HU * slope + offset)
    assert not line.hounsfield
    assert line.hu(np.float32([offset - 1000 * slope]))[0] == pytest.approx(-1000, abs=40)
    assert line.hu(np.float32([offset + 40 * slope]))[0] == pytest.approx(40, abs=40)


def test_eight_bit_pictures_are_no_hounsfield_units() -> None:
    picture = np.clip((HU + 300) / 1500 * 255, 0, 255).astype(np.uint8)
    line = estimate(picture)
    assert not line.hounsfield
    assert line.grey(40.0) == pytest.approx(340 / 1500 * 255, abs=6)


def test_an_empty_picture_is_no_hounsfield_units() -> None:
    assert not estimate(np.zeros((10, 10, 10), dtype=np.int16)).hounsfield


def test_a_field_of_view_inside_the_head() -> None:
    inner = HU[20:45, 20:45, 18:40]
    assert inner.min() > -300
    assert estimate(inner).hounsfield
