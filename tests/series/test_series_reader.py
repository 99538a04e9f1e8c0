"""The same voxels in the same places, whatever the encoding; and nothing is read blindly."""

import os
import shutil
import struct
import subprocess
import tracemalloc
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from ct_objects import headers, multiframe, rotation, voxels, write, write_ct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    XRay3DCraniofacialImageStorage,
)

from negvol_pacs import errors
from negvol_pacs.config import SeriesRules
from negvol_pacs.quality import QualityFlag
from negvol_pacs.series import reader
from negvol_pacs.series.isolation import Decoder
from negvol_pacs.series.reader import read_volume
from negvol_pacs.series.selection import read_headers, select_series

OBLIQUE = rotation([0.1, 0.2, -0.3, 1])
MULTIFRAME = [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage, XRay3DCraniofacialImageStorage]


def read(paths):
    (series,) = read_headers(paths)
    return read_volume(series)


def by_highdicom(paths):
    return hd.get_volume_from_series([pydicom.dcmread(path) for path in paths])


def same(volume, expected):
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.permutations(range(12)),
)
def test_agrees_with_highdicom_on_any_grid(tmp_path, quaternion, order):
    shutil.rmtree(tmp_path / "ct", ignore_errors=True)
    hu = voxels((12, 12, 10))
    paths = write_ct(tmp_path / "ct", hu, axes=rotation(quaternion))
    volume = read([paths[index] for index in order])
    same(volume, by_highdicom(paths))
    np.testing.assert_array_equal(volume.array, hu[::-1])  # row × column points the other way
    assert volume.array.dtype == np.int16
    assert volume.handedness == hd.AxisHandedness.RIGHT_HANDED


@pytest.mark.parametrize("axes", [((-1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, -1)), ((1, 0, 0), (0, 0, -1))])
def test_flipped_sagittal_and_coronal_grids_put_every_voxel_where_its_header_says(tmp_path, axes):
    hu = voxels((12, 6, 5))
    paths = write_ct(tmp_path, hu, axes=axes)
    volume = read(paths)
    for path, plane in zip(paths, hu, strict=True):
        ds = pydicom.dcmread(path)
        row, column = np.array(ds.ImageOrientationPatient[:3]), np.array(ds.ImageOrientationPatient[3:])
        point = np.array(ds.ImagePositionPatient) + 2 * ds.PixelSpacing[1] * row + 4 * ds.PixelSpacing[0] * column
        index = np.rint(volume.map_reference_to_indices(point[None])[0]).astype(int)
        assert volume.array[tuple(index)] == plane[4, 2]


@pytest.mark.parametrize("sop_class", MULTIFRAME)
@pytest.mark.parametrize("shuffled", [False, True])
def test_multiframe_gives_the_same_volume(tmp_path, sop_class, shuffled):
    hu = voxels((12, 12, 10))
    order = [*range(0, 12, 2), *range(1, 12, 2)] if shuffled else list(range(12))
    made = headers(12, axes=OBLIQUE)
    ds = multiframe([made[i] for i in order], sop_class, [hu[i] for i in order])
    ds.save_as(tmp_path / "multi.dcm", enforce_file_format=True)
    same(read([tmp_path / "multi.dcm"]), by_highdicom(write(tmp_path / "single", made, hu)))


def test_multiframe_rescale_of_each_frame(tmp_path):
    stored = voxels((12, 6, 5))
    made = headers(12, shape=(6, 5), change=lambda index, ds: setattr(ds, "RescaleIntercept", -10 * index))
    multiframe(made, stored=stored).save_as(tmp_path / "multi.dcm", enforce_file_format=True)
    expected = stored - 10 * np.arange(12)[:, None, None]
    np.testing.assert_array_equal(read([tmp_path / "multi.dcm"]).array, expected[::-1])


def test_rescale_of_each_slice(tmp_path):
    stored = voxels((12, 6, 5))

    def change(index, ds):
        ds.RescaleSlope, ds.RescaleIntercept = 1 + index % 2, -100 * index

    paths = write(tmp_path, headers(12, shape=(6, 5), change=change), stored)
    volume = read(paths)
    same(volume, by_highdicom(paths))
    assert volume.array.dtype == np.int16


def test_a_fractional_slope_gives_float32(tmp_path):
    stored = voxels((12, 6, 5))
    change = lambda index, ds: setattr(ds, "RescaleSlope", 0.5 if index == 3 else 1)  # noqa: E731
    volume = read(write(tmp_path, headers(12, shape=(6, 5), change=change), stored))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array[-4], stored[3] * 0.5)
    np.testing.assert_allclose(volume.array[-5], stored[4])


