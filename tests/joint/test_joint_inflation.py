"""The inflation stops at the bone, bridges openings and never crosses itself."""

import dataclasses

import numpy as np
import pytest

from negvol_pacs.errors import InflationError
from negvol_pacs.joint.folding import crossings
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.inflation import PUSH_MM, inflate
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.surface import build_surfaces
from negvol_pacs.training.analytic_joints import parametric_fossa, sphere_in_cup

UP = np.array([0, 0, 1.0])


def inflated(joint, spacing=0.5):
    surfaces = build_surfaces(joint.masks(spacing_mm=spacing, extent_mm=36))
    bone = Rays(surfaces.tb)
    return surfaces, bone, inflate(surfaces.mc, bone, Plane(joint.opening * UP, UP))


@pytest.mark.parametrize("gap", [1.0, 2.5, 5.0])
def test_thickness_is_the_gap_between_spheres(gap):
    _, _, inflation = inflated(sphere_in_cup(9.0 - gap, 9.0))
    assert np.median(inflation.thickness) == pytest.approx(gap, abs=0.05)
    assert inflation.converged


def test_contact_reaches_just_into_the_bone_and_no_farther():
    joint = parametric_fossa()
    surfaces, bone, inflation = inflated(joint)
    above = surfaces.mc.vertices[:, 2] > joint.opening
    depth = -bone.signed_distance(inflation.mesh.vertices[above])
    assert depth.max() < PUSH_MM + 0.05
    assert np.mean(depth > 0) > 0.5
    assert len(crossings(inflation.mesh)) == 0


def test_a_hole_in_the_roof_is_bridged():
    whole = sphere_in_cup()
    pierced = dataclasses.replace(
        whole, tb=lambda p: np.maximum(whole.tb(p), np.where(p[..., 2] > 0, 1.5 - np.hypot(p[..., 0], p[..., 1]), -9))
    )
    _, bone, inflation = inflated(pierced)
    assert np.isinf(bone.distance(np.zeros((1, 3)), UP))
    top = inflation.mesh.vertices[np.hypot(*inflation.mesh.vertices[:, :2].T) < 1.0]
    assert top[:, 2].max() == pytest.approx(9.0, abs=0.5)


def test_without_bone_there_is_nothing_to_inflate_to():
    joint = sphere_in_cup()
    far = dataclasses.replace(joint, tb=lambda p: np.linalg.norm(p - [0, 0, 17.4], axis=-1) - 1.5)
    with pytest.raises(InflationError):
        inflated(far)
