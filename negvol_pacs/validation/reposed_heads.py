"""Heads that can be put into any pose: true masks, and a CT painted on the pose's grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.calibration import AIR_HU
from negvol_pacs.segmentation.grid import on_grid, resample
from negvol_pacs.segmentation.masks import JointMasks, condyle_centre, joint_masks_from_labels
from negvol_pacs.training.analytic_joints import parametric_fossa
from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.ct_series import HU_RANGE, labels_from_nifti, oblique_grid
from negvol_pacs.training.paint import paint_body, scan
from negvol_pacs.training.phantom import Head, make_head
from negvol_pacs.training.tissues import Tissue
from negvol_pacs.validation.heads import head, thick_slices
from negvol_pacs.validation.poses import SEED, Pose

MANDIBLE, SKULL = (2, 4, 5), (1, 3)  # classes of a label map: mandible with lower teeth; skull with upper teeth
PHANTOM_SEED = 1
PHANTOM_MM = 0.3
LOW, HIGH = (-90.0, -62.0, -52.0), (90.0, 72.0, 50.0)
"""Field of view of a scan of the jaw joints, LPS mm from the middle between them."""

Masks = Mapping[Side, JointMasks]


def analytic_head(pose: Pose) -> Masks:
    """Return two unlike parametric joints in a pose."""
    joints = {Side.RIGHT: parametric_fossa(), Side.LEFT: parametric_fossa(gap_mm=3.0, depth_mm=7.5)}
    return head(joints, pose.spacing_mm, turn=pose.turn, shift=pose.shift, thick=pose.thick)


def phantom(seed: int = PHANTOM_SEED, spacing_mm: float = PHANTOM_MM) -> Head:
    """Return the procedural head of a seed, as finely as the finest scan, in the field of view."""
    return make_head(seed, spacing_mm, LOW, HIGH)


@dataclass(frozen=True)
class LabelledHead:
    """Bones of an upright head.

    Attributes
    ----------
    mandible, skull
        bool, one grid.
    centres
        Of the condylar heads, LPS mm.
    """

    mandible: hd.Volume
    skull: hd.Volume
    centres: Mapping[Side, NDArray[np.float64]]

    @classmethod
    def of_phantom(cls, made: Head) -> "LabelledHead":
        """Return the bones of a procedural head."""
        return cls(*_bones(made.labels), made.centres)

    @classmethod
    def of_tissues(cls, tissues: hd.Volume) -> "LabelledHead":
        """Return the bones of a head from the `Tissue` of each voxel."""
        mandible, skull = _bones(tissues)
        return cls(mandible, skull, {side: condyle_centre(mandible, side) for side in Side})

    @classmethod
    def of_patient(cls, path: Path) -> "LabelledHead":
        """Return a head from a NIfTI label map: skull 1, mandible 2, upper teeth 3, lower teeth 4, canal 5."""
        labels = labels_from_nifti(path)
        mandible, skull = (on_grid(np.isin(labels.array, part), labels) for part in (MANDIBLE, SKULL))
        return cls(mandible, skull, {side: condyle_centre(mandible, side) for side in Side})

    def masks(self, pose: Pose) -> Masks:
        """Return the true masks of both joints in a pose."""
        mandible, skull = pose.move(self.mandible), pose.move(self.skull)
        masks = {}
        for side, centre in self.centres.items():
            joint = joint_masks_from_labels(mandible, skull, side, pose.spacing_mm, pose.place(centre))
            masks[side] = thick_slices(joint) if pose.thick else joint
        return masks


class PaintedHead:
    """A patient who is scanned again and again: painted once, with new noise and streaks in each scan.

    Parameters
    ----------
    tissues
        `Tissue` of each voxel of the upright head, as finely as the finest scan.
    seed
        Of the patient's densities, of the scanner and of the noise.
    draw
        Draws patient and scanner; a calibrated thin-slice head CT unless given.
    """

    def __init__(
        self,
        tissues: hd.Volume,
        seed: int = SEED,
        draw: Callable[[np.random.Generator], Appearance] = Appearance.scanner,
    ) -> None:
        rng = np.random.default_rng(seed)
        self._appearance = draw(rng)
        body = paint_body(tissues.array, tissues.spacing, rng, self._appearance)
        self._body = on_grid(np.rint(body).astype(np.int16), tissues)
        self._metal = on_grid(tissues.array == Tissue.METAL, tissues)
        self._seed = seed

    def scan(self, pose: Pose) -> hd.Volume:
        """Return a CT of the patient in a pose: HU, int16, axial slices, the field of view about the head's middle."""
        centre = pose.place(np.asarray(self._body.center_position))
        fine = oblique_grid(self._body, spacing=(pose.spacing_mm,) * 3, centre=centre)
        body = on_grid(resample(pose.move(self._body), fine, fill=AIR_HU), fine)
        metal = on_grid(resample(pose.move(self._metal), fine, fill=0.0), fine)
        if pose.thick:
            body, metal = _pairs(body), _pairs(metal)
        rng = np.random.default_rng([self._seed, pose.number])
        image = scan(body.array, metal.array > 0.5, body.spacing, rng, self._appearance)
        return on_grid(np.clip(np.rint(image), *HU_RANGE).astype(np.int16), body)


def _bones(tissues: hd.Volume) -> tuple[hd.Volume, hd.Volume]:
    """Mandible and skull."""
    parts = ((Tissue.MANDIBLE,), (Tissue.SKULL, Tissue.AIR_CELL))
    mandible, skull = (on_grid(np.isin(tissues.array, part), tissues) for part in parts)
    return mandible, skull


def _pairs(volume: hd.Volume) -> hd.Volume:
    """Slices of twice the thickness."""
    even = volume.array[: len(volume.array) // 2 * 2]
    affine = np.array(volume.affine)
    affine[:3, 3] += affine[:3, 0] / 2
    affine[:3, 0] *= 2
    return hd.Volume((even[0::2] + even[1::2]) / 2, affine, coordinate_system="PATIENT")
