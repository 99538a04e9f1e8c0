"""Left against right."""

import numpy as np
import pytest
from manifold3d import Manifold
from scipy.spatial.transform import Rotation

from negvol_pacs.joint.measure import volume
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.surface import from_manifold
from negvol_pacs.joint.symmetry import area, centroid, compare, mirror, sample, sliced_wasserstein

TRANSVERSE = np.array([1.0, 0, 0])


def shell(scale=(9.0, 5.0, 4.0), bump=0.0):
    """Half an ellipsoidal shell, with a bump if wanted."""
    outer = Manifold.sphere(1, 64).scale(scale)
    inner = Manifold.sphere(1, 64).scale([s - 2 for s in scale])
    solid = (outer - inner).trim_by_plane((0, 0, 1), 0)
    if bump:
        solid += Manifold.sphere(1.5, 32).translate((3, 1, scale[2] - 1.5 + bump))
    return from_manifold(solid)


def moved(mesh, degrees=(0, 0, 0), shift=(0, 0, 0)):
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return Mesh(mesh.vertices @ turn.T + shift, mesh.triangles)


def test_mirrored_joints_are_equal():
    right = moved(shell(bump=1), (5, 0, 10), (-50, 3, 2))
    left = moved(mirror(right, TRANSVERSE), (-6, 4, 5), (3, -8, 4))
    found = compare(right, left, TRANSVERSE)
    assert found.area_ratio == pytest.approx(1, abs=1e-9)
    assert found.hausdorff.mean < 0.05
    assert found.hausdorff.sd < 0.02
    assert 0 <= found.mean_distance.mean < found.hausdorff_95.mean <= found.hausdorff.mean
    assert found.wasserstein < 0.03


def test_a_triangle_without_area_has_no_normal():
    corners = np.array([[0, 0, 0], [1, 0, 0], [9, 0, 0], [9, 1, 0]], dtype=float)
    surface = Rays(Mesh(corners, np.array([[0, 1, 1], [1, 2, 3]], dtype=np.int32)))
    _, normals = surface.nearest_with_normals(np.array([[0.2, 0, 1.0], [8.9, 0.5, 1.0]]))
    assert normals[0] == pytest.approx([0, 0, 0])
    assert normals[1] == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("height", [1.0, 2.0, 3.0])
def test_a_bump_on_one_side_is_its_height(height):
    found = compare(shell(), mirror(shell(bump=height), TRANSVERSE), TRANSVERSE)
    assert found.hausdorff.mean == pytest.approx(height, abs=0.4)
    assert found.area_ratio > 1
    assert found.mean_distance.mean < found.hausdorff_95.mean < found.hausdorff.mean  # a bump is small


def test_ratio_of_areas():
    found = compare(shell((9, 5, 4)), shell((10.8, 6, 4.8)), TRANSVERSE)
    expected = area(shell((10.8, 6, 4.8))) / area(shell((9, 5, 4)))
    assert found.area_ratio == pytest.approx(expected)
    swapped = compare(shell((10.8, 6, 4.8)), shell((9, 5, 4)), TRANSVERSE)
    assert swapped.area_ratio == pytest.approx(expected)
    assert swapped.hausdorff.mean == pytest.approx(found.hausdorff.mean, abs=0.1)
    assert swapped.wasserstein == pytest.approx(found.wasserstein, abs=0.02)


def test_the_same_twice():
    assert compare(shell(), shell(bump=1), TRANSVERSE) == compare(shell(), shell(bump=1), TRANSVERSE)


def test_mirror_keeps_outward():
    mesh = moved(shell(), shift=(20, 0, 0))
    mirrored = mirror(mesh, TRANSVERSE)
    assert volume(mirrored) == pytest.approx(volume(mesh))
    assert volume(mirrored) > 0
    assert centroid(mirrored) == pytest.approx(centroid(mesh) * [-1, 1, 1])


def test_samples_lie_evenly_on_the_surface():
    cube = from_manifold(Manifold.cube((2, 2, 2), True))
    points = sample(cube, 6000, np.random.default_rng(1))
    assert np.allclose(np.abs(points).max(axis=1), 1)
    faces = np.bincount(np.abs(points).argmax(axis=1) * 2 + (points.max(axis=1) == 1))
    assert faces == pytest.approx([1000] * 6, rel=0.12)
    assert area(cube) == pytest.approx(24)


def test_concentric_balls_are_their_gap_apart():
    found = compare(ball(6.0), ball(5.0), TRANSVERSE)
    for distance in (found.hausdorff, found.hausdorff_95, found.mean_distance):
        assert distance.mean == pytest.approx(1.0, abs=0.02)
    # Coordinates of a sphere's surface are uniform along any direction: from -r to r.
    assert found.wasserstein == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shift", [(2.0, 0, 0), (0, 0, 1.0), (1.0, -2.0, 2.0)])
def test_wasserstein_distance_of_a_shift_is_half_of_it(shift):
    distance = sliced_wasserstein(shell(), moved(shell(), shift=shift))
    assert distance == pytest.approx(np.linalg.norm(shift) / 2, rel=0.02)


def ball(radius):
    return from_manifold(Manifold.sphere(radius, 96))
