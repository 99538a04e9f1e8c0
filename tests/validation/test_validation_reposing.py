"""Poses, thick slices and the scatter."""

import numpy as np
import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.training.analytic_joints import sphere_in_cup
from negvol_pacs.validation import reposing
from negvol_pacs.validation.heads import CENTRES, head


def test_poses_are_rotations_within_their_range():
    drawn = reposing.poses(10)
    for pose in drawn:
        assert pose.turn @ pose.turn.T == pytest.approx(np.eye(3))
        assert np.abs(pose.shift).max() <= reposing.SHIFT_MM
    assert len({pose.spacing_mm for pose in drawn}) == 4
    assert sum(pose.thick for pose in drawn) == 2
    assert reposing.grids(5)[-1] == "0.4 × 0.8"


def test_head_turns_about_the_origin_with_both_joints():
    (pose,) = reposing.poses(1)
    masks = head(dict.fromkeys(Side, sphere_in_cup()), 1.0, turn=pose.turn, shift=pose.shift)
    for side in Side:
        assert masks[side].centre == pytest.approx(pose.turn @ CENTRES[side] + pose.shift)


def test_thick_slices_keep_the_amount_and_blur():
    thin, thick = (head({Side.RIGHT: sphere_in_cup()}, 1.0, thick=flag)[Side.RIGHT] for flag in (False, True))
    assert thick.mc.array.sum() == pytest.approx(thin.mc.array.sum(), rel=1e-3)
    assert np.abs(np.diff(thick.mc.array, axis=0)).max() < np.abs(np.diff(thin.mc.array, axis=0)).max()


def test_scatter_of_two_poses(monkeypatch):
    monkeypatch.setattr(reposing, "GRIDS", ((0.8, False),))
    joint = sphere_in_cup()
    checks, values = reposing.run("joint", lambda pose: head({Side.RIGHT: joint}, pose.spacing_mm, turn=pose.turn), 2)
    assert len(checks) == len(values) == 2 * 5 + 2
    for check in checks:
        a, b = values[check.quantity.rsplit(":", 1)[0]]
        if a is None:
            assert not check.passed
            assert "left" in check.quantity or "_LR" in check.quantity
            continue
        sd = abs(a - b) / np.sqrt(2)
        assert check.error == pytest.approx(200 * sd / (a + b) if check.unit == "%" else sd)
