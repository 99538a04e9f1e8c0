import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from negvol_pacs.training.ct_series import (
    Scan,
    labels_from_nifti,
    oblique_grid,
    resample_to_grid,
    volume_from_nifti,
    write_ct_series,
)

AXIAL = np.array([[0, 0, 0.5, -12.0], [0, 0.4, 0, -8.0], [0.7, 0, 0, 10.0], [0, 0, 0, 1.0]])


def make_volume(shape=(8, 24, 30)):
    array = np.random.default_rng(0).integers(-1024, 3000, shape).astype(np.float32)
    return hd.Volume(array, AXIAL, coordinate_system="PATIENT")


def smooth_volume():
    """A ramp that tells every direction, with a bright ball on the patient's right."""
    z, y, x = np.meshgrid(
        *[np.arange(n) * s for n, s in zip((40, 50, 60), (0.7, 0.4, 0.5), strict=True)], indexing="ij"
    )
    array = 2 * x + 5 * y + 11 * z
    array[(x - 8) ** 2 + (y - 10) ** 2 + (z - 14) ** 2 < 9] = 2500
    return hd.Volume(array.astype(np.float32), AXIAL, coordinate_system="PATIENT")


def read_back(paths):
    return hd.get_volume_from_series([pydicom.dcmread(path) for path in paths])


def complaints(path):
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (result.stderr + result.stdout).splitlines() if "Error" in line or "Warning" in line]


def assert_same(got, expected):
    matched = got.match_geometry(expected)
    np.testing.assert_allclose(matched.affine, expected.affine, atol=1e-4)
    np.testing.assert_array_equal(matched.array, np.rint(expected.array))


@pytest.mark.parametrize("flip", [(), (0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -9, 20), (90, 0, 0), (0, 90, 0)])
def test_series_is_read_back_with_data_and_affine(tmp_path, degrees, flip):
    volume = make_volume()
    turned = hd.Volume(volume.array, oblique_grid(volume, degrees, flip=flip).affine, coordinate_system="PATIENT")
    assert_same(read_back(write_ct_series(turned, tmp_path)), turned)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_has_no_complaint(tmp_path, enhanced):
    grid = oblique_grid(make_volume(), (7, 5, -11), flip=(0,))
    volume = hd.Volume(make_volume().array, grid.affine, coordinate_system="PATIENT")
    for path in write_ct_series(volume, tmp_path, enhanced=enhanced):
        assert complaints(path) == []


def test_enhanced_is_read_back(tmp_path):
    volume = make_volume()
    (path,) = write_ct_series(volume, tmp_path, enhanced=True)
    assert_same(hd.imread(path).get_volume(), volume)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
def test_lossless_transfer_syntaxes(tmp_path, syntax):
    volume = make_volume((3, 64, 72))
    paths = write_ct_series(volume, tmp_path, transfer_syntax=syntax)
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID == syntax
    assert_same(read_back(paths), volume)


def test_same_volume_gives_same_files_and_another_volume_other_uids(tmp_path):
    volume = make_volume()
    first = [path.read_bytes() for path in write_ct_series(volume, tmp_path / "a")]
    again = [path.read_bytes() for path in write_ct_series(volume, tmp_path / "b")]
    other = write_ct_series(volume.with_array(volume.array + 1), tmp_path / "c")
    assert first == again
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in (*(tmp_path / "a").iterdir(), *other)}
    assert len(uids) == 2 * len(first)


def test_headers_say_what_they_were_told(tmp_path):
    scan = Scan(patient_name="Doe^Jane", patient_id="7", kernel="B60s", study_instance_uid="1.2.3")
    ds = pydicom.dcmread(write_ct_series(make_volume(), tmp_path, scan)[0])
    assert (ds.PatientName, ds.PatientID, ds.ConvolutionKernel, ds.StudyInstanceUID) == (
        "Doe^Jane",
        "7",
        "B60s",
        "1.2.3",
    )
    assert ds.Modality == "CT"
    assert ds.RescaleType == "HU"


