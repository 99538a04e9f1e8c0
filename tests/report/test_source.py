"""Results carry the input's patient and study, and invent nothing where they are empty."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from two_joints import CENTRES, make_series

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.report.seg import build_seg
from negvol_pacs.report.source import identity, source_images
from negvol_pacs.report.sr import build_sr
from negvol_pacs.series.series import Series

PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def both(case, algorithm, now):
    seg = build_seg(case.series, case.geometry, case.masks, case.findings, algorithm, now)
    return seg, build_sr(case.series, case.findings, seg, algorithm, now)


def changed(case, **values):
    """The case with other values in every header; None removes the attribute."""
    for header in case.series.headers:
        for keyword, value in values.items():
            if value is None:
                if keyword in header:
                    delattr(header, keyword)
            else:
                setattr(header, keyword, value)
    return case


def test_identity_is_copied(make_case, algorithm, now):
    case = changed(make_case(), PatientComments="nervous", PatientAge="046Y", ReferringPhysicianName="Ref^A")
    for result in both(case, algorithm, now):
        for keyword in (*PATIENT_AND_STUDY, "PatientAge"):
            assert result[keyword].value == case.series.first[keyword].value, keyword


@pytest.mark.parametrize("enhanced", [False, True], ids=["single-frame", "enhanced"])
def test_missing_type_2_attributes_become_empty(make_case, algorithm, now, tmp_path, validate, enhanced):
    gone = dict.fromkeys(k for k in PATIENT_AND_STUDY if k != "StudyInstanceUID")
    case = changed(make_case("axial", enhanced), **gone, SeriesNumber=None, PositionReferenceIndicator=None)
    for result in both(case, algorithm, now):
        for keyword in gone:
            assert not result[keyword].value, keyword
        result.save_as(tmp_path / "result.dcm")
        lines = validate(tmp_path / "result.dcm")
        assert not [line for line in lines if line.startswith("Error")]


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_values_that_the_standard_forbids_do_not_stop_the_report(make_case, algorithm, now):
    case = changed(make_case(), PatientSex="W", StudyDate="yesterday", StudyTime="25:99", SliceThickness=None)
    for result in both(case, algorithm, now):
        assert (result.PatientSex, result.StudyDate, result.StudyTime) == ("", "", "")
        assert result.PatientName == "Doe^Jane"


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "M\xfcller^J\xf6rg"),
        ("ISO_IR 192", "\u738b^\u5c0f\u6771"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
    ],
)
def test_names_survive_in_their_character_set(make_case, algorithm, now, tmp_path, charset, name):
    case = changed(make_case(), SpecificCharacterSet=charset, PatientName=name)
    # As from a file: the name is bytes until it is decoded.
    case.series.first.save_as(tmp_path / "ct.dcm", implicit_vr=False, little_endian=True)
    first = dcmread(tmp_path / "ct.dcm", force=True)
    series = replace(case.series, headers=(first, *case.series.headers[1:]))
    for result in both(replace(case, series=series), algorithm, now):
        result.save_as(tmp_path / "result.dcm")
        assert dcmread(tmp_path / "result.dcm").PatientName == name


def test_headers_of_the_input_are_left_alone(make_case, algorithm, now):
    case = make_case()
    before = [header.to_json() for header in case.series.headers]
    both(case, algorithm, now)
    assert [header.to_json() for header in case.series.headers] == before


def test_slice_distance_is_the_true_one_whatever_the_header_says(make_case, algorithm, now):
    case = changed(make_case("oblique"), SpacingBetweenSlices=7.5, SliceThickness=2.0)
    seg, _ = both(case, algorithm, now)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == pytest.approx(0.9)
    assert measures.SliceThickness == 2.0


def test_positions_are_copied_exactly(make_case):
    case = make_case("oblique")
    images, planes = source_images(case.series, case.geometry, 10, 20)
    assert [image.ImagePositionPatient for image in images] == [p[0].ImagePositionPatient for p in planes]
    known = {header.SOPInstanceUID: header.ImagePositionPatient for header in case.series.headers}
    assert all(known[image.SOPInstanceUID] == image.ImagePositionPatient for image in images)


def test_uneven_rounding_of_positions_still_matches(algorithm):
    affine = np.diag([0, 0.5, 0, 1.0])
    affine[:3, :3] = [[0, 0, 0.5], [0, 0.5, 0], [1 / 3, 0, 0]]
    series = make_series(affine, (40, 32, 32))
    for header in series.headers:
        header.ImagePositionPatient = [round(float(v), 2) for v in header.ImagePositionPatient]
    geometry = hd.Volume(np.zeros((40, 32, 32), dtype=np.int8), affine, "PATIENT")
    images, _ = source_images(series, geometry, 0, 40)
    assert len({image.SOPInstanceUID for image in images}) == 40


def test_a_name_of_one_part_is_kept_and_never_warned_about(make_case, algorithm, now, caplog):
    case = changed(make_case(), PatientName="Madonna")
    for result in both(case, algorithm, now):
        assert result.PatientName == "Madonna"
    assert "Madonna" not in caplog.text


def test_identity_has_no_frames(make_case):
    assert "PerFrameFunctionalGroupsSequence" not in identity(make_case("axial", True).series)


def test_real_series_with_empty_attributes(shared_data: Path, make_case, algorithm, now, tmp_path, validate):
    headers = [dcmread(p, stop_before_pixels=True) for p in sorted((shared_data / "ct" / "hn_dicom").glob("*.dcm"))]
    headers.sort(key=lambda header: header.ImagePositionPatient[2])
    series = Series(tuple(Path(f"{i}.dcm") for i in range(len(headers))), tuple(headers))
    first = headers[0]
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 1], [0, 1, 0], [headers[1].ImagePositionPatient[2] - first.ImagePositionPatient[2], 0, 0]]
    affine[:3, 3] = first.ImagePositionPatient
    geometry = hd.Volume(np.zeros((len(headers), first.Rows, first.Columns), dtype=np.int8), affine, "PATIENT")
    middle = affine[:3, 3] + affine[:3, :3] @ (np.array(geometry.shape) - 1) / 2
    masks, joints = {}, {}
    case = make_case()
    for side in Side:
        joint = case.findings.joints[side]
        moved = [
            hd.Volume(v.array, shifted(v.affine, middle), "PATIENT") for v in (case.masks[side].mc, case.masks[side].tb)
        ]
        masks[side] = replace(case.masks[side], mc=moved[0], tb=moved[1], centre=CENTRES[side] + middle)
        joints[side] = replace(joint, nv=Mesh(joint.nv.vertices + middle, joint.nv.triangles))
    case = replace(case, series=series, geometry=geometry, masks=masks, findings=replace(case.findings, joints=joints))
    for result in both(case, algorithm, now):
        result.save_as(tmp_path / "result.dcm")
        # The input's own name without a caret and empty Study ID are handed on as they are.
        lines = [s for s in validate(tmp_path / "result.dcm") if "Retired Person Name" not in s and "Study ID" not in s]
        assert lines in (["Segmentation"], ["Comprehensive3DSR"])
        for keyword in PATIENT_AND_STUDY:
            assert result[keyword].value == first[keyword].value
        assert result.SeriesNumber > 0
        assert isinstance(result, Dataset)


def shifted(affine, by):
    moved = np.array(affine)
    moved[:3, 3] += by
    return moved
