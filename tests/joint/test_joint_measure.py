"""Both joints to findings: true numbers, or flags, never an exception."""

import dataclasses

import highdicom as hd
import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.errors import JointNotFound, JointOutsideField
from negvol_pacs.joint.findings import Landmark, Quantity
from negvol_pacs.joint.folding import crossings
from negvol_pacs.joint.measure import SIDED, measure, volume
from negvol_pacs.joint.surface import to_manifold
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.grid import canonical_grid, on_grid
from negvol_pacs.segmentation.masks import JointMasks, joint_masks_from_labels
from negvol_pacs.training.analytic_joints import parametric_fossa

ANGLES = (Quantity.HCA, Quantity.SRA)
LENGTHS = (Quantity.FW, Quantity.FD, Quantity.SJS, Quantity.MJS, Quantity.CJS, Quantity.LJS)
CENTRES = {Side.RIGHT: np.array([-48.0, 10, 20]), Side.LEFT: np.array([48.0, 10, 20])}


def both(right, left=None, spacing=0.4, turn=None):
    turn = np.eye(3) if turn is None else turn
    return {
        side: joint.masks(side, spacing, turn, turn @ CENTRES[side], extent_mm=44)
        for side, joint in ((Side.RIGHT, right), (Side.LEFT, left or right))
    }


def values(findings):
    numbers = [m.value for side in Side for m in findings.joints[side].measurements.values()]
    return numbers + [m.value for m in findings.symmetry.measurements.values()]


@pytest.fixture(scope="module")
def joint():
    return parametric_fossa()


@pytest.fixture(scope="module")
def findings(joint):
    return measure(both(joint))


def test_true_numbers_on_both_sides(joint, findings):
    for side in Side:
        found = {q: m.value for q, m in findings.joints[side].measurements.items()}
        assert found[Quantity.FW] == pytest.approx(joint.width, abs=0.3)
        assert found[Quantity.FD] == pytest.approx(joint.depth, abs=0.15)
        assert found[Quantity.SJS] == pytest.approx(joint.superior, abs=0.1)
        assert found[Quantity.HCA] == pytest.approx(0, abs=1)
        assert found[Quantity.SRA] == pytest.approx(90, abs=1)
        assert found[Quantity.LJS] < found[Quantity.MJS]  # the lateral rim is the nearer one
        assert found[Quantity.NV_VOLUME] == pytest.approx(joint.volume(0.2), rel=0.03)
        assert findings.joints[side].flags == frozenset()
        assert set(found) == set(SIDED)


def test_mirrored_joints_are_symmetric(findings):
    symmetry = findings.symmetry.measurements
    assert symmetry[Quantity.S_LR].value == pytest.approx(1, abs=0.01)
    assert symmetry[Quantity.H_LR].value < 0.3
    assert symmetry[Quantity.H_LR].sd >= 0
    assert symmetry[Quantity.AXIS].value < 0.1
    assert findings.midsagittal.plane.normal == pytest.approx([1, 0, 0], abs=0.002)
    assert findings.midsagittal.plane.point[0] == pytest.approx(0, abs=0.05)


def test_the_negative_volume_is_a_solid(findings):
    for found in findings.joints.values():
        assert to_manifold(found.nv).volume() == pytest.approx(volume(found.nv))
        assert volume(found.nv) == pytest.approx(found.measurements[Quantity.NV_VOLUME].value)
        assert len(crossings(found.nv)) == 0


def test_landmarks_lie_where_their_numbers_say(findings):
    for found in findings.joints.values():
        mark, number = found.landmarks, {q: m.value for q, m in found.measurements.items()}

        def apart(a, b, mark=mark):
            return np.linalg.norm(mark[a] - mark[b])

        assert apart(Landmark.EMINENCE, Landmark.POSTGLENOID) == pytest.approx(number[Quantity.FW])
        assert apart(Landmark.ROOF, Landmark.CONDYLE_TOP) == pytest.approx(number[Quantity.SJS])
        assert apart(Landmark.CONDYLE_ANTERIOR, Landmark.FOSSA_ANTERIOR) == pytest.approx(number[Quantity.AJS])
        assert apart(Landmark.CONDYLE_POSTERIOR, Landmark.FOSSA_POSTERIOR) == pytest.approx(number[Quantity.PJS])
        assert apart(Landmark.CONDYLE_MEDIAL, Landmark.FOSSA_MEDIAL) == pytest.approx(number[Quantity.MJS])
        assert apart(Landmark.CONDYLE_CENTRAL, Landmark.FOSSA_CENTRAL) == pytest.approx(number[Quantity.CJS])
        assert apart(Landmark.CONDYLE_LATERAL, Landmark.FOSSA_LATERAL) == pytest.approx(number[Quantity.LJS])
        assert mark[Landmark.EMINENCE][1] < mark[Landmark.POSTGLENOID][1]  # anterior has the smaller y
    right = findings.joints[Side.RIGHT].landmarks
    assert right[Landmark.LATERAL_POLE][0] < right[Landmark.MEDIAL_POLE][0]


