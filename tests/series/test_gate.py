"""Every defect has its own error, and the sentence holds the numbers."""

import numpy as np
import pytest
from ct_objects import headers, multiframe, rotation, series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import (
    EnhancedCTImageStorage,
    JPEGExtended12Bit,
    LegacyConvertedEnhancedCTImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    XRay3DCraniofacialImageStorage,
)

from negvol_pacs import errors
from negvol_pacs.config import SeriesRules
from negvol_pacs.quality import QualityFlag
from negvol_pacs.series.gate import check

RULES = SeriesRules()
MULTIFRAME = [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage, XRay3DCraniofacialImageStorage]
quaternions = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1)


def refusal(made, error, *words, rules=RULES):
    with pytest.raises(error) as caught:
        check(series(made), rules)
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "Test" not in str(caught.value)  # the patient's name


def set_in(keyword, value, *indices):
    def change(index, ds):
        if not indices or index in indices:
            setattr(ds, keyword, value)

    return change


def test_a_clean_series_passes_in_the_order_of_the_stack():
    made = headers(48)
    passed = check(series(made[::2] + made[1::2]), RULES)
    assert passed.flags == frozenset()
    assert [ds.InstanceNumber for ds in passed.series.headers] == list(range(48, 0, -1))
    assert [path.stem for path in passed.series.paths][:2] == ["47", "23"]
    assert passed.stack.spacing == pytest.approx((0.6, 0.5, 0.4))
    assert passed.stack.order == tuple(range(48))


@settings(max_examples=60, deadline=None)
@given(quaternions, st.permutations(range(40)), st.integers(2, 4), st.floats(0.15, 1.4))
def test_any_orientation_any_order_rounded_positions(quaternion, order, decimals, spacing):
    made = headers(40, (spacing, 0.5, 0.4), rotation(quaternion), decimals=decimals)
    passed = check(series([made[index] for index in order]), RULES)
    assert [ds.InstanceNumber for ds in passed.series.headers] == list(range(40, 0, -1))
    assert passed.stack.spacing[0] == pytest.approx(spacing, abs=0.001)
    affine = passed.stack.affine
    grid = affine[:3, 3] + np.arange(40)[:, None] * affine[:3, 0]
    positions = np.array([ds.ImagePositionPatient for ds in passed.series.headers], float)
    assert np.linalg.norm(grid - positions, axis=1).max() < 0.05


def test_empty_type_2_attributes_do_no_harm():
    made = headers(48, change=set_in("PatientID", ""))
    for ds in made:
        ds.PatientName = ds.BodyPartExamined = ds.StudyDate = ""
        ds.SeriesNumber = ds.InstanceNumber = ds.SliceThickness = None
    assert check(series(made), RULES).flags == frozenset()


def test_overlong_decimal_strings_do_no_harm():
    made = headers(48)
    for ds in made:
        value = f"-60.00000000000000001\\-80\\{ds.ImagePositionPatient[2]}".encode()
        ds[0x00200032] = RawDataElement(Tag(0x00200032), "DS", len(value), value, 0, False, True)
    assert check(series(made), RULES).stack.spacing[0] == pytest.approx(0.6)


@pytest.mark.parametrize("sop_class", [MRImageStorage, SecondaryCaptureImageStorage])
def test_not_ct(sop_class):
    refusal(headers(48, change=set_in("SOPClassUID", sop_class)), errors.NotCT, sop_class.name)


def test_not_ct_by_modality():
    refusal(headers(48, change=set_in("Modality", "PT")), errors.NotCT, "PT")


def test_another_class_among_the_slices():
    refusal(headers(48, change=set_in("SOPClassUID", SecondaryCaptureImageStorage, 7)), errors.NotCT)


