"""A report read back says what was written."""

from dataclasses import replace

import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import JointMeasurements, Measurement, Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.reading import read_findings
from negvol_pacs.report.seg import build_seg
from negvol_pacs.report.sr import build_sr


def without_geometry(joint: JointMeasurements) -> JointMeasurements:
    return replace(joint, landmarks={}, mc=None, tb=None, nv=None)


@pytest.mark.parametrize("lost", [None, Side.LEFT])
def test_findings_come_back(make_case, algorithm, now, lost):
    case = make_case()
    right, left = case.findings.joints[Side.RIGHT], case.findings.joints[Side.LEFT]
    doubtful = Measurement(Quantity.FW, 17.5, flags=frozenset({QualityFlag.BONE_CONTACT, QualityFlag.FOSSA_NOT_FOUND}))
    right = replace(right, measurements={**right.measurements, Quantity.FW: doubtful})
    if lost:
        flags = frozenset({QualityFlag.JOINT_OUTSIDE_FIELD})
        missing = {q: Measurement(q, None, flags=flags) for q in left.measurements}
        left = JointMeasurements(Side.LEFT, missing, flags=flags)
    findings = replace(case.findings, joints={Side.RIGHT: right, Side.LEFT: left})
    seg = build_seg(case.series, case.geometry, case.masks, findings, algorithm, now)
    read = read_findings(build_sr(case.series, findings, seg, algorithm, now))
    assert read.joints == {Side.RIGHT: without_geometry(right), Side.LEFT: without_geometry(left)}
    assert read.symmetry == findings.symmetry
    assert read.flags == {QualityFlag.COARSE_SPACING}
