import json
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import open3d as o3d
import pydicom
import pytest
from outlined_head import ALGORITHM, OutlinedHead, outlined_head
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from negvol_pacs.anatomy import Side
from negvol_pacs.cli import app
from negvol_pacs.config import SeriesRules
from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.series.reader import read_volume
from negvol_pacs.training.cases.alignment import check_alignment
from negvol_pacs.training.cases.case import MANDIBLE, SKULL, Dataset
from negvol_pacs.training.cases.correction import correction_case, read_seg, recognise
from negvol_pacs.training.cases.examples import plain_example, real_joints
from negvol_pacs.training.cases.outlines import from_meshes, make_case, split, voxelise
from negvol_pacs.training.finetune import Agreement, Round, advice
from negvol_pacs.workflow.corrections import keep


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> OutlinedHead:
    return outlined_head(tmp_path_factory.mktemp("head"))


@pytest.fixture
def seg(head: OutlinedHead) -> pydicom.Dataset:
    return pydicom.dcmread(head.corrected, stop_before_pixels=True)


def test_a_corrected_seg_becomes_a_case_with_its_provenance(head: OutlinedHead, tmp_path: Path) -> None:
    assert keep([head.corrected], [head.series], SeriesRules(), tmp_path) != []
    assert keep([head.corrected], [head.series], SeriesRules(), tmp_path) == []
    dataset = Dataset(tmp_path)
    (name,) = dataset.names()
    case = dataset.read(name)
    assert (case.scope, set(case.centres)) == ("joint", set(Side))
    assert case.centres[Side.RIGHT][0] < case.centres[Side.LEFT][0] - 60
    np.testing.assert_array_equal(case.image.array, read_volume(head.series).array)
    np.testing.assert_allclose(case.image.affine, read_volume(head.series).affine, atol=1e-4)
    condyle = case.labels.array == MANDIBLE
    assert condyle.any()
    assert (head.mandible.array[condyle] > 0).mean() > 0.9
    known = case.provenance
    assert known["kind"] == "correction"
    assert known["source"] == head.series.series_instance_uid
    assert known["corrected"] == pydicom.dcmread(head.ours).SOPInstanceUID
    said = json.dumps(dataset.note(name))
    assert str(head.series.first.PatientName) not in said
    assert str(head.series.first.PatientID) not in said


def test_a_later_correction_of_the_same_images_takes_the_place_of_the_first(head: OutlinedHead, tmp_path: Path) -> None:
    case = correction_case(head.corrected, read_seg(head.corrected), head.series)
    other = case.labels.array.copy()
    other[tuple(np.argwhere(other == SKULL)[0])] = 0
    dataset = Dataset(tmp_path)
    dataset.add(case)
    later = make_case(case.image, other, "joint", dict(case.provenance) | {"outline": "1.2.3"})
    assert dataset.add(later) == dataset.names()[0]
    assert len(dataset.names()) == 1


def test_our_own_result_is_no_correction(head: OutlinedHead, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="UID of our own result"):
        recognise(read_seg(head.ours), head.series)
    assert keep([head.ours], [head.series], SeriesRules(), tmp_path) == []


def test_the_same_images_and_our_codes_are_enough(head: OutlinedHead, seg: pydicom.Dataset) -> None:
    del seg.ReferencedInstanceSequence
    assert recognise(seg, head.series).of == ""


def test_a_reference_to_our_seg_is_enough(head: OutlinedHead, seg: pydicom.Dataset) -> None:
    seg.ReferencedSeriesSequence = []
    assert recognise(seg, head.series).of == pydicom.dcmread(head.ours).SOPInstanceUID


def test_a_seg_of_something_else_is_no_correction(head: OutlinedHead, seg: pydicom.Dataset) -> None:
    for item in seg.SegmentSequence:
        item.SegmentedPropertyTypeCodeSequence[0].CodeValue = "10200004"  # liver
    with pytest.raises(TrainingError, match="does not outline condyles"):
        recognise(seg, head.series)


