"""The mid-sagittal plane of the skull."""

import numpy as np
import pytest
from manifold3d import Manifold
from scipy.spatial.transform import Rotation

from negvol_pacs.joint.frame import unit
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.midsagittal import find_midsagittal_plane
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.surface import from_manifold, to_manifold

CENTRE = np.array([50.0, 0, 0])
TURNS = [Rotation.identity(), Rotation.from_euler("xyz", [15, -9, 12], degrees=True)]
PLACE = np.array([30.0, -20.0, 400.0])


def bone():
    """A lump without symmetry around the left condyle, in a head that is symmetric about x = 0."""
    block = Manifold.cube((44, 40, 12), True).translate((50, 0, 14)) - Manifold.sphere(10, 48).translate((50, 0, 8))
    lumps = Manifold.sphere(6, 32).translate((62, -12, 7)) + Manifold.cylinder(14, 4, 2, 24).translate((40, 14, -2))
    return from_manifold((block + lumps).refine_to_length(2.0))


def head(turn, left=None):
    """Right and left bone in a turned head, and the centres of their condyles."""
    true, left = bone(), left or bone()
    right = true.vertices * [-1, 1, 1], true.triangles[:, ::-1]
    meshes = [Mesh(turn.apply(v) + PLACE, np.ascontiguousarray(t)) for v, t in (right, (left.vertices, left.triangles))]
    return *meshes, [turn.apply(c) + PLACE for c in (CENTRE * [-1, 1, 1], CENTRE)]


def find(turn, displaced=(0, 0, 0), left=None):
    right, left, centres = head(turn, left)
    centres[1] = centres[1] + turn.apply(displaced)
    return find_midsagittal_plane(Rays(right), left, tuple(centres), unit(centres[1] - centres[0]))


def degrees_off(found, turn):
    return np.degrees(np.arccos(min(1.0, found.plane.normal @ turn.apply([1.0, 0, 0]))))


@pytest.mark.parametrize("turn", TURNS, ids=["straight", "turned"])
def test_a_symmetric_skull_has_its_plane(turn):
    found = find(turn)
    assert degrees_off(found, turn) < 0.02
    assert abs(found.plane.height(PLACE)) < 0.02
    assert found.uncertainty_deg < 0.05


@pytest.mark.parametrize("turn", TURNS, ids=["straight", "turned"])
@pytest.mark.parametrize("displaced", [(0, 3.0, 0), (0, 0, -3.0), (3.0, 2.0, 0)])
def test_a_displaced_jaw_does_not_turn_it(turn, displaced):
    assert np.degrees(np.arctan2(np.linalg.norm(displaced[1:]), 100)) > 1  # so much the line through the condyles turns
    assert degrees_off(find(turn, displaced), turn) < 0.15


def test_a_lopsided_skull_is_uncertain():
    lump = Manifold.sphere(4, 48).translate((50, 12, 21))
    lopsided = from_manifold((to_manifold(bone()) + lump).refine_to_length(2.0))
    found = find(TURNS[0], left=lopsided)
    assert found.uncertainty_deg > find(TURNS[0]).uncertainty_deg
    assert degrees_off(found, TURNS[0]) < 0.5


def test_bones_that_are_unlike_have_no_plane():
    ball = from_manifold(Manifold.sphere(15, 64).translate((50, 0, 0)))
    assert find(TURNS[0], left=ball) is None