def test_values_beyond_int16_give_float32(tmp_path):
    stored = np.full((12, 6, 5), 1000, np.uint16)
    stored[7, 2, 2] = 60000
    change = lambda index, ds: setattr(ds, "PixelRepresentation", 0)  # noqa: E731
    volume = read(write(tmp_path, headers(12, shape=(6, 5), change=change), stored))
    assert volume.array.dtype == np.float32
    assert volume.array.max() == 60000 and volume.array.min() == 1000


def padded(value, limit=None, representation=1):
    def change(index, ds):
        ds.PixelRepresentation = representation
        ds.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", "SS" if limit < 0 else "US", limit)

    return change


@pytest.mark.parametrize(
    ("lowest", "value", "limit", "hole", "air"),
    [
        (-1024, -2000, None, -2000, -1024),
        (-1000, -2000, None, -2000, -1000),
        (-3000, -4000, None, -4000, -1024),
        (200, 0, None, 0, 200),  # shifted grey values of a cone-beam scan: its own air, not -1024
        (-1024, -2000, -1500, -1700, -1024),
        (-1024, -1500, -2000, -1700, -1024),
        (-1024, -32768, None, -32768, -1024),
        (-1024, 63536, None, -2000, -1024),  # the sign was lost when it was written
    ],
)
def test_padding_becomes_air(tmp_path, lowest, value, limit, hole, air):
    stored = np.full((12, 6, 5), 3000, np.int16)
    stored[:, 0, 0], stored[:, 3, 2] = lowest, hole
    volume = read(write(tmp_path, headers(12, shape=(6, 5), change=padded(value, limit)), stored))
    assert volume.array.dtype == np.int16
    assert np.all(volume.array[:, 3, 2] == air)
    assert np.all(volume.array[:, 0, 0] == lowest)
    assert np.count_nonzero(volume.array == 3000) == 12 * 28


def test_padding_in_a_float_volume_and_a_slice_of_nothing_else(tmp_path):
    stored = np.full((12, 6, 5), 300, np.int16)
    stored[4] = -2000
    change = lambda index, ds: (padded(-2000)(index, ds), setattr(ds, "RescaleSlope", 0.5))  # noqa: E731
    volume = read(write(tmp_path, headers(12, shape=(6, 5), change=change), stored))
    assert volume.array.dtype == np.float32
    assert np.all(volume.array == 150)


def tool(*command):
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)


TOOLS = {
    "implicit": ["dcmconv", "+ti"],
    "big endian": ["dcmconv", "+tb"],
    "JPEG Lossless SV1": ["dcmcjpeg", "+e1"],
    "JPEG Lossless 14": ["dcmcjpeg", "+el"],
    "JPEG-LS": ["dcmcjpls", "+el"],
    "RLE": ["dcmcrle"],
    "gdcm JPEG-LS": ["gdcmconv", "--jpegls"],
    "gdcm JPEG 2000": ["gdcmconv", "--j2k"],
    "gdcm JPEG Lossless": ["gdcmconv", "--jpeg"],
    "gdcm RLE": ["gdcmconv", "--rle"],
}
SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "big endian": "1.2.840.10008.1.2.2",
    "JPEG Lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG Lossless 14": "1.2.840.10008.1.2.4.57",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "RLE": "1.2.840.10008.1.2.5",
    "gdcm JPEG-LS": "1.2.840.10008.1.2.4.80",
    "gdcm JPEG 2000": "1.2.840.10008.1.2.4.90",
    "gdcm JPEG Lossless": "1.2.840.10008.1.2.4.70",
    "gdcm RLE": "1.2.840.10008.1.2.5",
}


def unsigned_12_bit(folder, hu, **options):
    """As most scanners write: 12 of 16 bits, unsigned, intercept -1024."""

    def change(index, ds):
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 12, 11, 0, -1024

    made = headers(hu.shape[0], shape=hu.shape[1:], change=change, **options)
    return write(folder, made, (hu + 1024).astype(np.uint16))


