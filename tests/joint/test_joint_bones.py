"""Condylar head, articulating fossa and the sphere of the manual way."""

import highdicom as hd
import numpy as np
import pytest
from manifold3d import Manifold
from solid_joints import HEADS, STRAIGHT, make

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import InflationError
from negvol_pacs.joint.bones import articulating_area, measure_head
from negvol_pacs.joint.fossa import Fossa
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.sphere import sphere_volume

each_head = pytest.mark.parametrize(("side", "head"), HEADS, ids=["left", "right", "right in a turned head"])


@each_head
def test_head_of_a_ball_reaches_three_millimetres_below_its_middle(side, head):
    joint = make(side, head, condyle=(6.5,) * 3)
    found = measure_head(joint.mc, joint.frame)
    assert found.volume == pytest.approx(np.pi * 9.5**2 * (3 * 6.5 - 9.5) / 3, rel=0.005)
    assert found.area == pytest.approx(2 * np.pi * 6.5 * 9.5, rel=0.005)


@each_head
@pytest.mark.parametrize("lost", [0.5, 1.5, 2.2])
def test_a_flattened_head_has_lost_its_top(side, head, lost):
    joint = make(side, head)
    up = joint.frame.superior
    cut = float(up @ joint.place) + 6.0 - lost
    flat = measure_head(joint.mc.trim_by_plane(tuple(-up), -cut), joint.frame)
    top = joint.mc.trim_by_plane(tuple(up), cut).volume()
    assert flat.volume == pytest.approx(measure_head(joint.mc, joint.frame).volume - top, rel=0.01)


def test_an_osteophyte_in_front_only_adds():
    joint = make(Side.LEFT, STRAIGHT)
    at = np.array([0.0, -4.5, 1.0])  # posterior is y
    grown = measure_head(joint.mc + Manifold.sphere(1.5, 48).translate(tuple(at)), joint.frame)
    added = (Manifold.sphere(1.5, 48).translate(tuple(at)) - joint.mc).volume()
    assert grown.volume == pytest.approx(measure_head(joint.mc, joint.frame).volume + added, abs=0.5)


def test_head_does_not_depend_on_the_length_of_the_neck():
    short, long = (measure_head(make(Side.LEFT, STRAIGHT, neck=n).mc, make(*HEADS[0]).frame) for n in (12.0, 28.0))
    assert short.volume == pytest.approx(long.volume, rel=1e-4)
    assert short.area == pytest.approx(long.area, rel=1e-4)


def test_a_condyle_cut_off_above_its_neck_has_no_head():
    joint = make(Side.LEFT, STRAIGHT)
    assert measure_head(joint.mc.trim_by_plane((0, 0, 1), 0.0), joint.frame) is None


@each_head
def test_articulating_area_of_a_half_shell_is_the_hollow(side, head):
    joint = make(side, head, condyle=(6.0,) * 3, hollow=(9.0,) * 3)
    up = joint.frame.superior
    inflated = Manifold.sphere(9.5, 96).translate(tuple(joint.place))
    inflated = inflated.trim_by_plane(tuple(up), float(up @ joint.place) + 0.5)
    space = inflated - joint.mc - joint.tb
    assert articulating_area(space, joint.tb) == pytest.approx(2 * np.pi * 9 * 8.5, rel=0.005)
    assert articulating_area(space, joint.mc) == pytest.approx(2 * np.pi * 6 * 5.5, rel=0.005)
    moved = joint.tb.translate((0, 0, 0.3))
    assert articulating_area(inflated - joint.mc - moved, joint.tb) == 0


def placed(joint, width):
    """Landmarks of a fossa whose opening goes through the joint's middle."""
    front, back = (joint.place + s * width / 2 * joint.frame.anterior for s in (1, -1))
    return Fossa(joint.frame, front, back, joint.place, Plane(joint.place, joint.frame.superior), True)


def balls(joint, roof_mm, condyle_mm=6.0):
    """Probabilities of a condyle and, around it, of a hollow of 9 mm radius and bone of this thickness."""
    spacing = 0.4
    size = 2 * int(15 / spacing) + 1
    affine = np.diag([-spacing, spacing, spacing, 1.0])
    affine[:3, 3] = joint.place - affine[:3, :3] @ np.full(3, size // 2)
    grid = hd.Volume(np.zeros((size,) * 3, np.float32), affine, coordinate_system="PATIENT")
    offset = np.moveaxis(np.indices(grid.spatial_shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3] - joint.place
    radius = np.linalg.norm(offset, axis=-1)
    inside = condyle_mm - radius, np.minimum(radius - 9.0, 9.0 + roof_mm - radius)
    return [grid.with_array(np.clip(0.5 + depth / 2, 0, 1).astype(np.float32)) for depth in inside]


@each_head
@pytest.mark.parametrize("width", [17.0, 20.0])
def test_sphere_minus_bones_between_balls(side, head, width):
    joint = make(side, head)
    radius = min(width / 2, 9.0)  # the bone ends the sphere
    expected = 2 / 3 * np.pi * (radius**3 - 6.0**3)
    assert sphere_volume(*balls(joint, 4.0), placed(joint, width)) == pytest.approx(expected, rel=0.01)


def test_what_lies_behind_a_thin_roof_is_not_joint_space():
    joint = make(Side.LEFT, STRAIGHT)
    expected = 2 / 3 * np.pi * (9.0**3 - 6.0**3)
    assert sphere_volume(*balls(joint, 1.0), placed(joint, 24.0)) == pytest.approx(expected, rel=0.01)


def test_a_sphere_without_the_condyle_is_an_error():
    joint = make(Side.LEFT, STRAIGHT)
    with pytest.raises(InflationError):
        sphere_volume(*balls(joint, 4.0, condyle_mm=-1.0), placed(joint, 10.0))
