"""The one rule of the masks, on simple bones of known shape."""

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import JointNotFound, SegmentationEmpty
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.masks import (
    JointMasks,
    clip_to_joint,
    condyle_centre,
    joint_masks_from_labels,
    probability,
)

HEAD = {Side.RIGHT: np.array([-48.0, 30.0, 40.0]), Side.LEFT: np.array([48.0, 32.0, 42.0])}


def mandible(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Body, rami, condyles of 7 mm, and coronoid processes that are higher."""
    x, y, z = np.moveaxis(points, -1, 0)
    bone = (np.abs(z + 20) < 6) & (np.abs(np.hypot(x / 48, (y - 20) / 75) - 1) < 0.12) & (y < 25)
    for centre in HEAD.values():
        dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
        bone |= dx**2 + dy**2 + dz**2 < 7**2
        bone |= (np.abs(dx) < 4) & (np.abs(dy) < 4.5) & (dz < 0) & (z > -22)
        bone |= (np.abs(dx) < 4) & (dy < 0) & (dy > -35) & (z < 20) & (z > -24)
        bone |= (np.abs(dx) < 3) & (np.abs(dy + 30) < 5) & (dz < 8) & (z > 10)
    return bone


def skull(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A shell of 3 mm, 2 mm above each condyle, in a plate with a closed cell."""
    x, y, z = np.moveaxis(points, -1, 0)
    bone = np.zeros(x.shape, dtype=np.bool_)
    for centre in HEAD.values():
        dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
        radius = np.sqrt(dx**2 + dy**2 + dz**2)
        bone |= (np.abs(radius - 10.5) < 1.5) & (dz > 2)
        bone |= (np.abs(dz - 16) < 5) & (np.abs(dx) < 20) & (np.abs(dy) < 20)
        bone &= ~(dx**2 + dy**2 + (dz - 16) ** 2 < 2.5**2)
    return bone


WHOLE = (np.array([0.0, 5.0, 15.0]), 150.0)
JOINT = (HEAD[Side.RIGHT], 78.0)


def scan(
    field: tuple[NDArray[np.float64], float] = JOINT, spacing: float = 0.6, tilt: float = 0.0
) -> tuple[hd.Volume, hd.Volume]:
    """Both bones in a cube (middle, edge in mm) whose axes are tilted and whose slices run downwards."""
    middle, edge = field
    turn = Rotation.from_euler("xyz", (tilt, tilt / 2, -tilt), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, 1.0], [0, 1.0, 0], [-1.0, 0, 0]]) * spacing
    shape = (int(edge / spacing),) * 3
    affine[:3, 3] = middle - affine[:3, :3] @ (np.array(shape) / 2)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    jaw, roof = (hd.Volume(bone(points), affine, coordinate_system="PATIENT") for bone in (mandible, skull))
    return jaw, roof.with_array(roof.array & ~jaw.array)


def volume_of(bone: hd.Volume) -> float:
    """Cubic millimetres."""
    return float((bone.array > 0.5).sum() * bone.voxel_volume)


@pytest.fixture(scope="module")
def straight() -> JointMasks:
    """Masks of the right joint."""
    return joint_masks_from_labels(*scan(), Side.RIGHT, centre=HEAD[Side.RIGHT])


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("tilt", [0.0, 12.0])
def test_the_centre_is_the_condyle_not_the_higher_coronoid(side: Side, tilt: float) -> None:
    centre = condyle_centre(scan(WHOLE, 1.0, tilt)[0], side)
    expected = HEAD[side]  # The neck within 10 mm of the top draws it down.
    assert np.linalg.norm(centre - expected) < 2.0


def test_the_masks_are_where_the_bones_are(straight: JointMasks) -> None:
    z, y, x = np.broadcast_arrays(*grid.coordinates(straight.mc))
    points = np.stack((x, y, z), axis=-1)
    radius = np.linalg.norm(points - straight.centre, axis=-1)
    true = mandible(points) & (radius < 20) & (np.abs(y - HEAD[Side.RIGHT][1]) < 12)
    ours = straight.mc.array > 0.5
    assert 2 * (true & ours).sum() / (true.sum() + ours.sum()) > 0.97
    roof = straight.tb.array > 0.5
    assert not (roof & ours).any()
    assert radius[roof].max() < 28.2
    assert radius[ours].max() < 20.2


