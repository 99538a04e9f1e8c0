"""Masks and meshes land on the source grid where they are in the world."""

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.report.labels import ORDER, label_box


def world(geometry, box, number):
    index = np.argwhere(box.labels == number) + np.array([box.first, 0, 0])
    return index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]


def centroid_in_world(volume):
    index = np.argwhere(volume.array > 0.5)
    return (index @ volume.affine[:3, :3].T + volume.affine[:3, 3]).mean(axis=0)


angles = st.floats(-180, 180, allow_nan=False)
spacings = st.floats(0.6, 1.2)


@settings(max_examples=8, deadline=None)
@given(
    rotation=st.tuples(angles, angles, angles),
    spacing=st.tuples(spacings, spacings, spacings),
    flips=st.tuples(*[st.sampled_from((-1, 1))] * 3),
)
def test_any_grid_gives_the_same_places_and_volumes(joints, rotation, spacing, flips):
    axes = Rotation.from_euler("xyz", rotation, degrees=True).as_matrix() * np.array(spacing) * np.array(flips)
    # Large enough for both joints however it is turned.
    shape = tuple(int(170 / s) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = -axes @ (np.array(shape) - 1) / 2
    geometry = hd.Volume(np.zeros(shape, dtype=np.int8), affine, "PATIENT")
    masks = {side: joint[0] for side, joint in joints.items()}
    box = label_box(geometry, masks, {side: joint[1].nv for side, joint in joints.items()})
    assert box is not None
    assert box.segments == ORDER
    for number, (side, structure) in enumerate(ORDER, start=1):
        points = world(geometry, box, number)
        assert (points[:, 0] < 0).all() == (side is Side.RIGHT)
        if structure is not Structure.NV:
            volume = getattr(masks[side], structure.name.lower())
            assert np.linalg.norm(points.mean(axis=0) - centroid_in_world(volume)) < 0.5
            true_volume = (volume.array > 0.5).sum() * 0.4**3
            assert len(points) * np.prod(spacing) == pytest.approx(true_volume, rel=0.06)


def test_negative_volume_is_voxelised_inside_its_mesh(joints, make_case):
    case = make_case("oblique")
    box = label_box(case.geometry, case.masks, {side: joint[1].nv for side, joint in joints.items()})
    for side in Side:
        points = world(case.geometry, box, ORDER.index((side, Structure.NV)) + 1) - joints[side][0].centre
        distance, radius = np.linalg.norm(points, axis=1), 6.0 if side is Side.RIGHT else 7.0
        assert radius + 0.2 < distance.min()
        assert distance.max() < radius + 2.8
        assert points[:, 2].min() > 0.9
        spacing = np.prod(case.geometry.spacing)
        # Volume of the cap 1 mm and more above the centre, between the two radii.
        inner, outer = radius + 0.3, radius + 2.7
        cap = 2 / 3 * np.pi * (outer**3 - inner**3) - np.pi * (outer**2 - inner**2)
        assert len(points) * spacing == pytest.approx(cap, rel=0.06)


def test_a_side_that_is_missing_leaves_consecutive_numbers(make_case):
    case = make_case()
    box = label_box(case.geometry, {Side.LEFT: case.masks[Side.LEFT]}, {})
    assert box.segments == ((Side.LEFT, Structure.MC), (Side.LEFT, Structure.TB))
    assert set(np.unique(box.labels)) == {0, 1, 2}
    assert (world(case.geometry, box, 1)[:, 0] > 0).all()


def test_only_the_slices_with_content_are_kept(make_case):
    case = make_case()
    box = label_box(case.geometry, case.masks, {})
    assert box.labels[0].any()
    assert box.labels[-1].any()
    assert len(box.labels) < case.geometry.shape[0] / 1.5


def test_nothing_within_the_grid(make_case):
    case = make_case()
    affine = case.geometry.affine.copy()
    affine[:3, 3] += 500
    elsewhere = hd.Volume(case.geometry.array, affine, "PATIENT")
    assert label_box(elsewhere, case.masks, {side: j.nv for side, j in case.findings.joints.items()}) is None
