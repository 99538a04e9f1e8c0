import highdicom as hd
import numpy as np
import pytest
import torch

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.masks import condyle_centre
from negvol_pacs.training.augment import crop, vary
from negvol_pacs.training.dataset import BALL_MM, STEPS_A_MM, compose, head_example, joint_example
from negvol_pacs.training.motion import Affine, head_pose, jaw_pose, mesh, rotation, sample
from negvol_pacs.training.phantom import make_head
from negvol_pacs.training.regions import Region, coarse_head, cut_region, without_mandible
from negvol_pacs.training.tissues import Tissue


@pytest.fixture(scope="module")
def head() -> hd.Volume:
    return make_head(3, spacing_mm=1.0).labels


@pytest.fixture(scope="module")
def region(head: hd.Volume) -> Region:
    return cut_region(head, Side.RIGHT)


def test_region_holds_the_condyle_in_its_middle(region: Region) -> None:
    middle = tuple(n // 2 for n in region.mandible.shape)
    assert region.mandible[middle] > 0
    assert region.skull[middle] < 0
    assert not (region.tissues == Tissue.MANDIBLE).any()


def test_left_joint_is_shown_in_the_mirror(head: hd.Volume) -> None:
    mirrored = hd.Volume(head.array[:, :, ::-1].copy(), head.affine, coordinate_system="PATIENT")
    left = cut_region(head, Side.LEFT)
    right = cut_region(mirrored, Side.RIGHT)
    shared = (left.mandible - right.mandible).abs()
    assert float(shared.mean()) < 0.5  # The cube may lie up to a voxel apart.
    # The outside of the head is at small x, as on a right side.
    air = left.tissues == Tissue.AIR
    assert air[:, :, :20].sum() > air[:, :, -20:].sum()


def test_nothing_but_the_mandible_is_replaced(head: hd.Volume) -> None:
    bare = without_mandible(head.array)
    was = head.array == Tissue.MANDIBLE
    np.testing.assert_array_equal(bare[~was], head.array[~was])
    assert np.isin(bare[was], (Tissue.SOFT, Tissue.FAT, Tissue.MUSCLE, Tissue.BRAIN)).all()


def test_an_example_knows_the_axis_of_its_head(region: Region) -> None:
    seen = joint_example(region, np.random.default_rng(4), voxels=48, as_scanned=True)
    rng = np.random.default_rng(4)
    rng.uniform(0.8, 1.1)  # spacing
    pose = head_pose(rng, (12, 12, 18), (5, 5, 5), own_size=True)
    x, y, z = seen.transverse
    assert x > 0.9
    assert np.hypot(y, z) > 0.02
    along = pose.matrix @ np.array([z, y, x])  # a step along it in the picture is one along x in the upright head
    np.testing.assert_allclose(along, [0, 0, 1], atol=1e-6)


def test_example_depends_on_its_random_state_alone(region: Region) -> None:
    first, again, other = (joint_example(region, np.random.default_rng(seed), voxels=48) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mandible, again.mandible)
    assert not np.array_equal(first.mandible, other.mandible)


@pytest.mark.parametrize("seed", range(4))
def test_bones_are_bright_where_their_distance_is_positive(region: Region, seed: int) -> None:
    example = joint_example(region, np.random.default_rng(seed), voxels=80)
    image = example.image.astype(np.float32)
    deep = 1.0 * STEPS_A_MM
    soft = (example.mandible < -2 * deep) & (example.skull < -2 * deep)
    assert np.median(image[example.mandible > 0]) > np.median(image[soft]) + 0.2
    assert np.median(image[example.skull > 0]) > np.median(image[soft]) + 0.2
    assert not ((example.mandible > 0) & (example.skull > 0)).any()


def test_bones_follow_their_distances() -> None:
    tissues = torch.tensor([Tissue.MUSCLE, Tissue.SKULL, Tissue.AIR_CELL, Tissue.AIR_CELL], dtype=torch.uint8)
    skull = torch.tensor([1.0, -1.0, 1.0, -1.0])
    mandible = torch.tensor([-1.0, -1.0, -1.0, 1.0])
    expected = [Tissue.SKULL, Tissue.SOFT, Tissue.AIR_CELL, Tissue.MANDIBLE]
    assert compose(tissues, mandible, skull).tolist() == expected


def test_opening_lowers_the_condyle_and_takes_the_chin_back() -> None:
    chin = torch.tensor([-60.0, -70.0, 0.0]).view(3, 1)
    moves = []
    for seed in range(300):
        pose = jaw_pose(np.random.default_rng(seed))
        forward = np.linalg.inv(pose.matrix)
        condyle = forward @ -pose.shift
        if condyle[1] < -4:  # slid forward
            moves.append((condyle[0], (forward @ (chin[:, 0].numpy() - pose.shift))[0] - float(chin[0, 0])))
    condyle_down, chin_down = np.array(moves).T
    assert len(moves) > 30
    assert (condyle_down < 0.7).all()
    assert np.mean(chin_down < -5) > 0.9


def test_sampling_follows_the_map() -> None:
    volume = torch.zeros(21, 21, 21)
    volume[13, 10, 10] = 1.0
    quarter = Affine(rotation((0.0, 0.0, np.pi / 2)), np.zeros(3))  # about x: z' = -y, y' = z
    seen = sample(volume, quarter(mesh((21, 21, 21), 1.0)), 1.0, (10, 10, 10))
    assert torch.nonzero(seen > 0.99).tolist() == [[10, 7, 10]]


@pytest.mark.parametrize("seed", range(3))
def test_localizer_marks_the_condyles_of_the_right_side(head: hd.Volume, seed: int) -> None:
    example = head_example(coarse_head(head, 2.0), np.random.default_rng(seed), voxels=64)
    spacing = 4.0
    volume = 4 / 3 * np.pi * BALL_MM**3
    centres = {}
    for label in (1, 2):
        hit = np.argwhere(example.labels == label)
        assert 0.3 * volume < len(hit) * spacing**3 < 1.9 * volume
        centres[label] = hit.mean(axis=0) * spacing
    assert 60 < centres[2][2] - centres[1][2] < 140


def test_coarse_head_knows_its_centres(head: hd.Volume) -> None:
    coarse = coarse_head(head, 2.0)
    mandible = grid.on_grid(head.array == Tissue.MANDIBLE, head)
    for side in Side:
        world = grid.world(head, coarse.centres[side] * 2)
        np.testing.assert_allclose(world, condyle_centre(mandible, side), atol=1e-6)


def test_crop_keeps_labels_on_the_image() -> None:
    rng = np.random.default_rng(0)
    z, y, x = mesh((40, 40, 40), 1.0)
    slope = z + 2 * y + 3 * x
    for _ in range(12):
        first, second = crop(torch.stack((slope, 2 * slope)), 24, rng)
        assert first.shape == (24, 24, 24)
        torch.testing.assert_close(second, 2 * first, rtol=1e-4, atol=1e-3)


def test_variation_stays_in_range_and_repeats() -> None:
    image = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(1))
    for seed in range(20):
        one = vary(image.clone(), np.random.default_rng(seed))
        assert torch.equal(one, vary(image.clone(), np.random.default_rng(seed)))
        assert one.min() >= -1.5
        assert one.max() <= 2.5
