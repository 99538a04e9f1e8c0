"""Landmarks of the fossa, and that they do not depend on the head's position."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import FossaNotFound
from negvol_pacs.joint.fossa import find_fossa
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.surface import build_surfaces
from negvol_pacs.training.analytic_joints import ellipsoid_in_fossa, parametric_fossa, sphere_in_cup

CENTRE = np.array([45.0, 100.0, 60.0])


def fossa_of(joint, side=Side.RIGHT, turn=None, spacing=0.5):
    turn = np.eye(3) if turn is None else turn
    surfaces = build_surfaces(joint.masks(side, spacing, turn, CENTRE, extent_mm=40))
    return find_fossa(Rays(surfaces.tb), surfaces.mc, CENTRE, turn @ np.array([1.0, 0, 0]), side)


@pytest.mark.parametrize("joint", [sphere_in_cup(), ellipsoid_in_fossa(), parametric_fossa()])
def test_width_and_depth(joint):
    fossa, _ = fossa_of(joint, spacing=0.4)
    assert fossa.width == pytest.approx(joint.width, abs=0.3)
    assert fossa.depth == pytest.approx(joint.depth, abs=0.15)
    assert fossa.postglenoid_is_lip


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_turned_head_measures_the_same(side, axis, degrees):
    joint = parametric_fossa()
    turn = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    fossa, condyle = fossa_of(joint, side, turn)
    assert fossa.width == pytest.approx(joint.width, abs=0.3)
    assert fossa.depth == pytest.approx(joint.depth, abs=0.15)
    assert np.degrees(np.arccos(fossa.frame.superior @ turn[:, 2])) < 1.5
    assert np.degrees(np.arccos(fossa.opening.normal @ turn[:, 2])) < 2.5
    anterior = turn @ np.array([0, -1.0, 0])
    assert (fossa.eminence - fossa.roof) @ anterior == pytest.approx(10, abs=0.4)
    assert (fossa.postglenoid - fossa.roof) @ anterior == pytest.approx(-8, abs=0.4)
    outward = turn @ np.array([1.0 if side is Side.LEFT else -1.0, 0, 0])
    assert (condyle.lateral - CENTRE) @ outward == pytest.approx(9, abs=0.3)
    assert (condyle.medial - CENTRE) @ outward == pytest.approx(-9, abs=0.3)


def test_side_rims_roll_the_opening():
    joint = parametric_fossa()
    tilt = np.tan(np.radians(8))
    tilted = dataclasses.replace(joint, tb=lambda p: joint.tb(p - tilt * p[..., :1] * [0, 0, 1]))
    fossa, _ = fossa_of(tilted)
    outward = fossa.frame.lateral(Side.RIGHT)
    assert np.degrees(np.arcsin(-fossa.opening.normal @ outward)) == pytest.approx(8, abs=2)
    for point in (fossa.eminence, fossa.postglenoid):
        assert abs(fossa.opening.height(point)) < 1e-4


def test_no_lip_gives_the_wall_at_the_eminences_level():
    joint = parametric_fossa()
    fused = dataclasses.replace(
        joint, tb=lambda p: np.minimum(joint.tb(p), np.maximum(p[..., 1] + 7.5 + 0.3 * p[..., 2], p[..., 2] - 3))
    )
    fossa, _ = fossa_of(fused)
    assert not fossa.postglenoid_is_lip
    assert 14 < fossa.width < 19


@pytest.mark.parametrize(
    "bone",
    [
        lambda p: np.linalg.norm(p - [0, 0, 16.5], axis=-1) - 2,  # only a far crumb
        lambda p: np.abs(p[..., 2] - 12) - 3,  # flat
        lambda p: np.maximum(parametric_fossa().tb(p), p[..., 1] - 2),  # no eminence
    ],
)
def test_without_landmarks_there_is_no_fossa(bone):
    with pytest.raises(FossaNotFound):
        fossa_of(dataclasses.replace(parametric_fossa(), tb=bone))