@pytest.mark.parametrize("indices", [(), (3,)])
def test_localizer(indices):
    change = set_in("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], *indices)
    refusal(headers(48, change=change), errors.LocalizerSeries, f"{len(indices) or 48} of 48", "LOCALIZER")


@pytest.mark.parametrize(
    "image_type",
    [
        ["DERIVED", "PRIMARY", "AXIAL"],
        ["ORIGINAL", "SECONDARY", "AXIAL"],
        ["DERIVED", "SECONDARY"],
        ["DERIVED", "SECONDARY", "MPR"],
        ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 MPR"],
        ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"],
        ["ORIGINAL"],
    ],
)
def test_derived_or_secondary(image_type):
    refusal(headers(48, change=set_in("ImageType", image_type)), errors.DerivedSeries, "48 of 48", image_type[0])


def test_derived_cone_beam_exports_are_measured_on_request_but_reformats_never():
    allow = SeriesRules(measure_derived=True)
    check(series(headers(48, change=set_in("ImageType", ["DERIVED", "SECONDARY", "AXIAL"]))), allow)
    mpr = headers(48, change=set_in("ImageType", ["DERIVED", "SECONDARY", "AXIAL", "MPR"]))
    refusal(mpr, errors.DerivedSeries, "reformatted", rules=allow)


def test_too_few_slices():
    refusal(headers(39), errors.TooFewSlices, "39 slices", "40")


@pytest.mark.parametrize("lost", [1, 20, 46])
def test_missing_slice_is_named(lost):
    made = headers(48)
    z = [f"z = {float(made[index].ImagePositionPatient[2]):.2f}" for index in (lost - 1, lost + 1)]
    del made[lost]
    refusal(made, errors.MissingSlice, f"Slice {lost + 1} of 48", *z)


def test_several_missing_slices_are_counted():
    made = headers(60)
    refusal(
        [*made[:10], *made[13:30], *made[31:]], errors.MissingSlice, "Slice 31 of 60 is missing", "3 more elsewhere"
    )
    refusal([*made[:10], *made[13:]], errors.MissingSlice, "Slices 11 to 13 of 60 are missing")


def test_duplicate_position():
    made = headers(48)
    extra = headers(1, origin=made[9].ImagePositionPatient, series_uid=made[0].SeriesInstanceUID)
    refusal(made + extra, errors.DuplicatePosition, "One position", f"z = {made[9].ImagePositionPatient[2]:.2f}")


def test_two_phases_in_one_series():
    made = headers(48)
    again = headers(48, series_uid=made[0].SeriesInstanceUID)
    refusal(made + again, errors.DuplicatePosition, "48 positions")


def test_uneven_spacing():
    made = headers(48)
    made[20].ImagePositionPatient[2] += 0.2
    refusal(made, errors.UnevenSpacing, "0.40 to 0.80 mm", "0.60 mm elsewhere")


def test_spacing_that_changes_midway_is_uneven_not_missing():
    made = headers(48)
    for index, ds in enumerate(made[24:]):
        ds.ImagePositionPatient[2] = made[23].ImagePositionPatient[2] + 1.2 * (index + 1)
    refusal(made, errors.UnevenSpacing, "0.60 to 1.20 mm")


def test_slowly_growing_spacing_is_uneven():
    made = headers(100)
    for index, ds in enumerate(made):
        ds.ImagePositionPatient[2] = 0.6 * index + 0.0001 * index**2
    refusal(made, errors.UnevenSpacing)


def test_slice_shifted_sideways():
    made = headers(48)
    made[20].ImagePositionPatient[0] += 5
    refusal(made, errors.UnevenSpacing, "sideways by 5.00 mm")


@pytest.mark.parametrize("degrees", [1.0, 15.0, -20.0])
def test_gantry_tilt(degrees):
    made = headers(48)
    for index, ds in enumerate(made):
        ds.ImagePositionPatient[1] += 0.6 * index * np.tan(np.radians(degrees))
    refusal(made, errors.GantryTilt, f"{abs(degrees):.1f}°")


def test_a_drift_from_rounded_cosines_is_followed_not_refused():
    made = headers(200)
    for index, ds in enumerate(made):
        ds.ImagePositionPatient[1] += 0.001 * 0.6 * index
    passed = check(series(made), RULES)
    affine = passed.stack.affine
    grid = affine[:3, 3] + np.arange(200)[:, None] * affine[:3, 0]
    positions = np.array([ds.ImagePositionPatient for ds in passed.series.headers], float)
    assert np.linalg.norm(grid - positions, axis=1).max() < 0.05
    directions = affine[:3, :3] / passed.stack.spacing
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    assert np.linalg.det(directions) == pytest.approx(1)


def test_nominal_tilt_of_an_untilted_stack_does_not_matter():
    check(series(headers(48, change=set_in("GantryDetectorTilt", 12))), RULES)


def test_mixed_orientation():
    made = headers(48, change=set_in("ImageOrientationPatient", [1, 0, 0, 0, 0, -1], 0, 1, 2))
    refusal(made, errors.MixedOrientation, "45 of 48")


def test_mixed_pixel_spacing():
    refusal(
        headers(48, change=set_in("PixelSpacing", [0.5, 0.5], 5)), errors.MixedPixelSpacing, "0.5 × 0.4", "0.5 × 0.5"
    )


def test_mixed_matrix():
    refusal(headers(48, change=set_in("Rows", 16, 5)), errors.MixedPixelSpacing, "12 × 10", "16 × 10")


def test_mixed_frame_of_reference():
    refusal(headers(48, change=set_in("FrameOfReferenceUID", "1.2.3", 5)), errors.MixedFrameOfReference, "2 frames")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "P2"),
        ("PatientName", "Other^Head"),
        ("PatientBirthDate", "19700101"),
        ("StudyInstanceUID", "1.2.3"),
    ],
)
def test_mixed_patient_or_study(keyword, value):
    refusal(headers(48, change=set_in(keyword, value, 17)), errors.MixedPatient, "2 different")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spacing": (1.6, 0.4, 0.4)}, ("slice spacing", "1.60 mm", "1.5 mm")),
        ({"spacing": (0.6, 0.4, 1.7)}, ("pixel spacing", "1.70 mm")),
        ({"change": set_in("SliceThickness", 3)}, ("thick", "3.00 mm")),
    ],
)
def test_spacing_too_coarse_refused_or_flagged(options, words):
    made = headers(48, **options)
    refusal(made, errors.SpacingTooCoarse, *words)
    assert check(series(made), SeriesRules(measure_coarse=True)).flags == {QualityFlag.COARSE_SPACING}


