from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negvol_pacs.training.metrics import collisions, gap_dice, hausdorff, in_gap, mend_sides


def slabs(gap: int) -> np.ndarray:
    """Two slabs, the second ``gap`` voxels above the first."""
    labels = np.zeros((40, 12, 12), np.uint8)
    labels[8:16] = 1
    labels[16 + gap : 24 + gap] = 2
    return labels


@pytest.mark.parametrize(("gap", "expected"), [(0, 4), (1, 2), (2, 0), (5, 0)])
def test_collisions_are_the_voxels_within_epsilon_of_the_other_class(gap: int, expected: int) -> None:
    assert collisions(slabs(gap), epsilon=2.0) == expected * 12 * 12


def test_no_collisions_without_a_second_class() -> None:
    assert collisions((slabs(0) == 1).astype(np.uint8)) == 0
    assert collisions(np.zeros((4, 4, 4), np.uint8)) == 0


def test_gap_region_lies_where_both_classes_are_near() -> None:
    points = np.argwhere(slabs(4) >= 0)
    heights = points[in_gap(slabs(4), points, width=10), 0]
    # Between the slabs d1 + d2 is 5; it grows by one a voxel inside and by two outside.
    assert (heights.min(), heights.max()) == (11, 24)
    assert not in_gap(slabs(12), points, width=10).any()


def test_gap_dice_sees_an_error_in_the_gap_and_none_far_from_it() -> None:
    truth = slabs(4)
    near, far = truth.copy(), truth.copy()
    near[15] = 0
    far[8] = 0
    assert gap_dice(far, truth) == {1: 1.0, 2: 1.0}
    found = gap_dice(near, truth)
    assert found[2] == 1.0
    assert found[1] == pytest.approx(8 / 9)


def test_hausdorff_is_in_millimetres_along_each_axis() -> None:
    first = np.zeros((20, 20, 20), np.bool_)
    first[5:10, 5:10, 5:10] = True
    second = np.roll(first, (3, 0, 0), (0, 1, 2))
    assert hausdorff(first, second, (0.5, 1, 1)) == pytest.approx(1.5)
    speck = first.copy()
    speck[19, 19, 19] = True
    assert hausdorff(speck, first, (1, 1, 1), 95) == pytest.approx(0.0)
    assert hausdorff(speck, first, (1, 1, 1)) == pytest.approx(np.sqrt(300))
    assert hausdorff(first, np.zeros_like(first), (1, 1, 1)) is None


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2), st.floats(0.1, 0.45))
def test_a_planted_mix_up_of_left_and_right_is_mended(where: int, share: float) -> None:
    truth = np.zeros((20, 20, 40), np.uint8)
    truth[4:16, 4:16, 4:14], truth[4:16, 4:16, 26:36] = 1, 2
    truth[2:4, 8:12, 4:36] = 3
    mixed = truth.copy()
    cut = int(12 * share)
    part = (slice(4, 4 + cut), slice(4, 16), slice(4, 14)) if where == 0 else (slice(4, 16), slice(4, 4 + cut))
    view = mixed[part] if where == 0 else mixed[(*part, slice(26, 36))]
    view[view > 0] = 3 - view[view > 0]
    if where == 2:
        mixed[19, 19, 20] = 1  # a crumb
    np.testing.assert_array_equal(mend_sides(mixed, [(1, 2)]), truth)


def test_gap_dice_of_the_published_hip_pairs_is_what_the_paper_states(shared_data: Path) -> None:
    """Xu et al. 2022: above 96 %. The files hold the gap region alone, so it is all of them."""
    means = []
    for path in sorted((shared_data / "hip" / "labels").glob("*.nii.gz")):
        other = shared_data / "hip" / "predictions" / path.name.replace("label_", "pred_")
        truth, prediction = (np.asarray(nib.load(file).dataobj).astype(np.uint8) for file in (path, other))
        found = gap_dice(prediction, truth)
        assert found.keys() == {1, 2, 3, 4, 5}
        means.append(np.mean(list(found.values())))
    assert len(means) == 7
    assert np.mean(means) > 0.96
