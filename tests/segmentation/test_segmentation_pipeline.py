"""The way from a volume to masks, with networks that know tissues by their grey value."""

import highdicom as hd
import numpy as np
import pytest
import simple_head
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.config import Pipeline
from negvol_pacs.errors import JointError, JointOutsideField, NoHead
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import confidence, grid
from negvol_pacs.segmentation.localization import locate
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.segmentation.pipeline import Segmentation, segment, segment_joint
from negvol_pacs.segmentation.weights import Networks


def joint(found: Segmentation, side: Side) -> JointMasks:
    masks = found.joints[side]
    assert not isinstance(masks, JointError), masks
    return masks


def one_joint(volume: hd.Volume, networks: Networks, side: Side) -> JointMasks:
    """What the pipeline makes of one side: half the time."""
    found = locate(volume, networks.localizer)
    masks = segment_joint(
        volume, found.centres[side], side=side, networks=networks, options=Pipeline(), line=found.line
    )
    assert isinstance(masks, JointMasks), masks
    return masks


def cubic_mm(bone: hd.Volume) -> float:
    return float((bone.array > 0.5).sum() * bone.voxel_volume)


def centroid(bone: hd.Volume) -> NDArray[np.float64]:
    return grid.world(bone, np.argwhere(bone.array > 0.5)).mean(axis=0)


def dice(bone: hd.Volume, value: float) -> float:
    """Overlap with the simple head itself, within 18 mm of the centre."""
    z, y, x = np.broadcast_arrays(*grid.coordinates(bone))
    true = simple_head.tissue(np.stack((x, y, z), axis=-1)) == value
    near = grid.distance_from(bone, simple_head.CENTRES[Side.RIGHT if x.mean() < 0 else Side.LEFT]) < 18
    ours = (bone.array > 0.5) & near
    true &= near
    return float(2 * (true & ours).sum() / (true.sum() + ours.sum()))


@pytest.mark.parametrize("side", list(Side))
def test_the_masks_are_the_bones(axial_segmentation: Segmentation, side: Side) -> None:
    masks = joint(axial_segmentation, side)
    assert masks.side is side
    assert np.linalg.norm(masks.centre - simple_head.CENTRES[side]) < 2.0
    assert dice(masks.mc, simple_head.CONDYLE) > 0.95
    assert dice(masks.tb, simple_head.SKULL) > 0.95
    assert not ((masks.mc.array > 0.5) & (masks.tb.array > 0.5)).any()
    assert masks.inside is None
    # These networks are never sure, and put the skull's surface 0.3 mm inside of its edge.
    assert masks.flags == {QualityFlag.SURFACES_UNCLEAR, QualityFlag.SEGMENTATION_DOUBTFUL}
    assert set(masks.dice) == {Structure.MC, Structure.TB}
    assert all(0 <= value < confidence.LIMITS[bone] for bone, value in masks.dice.items())
    assert not axial_segmentation.flags


@pytest.mark.slow
def test_an_oblique_flipped_scan_gives_the_same_world(
    axial_segmentation: Segmentation, knowing_networks: Networks
) -> None:
    """Coronal-like slices from back to front, columns to the right, tilted by 14 degrees."""
    turn = Rotation.from_euler("xyz", (14, -8, 10), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, -1.0], [-1.0, 0, 0], [0, -1.0, 0]]) @ np.diag((0.8, 0.9, 0.9))
    shape = (190, 180, 170)
    affine[:3, 3] = np.array([0, 15.0, 5.0]) - affine[:3, :3] @ (np.array(shape) / 2)
    ours = one_joint(simple_head.see(affine, shape), knowing_networks, Side.LEFT)
    theirs = joint(axial_segmentation, Side.LEFT)
    for bone in ("mc", "tb"):
        assert np.linalg.norm(centroid(getattr(ours, bone)) - centroid(getattr(theirs, bone))) < 0.5
        assert cubic_mm(getattr(ours, bone)) == pytest.approx(cubic_mm(getattr(theirs, bone)), rel=0.03)