def test_values_outside_twelve_bits_saturate(tmp_path):
    volume = hd.Volume(np.full((3, 4, 5), 9000.0, np.float32), AXIAL, coordinate_system="PATIENT")
    assert read_back(write_ct_series(volume, tmp_path)).array.max() == 3071


@settings(max_examples=30, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    flip=st.sets(st.integers(0, 2)),
    spacing=st.tuples(*[st.floats(0.3, 2)] * 3),
)
def test_oblique_grid_keeps_centre_spacing_and_right_angles(degrees, flip, spacing):
    volume = make_volume()
    grid = oblique_grid(volume, degrees, spacing=spacing, flip=tuple(flip))
    np.testing.assert_allclose(grid.center_position, volume.center_position, atol=1e-6)
    np.testing.assert_allclose(grid.spacing, spacing, rtol=1e-6)
    axes = grid.affine[:3, :3] / np.asarray(spacing)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) * np.linalg.det(volume.affine[:3, :3]) * (-1) ** len(flip) > 0


def test_crop_keeps_what_it_shows():
    volume = smooth_volume()
    grid = oblique_grid(volume, extent_mm=(14.0, 8.0, 10.0), centre=volume.center_position)
    assert grid.spatial_shape == (20, 20, 20)
    cropped = resample_to_grid(volume, grid)
    np.testing.assert_allclose(cropped.array, volume.array[10:30, 15:35, 20:40], atol=1e-2)


@pytest.mark.parametrize("flip", [(), (1,), (0, 2), (2,)])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (14, -11, 160), (-35, 20, 8)])
def test_right_stays_right(tmp_path, degrees, flip):
    volume = smooth_volume()
    grid = oblique_grid(volume, degrees, flip=flip, extent_mm=(40, 40, 40))
    back = read_back(write_ct_series(resample_to_grid(volume, grid), tmp_path))
    ball = back.map_indices_to_reference(np.argwhere(back.array > 2000)).mean(0)
    np.testing.assert_allclose(ball, [-12 + 8, -8 + 10, 10 + 14], atol=0.3)


def nifti(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def test_nifti_goes_from_ras_to_lps(tmp_path):
    hu = np.full((20, 22, 24), 40, np.int16)
    hu[:12, 10:] = -1000
    hu[3, 5, 7] = 1500
    affine = np.diag([0.5, 0.6, 2.0, 1.0])
    affine[:3, 3] = [1, 2, 3]
    volume = volume_from_nifti(nifti(tmp_path / "a.nii.gz", hu, affine))
    assert volume.spatial_shape == (24, 22, 20)
    peak = volume.map_indices_to_reference(np.argwhere(volume.array == 1500))[0]
    np.testing.assert_allclose(peak, [-(1 + 1.5), -(2 + 3.0), 3 + 14.0])


def test_labels_from_any_orientation_are_canonical(tmp_path):
    labels = np.zeros((20, 22, 24), np.int16)
    labels[3, 5, 7] = 2
    affine = np.diag([-0.5, 0.6, -2.0, 1.0])
    volume = labels_from_nifti(nifti(tmp_path / "a.nii.gz", labels, affine))
    np.testing.assert_allclose(volume.affine[:3, :3], [[0, 0, 0.5], [0, 0.6, 0], [2.0, 0, 0]], atol=1e-6)
    found = volume.map_indices_to_reference(np.argwhere(volume.array == 2))[0]
    np.testing.assert_allclose(found, [1.5, -3.0, -14.0], atol=1e-5)


def test_eight_bit_head_becomes_hounsfield(shared_data: Path):
    volume = volume_from_nifti(shared_data / "ct" / "cthead_8bit.nii.gz")
    np.testing.assert_allclose(volume.affine[:3, :3], [[0, 0, 1], [0, 1, 0], [2, 0, 0]], atol=1e-6)
    brain = volume.array[55:70, 120:170, 100:150]
    assert abs(np.median(brain) - 40) < 30
    assert np.percentile(volume.array, 1) < -900
    assert np.percentile(volume.array[45:], 99.5) > 900
    front, back = volume.array[45, :40], volume.array[45, -10:]
    assert (front > 0).sum() > (back > 0).sum()