def test_a_seg_of_other_images_is_no_correction(head: OutlinedHead, seg: pydicom.Dataset) -> None:
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()
    for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence:
        item.ReferencedSOPInstanceUID = generate_uid()
    seg.ReferencedInstanceSequence = seg.SourceImageSequence = []
    with pytest.raises(TrainingError, match="refers neither"):
        recognise(seg, head.series)


def test_outlines_that_are_off_are_refused_with_a_reason(head: OutlinedHead) -> None:
    image = read_volume(head.series)
    check_alignment(image, head.skull)
    for axis in range(3):
        shifted = on_grid(np.roll(head.skull.array, 3, axis), head.skull)
        with pytest.raises(TrainingError, match=r"fit better [2-9]\.\d mm away|not brighter"):
            check_alignment(image, shifted)
    with pytest.raises(TrainingError, match="not brighter"):
        check_alignment(image, on_grid(image.array < -500, image))
    with pytest.raises(TrainingError, match="Nothing is outlined"):
        check_alignment(image, on_grid(image.array > 30000, image))


def test_far_from_the_joint_a_case_of_ours_says_nothing_of_bone_without_a_label(head: OutlinedHead) -> None:
    case = correction_case(head.corrected, read_seg(head.corrected), head.series)
    joints = list(real_joints(case, 1.0))
    assert len(joints) == 2
    for joint in joints:
        example = plain_example(joint, 64, 1.0)
        assert example.known is not None
        middle = tuple(slice(24, 40) for _ in range(3))
        assert example.known[middle].all()
        assert not example.known[:4].any()
        assert (example.mandible[middle] > 0).any()
        image = example.image.astype(np.float32)
        bone = (example.mandible > 8) & example.known
        soft = (example.mandible < -32) & (example.skull < -32) & example.known
        assert np.median(image[bone]) > np.median(image[soft]) + 0.2


def ball(path: Path, centre: np.ndarray, radius: float = 8.0) -> Path:
    mesh = o3d.geometry.TriangleMesh.create_sphere(radius, resolution=12).translate(centre)
    mesh.compute_vertex_normals()
    o3d.io.write_triangle_mesh(str(path), mesh)
    return path


@pytest.fixture
def balls() -> hd.Volume:
    """Two bright balls in air, LPS, a mandible's condyles and a skull above them."""
    affine = np.array([[0, 0, 0.8, -40.0], [0, 0.8, 0, -12], [0.8, 0, 0, -12], [0, 0, 0, 1]])
    index = np.stack(np.meshgrid(np.arange(50), np.arange(30), np.arange(101), indexing="ij"), -1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    grey = np.full(points.shape[:3], 40, np.int16)
    for centre in ((-28, 0, 0), (28, 0, 0), (-28, 0, 18), (28, 0, 18)):
        grey[np.linalg.norm(points - centre, axis=-1) < 8] = 1200
    return hd.Volume(grey, affine, coordinate_system="PATIENT")


@pytest.mark.parametrize("signs", [1, -1])
def test_stl_masks_of_either_convention_become_a_case(balls: hd.Volume, tmp_path: Path, signs: int) -> None:
    def mesh(name: str, x: float, z: float) -> Path:
        return ball(tmp_path / f"{name}.stl", np.array([signs * x, 0.0, z]))

    mandible = [mesh("right", -28, 0), mesh("left", 28, 0)]
    skull = [mesh("above-right", -28, 18), mesh("above-left", 28, 18)]
    case = from_meshes(mandible, skull, balls, {"source": "x", "kind": "meshes"})
    for kind, height in ((MANDIBLE, 0), (SKULL, 18)):
        mask = case.labels.array == kind
        volume = mask.sum() * case.labels.voxel_volume
        assert volume == pytest.approx(2 * 4 / 3 * np.pi * 8**3, rel=0.06)
        heights = np.argwhere(mask)[:, 0] * 0.8 - 12
        assert heights.mean() == pytest.approx(height, abs=0.1)


def test_half_a_mandible_is_refused(balls: hd.Volume, tmp_path: Path) -> None:
    skull = [ball(tmp_path / f"{x}.stl", np.array([x, 0.0, 18.0])) for x in (-28, 28)]
    with pytest.raises(TrainingError, match="Only one side"):
        from_meshes([ball(tmp_path / "right.stl", np.array([-28.0, 0, 0]))], skull, balls, {"source": "x"})


def test_stl_masks_of_another_frame_are_refused(balls: hd.Volume, tmp_path: Path) -> None:
    off = [ball(tmp_path / "off.stl", np.array([-28.0, 4.0, 1.0]))]
    with pytest.raises(TrainingError, match=r"fit better|not brighter"):
        from_meshes(off, [ball(tmp_path / "up.stl", np.array([-28.0, 4.0, 19.0]))], balls, {"source": "x"})


def test_an_open_mesh_is_filled_and_every_edge_is_below_the_spacing(balls: hd.Volume, tmp_path: Path) -> None:
    corners = np.array([[[0.0, 0, 0], [30, 0, 0], [0, 30, 7]]])
    parts = split(corners)
    assert np.linalg.norm(parts - np.roll(parts, 1, axis=1), axis=2).max() <= 1.0
    area = np.linalg.norm(np.cross(parts[:, 1] - parts[:, 0], parts[:, 2] - parts[:, 0]), axis=1).sum()
    assert area == pytest.approx(np.linalg.norm(np.cross([30, 0, 0], [0, 30, 7])))
    path = ball(tmp_path / "open.stl", np.array([-28.0, 0, 0]))
    mesh = o3d.io.read_triangle_mesh(str(path))
    mesh.remove_triangles_by_index([0])
    mesh.compute_vertex_normals()
    o3d.io.write_triangle_mesh(str(path), mesh)
    filled = voxelise(path, balls)
    volume = filled.sum() * balls.voxel_volume
    assert volume == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.25)
    assert filled[15, 15, 15]