@pytest.mark.parametrize("encoding", TOOLS)
@pytest.mark.parametrize("writer", [unsigned_12_bit, write_ct])
def test_every_transfer_syntax_gives_the_same_volume(tmp_path, encoding, writer):
    hu = voxels((6, 33, 31))
    plain = writer(tmp_path / "plain", hu)
    (tmp_path / "coded").mkdir()
    for path in plain:
        tool(*TOOLS[encoding], path, tmp_path / "coded" / path.name)
    coded = sorted((tmp_path / "coded").iterdir())
    assert pydicom.dcmread(coded[0]).file_meta.TransferSyntaxUID == SYNTAXES[encoding]
    same(read(coded), read(plain))
    np.testing.assert_array_equal(read(coded).array, hu[::-1])


@pytest.mark.parametrize("encoding", ["JPEG Lossless SV1", "RLE", "gdcm JPEG 2000", "big endian"])
def test_compressed_multiframe(tmp_path, encoding):
    hu = voxels((12, 33, 31))
    multiframe(headers(12, shape=(33, 31)), stored=hu).save_as(tmp_path / "plain.dcm", enforce_file_format=True)
    tool(*TOOLS[encoding], tmp_path / "plain.dcm", tmp_path / "coded.dcm")
    np.testing.assert_array_equal(read([tmp_path / "coded.dcm"]).array, hu[::-1])


def test_eight_bit_pixels(tmp_path):
    stored = voxels((12, 6, 5)).astype(np.uint8)
    made = headers(12, shape=(6, 5))
    for ds in made:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    np.testing.assert_array_equal(read(write(tmp_path, made, stored)).array, stored[::-1])


def test_an_overlay_in_the_unused_bits_is_not_grey_value(tmp_path):
    hu = voxels((6, 6, 5))
    paths = unsigned_12_bit(tmp_path, hu)
    ds = pydicom.dcmread(paths[0])
    ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) | 0x1000).tobytes()
    ds.save_as(paths[0])
    np.testing.assert_array_equal(read(paths).array, hu[::-1])


def damaged(paths, change):
    ds = pydicom.dcmread(paths[5])
    change(ds)
    ds.save_as(paths[5])


def unreadable(paths, *words):
    with pytest.raises(errors.UnreadablePixels) as caught:
        read(paths)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_too_little_pixel_data(tmp_path):
    paths = write_ct(tmp_path, voxels((12, 6, 5)))
    damaged(paths, lambda ds: setattr(ds, "PixelData", ds.PixelData[:-10]))
    unreadable(paths, "Image 6", "50 bytes", "6 × 5", "60")


def test_too_much_pixel_data(tmp_path):
    paths = write_ct(tmp_path, voxels((12, 6, 5)))
    damaged(paths, lambda ds: setattr(ds, "PixelData", ds.PixelData + bytes(60)))
    unreadable(paths, "Image 6", "120 bytes", "60")


def test_a_length_field_that_promises_more_than_the_file_holds(tmp_path):
    paths = write_ct(tmp_path, voxels((12, 6, 5)))
    data = paths[5].read_bytes()
    paths[5].write_bytes(data[:-64] + struct.pack("<L", 0x7FFFFFF0) + data[-60:])
    unreadable(paths, "Image 6", str(0x7FFFFFF0))


@pytest.mark.parametrize("encoding", [None, "JPEG Lossless SV1", "JPEG-LS", "RLE", "gdcm JPEG 2000"])
def test_a_truncated_file(tmp_path, encoding):
    paths = write_ct(tmp_path, voxels((12, 33, 31)))
    if encoding:
        tool(*TOOLS[encoding], paths[5], tmp_path / "coded")
        (tmp_path / "coded").replace(paths[5])
    os.truncate(paths[5], paths[5].stat().st_size - 200)
    unreadable(paths, "Image 6", "truncated")


def test_no_pixel_data(tmp_path):
    paths = write_ct(tmp_path, voxels((12, 6, 5)))
    damaged(paths, lambda ds: delattr(ds, "PixelData"))
    unreadable(paths, "Image 6", "no pixel data")


@pytest.mark.parametrize("encoding", ["JPEG Lossless SV1", "JPEG-LS", "gdcm JPEG 2000"])
def test_a_codestream_larger_than_its_header_is_never_decoded(tmp_path, encoding, monkeypatch):
    paths = write_ct(tmp_path, voxels((12, 33, 31)))
    (large,) = write_ct(tmp_path / "large", voxels((1, 330, 310)))
    tool(*TOOLS[encoding], large, tmp_path / "coded")
    bomb = pydicom.dcmread(tmp_path / "coded")
    original = pydicom.dcmread(paths[5])
    for keyword in ("Rows", "Columns", "SeriesInstanceUID", "ImagePositionPatient"):
        setattr(bomb, keyword, original[keyword].value)
    bomb.save_as(paths[5])
    monkeypatch.setattr(Decoder, "frames", lambda *args: pytest.fail("decoded"))
    (series,) = read_headers([paths[5], *paths[6:], *paths[:5]])
    with pytest.raises(errors.UnreadablePixels, match="33 × 31"):
        read_volume(series)