def test_spacing_at_the_limit_passes():
    assert check(series(headers(48, (1.5, 1.5, 1.5))), RULES).flags == frozenset()


@pytest.mark.parametrize(
    "keyword",
    [
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
        "ImageType",
        "FrameOfReferenceUID",
        "Modality",
        "Columns",
    ],
)
@pytest.mark.parametrize("empty", [True, False])
def test_missing_attribute_is_named_with_its_image(keyword, empty):
    made = headers(48)
    if empty:
        setattr(made[11], keyword, None)
    else:
        delattr(made[11], keyword)
    name = {"FrameOfReferenceUID": "Frame of Reference UID", "ImagePositionPatient": "Image Position (Patient)"}
    refusal(made, errors.MissingAttribute, name.get(keyword, ""), "image 12", made[11].SOPInstanceUID)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImagePositionPatient", [1, 2]),
        ("PixelSpacing", [0, 0.5]),
        ("PixelSpacing", [-0.5, 0.5]),
        ("RescaleSlope", 0),
        ("ImagePositionPatient", [1e30, 0, 0]),
    ],
)
def test_nonsense_geometry_is_no_geometry(keyword, value):
    refusal(headers(48, change=set_in(keyword, value, 11)), errors.MissingAttribute, "image 12")


@pytest.mark.parametrize(
    ("syntax", "words"),
    [(JPEGExtended12Bit, "JPEG Extended"), ([JPEGExtended12Bit, "1.2.840.10008.1.2"], "not stated")],
)
def test_a_transfer_syntax_that_cannot_be_read(syntax, words):
    made = headers(48)
    for ds in made:
        ds.file_meta.TransferSyntaxUID = syntax
    refusal(made, errors.UnreadablePixels, words)


def test_colour_is_refused():
    refusal(headers(48, change=set_in("PhotometricInterpretation", "RGB")), errors.UnreadablePixels, "colour")


@pytest.mark.parametrize("change", [("BitsStored", 20), ("HighBit", 3), ("BitsAllocated", 12)])
def test_impossible_samples(change):
    refusal(headers(48, change=set_in(*change)), errors.UnreadablePixels, "described wrongly")


def test_a_body_part_far_from_the_head():
    refusal(headers(48, change=set_in("BodyPartExamined", "CHEST")), errors.NoHead, "CHEST")


@pytest.mark.parametrize("part", ["HEAD", "", "SKULL", "CSPINE", "WHOLEBODY", "JAW"])
def test_a_body_part_that_may_hold_a_head(part):
    check(series(headers(48, change=set_in("BodyPartExamined", part))), RULES)


def test_grey_values_that_are_not_hounsfield_are_flagged():
    passed = check(series(headers(48, change=set_in("RescaleType", "US"))), RULES)
    assert passed.flags == {QualityFlag.NOT_HOUNSFIELD}


