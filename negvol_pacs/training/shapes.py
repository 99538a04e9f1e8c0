"""Bones of real people as label maps, to be clothed, deformed and painted.

The files are no part of the package: the folder is an argument, and training runs without
it on procedural heads.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy import ndimage

from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation.grid import lps_geometry, on_grid
from negvol_pacs.training.bone_map import fill_marrow
from negvol_pacs.training.mastoid import fill_mastoids
from negvol_pacs.training.roof import close_roofs
from negvol_pacs.training.tissues import Tissue

SPACING_MM = 0.5
LABEL_MAP = "dentalseg_postsurgery_labels.nii.gz"
NAMES = ("dentalseg", "vkh")
MANDIBLE = "mandible_labels_0p3mm.nii.gz"
MESHES = {1: "vkhUpperAirway_Skull.obj", 3: "vkhUpperAirway_Maxilla.obj", 2: "vkhUpperAirway_Mandible.obj"}
_SAMPLES_A_VOXEL = 8
_BALL_MM = 2.0
_LARGEST_CAVITY_MM3 = 600_000.0


@dataclass(frozen=True)
class Shape:
    """Bones of one head.

    Attributes
    ----------
    name
        Where they come from.
    bones
        uint8 on an LPS grid (axes z, y, x): 0 nothing, 1 skull, 2 mandible, 3 and 4 upper
        and lower teeth, 5 mandibular canal.
    """

    name: str
    bones: hd.Volume


def load_shapes(folder: Path, without: Collection[str] = ()) -> Iterator[Shape]:
    """Read every head in a folder, one by one.

    Parameters
    ----------
    folder
        Holds a label map, surface meshes, or both.
    without
        Names of `NAMES` that are passed over.

    Yields
    ------
    Shape
        With mandible and skull.

    Raises
    ------
    TrainingError
        If the folder holds none, or a name is unknown.
    """
    for name in shape_names(folder, without):
        if name == NAMES[0]:
            bones = read_label_map(folder / LABEL_MAP)
        else:
            bones = voxelise({code: folder / file for code, file in MESHES.items()})
        yield Shape(name, close_roofs(fill_mastoids(bones)))


def shape_names(folder: Path, without: Collection[str] = ()) -> list[str]:
    """Name the heads that `load_shapes` reads.

    Raises
    ------
    TrainingError
        If the folder holds none, or a name is unknown.
    """
    if unknown := set(without) - set(NAMES):
        raise TrainingError(f"No shape is called {', '.join(sorted(unknown))}; there are {' and '.join(NAMES)}.")
    files = dict(zip(NAMES, ([LABEL_MAP], MESHES.values()), strict=True))
    there = [name for name in NAMES if all((folder / file).is_file() for file in files[name])]
    if not there:
        raise TrainingError(f"{folder} holds neither {LABEL_MAP} nor the vkhUpperAirway meshes.")
    return [name for name in there if name not in without]


def load_mandible(folder: Path) -> hd.Volume | None:
    """Read a mandible without a skull, every other voxel; its condyles lend their shape to heads.

    Returns
    -------
    hd.Volume or None
        `Tissue.MANDIBLE` or air in each voxel, axes z, y, x in LPS; None where the folder has none.
    """
    if not (folder / MANDIBLE).is_file():
        return None
    bones = read_label_map(folder / MANDIBLE)[::2, ::2, ::2]
    labels = np.where(bones.array > 0, np.uint8(Tissue.MANDIBLE), np.uint8(Tissue.AIR))
    fill_marrow(labels, np.zeros(labels.shape, np.bool_), bones.spacing)
    return on_grid(labels, bones)


def read_label_map(path: Path) -> hd.Volume:
    """Read a NIfTI label map with axis-aligned, isotropic voxels.

    Returns
    -------
    hd.Volume
        uint8, axes z, y, x in LPS; NIfTI's RAS+ millimetres have x and y negated.

    Raises
    ------
    TrainingError
        If the voxels are oblique or not isotropic.
    """
    image = nib.as_closest_canonical(nib.load(path))
    affine = np.asarray(image.affine)
    spacing = float(affine[0, 0])
    if not np.allclose(affine[:3, :3], spacing * np.eye(3), atol=1e-3):
        raise TrainingError(f"{path.name}: voxels must be isotropic and axis-aligned.")
    labels = np.asarray(image.dataobj).astype(np.uint8)[::-1, ::-1].transpose(2, 1, 0)
    x, y, z = affine[:3, 3] + spacing * np.array([image.shape[0] - 1, image.shape[1] - 1, 0])
    return on_grid(np.ascontiguousarray(labels), lps_geometry((-x, -y, z), labels.shape, spacing))


def voxelise(meshes: dict[int, Path], spacing: float = SPACING_MM) -> hd.Volume:
    """Fill surface meshes, later ones over earlier ones.

    Parameters
    ----------
    meshes
        Label to mesh file, RAS millimetres; a mesh may be open or in many pieces.
    spacing
        Of the result, mm.

    Returns
    -------
    hd.Volume
        uint8, axes z, y, x in LPS.
    """
    surfaces = {code: o3d.io.read_triangle_mesh(path) for code, path in meshes.items()}
    points = np.concatenate([np.asarray(surface.vertices) for surface in surfaces.values()]) * [-1.0, -1.0, 1.0]
    low, high = points.min(axis=0) - 6.0, points.max(axis=0) + 6.0
    shape = tuple(int(n) for n in np.ceil((high - low) / spacing)[::-1])
    result = np.zeros(shape, np.uint8)
    for code, surface in surfaces.items():
        result[_filled(surface, low, shape, spacing)] = code
    return on_grid(result, lps_geometry(low, (shape[0], shape[1], shape[2]), spacing))


def _filled(
    surface: o3d.geometry.TriangleMesh, low: NDArray[np.float64], shape: tuple[int, ...], spacing: float
) -> NDArray[np.bool_]:
    if surface.is_watertight():
        scene = o3d.t.geometry.RaycastingScene()
        scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(surface))
        return np.concatenate([scene.compute_occupancy(plane).numpy() > 0 for plane in _planes(low, shape, spacing)])
    # Rays leak through the gaps of an open mesh. What a small ball cannot reach from outside
    # its surface voxels, nor from the cranial cavity, is bone.
    o3d.utility.random.seed(0)
    count = int(surface.get_surface_area() * _SAMPLES_A_VOXEL / spacing**2)
    points = np.asarray(surface.sample_points_uniformly(count).points) * [-1.0, -1.0, 1.0]
    shell = np.zeros(shape, np.bool_)
    shell[tuple(np.round((points - low) / spacing).astype(int).T[::-1])] = True
    reach = round(_BALL_MM / spacing)
    spaces, _ = ndimage.label(~ndimage.binary_dilation(shell, iterations=reach))
    large = np.bincount(spaces.ravel()) * spacing**3 > _LARGEST_CAVITY_MM3
    large[0], large[spaces[0, 0, 0]] = False, True
    return np.asarray(~ndimage.binary_dilation(large[spaces], iterations=reach) | shell)


def _planes(low: NDArray[np.float64], shape: tuple[int, ...], spacing: float) -> Iterator[o3d.core.Tensor]:
    z, y, x = (low[2 - k] + spacing * np.arange(shape[k]) for k in range(3))
    for height in z:
        plane = np.stack(np.broadcast_arrays(-x[None, None, :], -y[None, :, None], height), axis=-1)
        yield o3d.core.Tensor.from_numpy(plane.astype(np.float32))
