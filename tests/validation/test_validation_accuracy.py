"""Quadrature gives closed forms, and the measurements give the references."""

import dataclasses

import numpy as np
import pytest

from negvol_pacs.joint.findings import Quantity
from negvol_pacs.training.analytic_joints import parametric_fossa, sphere_in_cup
from negvol_pacs.validation import accuracy
from negvol_pacs.validation.heads import turned_condyle
from negvol_pacs.validation.outlines import joint_spaces
from negvol_pacs.validation.quadrature import space


def test_quadrature_of_a_hollow_hemisphere():
    shell = dataclasses.replace(
        sphere_in_cup(),
        mc=lambda p: np.linalg.norm(p, axis=-1) - 6.5,
        tb=lambda p: 9.0 - np.linalg.norm(p, axis=-1),
        opening=0.0,
        depth=9.0,
        inside_rims=lambda p: np.ones(p.shape[:-1], dtype=bool),
    )
    volume, area = space(shell, 0.2)
    assert volume == pytest.approx(2 / 3 * np.pi * (9**3 - 6.5**3), rel=1e-3)
    assert area == pytest.approx(2 * np.pi * (81 + 42.25) + np.pi * (81 - 42.25), rel=1e-3)


def test_outlines_of_concentric_spheres_are_their_gap_apart():
    spaces = joint_spaces(sphere_in_cup())
    assert len(spaces) == 5
    assert list(spaces.values()) == pytest.approx([2.5] * 5, abs=0.01)


def test_sphere_in_cup():
    joint = sphere_in_cup()
    checks = accuracy.compare("sphere", joint, accuracy.references(joint), 0.4)
    assert len(checks) == 11
    assert [check for check in checks if not check.passed] == []


def test_angles_of_a_turned_condyle():
    joint = turned_condyle(parametric_fossa(gap_mm=3.5), hca=12.0, lean=0.0)
    (check,) = accuracy.compare("turned", joint, {Quantity.HCA: 12.0}, 0.4)
    assert check.passed
    (wrong,) = accuracy.compare("turned", joint, {Quantity.HCA: -12.0}, 0.4)
    assert not wrong.passed


def test_limits_shrink_with_the_spacing_and_end_at_coarse_grids():
    joint, truth = sphere_in_cup(), {Quantity.NV_VOLUME: 1e6, Quantity.FW: 1e6}
    limits = {mm: [check.limit for check in accuracy.compare("s", joint, truth, mm)] for mm in (0.8, 0.4)}
    assert limits == {0.8: [None, None], 0.4: [pytest.approx(1.5), 0.3]}
    assert accuracy._limit(Quantity.NV_VOLUME, 0.2) == (pytest.approx(0.75), "%")
