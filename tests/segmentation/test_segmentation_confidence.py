"""The Dice that a network expects of itself, and what is made of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from negvol_pacs.anatomy import Structure
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import confidence
from negvol_pacs.segmentation.clarity import Field, Traced
from negvol_pacs.training.metrics import dice

RADIUS = np.linalg.norm((np.indices((60, 60, 60)) - 29.5) * 0.8, axis=0).astype(np.float32)
BONES = (Structure.MC, Structure.TB)
bones = pytest.mark.parametrize("bone", BONES)


def seen(odds: Field, moved_mm: float = 0.2) -> Traced:
    """A bone whose grey values' edge lies off the network's outline."""
    return Traced(odds, odds, odds + np.float32(moved_mm))


@given(st.floats(0.1, 6), st.integers(0, 2**32 - 1))
def test_the_expected_dice_is_the_mean_over_truths_drawn_from_the_probabilities(sure: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    odds = (sure * rng.standard_normal((24, 24, 24))).astype(np.float32)
    drawn = [dice(odds > 0, rng.random(odds.shape) < expit(odds)) for _ in range(20)]
    assert confidence.expected_dice(odds) == pytest.approx(np.mean(drawn), abs=0.005)


def test_a_network_that_finds_nothing_expects_nothing() -> None:
    assert confidence.expected_dice(np.full((5, 5, 5), -3, np.float32)) == 0


@bones
def test_the_surer_the_network_the_higher_the_prediction(bone: Structure) -> None:
    ball = 10 - RADIUS
    found = [confidence.predicted_dice(bone, seen(sure * ball), RADIUS) for sure in (0.5, 1, 2, 8)]
    assert all(0 <= value <= 1 for value in found)
    assert found == sorted(found)
    assert found[0] < confidence.LIMITS[bone] < found[-1]


@bones
def test_what_lies_far_from_the_joint_does_not_count(bone: Structure) -> None:
    ball = 10 - RADIUS
    far = np.where(confidence.REACH_MM <= RADIUS, np.float32(0.1), ball)
    assert confidence.predicted_dice(bone, seen(far), RADIUS) == confidence.predicted_dice(bone, seen(ball), RADIUS)


def test_edges_that_lie_off_the_outline_speak_against_the_condyle() -> None:
    ball = 10 - RADIUS
    found = [confidence.predicted_dice(Structure.MC, seen(ball, moved), RADIUS) for moved in (0.0, 0.2, 0.5, -1.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[1] > found[3]


@bones
@given(doubt=st.floats(0.0001, 0.1))
def test_calibration_falls_with_doubt_and_can_be_undone(bone: Structure, doubt: float) -> None:
    predicted = confidence.calibrated(bone, doubt)
    if 0 < predicted < 1:
        assert confidence.uncalibrated(bone, predicted) == pytest.approx(doubt, abs=1e-6)
    assert predicted >= confidence.calibrated(bone, doubt + 5e-5)


@given(st.floats(0.5, 50), st.floats(0.5, 2.5))
def test_fit_finds_the_law_that_made_the_figures(factor: float, power: float) -> None:
    doubts = np.linspace(0.01, 0.1, 9)
    found = confidence.fit(doubts, 1 - factor * doubts**power)
    assert found == pytest.approx((factor, power), rel=1e-6)


@bones
def test_one_bone_below_its_limit_is_enough_for_the_flag(bone: Structure) -> None:
    good = {structure: limit + 0.01 for structure, limit in confidence.LIMITS.items()}
    assert not confidence.doubts(good)
    assert confidence.doubts(good | {bone: confidence.LIMITS[bone] - 0.01}) == {QualityFlag.SEGMENTATION_DOUBTFUL}
