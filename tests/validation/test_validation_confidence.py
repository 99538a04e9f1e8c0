"""Painted joints, and what is said of predicted and true Dice."""

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import spearmanr

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.segmentation import grid
from negvol_pacs.validation import confidence, run
from negvol_pacs.validation.confidence import BONES, SPOILED, Outcome


def outcomes(rank: int = 1) -> list[Outcome]:
    kinds = list(SPOILED)
    true = np.linspace(0.8, 0.99, 12)
    return [
        Outcome(kinds[n % len(kinds)], Side.RIGHT, dict.fromkeys(BONES, t), dict.fromkeys(BONES, u))
        for n, (t, u) in enumerate(zip(true[::rank], true, strict=True))
    ]


def test_a_subject_is_a_joint_on_its_image_and_comes_again() -> None:
    first = confidence.draw(5001)
    assert first.spoiled in SPOILED
    inside = first.mandible.array.astype(bool)
    image = first.image
    same = image.spatial_shape == first.mandible.spatial_shape
    bright = grid.resample(image, first.mandible.get_geometry(), fill=np.nan) if not same else image.array
    assert np.nanmedian(bright[inside]) > np.nanmedian(bright[~inside & ~first.skull.array]) + 100
    index = np.rint(first.mandible.map_reference_to_indices(first.centre[None], round_output=False))[0].astype(int)
    near = tuple(slice(max(0, i - 3), i + 4) for i in index)
    assert inside[near].any()
    np.testing.assert_array_equal(confidence.draw(5001).image.array, image.array)


@pytest.mark.parametrize(("rank", "holds"), [(1, True), (-1, False)])
def test_rank_correlation_is_checked(rank: int, holds: bool) -> None:
    correlation, error = confidence.checks(Structure.MC, outcomes(rank))
    assert correlation.value == pytest.approx(rank)
    assert correlation.passed is holds
    assert (error.error == 0) is holds
    assert error.limit is None


def test_the_table_counts_what_the_flag_hit_and_what_it_missed() -> None:
    found = [
        Outcome("noise", Side.LEFT, dict.fromkeys(BONES, predicted), dict.fromkeys(BONES, true))
        for predicted, true in ((0.5, 0.6), (0.5, 0.61), (0.98, 0.55), (0.6, 0.98), (0.99, 0.99))
    ]
    rows = [line for line in confidence.markdown(found) if line.startswith(("| mandibular", "| temporal"))]
    assert [[cell.strip() for cell in row.split("|")][4:7] for row in rows] == [["2", "1", "1"]] * 2


def test_the_interval_holds_the_correlation_and_narrows_with_more_joints() -> None:
    rng = np.random.default_rng(1)
    true = rng.random(200)
    predicted = true + 0.3 * rng.standard_normal(200)
    few, many = (confidence.interval(predicted[:n], true[:n], draws=200) for n in (20, 200))
    for low, high in (few, many):
        assert low < spearmanr(predicted, true).statistic < high
    assert many[1] - many[0] < 0.6 * (few[1] - few[0])


def test_the_part_of_the_report(monkeypatch, tmp_path) -> None:
    found = outcomes()
    checks = confidence.checks(Structure.MC, found)
    monkeypatch.setattr(confidence, "run", lambda count, progress: (checks, found[:count]))
    part = run.Plan(tmp_path, run.Extent(painted=12), print).confidence()
    assert part.checks == checks
    assert part.section == checks[0].section
    picture = imread(tmp_path / "confidence.png")
    assert "confidence.png" in part.lines[-1]
    assert picture.shape[1] > 800
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 20
