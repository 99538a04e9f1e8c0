"""The picture shows each side in its row, in the right orientation, and never fails."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from two_joints import CENTRES, RADII

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.findings import JointMeasurements, Measurement
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.page import draw_joints
from negvol_pacs.report.palette import COLOURS
from negvol_pacs.report.planes import AXIAL, CORONAL, SAGITTAL, inside, outline, reslice
from negvol_pacs.report.render import render_joint


def picture(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def like(image, structure):
    """Pixels of about a structure's colour."""
    return np.abs(image - np.array(COLOURS[structure])).max(axis=-1) < 25


@pytest.fixture
def markers():
    """A volume that is bright at three points: left, posterior and superior of the origin."""

    def make(affine):
        values = np.zeros((80, 80, 80), dtype=np.int16)
        inverse = np.linalg.inv(affine)
        for point in ((10, 0, 0), (0, 10, 0), (0, 0, 10)):
            i, j, k = np.round(inverse @ [*point, 1])[:3].astype(int)
            values[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 1000
        return hd.Volume(values, affine, "PATIENT")

    return make


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
def test_planes_follow_the_radiological_convention(markers, flip):
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 0.5], [0, 0.5, 0], [0.5, 0, 0]]) * np.array(flip)
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, 39.5)
    volume = markers(affine)
    # The marker's direction in the picture, columns to the right and rows downwards.
    bright = {
        plane: np.argwhere(reslice(volume, plane, np.zeros(3), 40, 200) > 500) for plane in (AXIAL, CORONAL, SAGITTAL)
    }
    cases = {AXIAL: ("left", "posterior"), CORONAL: ("left", "superior"), SAGITTAL: ("posterior", "superior")}
    place = {"left": (100, 150), "posterior": {AXIAL: (150, 100), SAGITTAL: (100, 150)}, "superior": (50, 100)}
    for plane, names in cases.items():
        for name in names:
            expected = place[name][plane] if isinstance(place[name], dict) else place[name]
            assert np.linalg.norm(bright[plane] - expected, axis=1).min() < 6, (plane.name, name)
        assert plane.letters[0] in "RA"


def test_outside_of_the_volume_is_not_a_number(markers):
    affine = np.array([[0, 0, 0.5, -20], [0, 0.5, 0, -20], [0.5, 0, 0, -20], [0, 0, 0, 1]])
    image = reslice(markers(affine), CORONAL, np.array([15.0, 0, 0]), 40, 100)
    assert np.isnan(image[:, 63:]).all()
    assert np.isfinite(image[10:90, :60]).all()


def test_outline_of_a_ball_is_a_circle(joints):
    for side in Side:
        mesh, centre = joints[side][1].mc, CENTRES[side]
        for plane in (AXIAL, CORONAL, SAGITTAL):
            radii = np.linalg.norm(outline(mesh, plane, centre), axis=-1)
            assert radii == pytest.approx(RADII[side], abs=0.05)
            area = inside(mesh, plane, centre, 30, 150).sum() * 0.2**2
            assert area == pytest.approx(np.pi * RADII[side] ** 2, rel=0.02)


def test_open_mesh_has_an_outline_and_no_inside(joints):
    mesh = joints[Side.RIGHT][1].mc
    opened = Mesh(mesh.vertices, mesh.triangles[: len(mesh.triangles) // 2])
    assert inside(opened, CORONAL, CENTRES[Side.RIGHT], 30, 50) is None
    assert len(outline(opened, CORONAL, CENTRES[Side.RIGHT]))


def test_plane_that_misses_a_mesh_has_no_outline(joints):
    assert outline(joints[Side.RIGHT][1].mc, SAGITTAL, np.zeros(3)).shape == (0, 2, 2)


def test_render_shows_the_condyle_in_front_of_the_opened_bone(joints):
    joint = joints[Side.LEFT][1]
    image = render_joint({Structure.TB: joint.tb, Structure.MC: joint.mc}, CENTRES[Side.LEFT], Side.LEFT, 60, 120)
    assert image.shape == (120, 120, 3)
    red, _, blue = image[60, 60]
    assert red > blue
    bone = image[..., 2] > image[..., 0] + 0.15
    assert np.argwhere(bone)[:, 0].mean() < 60


def test_render_of_nothing_is_background():
    image = render_joint({}, np.zeros(3), Side.LEFT, 50, 20)
    assert np.ptp(image, axis=(0, 1)).max() == 0


def test_page_shows_both_joints_and_is_the_same_twice(make_case, tmp_path):
    case = make_case("oblique")
    for name in ("joints.png", "again.png"):
        draw_joints(case.geometry, case.findings, tmp_path / name, "Test")
    assert (tmp_path / "joints.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    image = picture(tmp_path / "joints.png")
    assert image.shape[0] > 1000
    assert image.shape[1] > 1600
    half = int(image.shape[0] * 0.43)
    for row in (image[:half], image[half : 2 * half]):
        for structure in Structure:
            assert like(row, structure).sum() > 100


def test_page_of_a_lost_side_and_of_bare_landmarks(make_case, tmp_path):
    case = make_case()
    flags = frozenset({QualityFlag.JOINT_OUTSIDE_FIELD})
    right = case.findings.joints[Side.RIGHT]
    missing = {q: Measurement(q, None, flags=flags) for q in right.measurements}
    joints = {
        Side.RIGHT: JointMeasurements(Side.RIGHT, missing, flags=flags),
        Side.LEFT: replace(case.findings.joints[Side.LEFT], mc=None, tb=None, nv=None),
    }
    findings = replace(case.findings, joints=joints, flags=frozenset({QualityFlag.NOT_HOUNSFIELD}))
    draw_joints(case.geometry, findings, tmp_path / "joints.png", "T" * 300)
    image = picture(tmp_path / "joints.png")
    top = image[int(image.shape[0] * 0.08) : int(image.shape[0] * 0.42), int(image.shape[1] * 0.05) :]
    assert not any(like(top, structure).any() for structure in Structure)
    draw_joints(
        case.geometry,
        replace(findings, joints={side: JointMeasurements(side, {}, flags=flags) for side in Side}),
        tmp_path / "none.png",
        "",
    )
    assert picture(tmp_path / "none.png").max() > 200
