"""Two synthetic joints on source grids of any orientation."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage
from scipy.spatial.transform import Rotation
from skimage.measure import marching_cubes

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, JointMeasurements, Landmark, Measurement, Quantity, Symmetry
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.series.series import Series

NOW = datetime(2026, 3, 4, 5, 6, 7)
CENTRES = {Side.RIGHT: np.array([-46.3, 2.1, 1.2]), Side.LEFT: np.array([45.1, -1.7, -2.4])}
RADII = {Side.RIGHT: 6.0, Side.LEFT: 7.0}


@dataclass(frozen=True)
class Case:
    """A series with its grid and what was found in it."""

    series: Series
    geometry: hd.Volume
    masks: dict[Side, JointMasks]
    findings: Findings


def _probability(distance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Probability from a signed distance, positive inside; 0.5 on the surface."""
    return np.clip(0.5 + distance / 2, 0, 1).astype(np.float32)


def _canonical(side: Side, spacing: float = 0.4, size: int = 100) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    origin = CENTRES[side] - spacing * (size - 1) / 2
    affine = np.array(
        [[0, 0, spacing, origin[0]], [0, spacing, 0, origin[1]], [spacing, 0, 0, origin[2]], [0, 0, 0, 1]]
    )
    index = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1)
    return affine, index @ affine[:3, :3].T + affine[:3, 3] - CENTRES[side]


