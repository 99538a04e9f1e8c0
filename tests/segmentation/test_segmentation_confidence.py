"""The Dice that a network expects of itself, and what is made of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import logistic

from negvol_pacs.anatomy import Structure
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import confidence
from negvol_pacs.training.metrics import dice

SPACING = 0.8
RADIUS = np.linalg.norm((np.indices((60, 60, 60)) - 29.5) * SPACING, axis=0).astype(np.float32)
BONES = (Structure.MC, Structure.TB)
bones = pytest.mark.parametrize("bone", BONES)


@given(st.floats(0.1, 6), st.integers(0, 2**32 - 1))
def test_the_expected_dice_is_the_mean_over_truths_drawn_from_the_probabilities(sure: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    odds = (sure * rng.standard_normal((24, 24, 24))).astype(np.float32)
    drawn = [dice(odds > 0, rng.random(odds.shape) < expit(odds)) for _ in range(20)]
    assert confidence.expected_dice(odds) == pytest.approx(np.mean(drawn), abs=0.005)


def test_a_network_that_finds_nothing_expects_nothing() -> None:
    assert confidence.expected_dice(np.full((5, 5, 5), -3, np.float32)) == 0


@bones
def test_where_nothing_is_found_the_prediction_is_zero(bone: Structure) -> None:
    assert confidence.predicted_dice(bone, np.full_like(RADIUS, -3), RADIUS, SPACING) == 0


@settings(max_examples=20, deadline=None)
@given(steepness=st.floats(0.5, 5), size=st.floats(5, 15))
def test_the_spread_is_that_of_the_logistic_distribution_whatever_the_size(steepness: float, size: float) -> None:
    odds = (steepness * (size - RADIUS)).astype(np.float32)
    found = confidence.spread(odds, RADIUS < confidence.REACH_MM, SPACING)
    assert found == pytest.approx(logistic(scale=1 / steepness).std(), rel=0.03)


def test_of_a_small_sharp_and_a_large_blurred_condyle_the_sharp_one_is_trusted() -> None:
    sharp, blurred = 4 * (6 - RADIUS), 2 * (12 - RADIUS)
    assert confidence.expected_dice(sharp) == pytest.approx(confidence.expected_dice(blurred), abs=0.01)
    better, worse = (confidence.predicted_dice(Structure.MC, odds, RADIUS, SPACING) for odds in (sharp, blurred))
    assert 1 - better < 0.6 * (1 - worse)


@bones
def test_the_surer_the_network_the_higher_the_prediction(bone: Structure) -> None:
    ball = 10 - RADIUS
    found = [confidence.predicted_dice(bone, sure * ball, RADIUS, SPACING) for sure in (0.5, 1, 2, 8)]
    assert all(0 <= value <= 1 for value in found)
    assert found == sorted(found)
    assert found[0] < confidence.LIMITS[bone] < found[-1]


@bones
def test_what_lies_far_from_the_joint_does_not_count(bone: Structure) -> None:
    ball = 10 - RADIUS
    far = np.where(confidence.REACH_MM + SPACING <= RADIUS, np.float32(0.1), ball)
    found, alone = (confidence.predicted_dice(bone, odds, RADIUS, SPACING) for odds in (far, ball))
    assert found == alone


@bones
@given(doubt=st.floats(1e-4, 0.1))
def test_calibration_falls_with_doubt_and_can_be_undone(bone: Structure, doubt: float) -> None:
    predicted = confidence.calibrated(bone, doubt)
    if 0 < predicted < 1:
        assert confidence.uncalibrated(bone, predicted) == pytest.approx(doubt, abs=1e-6)
    assert predicted <= confidence.calibrated(bone, 0.9 * doubt)


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
