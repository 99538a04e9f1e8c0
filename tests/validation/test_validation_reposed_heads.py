"""True masks and scans lie where the pose puts them."""

import dataclasses

import highdicom as hd
import numpy as np
import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.grid import world
from negvol_pacs.training.analytic_joints import sphere_in_cup
from negvol_pacs.training.tissues import Tissue
from negvol_pacs.validation.heads import CENTRES, head
from negvol_pacs.validation.poses import poses
from negvol_pacs.validation.reposed_heads import LabelledHead, PaintedHead

BALL = np.array([12.0, -6.0, 5.0])


@pytest.fixture(scope="module")
def tissues() -> hd.Volume:
    """A ball of bone in soft tissue, 1 mm."""
    affine = np.eye(4)[:, [2, 1, 0, 3]]
    affine[:3, 3] = -24.0
    volume = hd.Volume(np.full((48, 48, 48), Tissue.SOFT, np.uint8), affine, coordinate_system="PATIENT")
    points = world(volume, np.moveaxis(np.indices(volume.array.shape), 0, -1))
    volume.array[np.linalg.norm(points - BALL, axis=-1) < 6] = Tissue.SKULL
    return volume


@pytest.fixture(scope="module")
def painted(tissues) -> PaintedHead:
    return PaintedHead(tissues)


def dense(scan: hd.Volume) -> np.ndarray:
    """Middle of what is denser than soft tissue, LPS mm."""
    return world(scan, np.argwhere(scan.array > 400)).mean(axis=0)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_scans_show_the_head_in_the_pose(painted, number):
    pose = poses(5)[number]
    scan = painted.scan(pose)
    step = pose.spacing_mm
    assert scan.array.dtype == np.int16
    assert scan.spacing == pytest.approx((2 * step if pose.thick else step, step, step))
    assert np.stack(scan.unit_vectors(), axis=1) == pytest.approx(np.eye(3)[:, ::-1])  # axial, not turned
    assert dense(scan) == pytest.approx(pose.place(BALL), abs=0.15)


def test_the_same_patient_has_other_noise_in_another_scan(painted):
    pose = dataclasses.replace(poses(1)[0], spacing_mm=0.8)
    first, again, other = (painted.scan(dataclasses.replace(pose, number=n)) for n in (0, 0, 1))
    assert (first.array == again.array).all()
    difference = first.array.astype(float) - other.array
    assert 5 < difference.std() < 100
    assert np.corrcoef(first.array.ravel(), other.array.ravel())[0, 1] > 0.95


def test_true_masks_lie_where_the_pose_puts_them():
    affine = np.eye(4)[:, [2, 1, 0, 3]]
    affine[:3, 3] = (-60, -20, -40)
    grid = hd.Volume(np.zeros((80, 40, 120), bool), affine, coordinate_system="PATIENT")
    points = world(grid, np.moveaxis(np.indices(grid.array.shape), 0, -1))
    centres = {Side.RIGHT: np.array([-45.0, 0, 0]), Side.LEFT: np.array([45.0, 0, 0])}
    near = np.minimum(*(np.linalg.norm(points - centre, axis=-1) for centre in centres.values()))
    bones = [hd.Volume(array, affine, coordinate_system="PATIENT") for array in (near < 6, (near > 9) & (near < 12))]
    pose = dataclasses.replace(poses(4)[3], spacing_mm=0.8)
    for thick in (False, True):
        masks = LabelledHead(*bones, centres).masks(dataclasses.replace(pose, thick=thick))
        for side, mask in masks.items():
            assert mask.centre == pytest.approx(pose.place(centres[side]))
            assert world(mask.mc, np.argwhere(mask.mc.array > 0.5)).mean(axis=0) == pytest.approx(mask.centre, abs=0.2)


def test_head_turns_about_the_origin_with_both_joints():
    (pose,) = poses(1)
    masks = head(dict.fromkeys(Side, sphere_in_cup()), 1.0, turn=pose.turn, shift=pose.shift)
    for side in Side:
        assert masks[side].centre == pytest.approx(pose.place(CENTRES[side]))


def test_thick_slices_keep_the_amount_and_blur():
    thin, thick = (head({Side.RIGHT: sphere_in_cup()}, 1.0, thick=flag)[Side.RIGHT] for flag in (False, True))
    assert thick.mc.array.sum() == pytest.approx(thin.mc.array.sum(), rel=1e-3)
    assert np.abs(np.diff(thick.mc.array, axis=0)).max() < np.abs(np.diff(thin.mc.array, axis=0)).max()
