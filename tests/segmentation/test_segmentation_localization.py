"""The localizer's post-processing on made heat maps."""

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import JointError, JointNotFound, JointOutsideField
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.localization import Candidate, border_distance, candidates, choose

HEAD = grid.lps_geometry((-90, -100, -80), (100, 100, 100), 2.0)
RIGHT, LEFT = np.array([-51.0, 20.0, 3.0]), np.array([48.0, 17.0, 6.0])


def heat(*balls: tuple[int, NDArray[np.float64], float, float]) -> NDArray[np.float32]:
    """Channel, centre (LPS mm), radius (mm) and height of each ball."""
    maps = np.zeros((2, *HEAD.spatial_shape), dtype=np.float32)
    for channel, centre, radius, height in balls:
        distance = grid.distance_from(HEAD, centre)
        maps[channel] = np.maximum(maps[channel], height * expit((radius - distance) / 0.8))
    return maps


def found(maps: NDArray[np.float32], field: hd.VolumeGeometry = HEAD) -> dict[Side, NDArray[np.float64] | JointError]:
    return choose(candidates(maps, HEAD), field)


def assert_near(place: NDArray[np.float64] | JointError, centre: NDArray[np.float64]) -> None:
    assert not isinstance(place, JointError), place
    assert np.linalg.norm(place - centre) < 0.5


def test_both_joints() -> None:
    places = found(heat((0, RIGHT, 12, 0.95), (1, LEFT, 12, 0.9)))
    assert_near(places[Side.RIGHT], RIGHT)
    assert_near(places[Side.LEFT], LEFT)


def test_right_has_the_smaller_x_whatever_the_network_calls_it() -> None:
    places = found(heat((1, RIGHT, 12, 0.95), (0, LEFT, 12, 0.9)))
    assert_near(places[Side.RIGHT], RIGHT)
    assert_near(places[Side.LEFT], LEFT)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_planted_mix_up_of_left_and_right_changes_nothing(seed: int, share: float) -> None:
    """Whole blocks of both joints called by the other side's name: what counts is their sum, and where it lies."""
    maps = heat((0, RIGHT, 12, 0.95), (1, LEFT, 12, 0.9))
    blocks = np.random.default_rng(seed).random((20, 20, 20)) < share
    mixed = np.kron(blocks, np.ones((5, 5, 5), np.bool_))
    planted = np.where(mixed, maps[::-1], maps)
    for side, centre in found(maps).items():
        np.testing.assert_allclose(found(planted)[side], centre, atol=1e-4)


def test_false_regions_lose_against_a_plausible_pair() -> None:
    spine, mastoid = np.array([0.0, 70.0, -40.0]), np.array([-52.0, 72.0, 0.0])
    places = found(heat((0, RIGHT, 11, 0.9), (1, LEFT, 11, 0.9), (0, mastoid, 8, 0.8), (1, spine, 9, 0.9)))
    assert_near(places[Side.RIGHT], RIGHT)
    assert_near(places[Side.LEFT], LEFT)


def test_a_speck_is_no_joint() -> None:
    places = found(heat((0, RIGHT, 12, 0.95), (1, LEFT, 2.5, 0.9)))
    assert_near(places[Side.RIGHT], RIGHT)
    assert isinstance(places[Side.LEFT], JointNotFound)


@pytest.mark.parametrize(("channel", "side"), [(0, Side.RIGHT), (1, Side.LEFT)])
def test_a_lone_joint_goes_to_the_side_that_the_network_names(channel: int, side: Side) -> None:
    places = found(heat((channel, RIGHT if channel == 0 else LEFT, 12, 0.9)))
    assert not isinstance(places[side], JointError)
    assert isinstance(places[side.other], JointNotFound)


def test_the_other_joint_outside_the_field_of_view() -> None:
    half = grid.lps_geometry((-90, -100, -80), (100, 100, 50), 2.0)
    places = found(heat((0, RIGHT, 12, 0.9)), half)
    assert_near(places[Side.RIGHT], RIGHT)
    assert isinstance(places[Side.LEFT], JointOutsideField)
    assert "left joint lies outside" in str(places[Side.LEFT])


def test_a_joint_cut_by_the_border_is_not_measured() -> None:
    low = grid.lps_geometry((-90, -100, -4), (60, 100, 100), 2.0)
    places = found(heat((0, RIGHT, 12, 0.9), (1, LEFT, 12, 0.9)), low)
    assert all(isinstance(place, JointOutsideField) for place in places.values())


def test_nothing_found() -> None:
    places = found(heat())
    assert set(places) == set(Side)
    assert all(isinstance(place, JointNotFound) for place in places.values())


def test_pairs_too_near_or_too_oblique_are_no_pair() -> None:
    near = [Candidate(np.array([-20.0, 0, 0]), 900, 10), Candidate(np.array([25.0, 0, 0]), 10, 500)]
    oblique = [Candidate(np.array([-40.0, 0, 0]), 900, 10), Candidate(np.array([40.0, 60, 0]), 10, 500)]
    for pair in (near, oblique):
        places = choose(pair, HEAD)
        assert_near(places[Side.RIGHT], pair[0].centre)
        assert isinstance(places[Side.LEFT], JointNotFound)


def test_distance_from_the_border_in_millimetres() -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 2.0], [0, -1.0, 0], [0.5, 0, 0]])
    field = hd.VolumeGeometry(affine, (40, 50, 60), coordinate_system="PATIENT")
    assert border_distance(np.array([59.0, -24.5, 9.75]), field) == pytest.approx(10.0)
    assert border_distance(np.array([59.0, 3.5, 9.75]), field) == pytest.approx(-3.0)
