"""Medial, central and lateral joint space."""

import numpy as np
import pytest
from solid_joints import HEADS, STRAIGHT, make

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import FossaNotFound
from negvol_pacs.joint.coronal import measure_coronal_spaces
from negvol_pacs.joint.mesh import Mesh

each_head = pytest.mark.parametrize(("side", "head"), HEADS, ids=["left", "right", "right in a turned head"])


def spaces_of(joint):
    return measure_coronal_spaces(joint.mc_mesh, joint.tb_mesh, joint.condyle, joint.fossa)


@each_head
def test_concentric_balls_have_one_gap(head, side):
    spaces = spaces_of(make(side, head, condyle=(6.0,) * 3, hollow=(8.5,) * 3))
    for space in (spaces.medial, spaces.central, spaces.lateral):
        assert space.width == pytest.approx(2.5, abs=0.03)


@each_head
@pytest.mark.parametrize("turn", [0.0, 20.0])
def test_ellipsoids_have_the_spaces_of_their_section(head, side, turn):
    """In the plane of the long axis: an ellipse under an ellipse, the nearest point by brute force."""
    spaces = spaces_of(make(side, head, turn=turn))
    radians = np.radians(turn)
    half = 1 / np.hypot(np.cos(radians) / 12.0, np.sin(radians) / 8.0)  # of the hollow in that plane
    angle = np.linspace(0, np.pi, 20001)
    roof = np.stack([half * np.cos(angle), 8.5 * np.sin(angle)], axis=1)
    for space, share in ((spaces.medial, 1 / 6), (spaces.central, 1 / 2), (spaces.lateral, 5 / 6)):
        x = 9.0 * (2 * share - 1)
        point = np.array([x, 6.0 * np.sqrt(1 - (x / 9.0) ** 2)])
        assert space.width == pytest.approx(np.linalg.norm(roof - point, axis=1).min(), abs=0.05)


@each_head
def test_the_medial_space_is_medial(head, side):
    joint = make(side, head)
    spaces = spaces_of(joint)
    outward = joint.frame.lateral(side)
    positions = [(space.condyle - joint.place) @ outward for space in (spaces.medial, spaces.central, spaces.lateral)]
    assert positions == pytest.approx([-6, 0, 6], abs=0.1)
    for space in (spaces.medial, spaces.central, spaces.lateral):
        assert (space.fossa - space.condyle) @ joint.frame.superior > 0


def test_a_condyle_shifted_to_lateral_narrows_the_lateral_space():
    joint = make(Side.LEFT, STRAIGHT)
    shifted = Mesh(joint.mc_mesh.vertices + 0.8 * joint.frame.left, joint.mc_mesh.triangles)
    before, after = spaces_of(joint), measure_coronal_spaces(shifted, joint.tb_mesh, joint.condyle, joint.fossa)
    assert after.lateral.width < before.lateral.width - 0.2
    assert after.medial.width > before.medial.width + 0.2


def test_a_plane_that_misses_the_bone_is_an_error():
    joint = make(Side.LEFT, STRAIGHT)
    away = Mesh(joint.tb_mesh.vertices + 90.0, joint.tb_mesh.triangles)
    with pytest.raises(FossaNotFound):
        measure_coronal_spaces(joint.mc_mesh, away, joint.condyle, joint.fossa)
