"""Surfaces are closed, outward, in LPS mm and as exact as the probabilities."""

import highdicom as hd
import numpy as np
import pytest
from manifold3d import Manifold

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import SegmentationEmpty, SurfaceError
from negvol_pacs.joint.measure import volume
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.surface import build_surfaces, from_manifold, to_manifold
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.training.analytic_joints import sphere_in_cup

ORIGIN = np.array([-60.0, 5.0, 12.0])


def field(*shapes, n=50, spacing=0.5, affine=None):
    """Probability of a union of (centre, radius) balls, LPS mm."""
    if affine is None:
        affine = np.eye(4)
        affine[:3, :3] = spacing * np.eye(3)[:, ::-1]
        affine[:3, 3] = ORIGIN
    index = np.stack(np.meshgrid(*(np.arange(n),) * 3, indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    distance = np.min([np.linalg.norm(points - c, axis=-1) - r for c, r in shapes], axis=0)
    return hd.Volume(np.clip(0.5 - distance, 0, 1).astype(np.float32), affine, coordinate_system="PATIENT")


def masks(mc, tb, centre):
    return JointMasks(side=Side.RIGHT, mc=mc, tb=tb, centre=np.asarray(centre))


@pytest.mark.parametrize("spacing", [0.3, 0.4, 0.6])
def test_a_sphere_keeps_its_radius(spacing):
    surfaces = build_surfaces(sphere_in_cup().masks(spacing_mm=spacing, extent_mm=30))
    upper = surfaces.mc.vertices[surfaces.mc.vertices[:, 2] > 1]
    assert np.abs(np.linalg.norm(upper, axis=1) - 6.5).max() < 0.1 * spacing
    roof = surfaces.tb.vertices[np.linalg.norm(surfaces.tb.vertices, axis=1) < 9.5]
    roof = roof[roof[:, 2] > 1]
    assert np.abs(np.linalg.norm(roof, axis=1) - 9.0).max() < 0.1 * spacing


@pytest.mark.parametrize("handed", [1, -1])
def test_position_and_orientation_follow_the_affine(handed):
    centre = ORIGIN + np.array([14.0, 11.0, 9.0])
    affine = np.eye(4)
    affine[:3, :3] = 0.5 * (np.eye(3) if handed > 0 else np.eye(3)[:, ::-1])
    affine[:3, 3] = ORIGIN
    ball = field((centre, 4.0), affine=affine)
    surfaces = build_surfaces(masks(ball, ball, centre))
    assert np.allclose(surfaces.mc.vertices.mean(axis=0), centre, atol=0.05)
    assert volume(surfaces.mc) == pytest.approx(4 / 3 * np.pi * 4.0**3, rel=0.025)  # positive: outward


def test_bone_cut_by_the_grid_is_closed():
    ball = field((ORIGIN, 10.0))
    solid = to_manifold(build_surfaces(masks(ball, ball, ORIGIN)).mc)
    octant, faces = 4 / 3 * np.pi * 10.0**3 / 8, 3 * np.pi * 10.0**2 / 4
    assert solid.volume() == pytest.approx(octant + faces * 0.25, rel=0.03)  # a voxel reaches half its width out


def test_condyle_is_the_piece_at_the_centre_and_crumbs_of_bone_go():
    head, other = ORIGIN + np.array([7.0, 7.0, 7.0]), ORIGIN + np.array([17.0, 17.0, 17.0])
    crumb = ORIGIN + np.array([20.0, 5.0, 20.0])
    surfaces = build_surfaces(masks(field((head, 3.0), (other, 5.0)), field((other, 5.0), (crumb, 0.9)), head))
    assert np.linalg.norm(surfaces.mc.vertices - head, axis=1).max() < 3.1
    assert np.linalg.norm(surfaces.tb.vertices - other, axis=1).max() < 5.1


def test_enclosed_cavities_are_bone():
    centre = ORIGIN + np.array([12.0, 12.0, 12.0])
    solid, hole = field((centre, 8.0)), field((centre, 4.0))
    hollow = hd.Volume(np.minimum(solid.array, 1 - hole.array), solid.affine, coordinate_system="PATIENT")
    surfaces = build_surfaces(masks(hollow, hollow, centre))
    assert to_manifold(surfaces.tb).volume() == pytest.approx(4 / 3 * np.pi * 8.0**3, rel=0.025)


def test_no_bone_is_an_error():
    centre = ORIGIN + np.array([12.0, 12.0, 12.0])
    ball, empty = field((centre, 5.0)), field((centre + 100, 5.0))
    with pytest.raises(SegmentationEmpty):
        build_surfaces(masks(empty, ball, centre))
    with pytest.raises(SegmentationEmpty):
        build_surfaces(masks(ball, empty, centre))


def test_an_open_surface_is_no_solid():
    centre = ORIGIN + np.array([12.0, 12.0, 12.0])
    ball = build_surfaces(masks(field((centre, 5.0)), field((centre, 5.0)), centre)).mc
    with pytest.raises(SurfaceError):
        to_manifold(Mesh(ball.vertices, ball.triangles[1:]))
    assert from_manifold(to_manifold(ball)).triangles.shape == ball.triangles.shape


def test_bone_near_a_solid_is_the_whole_bone_there():
    centre = ORIGIN + np.array([12.0, 12.0, 12.0])
    joint = build_surfaces(masks(field((centre, 5.0)), field((centre, 8.0)), centre))
    whole = to_manifold(joint.tb)
    for place in np.array([[6.0, 3, -2], [-8.0, 0, 0]]) + centre:  # the second box reaches out of the grid
        part = Manifold.sphere(3.0, 48).translate(tuple(place))
        near = joint.tb_solid(part)
        assert (part ^ near).volume() == pytest.approx((part ^ whole).volume(), abs=1e-3)
        assert near.num_tri() < whole.num_tri() / 2
    with pytest.raises(SegmentationEmpty):
        joint.tb_solid(Manifold.sphere(1.0).translate(tuple(centre + 100)))
    with pytest.raises(SegmentationEmpty):
        joint.tb_solid(Manifold.sphere(1.0).translate(tuple(centre + np.array([10.5, 0, 0]))))
