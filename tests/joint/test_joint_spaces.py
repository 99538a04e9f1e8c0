"""Joint spaces."""

import numpy as np
import pytest
from manifold3d import Manifold

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import SurfaceError
from negvol_pacs.joint.fossa import find_fossa
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.spaces import measure_spaces, section
from negvol_pacs.joint.surface import build_surfaces, from_manifold
from negvol_pacs.training.analytic_joints import ellipsoid_in_fossa, sphere_in_cup

LEFT = np.array([1.0, 0, 0])


def spaces_of(joint, side=Side.LEFT):
    surfaces = build_surfaces(joint.masks(side, extent_mm=36))
    fossa, condyle = find_fossa(Rays(surfaces.tb), surfaces.mc, np.zeros(3), LEFT, side)
    return measure_spaces(surfaces.mc, surfaces.tb, condyle, fossa)


@pytest.mark.parametrize("gap", [1.5, 2.5, 4.0])
def test_concentric_spheres_have_one_gap(gap):
    spaces = spaces_of(sphere_in_cup(9.0 - gap, 9.0))
    for space in (spaces.anterior, spaces.superior, spaces.posterior):
        assert space.width == pytest.approx(gap, abs=0.05)


def test_a_shifted_condyle_moves_the_spaces():
    spaces = spaces_of(ellipsoid_in_fossa(shift_mm=(0, 0.8, 0)))
    assert spaces.anterior.width < 2.5 < spaces.posterior.width
    assert spaces.anterior.condyle[1] < spaces.posterior.condyle[1]  # anterior has the smaller y
    assert spaces.superior.fossa[2] > spaces.superior.condyle[2]


def test_section_of_a_ball_is_its_circle():
    ball = from_manifold(Manifold.sphere(5.0, 100))
    segments = section(ball, np.array([3.0, 0, 0]), LEFT)
    assert np.allclose(segments[..., 0], 3.0)
    assert np.allclose(np.linalg.norm(segments[..., 1:], axis=-1), 4.0, atol=0.02)
    length = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1).sum()
    assert length == pytest.approx(8 * np.pi, rel=0.01)
    assert section(ball, np.array([6.0, 0, 0]), LEFT).shape == (0, 2, 3)


def test_a_plane_that_misses_the_bone_is_an_error():
    joint = sphere_in_cup()
    surfaces = build_surfaces(joint.masks(Side.LEFT, 0.5, extent_mm=36))
    fossa, condyle = find_fossa(Rays(surfaces.tb), surfaces.mc, np.zeros(3), LEFT, Side.LEFT)
    with pytest.raises(SurfaceError):
        measure_spaces(
            surfaces.mc, Mesh(surfaces.tb.vertices + np.array([90.0, 0, 0]), surfaces.tb.triangles), condyle, fossa
        )
