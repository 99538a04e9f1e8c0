"""``negvol phantom``: a synthetic or converted head as a CT series in DICOM files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import ArrayLike
from pydicom.uid import ExplicitVRLittleEndian

from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.training.ct_series import (
    Scan,
    labels_from_nifti,
    oblique_grid,
    resample_to_grid,
    volume_from_nifti,
    write_ct_series,
)
from negvol_pacs.training.mastoid import fill_mastoids
from negvol_pacs.training.paint import Appearance, clothe, paint
from negvol_pacs.training.phantom.head import make_head

SPACING_MM = 0.5


def write_phantom(
    folder: Path,
    seed: int = 0,
    *,
    from_volume: Path | None = None,
    from_labels: Path | None = None,
    spacing_mm: float | None = None,
    slice_mm: float | None = None,
    degrees: Sequence[float] = (0.0, 0.0, 0.0),
    flip: Sequence[int] = (),
    extent_mm: Sequence[float] | None = None,
    centre: ArrayLike | None = None,
    enhanced: bool = False,
    transfer_syntax: str = ExplicitVRLittleEndian,
    scan: Scan | None = None,
) -> list[Path]:
    """Write a head CT series.

    Parameters
    ----------
    folder
        Made where absent.
    seed
        Of the procedural head, of soft tissue around given bones, and of the noise.
    from_volume
        NIfTI image that is converted instead.
    from_labels
        NIfTI label map of bones (1 skull, 2 mandible, 3 and 4 teeth, 5 canal) that is
        clothed and painted instead; hollow mastoids are filled (`training.mastoid`).
    spacing_mm, slice_mm
        Pixel spacing and slice distance; by default those of the source, 0.5 mm for the
        procedural head.
    degrees, flip, extent_mm, centre
        Oblique, flipped and cropped grids, see `ct_series.oblique_grid`.
    enhanced, transfer_syntax, scan
        See `ct_series.write_ct_series`.

    Returns
    -------
    list[Path]
        The files, in the order of the slices.

    Raises
    ------
    ValueError
        If both sources are given, or the label map has no mandible.
    """
    if from_volume is not None and from_labels is not None:
        raise ValueError("give an image or a label map, not both")
    volume, what = _volume(seed, from_volume, from_labels, spacing_mm)
    pixel = volume.spacing[1:] if spacing_mm is None else (spacing_mm, spacing_mm)
    step = slice_mm or (volume.spacing[0] if spacing_mm is None else spacing_mm)
    grid = oblique_grid(volume, degrees, spacing=(step, *pixel), flip=flip, extent_mm=extent_mm, centre=centre)
    if not np.allclose(grid.affine, volume.affine) or grid.spatial_shape != volume.spatial_shape:
        volume = resample_to_grid(volume, grid)
    scan = scan or Scan()
    if scan == Scan():
        scan = replace(scan, patient_id=f"PHANTOM{seed}", study_description=what)
    return write_ct_series(volume, folder, scan, enhanced=enhanced, transfer_syntax=transfer_syntax)


def _volume(
    seed: int, from_volume: Path | None, from_labels: Path | None, spacing_mm: float | None
) -> tuple[hd.Volume, str]:
    """Return Hounsfield units and where they come from."""
    if from_volume is not None:
        return volume_from_nifti(from_volume), "Head CT (converted)"
    rng = np.random.default_rng([seed, 1])
    if from_labels is not None:
        bones = fill_mastoids(labels_from_nifti(from_labels))
        labels, what = on_grid(clothe(bones.array, bones.spacing, rng), bones), "Head CT (painted bones)"
    else:
        labels, what = make_head(seed, spacing_mm or SPACING_MM).labels, "Head CT (synthetic)"
    return on_grid(paint(labels.array, labels.spacing, rng, Appearance.scanner(rng)), labels), what