def test_the_surface_is_sub_voxel(straight: JointMasks) -> None:
    """The condyle's top lies 7 mm over its middle although label voxels are 0.7 mm."""
    index = grid.index_map(straight.mc, straight.mc.get_geometry())
    assert np.allclose(index, np.eye(4))
    at = np.linalg.inv(straight.mc.affine) @ np.append(HEAD[Side.RIGHT], 1.0)
    column = straight.mc.array[:, round(at[1]), round(at[2])]
    above = int(np.flatnonzero(column > 0.5).max())
    top = above + (column[above] - 0.5) / (column[above] - column[above + 1])
    height = straight.mc.affine[2, 3] + top * 0.4
    assert height == pytest.approx(HEAD[Side.RIGHT][2] + 7.0, abs=0.25)


def test_enclosed_cells_belong_to_the_bone(straight: JointMasks) -> None:
    cell = np.linalg.inv(straight.tb.affine) @ np.append(HEAD[Side.RIGHT] + (0, 0, 16), 1.0)
    assert straight.tb.array[tuple(np.rint(cell[:3]).astype(int))] == 1.0


@pytest.mark.parametrize(("away", "kept"), [(11.0, True), (23.0, False)])
def test_a_small_piece_of_bone_counts_near_the_condyle_only(away: float, kept: bool) -> None:
    centre = np.zeros(3)
    geometry = grid.canonical_grid(centre, 0.8)
    points = grid.world(geometry, np.moveaxis(np.indices(geometry.spatial_shape), 0, -1))
    ball, piece = np.linalg.norm(points, axis=-1), np.linalg.norm(points - [0, 0, -away], axis=-1)
    roof = (np.abs(ball - 12) < 2) & (points[..., 2] > 4)
    mc, tb = clip_to_joint(probability(6 - ball), np.maximum(probability(2.5 - piece), roof), geometry, centre)
    assert (tb[piece < 2] > 0.5).all() == kept
    assert (tb[piece < 2] > 0.5).any() == kept
    assert (tb[roof] > 0.5).all()
    assert (mc > 0.5).any()


@pytest.mark.parametrize(("depth_mm", "gap_mm", "kept"), [(18.0, 0.0, False), (12.0, 0.0, False), (18.0, 3.0, True)])
def test_a_far_piece_of_bone_on_the_ramus_is_no_temporal_bone(depth_mm: float, gap_mm: float, kept: bool) -> None:
    centre = np.zeros(3)
    geometry = grid.canonical_grid(centre, 0.8)
    x, y, z = np.moveaxis(grid.world(geometry, np.moveaxis(np.indices(geometry.spatial_shape), 0, -1)), -1, 0)
    ball = np.sqrt(x**2 + y**2 + z**2)
    ramus = 5 - np.hypot(x, y)
    mandible = np.maximum(6 - ball, np.minimum(ramus, np.minimum(-z, z + depth_mm)))
    lower = np.minimum(ramus, np.minimum(-depth_mm - gap_mm - z, z + 27))  # what goes on below it is called skull
    roof = np.minimum(2 - np.abs(ball - 12), z - 4)
    mc, tb = clip_to_joint(probability(mandible), probability(np.maximum(lower, roof)), geometry, centre)
    assert (tb[lower > 1] > 0.5).any() == kept
    assert (tb[roof > 1] > 0.5).all()
    assert (mc[mandible > 1] > 0.5).all()


def test_the_rule_does_not_know_the_scanner(straight: JointMasks) -> None:
    oblique = joint_masks_from_labels(*scan(tilt=12.0), Side.RIGHT, centre=HEAD[Side.RIGHT])
    assert oblique.mc.geometry_equal(straight.mc)
    for ours, theirs in ((oblique.mc, straight.mc), (oblique.tb, straight.tb)):
        both = (ours.array > 0.5) & (theirs.array > 0.5)
        assert 2 * both.sum() * 0.4**3 / (volume_of(ours) + volume_of(theirs)) > 0.97
        assert volume_of(ours) == pytest.approx(volume_of(theirs), rel=0.04)


def test_a_narrow_field_of_view_is_said() -> None:
    masks = joint_masks_from_labels(*scan((HEAD[Side.RIGHT], 50.0), 1.0), Side.RIGHT, centre=HEAD[Side.RIGHT])
    assert masks.inside is not None
    assert masks.inside.array.mean() == pytest.approx((50 / 64) ** 3, rel=0.05)


def test_missing_bones_are_told_apart() -> None:
    jaw, bone = scan(spacing=1.5)
    nothing = jaw.with_array(np.zeros_like(jaw.array))
    with pytest.raises(JointNotFound, match="no mandible"):
        condyle_centre(nothing, Side.RIGHT)
    with pytest.raises(SegmentationEmpty, match="temporal bone"):
        joint_masks_from_labels(jaw, nothing, Side.RIGHT, centre=HEAD[Side.RIGHT])
    with pytest.raises(SegmentationEmpty, match="condyle"):
        joint_masks_from_labels(nothing, bone, Side.RIGHT, centre=HEAD[Side.RIGHT])