def _shapes(side: Side, points: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Signed distances, positive inside: ball, cup over it, cap between the two."""
    radius, distance, above = RADII[side], np.linalg.norm(points, axis=-1), points[..., 2]
    return {
        "mc": radius - distance,
        "tb": np.minimum.reduce([distance - radius - 3, radius + 8 - distance, above + 1]),
        "nv": np.minimum.reduce([distance - radius - 0.3, radius + 2.7 - distance, above - 1]),
    }


def _mesh(field: NDArray[np.float64], affine: NDArray[np.float64]) -> Mesh:
    vertices, triangles, _, _ = marching_cubes(field, 0.0, gradient_direction="ascent")
    # The canonical axes (z, y, x) mirror the triangles.
    return Mesh(vertices @ affine[:3, :3].T + affine[:3, 3], triangles[:, ::-1].astype(np.int32))


def make_joint(side: Side) -> tuple[JointMasks, JointMeasurements]:
    affine, points = _canonical(side)
    shapes = _shapes(side, points)
    mc, tb = (hd.Volume(_probability(shapes[name]), affine, "PATIENT") for name in ("mc", "tb"))
    centre, radius = CENTRES[side], RADII[side]
    values = {
        Quantity.FW: 17.25,
        Quantity.FD: 7.5,
        Quantity.AJS: 2.5,
        Quantity.SJS: 3.0,
        Quantity.PJS: 2.25 if side is Side.RIGHT else 2.75,
        Quantity.MJS: 2.125,
        Quantity.CJS: 2.75,
        Quantity.LJS: 1.875,
        Quantity.HCA: 12.75,
        Quantity.SRA: 70.5,
        Quantity.NV_VOLUME: 900.125,
        Quantity.NV_AREA: 1200.5,
        Quantity.JSW_P05: 1.25,
        Quantity.JSW_P25: 1.75,
        Quantity.JSW_P50: 2.0,
        Quantity.JSW_P75: 2.5,
        Quantity.JSW_P95: 3.75,
        Quantity.HEAD_VOLUME: 890.5,
        Quantity.HEAD_AREA: 367.5,
        Quantity.FOSSA_AREA: 410.25,
        Quantity.SPHERE: 700.75,
    }
    landmarks = {
        Landmark.CONDYLE_CENTRE: centre,
        Landmark.CONDYLE_TOP: centre + np.array([0, 0, radius]),
        Landmark.ROOF: centre + np.array([0, 0, radius + 3]),
        Landmark.EMINENCE: centre + np.array([0, -radius - 4, -1]),
        Landmark.POSTGLENOID: centre + np.array([0, radius + 4, -1]),
        **_more_landmarks(side, centre, radius),
    }
    measured = JointMeasurements(
        side=side,
        measurements={q: Measurement(q, v) for q, v in values.items()},
        landmarks=landmarks,
        mc=_mesh(shapes["mc"], affine),
        tb=_mesh(shapes["tb"], affine),
        nv=_mesh(shapes["nv"], affine),
    )
    return JointMasks(side, mc, tb, centre), measured


def _more_landmarks(side: Side, centre: NDArray[np.float64], radius: float) -> dict[Landmark, NDArray[np.float64]]:
    lateral = -1.0 if side is Side.RIGHT else 1.0
    landmarks = {
        Landmark.MEDIAL_POLE: centre + radius * np.array([-lateral * 0.975, 0.222, 0]),
        Landmark.LATERAL_POLE: centre - radius * np.array([-lateral * 0.975, 0.222, 0]),
        Landmark.NECK_UPPER: centre + np.array([0, 4.0, -8]),
        Landmark.NECK_LOWER: centre + np.array([0, 0.5, -18]),
    }
    for name, share in (("MEDIAL", -2 / 3), ("CENTRAL", 0.0), ("LATERAL", 2 / 3)):
        outward = np.array([lateral * share, 0, np.sqrt(1 - share**2)])
        landmarks[Landmark[f"CONDYLE_{name}"]] = centre + radius * outward
        landmarks[Landmark[f"FOSSA_{name}"]] = centre + (radius + 3) * outward
    return landmarks


def make_symmetry() -> Symmetry:
    values = {
        Quantity.S_LR: (1.125, None),
        Quantity.H_LR: (1.75, 0.25),
        Quantity.H95_LR: (1.25, 0.125),
        Quantity.D_LR: (0.5, 0.0625),
        Quantity.W_LR: (0.375, None),
        Quantity.AXIS: (0.5, None),
    }
    return Symmetry({q: Measurement(q, value, sd) for q, (value, sd) in values.items()})


def grid(kind: str) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine, index (slice, row, column) to LPS mm, and shape of a source grid."""
    slices, rows, columns = np.array([0, 0, 0.9]), np.array([0, 0.7, 0]), np.array([0.7, 0, 0])
    axes, shape = np.stack([slices, rows, columns], axis=1), (60, 81, 190)
    if kind == "flipped":
        axes = axes * [-1, -1, -1]
    elif kind == "sagittal":
        axes = np.stack([[-0.8, 0, 0], [0, 0, -0.6], [0, 0.6, 0]], axis=1)
        shape = (170, 96, 90)
    elif kind == "oblique":
        axes = Rotation.from_euler("xyz", [12, -9, 17], degrees=True).as_matrix() @ axes
        shape = (90, 110, 200)
    middle = np.array([5.0, -2.0, 0.5]) if kind == "cropped" else np.zeros(3)
    if kind == "cropped":
        shape = (44, 60, 170)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = middle - axes @ (np.array(shape) - 1) / 2
    return affine, shape


GRIDS = ("axial", "flipped", "sagittal", "oblique", "cropped")


def _common(shape: tuple[int, int, int], sop_class: str) -> Dataset:
    header = Dataset()
    header.SOPClassUID = sop_class
    header.StudyDate, header.StudyTime, header.AccessionNumber = "20260102", "030405", "A-1"
    header.Modality, header.Manufacturer = "CT", "Maker"
    header.PatientName, header.PatientID = "Doe^Jane", "P-1"
    header.PatientBirthDate, header.PatientSex = "19800101", "F"
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.5"
    header.StudyID, header.SeriesNumber = "S", 3
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = "1.2.3.4.6", ""
    header.Rows, header.Columns = shape[1:]
    return header


def make_series(affine: NDArray[np.float64], shape: tuple[int, int, int], enhanced: bool = False) -> Series:
    """Headers of a CT on a grid, one file a slice in shuffled order, or one multi-frame file."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    orientation = [*(affine[:3, 2] / spacing[2]), *(affine[:3, 1] / spacing[1])]
    orientation = [round(float(v), 8) for v in orientation]
    positions = [[round(float(v), 6) for v in affine[:3, 3] + i * affine[:3, 0]] for i in range(shape[0])]
    if enhanced:
        return _enhanced(spacing, orientation, positions, shape)
    headers = []
    for number in np.random.default_rng(0).permutation(shape[0]):
        header = _common(shape, CTImageStorage)
        header.SOPInstanceUID, header.InstanceNumber = f"1.2.3.4.5.{number + 1}", int(number) + 1
        header.SliceThickness = float(spacing[0])
        header.PixelSpacing = [float(spacing[1]), float(spacing[2])]
        header.ImageOrientationPatient, header.ImagePositionPatient = orientation, positions[number]
        headers.append(header)
    return Series(tuple(Path(f"{i}.dcm") for i in range(shape[0])), tuple(headers))


def _enhanced(
    spacing: NDArray[np.float64], orientation: list[float], positions: list[list[float]], shape: tuple[int, int, int]
) -> Series:
    header = _common(shape, EnhancedCTImageStorage)
    header.SOPInstanceUID, header.InstanceNumber, header.NumberOfFrames = "1.2.3.4.5.1", 1, shape[0]
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [float(spacing[1]), float(spacing[2])], float(spacing[0])
    plane.ImageOrientationPatient = orientation
    shared.PixelMeasuresSequence = [measures]
    frames = []
    for position in positions[::-1]:
        frame, item = Dataset(), Dataset()
        item.ImagePositionPatient = position
        # Some vendors put the orientation, though constant, into every frame.
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [item], [plane]
        frames.append(frame)
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = [shared], frames
    return Series((Path("enhanced.dcm"),), (header,))
