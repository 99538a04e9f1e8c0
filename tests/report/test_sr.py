"""The SR, read back by others, says what was found."""

import json
import subprocess
from dataclasses import replace
from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import JointNotFound
from negvol_pacs.joint.findings import JointMeasurements, Landmark, Measurement, Quantity, Symmetry
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report import codes
from negvol_pacs.report.seg import build_seg
from negvol_pacs.report.sr import build_sr


def build(case, algorithm, now, masks=None, former=()):
    masks = case.masks if masks is None else masks
    seg = build_seg(case.series, case.geometry, masks, case.findings, algorithm, now)
    return build_sr(case.series, case.findings, seg, algorithm, now, former), seg


def saved(sr, tmp_path):
    sr.save_as(tmp_path / "sr.dcm")
    return tmp_path / "sr.dcm"


def lost(case, side):
    """The same case without anything of one side."""
    flags = frozenset({QualityFlag.JOINT_NOT_FOUND})
    missing = {q: Measurement(q, None, flags=flags) for q in case.findings.joints[side].measurements}
    both = {
        q: Measurement(q, None, flags=frozenset({QualityFlag.OTHER_SIDE_MISSING}))
        for q in case.findings.symmetry.measurements
    }
    joints = {**case.findings.joints, side: JointMeasurements(side, missing, flags=flags)}
    masks = {**case.masks, side: JointNotFound("not found")}
    return replace(case, findings=replace(case.findings, joints=joints, symmetry=Symmetry(both)), masks=masks)


def numbers(group):
    """Values by name and derivation, with their units."""
    return {
        (m.name.value, m.derivation.meaning if m.derivation else None): (m.value, m.unit.value)
        for m in group.get_measurements()
    }


def answers(group):
    found = [(e.name, e.value) for e in group.get_qualitative_evaluations()]
    return [(name.value, value.value) for name, value in found if name.scheme_designator == codes.SCHEME]


@pytest.mark.parametrize("enhanced", [False, True], ids=["single-frame", "enhanced"])
def test_report_is_valid(make_case, algorithm, now, tmp_path, validate, enhanced):
    sr, _ = build(make_case("oblique", enhanced), algorithm, now)
    assert validate(saved(sr, tmp_path)) == ["Comprehensive3DSR"]


def test_highdicom_reads_the_numbers_of_both_joints(make_case, algorithm, now, tmp_path):
    case = make_case()
    sr, seg = build(case, algorithm, now)
    content = hd.sr.srread(saved(sr, tmp_path)).content
    groups = content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for side, group in zip((Side.RIGHT, Side.LEFT), groups, strict=True):
        site = group.finding_sites[0]
        assert (site.value.value, site.laterality.meaning.lower()) == ("53620006", side)
        written = {
            (codes.quantity(q).value, None): (m.value, q.unit)
            for q, m in case.findings.joints[side].measurements.items()
        }
        assert numbers(group) == written
        for measurement in group.get_measurements():
            assert measurement.finding_sites[0].laterality.meaning.lower() == side
    assert seg.SegmentsOverlap == "NO"


def test_group_refers_to_its_segment(make_case, algorithm, now, tmp_path):
    case = make_case()
    sr, seg = build(case, algorithm, now)
    segments = {item.SegmentNumber: item for item in seg.SegmentSequence}
    for side, group in zip(
        (Side.RIGHT, Side.LEFT),
        hd.sr.srread(saved(sr, tmp_path)).content.get_volumetric_roi_measurement_groups(),
        strict=True,
    ):
        reference = group.referenced_segment
        assert reference.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert reference.source_series_for_segmentation.value == case.series.series_instance_uid
        item = segments[reference.referenced_segment_numbers[0]]
        assert item.SegmentLabel == f"NV {side}"
        assert (group.tracking_identifier, group.tracking_uid) == (item.TrackingID, item.TrackingUID)