@pytest.mark.parametrize("sop_class", MULTIFRAME)
def test_multiframe_passes_in_any_frame_order(sop_class):
    made = headers(48, axes=rotation([0.1, 0.2, -0.3, 1]))
    straight = check(series([multiframe(made, sop_class)]), RULES).stack
    shuffled = check(series([multiframe(made[::2] + made[1::2], sop_class)]), RULES).stack
    np.testing.assert_allclose(straight.affine, shuffled.affine)
    assert straight.order == tuple(range(47, -1, -1))
    assert shuffled.order[0] == 47 and shuffled.order[1] == 23


@pytest.mark.parametrize("sop_class", MULTIFRAME)
@pytest.mark.parametrize(
    ("defect", "error", "words"),
    [
        (lambda made: made[:20] + made[21:], errors.MissingSlice, ["1 mm"]),
        (lambda made: [*made, made[-1]], errors.DuplicatePosition, ["One position"]),
        (lambda made: made[:30], errors.TooFewSlices, ["30 slices"]),
    ],
)
def test_multiframe_defects(sop_class, defect, error, words):
    refusal([multiframe(defect(headers(48, (1, 0.5, 0.5))), sop_class)], error, *[w for w in words if w != "1 mm"])


def per_frame(ds: Dataset, index: int) -> Dataset:
    return ds.PerFrameFunctionalGroupsSequence[index]


def test_multiframe_with_one_derived_frame():
    ds = multiframe(headers(48))
    item = Dataset()
    item.FrameType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]
    per_frame(ds, 0).CTImageFrameTypeSequence = [item]
    refusal([ds], errors.DerivedSeries, "1 of 48", "MAXIMUM")


def test_a_cone_beam_volume_may_be_derived_from_its_projections():
    ds = multiframe(headers(48), XRay3DCraniofacialImageStorage)
    ds.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    ds.SharedFunctionalGroupsSequence[0].XRay3DFrameTypeSequence[0].FrameType = ds.ImageType
    assert check(series([ds]), RULES).flags == frozenset()
    for group in ds.PerFrameFunctionalGroupsSequence:
        del group.PixelValueTransformationSequence
    assert check(series([ds]), RULES).flags == {QualityFlag.NOT_HOUNSFIELD}


def test_multiframe_missing_attribute_names_the_frame():
    ds = multiframe(headers(48))
    del per_frame(ds, 6).PlanePositionSequence
    refusal([ds], errors.MissingAttribute, "Image Position (Patient) (0020,0032)", "frame 7 of image 1")


def test_multiframe_mixed_orientation():
    ds = multiframe(headers(48))
    item = Dataset()
    item.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    per_frame(ds, 5).PlaneOrientationSequence = [item]
    refusal([ds], errors.MixedOrientation, "1 of 48")


def test_multiframe_that_does_not_describe_all_frames():
    ds = multiframe(headers(48))
    ds.NumberOfFrames = 50
    refusal([ds], errors.MissingAttribute, "every frame")


def test_a_part_of_a_concatenation():
    ds = multiframe(headers(48))
    ds.ConcatenationUID, ds.InConcatenationNumber, ds.InConcatenationTotalNumber = "1.2.3", 1, 3
    refusal([ds], errors.MissingSlice, "part 1 of 3")


@settings(max_examples=60, deadline=None)
@given(quaternions, st.integers(1, 46), st.integers(2, 3), st.sampled_from(["gap", "twice", "uneven", "tilt", "shift"]))
def test_each_defect_in_any_orientation(quaternion, index, decimals, defect):
    axes = rotation(quaternion)
    normal = np.cross(*axes)
    made = headers(48, axes=axes, decimals=decimals)

    def move(ds, vector):
        ds.ImagePositionPatient = [
            round(float(p + v), decimals) for p, v in zip(ds.ImagePositionPatient, vector, strict=True)
        ]

    if defect == "gap":
        del made[index]
    elif defect == "twice":
        made += headers(1, origin=made[index].ImagePositionPatient, axes=axes, series_uid=made[0].SeriesInstanceUID)
    elif defect == "uneven":
        move(made[index], 0.2 * normal)
    elif defect == "tilt":
        for step, ds in enumerate(made):
            move(ds, 0.6 * step * np.tan(0.1) * np.array(axes[1]))
    else:
        move(made[index], 2 * np.array(axes[0]))
    expected = {"gap": errors.MissingSlice, "twice": errors.DuplicatePosition, "tilt": errors.GantryTilt}
    refusal(made, expected.get(defect, errors.UnevenSpacing))


def test_coronal_stack_names_y():
    made = headers(48, axes=((1, 0, 0), (0, 0, -1)))
    del made[10]
    refusal(made, errors.MissingSlice, "Slice 11 of 48", "y = ")