def test_the_command_line_adds_and_lists(head: OutlinedHead, tmp_path: Path) -> None:
    runner, folder = CliRunner(env={"COLUMNS": "200"}), str(tmp_path / "set")
    command = ["dataset", "add", folder, str(head.ct), "--seg", str(head.corrected)]
    assert "correction: 2 joints, kept as" in runner.invoke(app, command, catch_exceptions=False).output
    assert "is there already" in runner.invoke(app, command, catch_exceptions=False).output
    image = read_volume(head.series)
    whole = np.where(head.mandible.array > 0, 2, head.skull.array).astype(np.uint8)
    for name, array in (("image", image.array), ("labels", whole)):
        nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 1, 1]) @ image.affine), tmp_path / f"{name}.nii.gz")
    command = ["dataset", "add", folder, str(tmp_path / "image.nii.gz"), "--labels", str(tmp_path / "labels.nii.gz")]
    assert "label map:" in runner.invoke(app, command, catch_exceptions=False).output
    listed = runner.invoke(app, ["dataset", "list", folder]).output
    assert listed.count("correction") == 1
    assert listed.count("label map") == 1


def turn(new: tuple[str, ...], size: float, gap: float | None) -> Round:
    found = Agreement(2, size, gap)
    return Round(new, new, found, found, "")


@pytest.mark.parametrize(
    ("turns", "begins"),
    [
        ([turn(("a",), 25000, 0.8)], "Go on: unseen"),
        ([turn(("a",), 150, 0.97)], "Stop: unseen"),
        ([turn(("a",), 150, 0.9)], "Go on"),
        ([turn(("a",), 25000, 0.8), turn(("b",), 1000, 0.9)], "Go on"),
        ([turn(("a",), 1000, 0.9), turn(("b",), 1000, 0.9)], "Stop, or correct other kinds"),
        ([turn((), 10, 0.99)], "Go on: no case was new"),
    ],
)
def test_what_unseen_cases_say_decides_whether_to_go_on(turns: list[Round], begins: str) -> None:
    assert advice(turns).startswith(begins)


def test_algorithm_of_the_planted_seg_is_the_one_it_names(head: OutlinedHead) -> None:
    named = pydicom.dcmread(head.ours, stop_before_pixels=True).SegmentSequence[0]
    assert ALGORITHM.weights_sha256 in named.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
