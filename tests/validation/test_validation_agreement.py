"""Mirrored joints and growth in voxels, on a grid coarse enough for tests."""

from negvol_pacs.training.analytic_joints import parametric_fossa
from negvol_pacs.validation import agreement


def test_mirrored_identical_joints_are_symmetric():
    checks = agreement.mirrored("fossa", parametric_fossa(), 0.6)
    assert [check.quantity for check in checks] == ["S_LR - 1", "H_LR"]
    assert all(check.passed for check in checks)


def test_growth_in_voxels_agrees():
    assert all(check.passed for check in agreement.voxels("fossa", parametric_fossa(), 0.5))
