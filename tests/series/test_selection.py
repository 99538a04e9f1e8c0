"""The thinnest suitable reconstruction of a head, and a reason for each of the others."""

import shutil
from itertools import permutations

import pydicom
import pytest
from ct_objects import headers, multiframe, series, voxels, write_ct
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, SecondaryCaptureImageStorage

from negvol_pacs import errors
from negvol_pacs.config import SeriesRules
from negvol_pacs.quality import QualityFlag
from negvol_pacs.series.selection import read_headers, select_series

RULES = SeriesRules()
WIDE = (300, 300)


def made(spacing, uid, shape=WIDE, count=120, **attributes):
    def change(index, ds):
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)

    return series(headers(count, (spacing, 0.5, 0.5), series_uid=f"1.2.3.{uid}", shape=shape, change=change))


def chosen(*candidates, rules=RULES):
    return int(select_series(candidates, rules).series.series_instance_uid.rsplit(".", 1)[1])


def test_the_thinnest_is_chosen_and_the_refused_are_explained():
    localizer = made(0.5, 3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    selection = select_series([made(1.0, 1), localizer, made(0.6, 2), made(3.0, 4)], RULES)
    assert selection.series.series_instance_uid == "1.2.3.2"
    assert {uid: type(error) for uid, error in selection.refused.items()} == {
        "1.2.3.3": errors.LocalizerSeries,
        "1.2.3.4": errors.SpacingTooCoarse,
    }
    assert selection.flags == frozenset()


@pytest.mark.parametrize("kernel", ["BONE", "BONEPLUS", "H60s", "B70f", "Hr64h", "FC30", "EDGE", ["Hr68", "3"]])
def test_bone_kernel_before_soft_tissue(kernel):
    soft = [made(0.6, 1, ConvolutionKernel=soft) for soft in ("STANDARD", "H30s", "FC64", "SOFT", "Br40d", None)]
    assert chosen(*soft, made(0.6, 2, ConvolutionKernel=kernel)) == 2
    assert chosen(made(0.6, 2, ConvolutionKernel=kernel), made(0.5, 1, ConvolutionKernel="STANDARD")) == 1


def test_thinner_slices_at_equal_spacing_then_larger_coverage_then_uid():
    assert chosen(made(0.6, 1, SliceThickness=1.2), made(0.6, 2, SliceThickness=0.6)) == 2
    assert chosen(made(0.6, 1), made(0.6, 2, count=140)) == 2
    assert chosen(made(0.6, 2), made(0.6, 1)) == chosen(made(0.6, 1), made(0.6, 2)) == 1


def test_a_thin_reconstruction_of_one_ear_does_not_hide_the_head():
    assert chosen(made(0.3, 1, shape=(160, 160), count=200), made(0.6, 2)) == 2
    assert chosen(made(0.3, 1, shape=(160, 160), count=200)) == 1
    assert chosen(made(0.3, 1, count=60), made(0.6, 2)) == 2


def test_a_coarse_series_is_the_last_choice():
    rules = SeriesRules(measure_coarse=True)
    assert chosen(made(3.0, 1), made(0.5, 2, shape=(160, 160)), rules=rules) == 2
    assert select_series([made(3.0, 1)], rules).flags == {QualityFlag.COARSE_SPACING}


def test_the_order_of_the_candidates_does_not_matter():
    candidates = [made(0.6, 1), made(0.5, 2), made(0.5, 3), made(0.5, 4, ConvolutionKernel="BONE")]
    for order in permutations(candidates):
        assert chosen(*order) == 4


def test_a_single_series_gives_its_own_reason():
    with pytest.raises(errors.SpacingTooCoarse):
        select_series([made(3.0, 1)], RULES)


def test_no_suitable_series_lists_every_reason():
    with pytest.raises(errors.NoSuitableSeries) as caught:
        select_series([made(3.0, 1), made(0.6, 2, count=10), made(0.6, 3, Modality="MR")], RULES)
    for word in ("1.2.3.1", "3.00 mm", "1.2.3.2", "10 slices", "1.2.3.3", "MR"):
        assert word in str(caught.value)


def test_no_series_at_all():
    with pytest.raises(errors.NoSuitableSeries, match="no CT images"):
        select_series([], RULES)


def test_two_multiframe_volumes_of_one_series_are_two_candidates(tmp_path):
    single = headers(48, series_uid="1.2.3.9")
    for index, count in enumerate((48, 40)):
        ds = multiframe(single[:count], stored=voxels((count, 12, 10)))
        ds.save_as(tmp_path / f"{index}.dcm", enforce_file_format=True)
    found = read_headers(sorted(tmp_path.iterdir()))
    assert len(found) == 2
    assert select_series(found, RULES).series.first.NumberOfFrames == 48
    strict = SeriesRules(min_slices=45)
    assert list(select_series(found, strict).refused) == ["1.2.3.9"]
    with pytest.raises(errors.NoSuitableSeries):
        select_series(found, SeriesRules(min_slices=60))


def test_read_headers_groups_series_and_reports_what_it_leaves_out(tmp_path):
    first = write_ct(tmp_path / "a", voxels((5, 6, 5)), series_uid="1.2.3.1")
    second = write_ct(tmp_path / "b", voxels((4, 6, 5)), series_uid="1.2.3.2")
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty").touch()
    copy = shutil.copy(first[0], tmp_path / "copy.dcm")
    report = pydicom.dcmread(first[0])
    del report.Rows, report.PixelData
    report.SOPInstanceUID = "1.2.3.4.5"
    report.save_as(tmp_path / "report.dcm")
    nameless = pydicom.dcmread(first[0])
    del nameless.SeriesInstanceUID
    nameless.save_as(tmp_path / "nameless.dcm")
    deflated = pydicom.dcmread(first[0])
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated.save_as(tmp_path / "deflated.dcm")
    (tmp_path / "cut.dcm").write_bytes(first[1].read_bytes()[:300])

    skipped = {}
    odd = ["notes.txt", "empty", "copy.dcm", "report.dcm", "nameless.dcm", "deflated.dcm", "cut.dcm", "absent"]
    paths = [*second, *first, *(tmp_path / name for name in odd)]
    found = read_headers(paths, lambda path, reason: skipped.update({path.name: reason}))
    assert [len(each.headers) for each in found] == [5, 4]
    assert list(found[0].paths) == first
    assert set(skipped) == set(odd)
    assert skipped["notes.txt"] == skipped["empty"] == "not a DICOM file"
    assert "same SOP Instance UID" in skipped[copy.name]
    assert skipped["report.dcm"] == "no image"
    assert "Series Instance UID" in skipped["nameless.dcm"]
    assert "deflated" in skipped["deflated.dcm"]
    assert "No such file" in skipped["absent"]


def test_what_is_left_out_is_logged(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert read_headers([tmp_path / "notes.txt"]) == []
    assert "not a DICOM file" in "".join(capsys.readouterr())


def test_deeply_nested_sequences_are_left_out(tmp_path):
    (path,) = write_ct(tmp_path, voxels((1, 6, 5)))
    item = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    ds = pydicom.dcmread(path)
    empty = Dataset()
    empty.file_meta = ds.file_meta
    empty.SOPClassUID, empty.SOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    empty.save_as(tmp_path / "deep.dcm", enforce_file_format=True)
    with (tmp_path / "deep.dcm").open("ab") as file:
        file.write(item * 20000)
    skipped = []
    assert read_headers([tmp_path / "deep.dcm"], lambda path, reason: skipped.append(reason)) == []
    assert len(skipped) == 1


def test_other_images_are_candidates_with_their_own_reason(tmp_path):
    paths = write_ct(tmp_path / "ct", voxels((48, 12, 10)), series_uid="1.2.3.1")
    picture = pydicom.dcmread(paths[0])
    picture.SOPClassUID, picture.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
    picture.SeriesInstanceUID = "1.2.3.2"
    picture.save_as(tmp_path / "screen.dcm", enforce_file_format=True)
    selection = select_series(read_headers([*paths, tmp_path / "screen.dcm"]), RULES)
    assert type(selection.refused["1.2.3.2"]) is errors.NotCT
