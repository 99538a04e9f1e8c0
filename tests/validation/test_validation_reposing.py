"""The scatter of a head's measures over poses, and its report."""

import numpy as np
import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.config import Pipeline
from negvol_pacs.errors import JointNotFound
from negvol_pacs.joint.findings import Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.pipeline import Segmentation
from negvol_pacs.training.analytic_joints import sphere_in_cup
from negvol_pacs.validation import poses, reposing
from negvol_pacs.validation.heads import head
from negvol_pacs.validation.reposed_heads import analytic_head

VOLUME = (Quantity.NV_VOLUME, Side.RIGHT)


@pytest.fixture(scope="module")
def study():
    """One joint of a head, in two poses on a coarse grid."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poses, "GRIDS", ((0.8, False),))
        joint = sphere_in_cup()
        return reposing.run(
            "joint", lambda pose: measure(head({Side.RIGHT: joint}, pose.spacing_mm, turn=pose.turn)), 2
        )


def test_scatter_of_two_poses(study):
    a, b = study.values(VOLUME)
    assert study.scatter(VOLUME) == (pytest.approx(200 * abs(a - b) / np.sqrt(2) / (a + b)), "%")
    a, b = study.values((Quantity.SRA, Side.RIGHT))
    assert study.scatter((Quantity.SRA, Side.RIGHT)) == (pytest.approx(abs(a - b) / np.sqrt(2)), "deg")


def test_a_measure_that_is_missing_in_a_pose_does_not_hold(study):
    found = {check.quantity: check for check in reposing.checks(study)}
    assert len(found) == 2 * 5 + 2
    assert found["NV volume, right: coefficient of variation"].passed
    assert found["NV volume, left: coefficient of variation"].error is None
    assert not found["S_LR: sd"].passed


def test_table_and_numbers_say_what_was_found(study):
    lines = reposing.markdown(study)
    row = next(line for line in lines if line.startswith("| NV volume, right"))
    mean = np.mean(study.values(VOLUME))
    assert row.count(f" {mean:.2f} ") == 2  # over all poses, and on the only grid
    assert "| 1.5 % |" in row
    assert "missing" in next(line for line in lines if line.startswith("| NV volume, left"))
    first = reposing.numbers(study)[0]
    assert first["values"]["NV volume, right"] == study.values(VOLUME)[0]
    assert first["values"]["NV volume, left"] is None
    assert first["flags"]["NV volume, left"] == ["JOINT_NOT_FOUND"]
    assert first["grid_mm"] == "0.8"


def test_limits_of_true_masks_are_half_of_those_of_a_painted_ct():
    assert reposing.LIMITS[Quantity.NV_VOLUME] == (1.5, "%")
    assert reposing.LIMITS[Quantity.SJS] == (0.1, "mm")


def test_the_analytic_head_repeats_within_the_limits(monkeypatch):
    monkeypatch.setattr(poses, "GRIDS", ((0.6, False),))
    study = reposing.run("analytic head", lambda pose: measure(analytic_head(pose)), 2)
    assert [check for check in reposing.checks(study) if not check.passed] == []


def test_a_painted_head_goes_the_way_of_the_pipeline(monkeypatch):
    joints = head({Side.RIGHT: sphere_in_cup()}, 0.8)
    seen = []

    def segment(volume, networks, options):
        seen.append((volume, networks, options))
        return Segmentation(
            {Side.RIGHT: joints[Side.RIGHT], Side.LEFT: JointNotFound("none")}, frozenset({QualityFlag.NOT_HOUNSFIELD})
        )

    class Painted:
        def scan(self, pose):
            return ("scan", pose)

    monkeypatch.setattr(reposing, "segment", segment)
    options = Pipeline(threads=1)
    (pose,) = poses.poses(1)
    found = reposing.through_pipeline(Painted(), "networks", options)(pose)
    assert seen == [(("scan", pose), "networks", options)]
    assert found.flags == {QualityFlag.NOT_HOUNSFIELD}
    assert found.joints[Side.RIGHT].nv is not None