def test_the_same_numbers_twice(joint, findings):
    assert values(measure(both(joint))) == values(findings)


def test_a_turned_head_measures_the_same(joint, findings):
    turn = Rotation.from_euler("xyz", [-14, 10, 12], degrees=True).as_matrix()
    turned = measure(both(joint, turn=turn))
    for side in Side:
        for quantity in LENGTHS + ANGLES:
            tolerance = 1.0 if quantity in ANGLES else 0.3 if quantity is Quantity.FW else 0.1
            here, there = (f.joints[side].measurements[quantity].value for f in (findings, turned))
            assert there == pytest.approx(here, abs=tolerance)
        here, there = (f.joints[side].measurements[Quantity.NV_VOLUME].value for f in (findings, turned))
        assert there == pytest.approx(here, rel=0.015)


def test_a_lone_joint_of_a_turned_head_measures_the_same_with_the_axis_known(joint, findings):
    turn = Rotation.from_euler("xyz", [5, 10, 18], degrees=True).as_matrix()
    right = {Side.RIGHT: both(joint, turn=turn)[Side.RIGHT]}
    known, unknown = (measure(right, transverse=axis).joints[Side.RIGHT] for axis in (turn @ [1.0, 0.0, 0.0], None))
    here = findings.joints[Side.RIGHT]
    for quantity, tolerance in ((Quantity.FW, 0.3), (Quantity.FD, 0.1), (Quantity.HCA, 1.0)):
        expected = here.measurements[quantity].value
        assert known.measurements[quantity].value == pytest.approx(expected, abs=tolerance)
    assert unknown.measurements[Quantity.HCA].value != pytest.approx(here.measurements[Quantity.HCA].value, abs=10)


@pytest.mark.parametrize("error", [JointOutsideField("cut off"), JointNotFound("none")])
def test_a_lost_side_does_not_cost_the_other(joint, findings, error):
    masks = {Side.RIGHT: error, Side.LEFT: both(joint)[Side.LEFT]}
    found = measure(masks, frozenset({QualityFlag.NOT_HOUNSFIELD}))
    assert found.flags == {QualityFlag.NOT_HOUNSFIELD}
    assert all(m.value is None and m.flags == {error.flag} for m in found.joints[Side.RIGHT].measurements.values())
    left = found.joints[Side.LEFT]
    assert QualityFlag.OTHER_SIDE_MISSING in left.flags
    for quantity in LENGTHS + ANGLES:
        expected = findings.joints[Side.LEFT].measurements[quantity].value
        assert left.measurements[quantity].value == pytest.approx(expected, abs=0.1)
    assert all(m.flags == {QualityFlag.OTHER_SIDE_MISSING} for m in found.symmetry.measurements.values())


def test_no_joint_at_all():
    found = measure({})
    assert set(found.joints) == set(Side)
    assert all(m.flags for joint in found.joints.values() for m in joint.measurements.values())


def test_broken_masks_are_a_flag(joint):
    masks = both(joint)
    broken = np.full(masks[Side.RIGHT].mc.array.shape, np.nan, dtype=np.float32)
    bad = hd.Volume(broken, masks[Side.RIGHT].mc.affine, coordinate_system="PATIENT")
    found = measure({**masks, Side.RIGHT: dataclasses.replace(masks[Side.RIGHT], mc=bad)})
    assert all(m.value is None and m.flags for m in found.joints[Side.RIGHT].measurements.values())
    assert found.joints[Side.LEFT].measurements[Quantity.NV_VOLUME].value


def test_bone_contact_is_flagged(joint):
    pressed = dataclasses.replace(joint, mc=lambda p: joint.mc(p - [0, 0, 2.6]))
    found = measure(both(pressed, spacing=0.6)).joints[Side.RIGHT]
    assert QualityFlag.BONE_CONTACT in found.flags


def test_bone_that_touches_the_neck_is_no_contact_in_the_joint(joint):
    at = np.array([0.0, -5.5, -9.0])
    beside = dataclasses.replace(joint, tb=lambda p: np.minimum(joint.tb(p), np.linalg.norm(p - at, axis=-1) - 3.0))
    found = measure(both(beside, spacing=0.6)).joints[Side.RIGHT]
    assert QualityFlag.BONE_CONTACT not in found.flags


def test_an_open_mouth_has_no_negative_volume(joint):
    opened = dataclasses.replace(joint, mc=lambda p: joint.mc(p - [0, 12.0, -5.0]))
    found = measure(both(opened, spacing=0.6)).joints[Side.RIGHT]
    assert found.measurements[Quantity.NV_VOLUME].value is None


