"""Errors against the truth, with and without flags, by severity."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from matplotlib.image import imread

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import NoHead
from negvol_pacs.joint.findings import Findings, JointMeasurements, Measurement, Quantity, Symmetry
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.training.phantom import Head
from negvol_pacs.training.phantom.anatomy import Individual
from negvol_pacs.validation import plots, severity
from negvol_pacs.validation.artefacts import Artefact, Scene, added

DOUBT = frozenset({QualityFlag.SEGMENTATION_DOUBTFUL})
SCALED = Artefact("scaled", "times", (1, 2, 3), added(lambda scene: np.ones_like(scene.clean)))


def findings(volume: float, width: float, flags: frozenset[QualityFlag] = frozenset()) -> Findings:
    def joint(side: Side) -> JointMeasurements:
        values = {Quantity.NV_VOLUME: volume, Quantity.FW: width}
        return JointMeasurements(side, {q: Measurement(q, value) for q, value in values.items()}, flags=flags)

    return Findings(
        {side: joint(side) for side in Side}, Symmetry({Quantity.S_LR: Measurement(Quantity.S_LR, 1 + volume / 1e4)})
    )


TRUTH = findings(1000.0, 18.0)


def find(volume: hd.Volume) -> Findings:
    """NV off by 6 % a step; from the second step on FW off by 1 mm and all flagged; then no head."""
    step = round(float(volume.array.mean()))
    if step == 3:
        raise NoHead("none")
    return findings(1000.0 + 60 * step, 18.0 - (step == 2), DOUBT if step == 2 else frozenset())


@pytest.fixture
def curve() -> severity.Curve:
    grid = hd.VolumeGeometry(np.eye(4), (2, 2, 2), coordinate_system="PATIENT")
    head = Head(on_grid(np.zeros((2, 2, 2), np.uint8), grid), {}, Individual.draw(np.random.default_rng(0)))
    return severity.follow(
        Scene(head, 0, np.zeros((2, 2, 2), np.float32)), SCALED, TRUTH, find, severity.compare(TRUTH, TRUTH)
    )


def test_errors_and_flags(curve: severity.Curve) -> None:
    key = (Side.LEFT, Quantity.NV_VOLUME)
    assert [step[key].error for step in curve.steps] == [0.0, pytest.approx(6), pytest.approx(12), None]
    assert [bool(step[key].flags) for step in curve.steps] == [False, False, True, True]
    assert curve.steps[2][Side.RIGHT, Quantity.FW].error == pytest.approx(-1)
    assert curve.worst("%")[1:] == [(pytest.approx(6), (Side.RIGHT, Quantity.NV_VOLUME)), None, None]
    assert curve.worst("mm", flagged=True)[2] == (pytest.approx(1), (Side.RIGHT, Quantity.FW))


def test_only_unflagged_numbers_are_held_against_the_limits(curve: severity.Curve) -> None:
    rows = severity.checks(curve)
    assert [(row.unit, row.passed) for row in rows] == [("%", True), ("mm", True)]
    bare = replace(curve, steps=[{k: replace(r, flags=frozenset()) for k, r in step.items()} for step in curve.steps])
    failed = [row for row in severity.checks(bare) if not row.passed]
    assert [(row.unit, round(row.error)) for row in failed] == [("%", 12), ("mm", 1)]


def test_table_and_picture(curve: severity.Curve, tmp_path) -> None:
    lines = severity.markdown([curve])
    assert "| scaled | 2 times | none | none | 12.00 (NV volume, right) | 1.00 (FW, right) |" in "\n".join(lines)
    assert lines[-2].endswith("| SEGMENTATION_DOUBTFUL | SEGMENTATION_DOUBTFUL |")
    assert lines[-1].endswith("| none | none | none | none | JOINT_NOT_FOUND | JOINT_NOT_FOUND |")
    plots.severity(curve, tmp_path / "a.png")
    assert imread(tmp_path / "a.png")[..., :3].std() > 0.02
