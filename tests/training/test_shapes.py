from pathlib import Path

import nibabel as nib
import numpy as np
import open3d as o3d
import pytest

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.masks import condyle_centre
from negvol_pacs.training.shapes import LABEL_MAP, load_shapes, read_label_map, voxelise


def save(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(labels, affine), path)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_label_map_in_any_orientation_comes_out_in_lps(tmp_path: Path, signs: tuple[int, int, int]) -> None:
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1, 2, 3] = 2
    affine = np.diag([0.5 * signs[0], 0.5 * signs[1], 0.5 * signs[2], 1.0])
    affine[:3, 3] = (10, -20, 30)
    save(tmp_path / "map.nii.gz", labels, affine)
    volume = read_label_map(tmp_path / "map.nii.gz")
    assert volume.array.dtype == np.uint8
    np.testing.assert_allclose(volume.affine[:3, :3], 0.5 * np.eye(3)[:, ::-1])
    ras = (affine @ [1, 2, 3, 1])[:3]
    np.testing.assert_allclose(grid.world(volume, np.argwhere(volume.array == 2)), [ras * [-1, -1, 1]])


def test_voxels_that_are_no_cubes_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "map.nii.gz", np.zeros((4, 4, 4), np.uint8), np.diag([0.5, 0.5, 1.0, 1.0]))
    with pytest.raises(TrainingError, match="isotropic"):
        read_label_map(tmp_path / "map.nii.gz")


def ball(path: Path, radius: float, centre: tuple[float, float, float], hole: bool) -> Path:
    mesh = o3d.geometry.TriangleMesh.create_sphere(radius, resolution=40).translate(centre)
    if hole:
        mesh.remove_triangles_by_index(list(range(0, 40)))
    o3d.io.write_triangle_mesh(str(path), mesh)
    return path


@pytest.mark.parametrize("hole", [False, True])
def test_mesh_is_filled_even_when_it_is_open(tmp_path: Path, hole: bool) -> None:
    volume = voxelise({2: ball(tmp_path / "ball.ply", 15.0, (5.0, -8.0, 30.0), hole)}, spacing=0.5)
    points = grid.world(volume, np.argwhere(volume.array == 2))
    np.testing.assert_allclose(points.mean(axis=0), (-5.0, 8.0, 30.0), atol=0.3)
    distance = np.linalg.norm(points - (-5.0, 8.0, 30.0), axis=1)
    assert distance.max() < 15.8
    radius = (len(points) * 0.125 * 3 / (4 * np.pi)) ** (1 / 3)
    # An open mesh keeps every voxel that its surface touches: thicker by up to half a diagonal.
    assert radius == pytest.approx(15, abs=0.25 * np.sqrt(3) if hole else 0.1)


def test_folder_without_shapes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=LABEL_MAP):
        list(load_shapes(tmp_path))


def test_real_label_map_has_its_condyles_where_a_patient_has_them(shared_data: Path) -> None:
    shape = next(load_shapes(shared_data / "shapes"))
    mandible = grid.on_grid(np.isin(shape.bones.array, (2, 5)), shape.bones)
    right, left = (condyle_centre(mandible, side) for side in (Side.RIGHT, Side.LEFT))
    skull = grid.world(shape.bones, np.argwhere(shape.bones.array == 1)[::1000])
    assert 80 < left[0] - right[0] < 115
    np.testing.assert_allclose(right[1:], left[1:], atol=8)
    assert right[0] < np.median(skull[:, 0]) < left[0]