@pytest.mark.slow
def test_the_mirrored_head_swaps_the_sides(
    axial_head: hd.Volume, axial_segmentation: Segmentation, knowing_networks: Networks
) -> None:
    affine = np.array(axial_head.affine)
    affine[0, 3] = -(affine[0, 3] + (axial_head.spatial_shape[2] - 1) * affine[0, 2])
    mirrored = hd.Volume(axial_head.array[:, :, ::-1], affine, coordinate_system="PATIENT")
    ours, theirs = one_joint(mirrored, knowing_networks, Side.RIGHT), joint(axial_segmentation, Side.LEFT)
    np.testing.assert_allclose(ours.centre * (-1, 1, 1), theirs.centre, atol=1e-3)
    for bone in ("mc", "tb"):
        mask, other = getattr(ours, bone).array[:, :, ::-1] > 0.5, getattr(theirs, bone).array > 0.5
        assert (mask != other).mean() < 1e-4


@pytest.mark.slow
def test_a_field_of_view_with_one_joint(axial_head: hd.Volume, knowing_networks: Networks) -> None:
    """The left joint is outside; the right one's roof is cut; shifted grey values are told."""
    first = grid.world(axial_head, (0, 0, 8))
    affine = np.array(axial_head.affine)
    affine[:3, 3] = first
    part = axial_head.array[:88, :, 8:100].astype(np.float32) * 1.2 + 500
    said: list[tuple[str, float]] = []
    found = segment(
        hd.Volume(part, affine, coordinate_system="PATIENT"),
        knowing_networks,
        Pipeline(),
        lambda sentence, share: said.append((sentence, share)),
    )
    assert isinstance(found.joints[Side.LEFT], JointOutsideField)
    masks = joint(found, Side.RIGHT)
    assert masks.inside is not None
    assert QualityFlag.PART_OUTSIDE_FIELD in masks.flags
    assert not (masks.tb.array[~masks.inside.array] > 0.5).any()
    assert found.flags == {QualityFlag.NOT_HOUNSFIELD}
    assert [share for _, share in said] == sorted(share for _, share in said)
    assert said[-1][1] == 1.0


def test_air_is_no_head(knowing_networks: Networks) -> None:
    air = hd.Volume(np.full((60, 60, 60), -1000, dtype=np.int16), np.diag((3.0, 3, 3, 1)), coordinate_system="PATIENT")
    with pytest.raises(NoHead):
        segment(air, knowing_networks, Pipeline())


def test_a_bottle_of_water_is_no_head(knowing_networks: Networks) -> None:
    affine = np.eye(4)
    affine[:3, :3] = 2.0 * np.eye(3)[:, ::-1]
    water = np.full((100, 80, 80), -1000, dtype=np.int16)
    water[10:90, 20:60, 20:60] = 0
    water += np.random.default_rng(0).integers(-20, 20, water.shape, dtype=np.int16)
    with pytest.raises(NoHead, match="too little bone"):
        segment(hd.Volume(water, affine, coordinate_system="PATIENT"), knowing_networks, Pipeline())


def test_a_trunk_is_no_head(knowing_networks: Networks) -> None:
    affine = np.eye(4)
    affine[:3, :3] = 4.0 * np.eye(3)[:, ::-1]
    z, y, x = np.ogrid[:70, :80, :110]
    trunk = np.broadcast_to(np.where(((x - 55) / 48) ** 2 + ((y - 40) / 32) ** 2 < 1, 40, -1000), (70, 80, 110))
    trunk = trunk.astype(np.int16)
    trunk[((x - 55) ** 2 + (y - 55) ** 2 < 120) & (z >= 0)] = 1700
    with pytest.raises(NoHead, match="too wide"):
        segment(hd.Volume(trunk, affine, coordinate_system="PATIENT"), knowing_networks, Pipeline())
