"""Horizontal condylar angle and sagittal ramus angle."""

import pytest
from solid_joints import HEADS, STRAIGHT, make

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.angles import horizontal_condylar_angle, posterior_border, sagittal_ramus_angle

each_head = pytest.mark.parametrize(("side", "head"), HEADS, ids=["left", "right", "right in a turned head"])


@each_head
@pytest.mark.parametrize("turn", [-10.0, 0.0, 12.7, 30.0])
def test_hca_is_the_turn_of_the_long_axis(head, side, turn):
    joint = make(side, head, turn=turn)
    angle = horizontal_condylar_angle(joint.condyle, joint.frame, joint.frame.lateral(side))
    assert angle == pytest.approx(turn, abs=0.3)
    assert joint.condyle.has_axis


@pytest.mark.parametrize("side", list(Side))
def test_a_positive_hca_has_its_medial_pole_behind(side):
    joint = make(side, STRAIGHT, turn=15.0)
    assert joint.condyle.medial[1] > joint.condyle.lateral[1]  # posterior has the larger y
    assert abs(joint.condyle.medial[0]) > 8
    assert (joint.condyle.medial[0] > joint.condyle.lateral[0]) == (side is Side.RIGHT)


@pytest.mark.parametrize("condyle", [(6.0, 6.0, 6.0), (5.0, 8.0, 6.0)], ids=["round", "long from front to back"])
def test_a_head_without_a_transverse_axis_says_so(condyle):
    assert not make(Side.LEFT, STRAIGHT, condyle=condyle).condyle.has_axis


@each_head
@pytest.mark.parametrize("lean", [-5.0, 0.0, 9.6, 25.0])
def test_sra_is_the_lean_of_the_neck(head, side, lean):
    joint = make(side, head, lean=lean)
    border = posterior_border(joint.mc_mesh, joint.condyle, joint.frame)
    assert sagittal_ramus_angle(border, joint.frame) == pytest.approx(90 - lean, abs=0.1)
    assert (border.upper - border.lower) @ joint.frame.superior > 5


def test_a_short_neck_has_no_angle():
    joint = make(Side.LEFT, STRAIGHT, neck=9.0)
    assert posterior_border(joint.mc_mesh, joint.condyle, joint.frame) is None
