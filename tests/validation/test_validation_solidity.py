"""Faults are found, and degenerate joints have none or a flag."""

import dataclasses

import numpy as np
import pytest
from manifold3d import Manifold

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import JointMeasurements, Measurement, Quantity
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.surface import from_manifold
from negvol_pacs.validation import solidity


def found(nv, mc=None):
    return JointMeasurements(Side.RIGHT, {Quantity.NV_VOLUME: Measurement(Quantity.NV_VOLUME, 1.0)}, mc=mc, nv=nv)


def test_faults():
    ball = from_manifold(Manifold.sphere(5, 24))
    assert solidity.faults(found(ball)) == []
    assert solidity.faults(found(Mesh(ball.vertices, ball.triangles[:, ::-1].copy())))[0] == "inside out"
    assert not solidity.closed(Mesh(ball.vertices, ball.triangles[1:]))
    assert solidity.faults(found(ball, from_manifold(Manifold.sphere(2, 24)))) == ["overlaps the condyle"]
    twice = Mesh(
        np.concatenate([ball.vertices, ball.vertices - [3.1, 0.37, 0.21]]),
        np.concatenate([ball.triangles, ball.triangles + len(ball.vertices)]),
    )
    assert "crosses itself" in solidity.faults(found(twice))
    nothing = dataclasses.replace(found(None))
    assert solidity.faults(nothing) == ["missing without a flag"]


@pytest.mark.parametrize("name", ["contact", "open mouth", "bifid condyle"])
def test_degenerate_joints(name):
    check = solidity.check(name, solidity.degenerate()[name], 0.7)
    assert check.passed
    assert ("no number" in check.setting) == (name == "open mouth")
    assert ("BONE_CONTACT" in check.setting) == (name == "contact")
