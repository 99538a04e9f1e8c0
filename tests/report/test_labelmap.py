"""The label-map SEG holds the voxels of the binary one, and the SR names it."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless, SegmentationStorage

from negvol_pacs.report.document import read_report
from negvol_pacs.report.labels import ORDER
from negvol_pacs.report.seg import build_seg
from negvol_pacs.report.sr import build_sr
from negvol_pacs.report.uids import LABEL_MAP_STORAGE

UNKNOWN_TO_DCIODVFY = [
    "Error - SegmentNumber not monotonically increasing from one by one - "
    "have SegmentSequence item number 1 (from one) with SegmentNumber of 0",
    "Error - Information Object Not found",
]
"""What dicom3tools of 2022, which is older than Supplement 243, says of every label map; it checks no module then."""
NO_SEGMENTATION_TO_DCIODVFY = (
    "Error - Shall not be present for Referenced SOP Class that is not segmentation - "
    "attribute <ReferencedSegmentNumber>"
)


def build(case, algorithm, now, kind, former=()):
    return build_seg(case.series, case.geometry, case.masks, case.findings, algorithm, now, former, kind)


def frames(path):
    """Labels by slice position, read with pydicom alone."""
    ds = dcmread(path)
    found = {}
    for pixels, group in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        label = 1
        if ds.SegmentationType == "BINARY":
            label = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = tuple(group.PlanePositionSequence[0].ImagePositionPatient)
        found[place] = found.get(place, 0) + label * pixels.astype(int)
    return found


@pytest.mark.parametrize("enhanced", [False, True], ids=["single-frame", "enhanced"])
def test_the_same_voxels_at_the_same_places(make_case, algorithm, now, tmp_path, validate, enhanced):
    case = make_case("oblique", enhanced)
    for kind in ("binary", "labelmap"):
        build(case, algorithm, now, kind).save_as(tmp_path / f"{kind}.dcm")
    binary, labelmap = frames(tmp_path / "binary.dcm"), frames(tmp_path / "labelmap.dcm")
    assert binary.keys() == labelmap.keys()
    for place, labels in binary.items():
        np.testing.assert_array_equal(labels, labelmap[place])
    assert set(np.unique(list(labelmap.values()))) == set(range(len(ORDER) + 1))
    assert validate(tmp_path / "labelmap.dcm") == UNKNOWN_TO_DCIODVFY


def test_segments_are_described_as_in_the_binary_one_and_the_object_is_another(make_case, algorithm, now, tmp_path):
    case = make_case()
    binary, labelmap = (build(case, algorithm, now, kind) for kind in ("binary", "labelmap"))
    labelmap.save_as(tmp_path / "labelmap.dcm")
    read = hd.seg.segread(tmp_path / "labelmap.dcm")
    assert (read.SOPClassUID, read.file_meta.TransferSyntaxUID) == (LABEL_MAP_STORAGE, RLELossless)
    background, *described = read.SegmentSequence
    assert (background.SegmentNumber, background.SegmentLabel) == (0, "Background")
    assert described == list(binary.SegmentSequence)
    assert read.SOPInstanceUID != binary.SOPInstanceUID and read.SeriesInstanceUID != binary.SeriesInstanceUID


def test_the_report_refers_to_the_label_map_and_is_another_one_then(make_case, algorithm, now, tmp_path, validate):
    case, reports = make_case(), {}
    for name, kind in (("sr", "binary"), ("sr-labelmap", "labelmap")):
        seg = build(case, algorithm, now, kind)
        reports[kind] = build_sr(case.series, case.findings, seg, algorithm, now, name=name)
    reports["labelmap"].save_as(tmp_path / "sr.dcm")
    assert set(validate(tmp_path / "sr.dcm")) == {"Comprehensive3DSR", NO_SEGMENTATION_TO_DCIODVFY}
    sr = dcmread(tmp_path / "sr.dcm")
    assert sr.SOPInstanceUID != reports["binary"].SOPInstanceUID
    found = read_report(sr)
    assert found.measured_series == case.series.series_instance_uid
    groups = [item for item in sr.ContentSequence[-1].ContentSequence if "ContentSequence" in item]
    referred = {
        (inner.ReferencedSOPSequence[0].ReferencedSOPClassUID, inner.ReferencedSOPSequence[0].ReferencedSegmentNumber)
        for group in groups
        for inner in group.ContentSequence
        if inner.ValueType == "IMAGE"
    }
    assert referred == {(LABEL_MAP_STORAGE, 3), (LABEL_MAP_STORAGE, 6)}


def test_a_former_result_of_either_kind_is_named(make_case, algorithm, now):
    case, older = make_case(), replace(algorithm, version="0.0.9")
    former = [build(case, older, now, kind) for kind in ("binary", "labelmap")]
    seg = build(case, algorithm, now, "labelmap", former)
    named = [item.ReferencedSOPClassUID for item in seg.ReferencedInstanceSequence]
    assert named == [SegmentationStorage, LABEL_MAP_STORAGE]
