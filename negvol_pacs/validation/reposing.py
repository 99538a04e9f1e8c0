"""One head in many positions and on many grids: how far each measure scatters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.segmentation.masks import JointMasks, condyle_centre, joint_masks_from_labels
from negvol_pacs.training.analytic_joints import parametric_fossa
from negvol_pacs.validation.check import Check, below
from negvol_pacs.validation.heads import head, thick_slices

SECTION = "Re-posing"
POSES = 30
TURN_DEG, SHIFT_MM = 20.0, 30.0
GRIDS = ((0.3, False), (0.4, False), (0.5, False), (0.6, False), (0.4, True))
"""Spacing in mm, and whether slices are twice as thick."""
LIMITS = {
    Quantity.NV_VOLUME: (1.5, "%"),
    Quantity.NV_AREA: (1.0, "%"),
    Quantity.FW: (0.2, "mm"),
    Quantity.FD: (0.2, "mm"),
    Quantity.SJS: (0.1, "mm"),
    Quantity.S_LR: (0.01, ""),
    Quantity.H_LR: (0.15, "mm"),
}
"""Of the coefficient of variation, or of the standard deviation: half of what is asked from a painted CT."""
SEED = 20211109
MANDIBLE, SKULL = (2, 4, 5), (1, 3)  # classes of a label map: mandible with lower teeth; skull with upper teeth

Masks = Mapping[Side, JointMasks]


@dataclass(frozen=True)
class Pose:
    """A position of the head and a grid."""

    turn: NDArray[np.float64]
    shift: NDArray[np.float64]
    spacing_mm: float
    thick: bool


def poses(count: int = POSES) -> list[Pose]:
    """Draw positions: rotation up to 20° about each axis, shift up to 30 mm, the grids in turn."""
    random = np.random.default_rng(SEED)
    drawn = []
    for k in range(count):
        turn = Rotation.from_euler("xyz", random.uniform(-TURN_DEG, TURN_DEG, 3), degrees=True).as_matrix()
        drawn.append(Pose(turn, random.uniform(-SHIFT_MM, SHIFT_MM, 3), *GRIDS[k % len(GRIDS)]))
    return drawn


def grids(count: int = POSES) -> list[str]:
    """Return the grid of each pose, in words."""
    return [f"{pose.spacing_mm}{' × 0.8' if pose.thick else ''}" for pose in poses(count)]


def analytic_head(pose: Pose) -> Masks:
    """Return two unlike parametric joints in a pose."""
    joints = {Side.RIGHT: parametric_fossa(), Side.LEFT: parametric_fossa(gap_mm=3.0, depth_mm=7.5)}
    return head(joints, pose.spacing_mm, turn=pose.turn, shift=pose.shift, thick=pose.thick)


class LabelledHead:
    """A head from a label map.

    Parameters
    ----------
    path
        NIfTI label map: skull 1, mandible 2, upper teeth 3, lower teeth 4, canal 5.
    """

    def __init__(self, path: Path) -> None:
        from negvol_pacs.training.ct_series import labels_from_nifti

        labels = labels_from_nifti(path)
        self._mandible, self._skull = (on_grid(np.isin(labels.array, part), labels) for part in (MANDIBLE, SKULL))
        self._centres = {side: condyle_centre(self._mandible, side) for side in Side}

    def __call__(self, pose: Pose) -> Masks:
        """Return the masks of both joints in a pose."""
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = pose.turn, pose.shift
        mandible, skull = (
            hd.Volume(bone.array, place @ bone.affine, coordinate_system="PATIENT")
            for bone in (self._mandible, self._skull)
        )
        masks = {}
        for side, centre in self._centres.items():
            moved = pose.turn @ centre + pose.shift
            joint = joint_masks_from_labels(mandible, skull, side, pose.spacing_mm, moved)
            masks[side] = thick_slices(joint) if pose.thick else joint
        return masks


def run(
    name: str,
    masks: Callable[[Pose], Masks],
    count: int = POSES,
    progress: Callable[[str], None] = lambda what: None,
) -> tuple[list[Check], dict[str, list[float | None]]]:
    """Measure a head in each pose.

    Returns
    -------
    tuple
        The scatter of each measure against its limit, and all values by side and measure.
    """
    values: dict[str, list[float | None]] = {}
    for k, pose in enumerate(poses(count)):
        progress(f"{name}, pose {k + 1} of {count}")
        for key, value in _numbers(measure(masks(pose))).items():
            values.setdefault(key, []).append(value)
    limits = {quantity.label: limit for quantity, limit in LIMITS.items()}
    checks = []
    for key, found in values.items():
        limit, unit = limits[key.split(", ")[0]]
        what = "coefficient of variation" if unit == "%" else "sd"
        place = (SECTION, name, f"{key}: {what}", f"{count} poses")
        checks.append(below(place, _scatter(found, unit), limit, unit))
    return checks, values


def _scatter(values: Sequence[float | None], unit: str) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    sd = float(np.std(known, ddof=1))
    return 100 * sd / float(np.mean(known)) if unit == "%" else sd


def _numbers(found: Findings) -> dict[str, float | None]:
    numbers = {}
    for quantity in LIMITS:
        if quantity in found.symmetry.measurements:
            numbers[quantity.label] = found.symmetry.measurements[quantity].value
        else:
            for side in Side:
                numbers[f"{quantity.label}, {side}"] = found.joints[side].measurements[quantity].value
    return numbers
