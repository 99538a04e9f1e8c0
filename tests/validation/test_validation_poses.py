"""Poses are rigid, within their range, and move points and volumes alike."""

import highdicom as hd
import numpy as np
import pytest

from negvol_pacs.validation import poses


def test_poses_are_rotations_within_their_range():
    drawn = poses.poses(10)
    for number, pose in enumerate(drawn):
        assert pose.number == number
        assert pose.turn @ pose.turn.T == pytest.approx(np.eye(3))
        assert np.linalg.det(pose.turn) == pytest.approx(1)
        assert np.abs(pose.shift).max() <= poses.SHIFT_MM
    assert len({pose.spacing_mm for pose in drawn}) == 4
    assert sum(pose.thick for pose in drawn) == 2
    assert drawn[4].grid == "0.4 × 0.8"
    assert drawn[0].grid == "0.3"


def test_more_poses_begin_with_the_fewer():
    assert all((a.turn == b.turn).all() for a, b in zip(poses.poses(2), poses.poses(7), strict=False))


def test_volumes_move_with_their_points():
    (pose,) = poses.poses(1)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = [5, -6, 7]
    volume = hd.Volume(np.zeros((2, 3, 4)), affine, coordinate_system="PATIENT")
    moved = pose.move(volume)
    index = np.array([1.0, 2.0, 3.0])
    upright = affine[:3, :3] @ index + affine[:3, 3]
    assert moved.affine[:3, :3] @ index + moved.affine[:3, 3] == pytest.approx(pose.place(upright))