@pytest.mark.parametrize("encoding", ["JPEG Lossless SV1", "JPEG-LS", "RLE", "gdcm JPEG 2000"])
def test_noise_in_a_codestream_is_refused_or_decoded_but_never_crashes(tmp_path, encoding):
    paths = write_ct(tmp_path, voxels((12, 33, 31)))
    tool(*TOOLS[encoding], paths[5], tmp_path / "coded")
    data = bytearray((tmp_path / "coded").read_bytes())
    start = data.rfind(b"\xfe\xff\x00\xe0") + 8
    data[start : start + 60] = bytes(60)
    paths[5].write_bytes(data)
    unreadable(paths, "Image 6")


def test_an_image_that_crashes_its_decoder_costs_one_error_not_the_process(tmp_path):
    paths = write_ct(tmp_path, voxels((12, 33, 31)))
    for path in paths:
        tool("dcmcjpeg", "+e1", path, path)
    data = paths[5].read_bytes()
    paths[5].write_bytes(data.replace(b"\xff\xc4\x00\x1f", b"\x3c\xc4\x00\x1f"))  # GDCM 3.2 aborts on this
    unreadable(paths, "Image 6")


def test_wrong_number_of_compressed_frames(tmp_path):
    multiframe(headers(12), stored=voxels((12, 12, 10))).save_as(tmp_path / "plain.dcm", enforce_file_format=True)
    tool("dcmcrle", tmp_path / "plain.dcm", tmp_path / "coded.dcm")
    ds = pydicom.dcmread(tmp_path / "coded.dcm")
    ds.NumberOfFrames = 11
    del ds.PerFrameFunctionalGroupsSequence[-1]
    ds.save_as(tmp_path / "coded.dcm")
    unreadable([tmp_path / "coded.dcm"], "compressed frames", "11")


def test_a_volume_beyond_the_budget_is_not_allocated(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MAX_VOXELS", 300)
    unreadable(write_ct(tmp_path, voxels((12, 6, 5))), "12 × 6 × 5")


def test_progress_runs_to_one(tmp_path):
    (series,) = read_headers(write_ct(tmp_path, voxels((12, 6, 5))))
    done: list[float] = []
    read_volume(series, done.append)
    assert done == sorted(done) and len(done) == 12 and done[-1] == 1


@pytest.mark.parametrize("kind", ["single", "multi", "float", "overflow", "RLE"])
def test_peak_memory_is_at_most_one_and_a_half_volumes(tmp_path, kind):
    hu = voxels((96, 128, 128))
    made = headers(96, shape=(128, 128))
    if kind == "overflow":
        hu = hu.astype(np.uint16) + 1024
        hu[-1] = 60000
        for ds in made:
            ds.PixelRepresentation = 0
    if kind == "float":
        for ds in made:
            ds.RescaleSlope = 0.5
    if kind == "multi":
        paths = [tmp_path / "multi.dcm"]
        multiframe(made, stored=hu).save_as(paths[0], enforce_file_format=True)
    else:
        paths = write(tmp_path, made, hu)
    if kind == "RLE":
        for path in paths:
            tool("dcmcrle", path, path)
    (series,) = read_headers(paths)
    read_volume(series)  # so that imports and caches are not counted
    tracemalloc.start()
    try:
        volume = read_volume(series)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert volume.array.dtype == (np.float32 if kind in ("float", "overflow") else np.int16)
    assert peak <= 1.5 * volume.array.nbytes


def test_real_head_and_neck_ct(shared_data: Path):
    paths = sorted((shared_data / "ct" / "hn_dicom").glob("*.dcm"))
    (series,) = read_headers(reversed(paths))
    with pytest.raises(errors.SpacingTooCoarse, match=r"3\.00 mm"):
        select_series([series], SeriesRules())
    selection = select_series([series], SeriesRules(measure_coarse=True))
    assert selection.flags == {QualityFlag.COARSE_SPACING}
    volume = read_volume(selection.series)
    same(volume, by_highdicom(paths))
    assert volume.array.dtype == np.int16
    assert volume.spacing == pytest.approx((3, 1, 1))
