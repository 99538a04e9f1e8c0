import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from negvol_pacs.anatomy import Side
from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.bone_map import carve_cells, condyle_tops, fill_marrow
from negvol_pacs.training.ct_series import labels_from_nifti
from negvol_pacs.training.fields import average_slices, blur, smooth_field
from negvol_pacs.training.paint import clothe, paint, paint_body, scan
from negvol_pacs.training.tissues import Tissue

SPACING = (0.5, 0.5, 0.5)


def blocks():
    """A slab of each tissue along x, thick enough for a shell."""
    labels = np.zeros((24, 40, len(Tissue) * 16), np.uint8)
    for tissue in Tissue:
        labels[:, :, tissue * 16 : tissue * 16 + 16] = tissue
    return labels


def inside(image, tissue):
    return image[4:-4, 4:-4, tissue * 16 + 5 : tissue * 16 + 11]


def quiet(seed=0, **changes):
    look = Appearance.scanner(np.random.default_rng(seed))
    return Appearance(**{**vars(look), "noise": 0.0, "metal_streaks": 0.0, "sharpening": 0.0, **changes})


def test_same_generator_state_gives_the_same_image():
    images = [paint(blocks(), SPACING, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*images)
    assert not np.array_equal(images[0], paint(blocks(), SPACING, np.random.default_rng(4)))


def test_tissues_have_their_hounsfield_units():
    image = paint(blocks(), SPACING, np.random.default_rng(0), quiet())
    means = {tissue: inside(image, tissue).mean() for tissue in Tissue}
    assert means[Tissue.AIR] < -950
    assert -150 < means[Tissue.FAT] < -40
    assert 0 < means[Tissue.BRAIN] < 80
    assert 0 < means[Tissue.MUSCLE] < 120
    assert means[Tissue.AIRWAY] < -900
    assert means[Tissue.AIR_CELL] < -700
    assert means[Tissue.TEETH] > 1200
    assert means[Tissue.METAL] > 2500
    assert means[Tissue.SKULL] > 200


def test_bone_has_a_denser_shell_and_thin_bone_is_all_shell():
    labels = np.full((60, 60, 60), Tissue.MUSCLE, np.uint8)
    labels[10:40, 10:50, 10:50] = Tissue.MANDIBLE
    labels[50:52, 10:50, 10:50] = Tissue.MANDIBLE
    image = paint(labels, SPACING, np.random.default_rng(0), quiet(blur_mm=0.0))
    shell, middle, plate = image[11, 20:40, 20:40], image[25, 20:40, 20:40], image[50, 20:40, 20:40]
    assert shell.mean() > middle.mean() + 300
    assert plate.mean() > middle.mean() + 300


def test_joint_space_between_two_bones_stays_dark():
    labels = np.full((50, 40, 40), Tissue.MUSCLE, np.uint8)
    labels[:20] = Tissue.MANDIBLE
    labels[24:] = Tissue.SKULL
    image = paint(labels, SPACING, np.random.default_rng(0), quiet())
    assert image[21:23].mean() < 0.5 * image[18:20].mean()


def test_eight_bit_images_have_256_levels_and_saturate():
    image = paint(blocks(), SPACING, np.random.default_rng(0), quiet(window=(-900.0, 1000.0)))
    assert len(np.unique(image)) <= 256
    assert image.min() == -900
    assert inside(image, Tissue.METAL).min() == pytest.approx(1000)


def test_uncalibrated_scanner_shifts_and_scales():
    hounsfield = paint(blocks(), SPACING, np.random.default_rng(0), quiet())
    grey = paint(blocks(), SPACING, np.random.default_rng(0), quiet(scale=0.7, offset=150.0))
    soft = np.s_[:, :, Tissue.FAT * 16 : Tissue.MUSCLE * 16]
    np.testing.assert_allclose(grey[soft], 0.7 * hounsfield[soft] + 150, atol=0.1)


def test_metal_streaks_lie_in_the_slices_of_the_metal():
    labels = np.full((60, 64, 64), Tissue.MUSCLE, np.uint8)
    labels[30, 30:34, 30:34] = Tissue.METAL
    image = paint(labels, SPACING, np.random.default_rng(1), quiet(metal_streaks=300.0))
    spread = image[:, 40:60, 40:60].std(axis=(1, 2))
    assert spread[28:33].max() > 5 * spread[:8].max()


def test_a_scan_of_the_painted_body_is_the_painted_ct():
    labels, look = blocks(), quiet(sharpening=0.4)
    body = paint_body(labels, SPACING, np.random.default_rng(2), look)
    before = body.copy()
    metal = labels == Tissue.METAL
    scanned = scan(body, metal, SPACING, np.random.default_rng(5), look)
    np.testing.assert_array_equal(scanned, paint(labels, SPACING, np.random.default_rng(2), look))
    np.testing.assert_array_equal(body, before)
    streaked = scan(body, metal, SPACING, np.random.default_rng(5), quiet(sharpening=0.4, metal_streaks=300.0))
    assert np.abs(streaked - scanned).max() > 100


def test_noise_has_the_deviation_asked_for():
    labels = np.full((48, 48, 48), Tissue.MUSCLE, np.uint8)
    look = quiet(noise=40.0)
    difference = paint(labels, SPACING, np.random.default_rng(0), look) - paint(
        labels, SPACING, np.random.default_rng(0), quiet()
    )
    assert 25 < difference.std() < 60


def test_paint_is_fast_enough_to_train_on():
    labels = np.random.default_rng(0).integers(0, 13, (16, 16, 16)).astype(np.uint8)
    labels = labels.repeat(8, 0).repeat(8, 1).repeat(8, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        paint(labels, SPACING, np.random.default_rng(0))
        assert time.process_time() - start < 2.0
    finally:
        torch.set_num_threads(before)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_appearance_gives_finite_values_in_range(seed):
    labels = np.random.default_rng(seed).integers(0, len(Tissue), (6, 7, 8)).astype(np.uint8)
    image = paint(labels.repeat(3, 2), SPACING, np.random.default_rng(seed))
    assert image.shape == (6, 7, 24)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.min() >= -1024
    assert image.max() <= 3071


def test_blur_keeps_the_sum_and_widens_by_sigma():
    volume = torch.zeros(31, 31, 31)
    volume[15, 15, 15] = 1
    result = blur(volume, (2.0, 1.0, 0.0))
    assert float(result.sum()) == pytest.approx(1, abs=1e-5)
    z = torch.arange(31.0) - 15
    deviation = (result.sum((1, 2)) * z**2).sum().sqrt()
    assert float(deviation) == pytest.approx(2.0, rel=0.1)
    assert int((result.sum((0, 1)) > 0).sum()) == 1


def test_average_slices_keeps_slow_changes_and_loses_thin_sheets():
    ramp = torch.arange(40.0)[:, None, None].expand(40, 4, 4)
    np.testing.assert_allclose(average_slices(ramp, 4)[4:-4], ramp[4:-4], atol=0.1)
    sheet = torch.zeros(40, 4, 4)
    sheet[20] = 1
    assert float(average_slices(sheet, 4).max()) < 0.4


def test_smooth_field_varies_over_its_cells_only():
    field = smooth_field((64, 64, 64), SPACING, 8.0, torch.Generator().manual_seed(0))
    assert 0.3 < float(field.std()) < 1.2
    assert float((field[1:] - field[:-1]).abs().mean()) < 0.2 * float(field.std())


def bones():
    """Two rods for condyles on a bar, coronoids in front, a slab of skull above."""
    labels = np.zeros((60, 60, 100), np.uint8)
    labels[10:20, 5:50, 14:86] = 2
    for x in (14, 80):
        labels[20:45, 42:50, x : x + 6] = 2
        labels[20:46, 5:12, x : x + 6] = 2
    labels[12:18, 10:40, 30:70] = 0
    labels[49:56, 2:58, 4:96] = 1
    return labels


def test_condyle_is_found_behind_the_higher_coronoid():
    tops = condyle_tops(bones() == 2, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(tops[Side.RIGHT][:2], (16.5, 45.5), atol=1)
    np.testing.assert_allclose(tops[Side.LEFT][:2], (82.5, 45.5), atol=1)
    assert tops[Side.RIGHT][2] > 40


def test_marrow_is_filled_and_the_space_between_the_rami_is_not():
    labels = np.where(bones() == 2, Tissue.MANDIBLE, Tissue.AIR).astype(np.uint8)
    labels[13:16, 44:47, 40:60] = Tissue.AIR
    open_space = labels[30, 25, 50]
    fill_marrow(labels, np.zeros(labels.shape, bool), (1.0, 1.0, 1.0))
    assert (labels[13:16, 44:47, 40:60] == Tissue.MANDIBLE).all()
    assert labels[30, 25, 50] == open_space == Tissue.AIR


def test_clothing_needs_a_mandible():
    with pytest.raises(ValueError, match="mandible"):
        clothe(np.ones((20, 20, 20), np.uint8), SPACING, np.random.default_rng(0))


@pytest.mark.parametrize("spacing", [0.5, 1.0])
def test_a_cortex_covers_all_air_cells(spacing):
    """Air against a joint space would be a hole in the fossa's roof, where the truth has bone."""
    labels = np.zeros((round(70 / spacing),) * 3, np.uint8)
    z, y, x = np.meshgrid(*[np.arange(n) * spacing - 35 for n in labels.shape], indexing="ij")
    labels[(z**2 + y**2 + x**2 < 25**2) & (np.sin(2.2 * y) * np.sin(1.7 * x) * np.sin(2 * z) < 0.5)] = Tissue.SKULL
    top = np.array([0.0, -26.0, 8.0]) + 35.0
    for seed in range(20):
        carved = labels.copy()
        carve_cells(carved, (spacing,) * 3, {Side.RIGHT: top}, np.random.default_rng(seed))
        if (carved == Tissue.AIR_CELL).any():
            break
    bone = np.isin(carved, (Tissue.SKULL, Tissue.AIR_CELL))
    assert (carved == Tissue.AIR_CELL).sum() > 1000
    assert not ((carved == Tissue.AIR_CELL) & ndimage.binary_dilation(~bone)).any()
    assert bone[labels == Tissue.SKULL].all()


@pytest.mark.slow
def test_real_bones_are_clothed(shared_data):
    volume = labels_from_nifti(shared_data / "shapes" / "dentalseg_postsurgery_labels.nii.gz")
    given = volume.array[::2, ::2, ::2]
    labels = clothe(given, (1.0, 1.0, 1.0), np.random.default_rng(0))
    np.testing.assert_array_equal(labels, clothe(given, (1.0, 1.0, 1.0), np.random.default_rng(0)))
    assert np.isin(labels[given == 1], (Tissue.SKULL, Tissue.AIR_CELL)).all()
    assert np.isin(labels[given == 2], (Tissue.MANDIBLE,)).all()
    present = np.bincount(labels.ravel(), minlength=len(Tissue))
    for tissue in (Tissue.SOFT, Tissue.FAT, Tissue.MUSCLE, Tissue.AIRWAY, Tissue.VERTEBRA, Tissue.AIR_CELL):
        assert present[tissue] > 500, tissue.name
    assert 300_000 < present[Tissue.BRAIN] < 1_500_000
    above, below = labels[130], labels[40]
    assert (above == Tissue.BRAIN).sum() > 2000
    assert (below == Tissue.BRAIN).sum() == 0
    for top in condyle_tops(labels == Tissue.MANDIBLE, (1.0, 1.0, 1.0)).values():
        x, y, z = top.round().astype(int)
        joint = labels[z : z + 4, y - 3 : y + 4, x - 3 : x + 4]
        assert not np.isin(joint, (Tissue.AIRWAY, Tissue.AIR, Tissue.BRAIN, Tissue.VERTEBRA)).any()