def test_evidence_is_the_seg_and_its_images(make_case, algorithm, now):
    case = make_case()
    sr, seg = build(case, algorithm, now)
    series = {
        item.SeriesInstanceUID: {i.ReferencedSOPInstanceUID for i in item.ReferencedSOPSequence}
        for item in sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    }
    assert series == {
        seg.SeriesInstanceUID: {seg.SOPInstanceUID},
        case.series.series_instance_uid: {item.ReferencedSOPInstanceUID for item in seg.SourceImageSequence},
    }
    assert sr.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID == case.series.study_instance_uid


def test_symmetry_has_its_deviation_with_the_right_unit(make_case, algorithm, now, tmp_path):
    sr, _ = build(make_case(), algorithm, now)
    (group,) = hd.sr.srread(saved(sr, tmp_path)).content.get_image_measurement_groups()
    assert group.finding_sites[0].laterality.value == "51440002"
    assert numbers(group) == {
        ("S_LR", None): (1.125, "{ratio}"),
        ("H_LR", "Mean"): (1.75, "mm"),
        ("H_LR", "Standard Deviation"): (0.25, "mm"),
        ("H95_LR", "Mean"): (1.25, "mm"),
        ("H95_LR", "Standard Deviation"): (0.125, "mm"),
        ("D_LR", "Mean"): (0.5, "mm"),
        ("D_LR", "Standard Deviation"): (0.0625, "mm"),
        ("W_LR", None): (0.375, "mm"),
        ("AXIS", None): (0.5, "deg"),
    }


def test_missing_and_doubtful_numbers_say_why(make_case, algorithm, now, tmp_path):
    case = make_case()
    right = case.findings.joints[Side.RIGHT]
    changed = {
        Quantity.FW: Measurement(Quantity.FW, None, flags=frozenset({QualityFlag.FOSSA_NOT_FOUND})),
        Quantity.SJS: Measurement(Quantity.SJS, 0.25, flags=frozenset({QualityFlag.BONE_CONTACT})),
    }
    right = replace(
        right,
        measurements={**right.measurements, **changed},
        flags=frozenset({QualityFlag.PART_OUTSIDE_FIELD}),
    )
    case = replace(case, findings=replace(case.findings, joints={**case.findings.joints, Side.RIGHT: right}))
    sr, _ = build(case, algorithm, now)
    group, other = hd.sr.srread(saved(sr, tmp_path)).content.get_volumetric_roi_measurement_groups()
    assert ("103355008", None) not in numbers(group)
    assert numbers(group)["SJS", None] == (0.25, "mm")
    assert answers(group) == [
        ("QUALITY", "Q_COARSE"),
        ("QUALITY", "Q_PART_OUTSIDE"),
        ("QUAL_FW", "Q_NO_FOSSA"),
        ("QUAL_SJS", "Q_CONTACT"),
        ("USE", "RESEARCH"),
    ]
    assert answers(other) == [("QUALITY", "Q_COARSE"), ("USE", "RESEARCH")]


@pytest.mark.parametrize("side", list(Side))
def test_lost_side_has_a_group_with_flags_and_no_numbers(make_case, algorithm, now, tmp_path, validate, side):
    case = lost(make_case(), side)
    sr, seg = build(case, algorithm, now)
    assert validate(saved(sr, tmp_path)) == ["Comprehensive3DSR"]
    content = hd.sr.srread(tmp_path / "sr.dcm").content
    (kept,) = content.get_volumetric_roi_measurement_groups()
    assert kept.finding_sites[0].laterality.meaning.lower() == side.other
    (number,) = kept.referenced_segment.referenced_segment_numbers
    assert seg.SegmentSequence[number - 1].SegmentLabel == f"NV {side.other}"
    without, symmetry = content.get_image_measurement_groups()
    assert without.finding_sites[0].laterality.meaning.lower() == side
    assert numbers(without) == numbers(symmetry) == {}
    assert ("QUALITY", "Q_NO_JOINT") in answers(without)
    assert ("QUAL_FW", "Q_NO_JOINT") in answers(without)
    assert ("QUAL_H_LR", "Q_ONE_SIDE") in answers(symmetry)


