"""Probabilities place a surface between the voxels; binary masks do not."""

import numpy as np
import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.training.analytic_joints import sphere_in_cup
from negvol_pacs.validation import subvoxel
from negvol_pacs.validation.heads import head


def test_probabilities_place_surfaces_ten_times_better(monkeypatch):
    monkeypatch.setattr(subvoxel, "joints", lambda: {"sphere": sphere_in_cup()})
    checks, rows = subvoxel.run(0.6, 1)
    assert len(checks) == len(rows) == 6
    surface = rows["sphere", subvoxel.SURFACE]
    assert surface["probabilities"] < 0.2 * surface["binary"]
    assert surface["binary"] == pytest.approx(0.6 * 0.19, rel=0.25)
    line = next(line for line in subvoxel.markdown(rows) if subvoxel.SURFACE in line and line.startswith("|"))
    assert line.split("|")[3:5] == [f" {surface[kind]:.3f} " for kind in subvoxel.KINDS]


def test_binary_masks_are_cut_at_a_half():
    masks = head({Side.RIGHT: sphere_in_cup()}, 1.0)[Side.RIGHT]
    cut = subvoxel.binary(masks)
    assert set(np.unique(cut.mc.array)) == {0.0, 1.0}
    assert ((cut.tb.array == 1) == (masks.tb.array > 0.5)).all()


def test_a_missing_number_is_missing_in_the_table():
    rows = {("joint", "FW"): {"probabilities": None, "binary": 0.2}}
    assert subvoxel.markdown(rows)[-1] == "| joint | FW | missing | 0.200 |  |"
    assert subvoxel._rms([1.0, None]) is None
    assert subvoxel._rms([3.0, -4.0]) == pytest.approx(12.5**0.5)