@st.composite
def degenerate(draw):
    joint = parametric_fossa(
        width_mm=(draw(st.floats(5, 12)), draw(st.floats(5, 10))),
        sides_mm=(draw(st.floats(9, 14)), draw(st.floats(9, 14))),
        depth_mm=draw(st.sampled_from([0.0, 1.0, 5.0, 9.0])),
        condyle_mm=(draw(st.floats(1, 11)), draw(st.floats(1, 6)), draw(st.floats(1, 7))),
        gap_mm=draw(st.sampled_from([-1.0, 0.0, 0.4, 2.0, 6.0])),
        steepness=draw(st.floats(2, 5)),
    )
    shift = np.array([draw(st.floats(-3, 3)), draw(st.floats(-4, 14)), draw(st.floats(-4, 1))])
    fault = draw(st.sampled_from(["none", "perforated", "no eminence", "no posterior wall", "bifid"]))
    mc, tb = joint.mc, joint.tb
    if fault == "perforated":
        tb = lambda p: np.maximum(joint.tb(p), 2.0 - np.hypot(p[..., 0], p[..., 1]))  # noqa: E731
    elif fault == "no eminence":
        tb = lambda p: np.maximum(joint.tb(p), p[..., 1] - 2.0)  # noqa: E731
    elif fault == "no posterior wall":
        tb = lambda p: np.maximum(joint.tb(p), -2.0 - p[..., 1])  # noqa: E731
    elif fault == "bifid":
        mc = lambda p: np.maximum(joint.mc(p), 1.0 - np.hypot(p[..., 0], p[..., 2] - 4))  # noqa: E731
    return dataclasses.replace(joint, mc=lambda p: mc(p - shift), tb=tb)


def test_predicted_dice_is_said_even_where_nothing_can_be_measured():
    geometry = canonical_grid((0, 0, 0), 0.4, 8)
    empty = on_grid(np.zeros(geometry.spatial_shape, np.float32), geometry)
    dice = {Structure.MC: 0.5, Structure.TB: 0.25}
    found = measure({Side.LEFT: JointMasks(Side.LEFT, empty, empty, np.zeros(3), dice=dice)})
    numbers = found.joints[Side.LEFT].measurements
    assert (numbers[Quantity.MC_DICE].value, numbers[Quantity.TB_DICE].value) == (0.5, 0.25)
    assert numbers[Quantity.FW].value is None
    assert Quantity.MC_DICE not in found.joints[Side.RIGHT].measurements


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(degenerate(), degenerate())
def test_any_joint_gives_a_number_or_a_flag(right, left):
    found = measure(both(right, left, spacing=0.8))
    for joint in found.joints.values():
        assert set(joint.measurements) == set(SIDED)
        assert QualityFlag.COMPUTATION_FAILED not in {f for m in joint.measurements.values() for f in m.flags}
        if joint.nv is not None:
            assert to_manifold(joint.nv).volume() > 0
            assert len(crossings(joint.nv)) == 0


@pytest.mark.slow
def test_a_real_patient(shared_data):
    image = nibabel.load(shared_data / "shapes" / "dentalseg_postsurgery_labels.nii.gz")
    labels = np.asarray(image.dataobj).astype(np.uint8)
    affine = np.diag([-1.0, -1, 1, 1]) @ image.affine  # RAS to LPS

    def bone(label):
        return hd.Volume(labels == label, affine, coordinate_system="PATIENT")

    findings = measure({side: joint_masks_from_labels(bone(2), bone(1), side, 0.5) for side in Side})
    for side in Side:
        found = {q: m.value for q, m in findings.joints[side].measurements.items()}
        assert 12 < found[Quantity.FW] < 24
        assert 4 < found[Quantity.FD] < 11
        assert 0.5 < found[Quantity.SJS] < 6
        assert 400 < found[Quantity.NV_VOLUME] < 1800
        assert all(0.5 < found[quantity] < 5 for quantity in (Quantity.MJS, Quantity.CJS, Quantity.LJS))
        assert 5 < found[Quantity.HCA] < 30
        assert 50 < found[Quantity.SRA] < 90
        assert found[Quantity.JSW_P05] < found[Quantity.JSW_P50] < found[Quantity.JSW_P95] < 7
        assert 0.5 < found[Quantity.SPHERE] / found[Quantity.NV_VOLUME] < 1.1
        assert len(findings.joints[side].widths.width) > 500
    assert (
        findings.joints[Side.RIGHT].landmarks[Landmark.ROOF][0] < findings.joints[Side.LEFT].landmarks[Landmark.ROOF][0]
    )
    assert 1 <= findings.symmetry.measurements[Quantity.S_LR].value < 1.3
    assert 0.3 < findings.symmetry.measurements[Quantity.H_LR].value < 4
    assert findings.symmetry.measurements[Quantity.AXIS].value < 1


def test_a_coarse_series_flags_every_number(joint):
    found = measure({Side.RIGHT: both(joint)[Side.RIGHT]}, frozenset({QualityFlag.COARSE_SPACING}))
    numbers = [m for m in found.joints[Side.RIGHT].measurements.values() if m.value is not None]
    assert numbers
    assert all(QualityFlag.COARSE_SPACING in number.flags for number in numbers)
