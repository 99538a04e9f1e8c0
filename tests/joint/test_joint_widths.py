"""Map of the joint space's width over the condyle."""

from dataclasses import replace

import numpy as np
import pytest
from solid_joints import STRAIGHT, make

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.inflation import inflate
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.surface import from_manifold
from negvol_pacs.joint.widths import WidthMap, map_widths

OPENING = Plane(np.array([0, 0, 1.0]), np.array([0, 0, 1.0]))


def widths_of(shift=(0, 0, 0), opening=OPENING):
    joint = make(Side.LEFT, STRAIGHT, condyle=(6.0,) * 3, hollow=(8.5,) * 3)
    mc = from_manifold(joint.mc.translate(shift).refine_to_length(0.6))
    return map_widths(mc, inflate(mc, Rays(joint.tb_mesh), opening), opening)


def test_concentric_balls_have_one_width():
    widths = widths_of()
    assert widths.width == pytest.approx(2.5, abs=0.05)
    assert np.linalg.norm(widths.vertices, axis=1) == pytest.approx(6.0, abs=0.05)
    assert widths.vertices[:, 2].min() > 1.0
    assert widths.area.sum() == pytest.approx(2 * np.pi * 6 * 5, rel=0.04)  # above the opening


def test_a_shifted_ball_has_the_width_along_its_normals():
    shift = np.array([0.5, 0.3, 0.4])
    widths = widths_of(shift)
    normal = (widths.vertices - shift) / np.linalg.norm(widths.vertices - shift, axis=1, keepdims=True)
    along = normal @ shift  # where the normal meets the hollow: |shift + r normal| = 8.5
    expected = np.sqrt(along**2 - shift @ shift + 8.5**2) - along - 6.0
    assert np.abs(widths.width - expected).mean() < 0.03
    assert widths.width == pytest.approx(expected, abs=0.15)
    for percent in (5, 50, 95):
        assert widths.percentile(percent) == pytest.approx(np.percentile(expected, percent), abs=0.06)


def test_percentiles_count_area_not_vertices():
    crowded = WidthMap(np.zeros((4, 3)), np.array([1.0, 1.0, 1.0, 3.0]), np.array([1.0, 1.0, 1.0, 3.0]))
    assert crowded.percentile(0) == 1
    assert crowded.percentile(100) == 3
    assert 1 < crowded.percentile(50) < 3


def test_without_confining_bone_there_is_no_map():
    joint = make(Side.LEFT, STRAIGHT, condyle=(6.0,) * 3, hollow=(8.5,) * 3)
    mc = from_manifold(joint.mc.refine_to_length(1.0))
    inflation = inflate(mc, Rays(joint.tb_mesh), OPENING)
    assert map_widths(mc, inflation, OPENING) is not None
    assert map_widths(mc, replace(inflation, confined=np.zeros_like(inflation.confined)), OPENING) is None
