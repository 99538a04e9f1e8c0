"""Crossings of a surface with itself are found and drawn smooth."""

import numpy as np
from manifold3d import Manifold

from negvol_pacs.joint.folding import crossings, unfold
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.surface import from_manifold


def ball(radius=5.0):
    return from_manifold(Manifold.sphere(radius, 48))


def test_a_ball_does_not_cross_itself():
    assert len(crossings(ball())) == 0


def test_overlapping_balls_cross():
    one = ball()
    two = Mesh(one.vertices + np.array([4.0, 0.3, 0.2]), one.triangles + len(one.vertices))
    both = Mesh(np.concatenate([one.vertices, two.vertices]), np.concatenate([one.triangles, two.triangles]))
    found = both.vertices[crossings(both)]
    assert len(found) > 20
    assert np.abs(found[:, 0] - 2).max() < 1.5  # the circle in which they meet


def test_a_fold_is_drawn_smooth():
    mesh = ball()
    folded = mesh.vertices.copy()
    cap = folded[:, 2] > 4.6
    folded[cap] = folded[cap] * [-1, -1, 1]  # a twisted cap crosses itself
    assert len(crossings(Mesh(folded, mesh.triangles)))
    smooth = unfold(Mesh(folded, mesh.triangles), mesh.vertices[:, 2] > 0)
    assert len(crossings(smooth)) == 0
    assert np.allclose(smooth.vertices[mesh.vertices[:, 2] <= 0], mesh.vertices[mesh.vertices[:, 2] <= 0])