def test_report_without_any_segmentation(make_case, algorithm, now, tmp_path, validate):
    case = lost(lost(make_case(), Side.LEFT), Side.RIGHT)
    sr = build_sr(case.series, case.findings, None, algorithm, now)
    assert validate(saved(sr, tmp_path)) == ["Comprehensive3DSR"]
    assert len(hd.sr.srread(tmp_path / "sr.dcm").content.get_image_measurement_groups()) == 3
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == len(case.series.headers)


def test_dcmqi_reads_the_numbers(make_case, algorithm, now, tmp_path, dcmqi):
    case = make_case("oblique")
    sr, seg = build(case, algorithm, now)
    dcmqi("tid1500reader", "--inputDICOM", saved(sr, tmp_path), "--outputMetadata", tmp_path / "sr.json")
    read = json.loads((tmp_path / "sr.json").read_text())
    right, left, both = read["Measurements"]
    for side, group in ((Side.RIGHT, right), (Side.LEFT, left)):
        assert group["Laterality"]["CodeMeaning"].lower() == side
        assert seg.SegmentSequence[group["ReferencedSegment"] - 1].SegmentLabel == f"NV {side}"
        values = {i["quantity"]["CodeValue"]: float(i["value"]) for i in group["measurementItems"]}
        expected = {codes.quantity(q).value: m.value for q, m in case.findings.joints[side].measurements.items()}
        assert values == expected
        said = [e["conceptValue"] for e in group["qualitativeEvaluations"]]
        assert {
            "CodeMeaning": "Research use only",
            "CodeValue": "RESEARCH",
            "CodingSchemeDesignator": "99NEGVOL",
        } in said
    assert [float(i["value"]) for i in both["measurementItems"]] == [
        1.125,
        1.75,
        0.25,
        1.25,
        0.125,
        0.5,
        0.0625,
        0.375,
        0.5,
    ]


def test_dsrdump_shows_a_preliminary_machine_report(make_case, algorithm, now, tmp_path):
    sr, _ = build(make_case(), algorithm, now)
    dump = subprocess.run(["dsrdump", "+Pl", saved(sr, tmp_path)], capture_output=True, text=True, check=True).stdout
    for text in ("PRELIMINARY", "UNVERIFIED", "COMPLETE", f"weights_sha256={algorithm.weights_sha256}"):
        assert text in dump
    assert dump.count("Research use only. Machine output") == 3
    assert dump.count(f'"Algorithm Version")="{algorithm.version}"') == 3


def test_landmarks_are_points_in_the_patient(make_case, algorithm, now, tmp_path):
    case = make_case()
    sr, _ = build(case, algorithm, now)
    groups = dcmread(saved(sr, tmp_path)).ContentSequence[-1].ContentSequence
    for side, group in zip((Side.RIGHT, Side.LEFT), groups, strict=False):
        points = {
            item.ConceptNameCodeSequence[0].CodeMeaning: np.array(item.GraphicData)
            for item in group.ContentSequence
            if item.ValueType == "SCOORD3D"
        }
        expected = case.findings.joints[side].landmarks
        assert points.keys() == {landmark.value for landmark in expected}
        for landmark, point in expected.items():
            np.testing.assert_allclose(points[landmark.value], point, atol=1e-3)
        frames = {i.ReferencedFrameOfReferenceUID for i in group.ContentSequence if i.ValueType == "SCOORD3D"}
        assert frames == {case.series.first.FrameOfReferenceUID}
    assert Landmark.ROOF.value in points


def test_same_input_gives_the_same_bytes(make_case, algorithm, now):
    first, second = BytesIO(), BytesIO()
    build(make_case(), algorithm, now)[0].save_as(first)
    build(make_case(), algorithm, now)[0].save_as(second)
    assert first.getvalue() == second.getvalue()


def test_former_report_is_the_predecessor(make_case, algorithm, now, tmp_path, validate):
    case = make_case()
    old, old_seg = build(case, replace(algorithm, version="0.0.9"), now)
    sr, _ = build(case, algorithm, now, former=[old_seg, old])
    assert validate(saved(sr, tmp_path)) == ["Comprehensive3DSR"]
    (study,) = sr.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == case.series.study_instance_uid
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == old.SeriesInstanceUID
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedSOPSequence] == [old.SOPInstanceUID]
