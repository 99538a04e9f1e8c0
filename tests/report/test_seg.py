"""The SEG, read back by others, says what was found and where."""

import json
from dataclasses import replace
from datetime import timedelta
from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.uid import LegacyConvertedEnhancedCTImageStorage, XRay3DCraniofacialImageStorage
from two_joints import GRIDS

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.errors import JointNotFound, SegmentationEmpty
from negvol_pacs.report.labels import ORDER
from negvol_pacs.report.seg import build_seg
from negvol_pacs.report.uids import tracking

SNOMED_SIDE = {"24028007": Side.RIGHT, "7771000": Side.LEFT}
SNOMED_BONE = {"67183008": Structure.MC, "60911003": Structure.TB, "NV": Structure.NV}


def build(case, algorithm, now, **changes):
    arguments = {"masks": case.masks, "findings": case.findings, **changes}
    return build_seg(case.series, case.geometry, algorithm=algorithm, now=now, **arguments)


def encoded(dataset):
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def centroids(path):
    """Centroid in LPS mm of each segment by side and structure, from the file alone."""
    ds = dcmread(path)
    pixels = ds.pixel_array
    shared = ds.SharedFunctionalGroupsSequence[0]
    row_spacing, column_spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    keys = {}
    for item in ds.SegmentSequence:
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        side = kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue
        region = item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeValue
        assert side == region
        keys[item.SegmentNumber] = (SNOMED_SIDE[side], SNOMED_BONE[kind.CodeValue])
    points = {key: [] for key in keys.values()}
    for frame, group in zip(pixels, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        rows, columns = np.nonzero(frame)
        assert len(rows)
        place = (
            position
            + np.outer(columns * column_spacing, orientation[:3])
            + np.outer(rows * row_spacing, orientation[3:])
        )
        points[keys[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber]].append(place)
    return {key: np.concatenate(found).mean(axis=0) for key, found in points.items()}


def expected_centroids(case):
    """Centroid in LPS mm of the part of each bone that lies within the source grid."""
    expected, inverse = {}, np.linalg.inv(case.geometry.affine)
    for side, masks in case.masks.items():
        for structure, volume in ((Structure.MC, masks.mc), (Structure.TB, masks.tb)):
            index = np.argwhere(volume.array > 0.5)
            points = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
            source = points @ inverse[:3, :3].T + inverse[:3, 3]
            within = np.all((source > -0.5) & (source < np.array(case.geometry.shape) - 0.5), axis=1)
            expected[side, structure] = points[within].mean(axis=0)
    return expected


@pytest.mark.parametrize("enhanced", [False, True], ids=["single-frame", "enhanced"])
@pytest.mark.parametrize("kind", GRIDS)
def test_segments_lie_where_the_structures_are(make_case, algorithm, now, tmp_path, validate, kind, enhanced):
    case = make_case(kind, enhanced)
    path = tmp_path / "seg.dcm"
    build(case, algorithm, now).save_as(path)
    assert validate(path) == ["Segmentation"]
    found = centroids(path)
    assert set(found) == set(ORDER)
    for key, expected in expected_centroids(case).items():
        assert np.linalg.norm(found[key] - expected) < 0.5, key
    for structure in Structure:
        assert found[Side.RIGHT, structure][0] < 0 < found[Side.LEFT, structure][0]


@pytest.mark.parametrize("sop_class", [LegacyConvertedEnhancedCTImageStorage, XRay3DCraniofacialImageStorage])
def test_other_multi_frame_classes(make_case, algorithm, now, tmp_path, validate, sop_class):
    case = make_case("oblique", enhanced=True)
    case.series.first.SOPClassUID = sop_class
    seg = build(case, algorithm, now)
    seg.save_as(tmp_path / "seg.dcm")
    assert validate(tmp_path / "seg.dcm") == ["Segmentation"]
    assert seg.SourceImageSequence[0].ReferencedSOPClassUID == sop_class
    assert centroids(tmp_path / "seg.dcm")[Side.RIGHT, Structure.MC][0] < 0


@pytest.mark.parametrize("enhanced", [False, True], ids=["single-frame", "enhanced"])
@pytest.mark.parametrize("kind", ["oblique", "flipped"])
def test_every_frame_refers_to_the_image_under_it(make_case, algorithm, now, kind, enhanced):
    case = make_case(kind, enhanced)
    seg = build(case, algorithm, now)
    if enhanced:
        frames = case.series.first.PerFrameFunctionalGroupsSequence
        positions = {i: f.PlanePositionSequence[0].ImagePositionPatient for i, f in enumerate(frames, start=1)}
    else:
        positions = {h.SOPInstanceUID: h.ImagePositionPatient for h in case.series.headers}
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        key = source.ReferencedFrameNumber if enhanced else source.ReferencedSOPInstanceUID
        assert group.PlanePositionSequence[0].ImagePositionPatient == positions[key]
    named = [item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert len(named) == len(set(named))
    assert set(named) <= set(case.series.sop_instance_uids)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == case.series.series_instance_uid


def test_highdicom_reads_the_same_voxels_on_the_source_grid(make_case, algorithm, now, tmp_path):
    case = make_case("oblique")
    build(case, algorithm, now).save_as(tmp_path / "seg.dcm")
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    volume = seg.get_volume(combine_segments=True).match_geometry(case.geometry)
    index = np.argwhere(volume.array == 1)
    centre = (index @ case.geometry.affine[:3, :3].T + case.geometry.affine[:3, 3]).mean(axis=0)
    assert np.linalg.norm(centre - case.masks[Side.RIGHT].centre) < 0.5
    assert seg.SegmentsOverlap == "NO"
    for number, (side, structure) in enumerate(ORDER, start=1):
        description = seg.get_segment_description(number)
        identifier, uid = tracking(side, structure, case.series.sop_instance_uids, algorithm)
        assert (description.tracking_id, description.tracking_uid) == (identifier, uid)
        assert seg.get_segment_numbers(tracking_uid=uid) == [number]


def test_dcmqi_reads_the_segments_where_they_are(make_case, algorithm, now, tmp_path, dcmqi):
    case = make_case("flipped")
    build(case, algorithm, now).save_as(tmp_path / "seg.dcm")
    dcmqi("segimage2itkimage", "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path, "-t", "nrrd")
    meta = json.loads((tmp_path / "meta.json").read_text())
    described = {item[0]["labelID"]: item[0] for item in meta["segmentAttributes"]}
    for (side, structure), expected in expected_centroids(case).items():
        number = ORDER.index((side, structure)) + 1
        assert described[number]["SegmentLabel"] == f"{structure.name} {side}"
        assert described[number]["SegmentedPropertyTypeModifierCodeSequence"]["CodeMeaning"].lower() == side
        image = sitk.ReadImage(tmp_path / f"{number}.nrrd")
        index = np.argwhere(sitk.GetArrayFromImage(image) > 0).mean(axis=0)[::-1]
        assert np.linalg.norm(image.TransformContinuousIndexToPhysicalPoint(index.tolist()) - expected) < 0.5


def test_same_input_gives_the_same_bytes(make_case, algorithm, now):
    assert encoded(build(make_case(), algorithm, now)) == encoded(build(make_case(), algorithm, now))


def test_only_dates_and_times_change_with_the_moment(make_case, algorithm, now):
    first, later = build(make_case(), algorithm, now), build(make_case(), algorithm, now + timedelta(days=1, hours=1))
    changed = {element.keyword for element in first if element != later[element.tag]}
    dates = {"InstanceCreationDate", "ContentDate", "SeriesDate"}
    times = {"InstanceCreationTime", "ContentTime", "SeriesTime"}
    assert changed == dates | times | {"ContributingEquipmentSequence"}


def test_lost_side_and_lost_volume_have_no_segments(make_case, algorithm, now, tmp_path, validate):
    case = make_case()
    joints = {**case.findings.joints, Side.LEFT: replace(case.findings.joints[Side.LEFT], nv=None)}
    masks = {Side.RIGHT: JointNotFound("no right joint"), Side.LEFT: case.masks[Side.LEFT]}
    seg = build(case, algorithm, now, masks=masks, findings=replace(case.findings, joints=joints))
    seg.save_as(tmp_path / "seg.dcm")
    assert validate(tmp_path / "seg.dcm") == ["Segmentation"]
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["MC left", "TB left"]
    assert set(centroids(tmp_path / "seg.dcm")) == {(Side.LEFT, Structure.MC), (Side.LEFT, Structure.TB)}


def test_no_side_at_all_is_an_error_with_a_reason(make_case, algorithm, now):
    masks = {side: JointNotFound("not found") for side in Side}
    with pytest.raises(SegmentationEmpty, match="Neither joint"):
        build(make_case(), algorithm, now, masks=masks)


def test_geometry_of_another_series_is_refused(make_case, algorithm, now):
    case, other = make_case("axial"), make_case("flipped")
    with pytest.raises(ValueError, match="not the grid"):
        build(replace(case, geometry=other.geometry), algorithm, now)


def test_former_result_is_named(make_case, algorithm, now, tmp_path, validate):
    case = make_case()
    former = build(case, replace(algorithm, version="0.0.9"), now)
    report = Dataset()
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    seg = build(case, algorithm, now, former=[former, report])
    seg.save_as(tmp_path / "seg.dcm")
    assert validate(tmp_path / "seg.dcm") == ["Segmentation"]
    assert [i.ReferencedSOPInstanceUID for i in seg.ReferencedInstanceSequence] == [former.SOPInstanceUID]
    assert former.SOPInstanceUID != seg.SOPInstanceUID
    named = {item.SeriesInstanceUID for item in seg.ReferencedSeriesSequence}
    assert named == {case.series.series_instance_uid, former.SeriesInstanceUID}


def test_private_codes_are_declared_and_colours_given(make_case, algorithm, now):
    seg = build(make_case(), algorithm, now)
    assert [item.CodingSchemeDesignator for item in seg.CodingSchemeIdentificationSequence] == ["99NEGVOL"]
    colours = {tuple(item.RecommendedDisplayCIELabValue) for item in seg.SegmentSequence}
    assert len(colours) == 3
    identification = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert identification.AlgorithmVersion == algorithm.version
    assert algorithm.weights_sha256 in identification.AlgorithmParameters
