"""The negative volume against quadrature and against growth in voxels."""

import numpy as np
import pytest
from manifold3d import Manifold
from scipy import ndimage

from negvol_pacs.errors import InflationError
from negvol_pacs.joint.clipping import negative_volume
from negvol_pacs.joint.folding import crossings
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.inflation import inflate
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.surface import build_surfaces, from_manifold, to_manifold
from negvol_pacs.training.analytic_joints import ellipsoid_in_fossa, parametric_fossa, sphere_in_cup
from negvol_pacs.validation.asymmetry import flattened

UP = np.array([0, 0, 1.0])
JOINTS = [
    sphere_in_cup(),
    ellipsoid_in_fossa(),
    ellipsoid_in_fossa(shift_mm=(0, 0.7, -0.3)),
    parametric_fossa(),
    flattened(3.0),  # a plane top: without vertices of its own it could not inflate
]


def space_of(joint, spacing):
    masks = joint.masks(spacing_mm=spacing, extent_mm=36)
    surfaces = build_surfaces(masks)
    plane = Plane(joint.opening * UP, UP)
    inflation = inflate(surfaces.mc, Rays(surfaces.tb), plane)
    solids = [to_manifold(mesh) for mesh in (inflation.mesh, surfaces.mc, surfaces.tb)]
    return masks, solids, negative_volume(*solids, plane)


@pytest.mark.parametrize("joint", JOINTS)
def test_volume_is_the_space_between_the_bones(joint):
    _, (_, mc, tb), space = space_of(joint, 0.4)
    assert space.volume() == pytest.approx(joint.volume(0.2), rel=0.02)
    assert (space ^ mc).volume() < 0.01
    assert (space ^ tb).volume() < 0.01
    mesh = from_manifold(space)
    assert len(crossings(mesh)) == 0
    assert mesh.vertices[:, 2].min() > joint.opening - 1e-6


def test_agrees_with_growth_in_voxels():
    joint = ellipsoid_in_fossa(shift_mm=(0.5, 0.4, 0))
    masks, _, space = space_of(joint, 0.5)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in masks.mc.array.shape), indexing="ij"), axis=-1)
    points = index @ masks.mc.affine[:3, :3].T + masks.mc.affine[:3, 3]
    free = (masks.mc.array < 0.5) & (masks.tb.array < 0.5) & (points[..., 2] > joint.opening)
    grown = masks.mc.array >= 0.5
    for _ in range(16):  # step by step from the condyle through free space, no farther than 8 mm
        grown |= ndimage.binary_dilation(grown) & free
    grown &= free & joint.inside_rims(points)
    inside = Rays(from_manifold(space)).signed_distance(points) < 0
    dice = 2 * (grown & inside).sum() / (grown.sum() + inside.sum())
    assert dice > 0.95
    assert inside.sum() == pytest.approx(grown.sum(), rel=0.04)


def test_pieces_that_do_not_touch_the_condyle_are_dropped():
    condyle = Manifold.sphere(5, 48)
    roof = (Manifold.sphere(9, 48) - Manifold.sphere(8, 48)).trim_by_plane((0, 0, 1), 0)
    space = negative_volume(Manifold.sphere(9.5, 48), condyle, roof, Plane(np.zeros(3), UP))
    assert space.bounding_box()[5] < 8.1
    assert space.volume() == pytest.approx(2 / 3 * np.pi * (512 - 125), rel=0.02)


def test_no_space_is_an_error():
    condyle = Manifold.sphere(5, 48)
    with pytest.raises(InflationError):
        negative_volume(condyle, condyle, Manifold.sphere(2, 32).translate((0, 0, 9)), Plane(np.zeros(3), UP))
    with pytest.raises(InflationError):
        negative_volume(Manifold.sphere(6, 48), condyle, condyle, Plane(20 * UP, UP))


def test_a_solid_survives_the_way_to_a_mesh_and_back():
    ball = Manifold.sphere(5, 48)
    mesh = from_manifold(ball)
    assert isinstance(mesh, Mesh)
    assert to_manifold(mesh).volume() == pytest.approx(ball.volume())
