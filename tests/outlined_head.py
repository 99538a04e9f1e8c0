"""A small painted head as a CT series, our SEG of it with a planted error, and what a viewer makes of that."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.uid import generate_uid

from negvol_pacs.anatomy import Side
from negvol_pacs.config import SeriesRules
from negvol_pacs.joint.findings import Findings, JointMeasurements, Symmetry
from negvol_pacs.report.algorithm import Algorithm
from negvol_pacs.report.seg import build_seg
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.segmentation.masks import joint_masks_from_labels
from negvol_pacs.series.reader import read_volume
from negvol_pacs.series.selection import read_headers, select_series
from negvol_pacs.series.series import Series
from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.ct_series import write_ct_series
from negvol_pacs.training.paint import paint
from negvol_pacs.training.phantom import make_head
from negvol_pacs.training.tissues import Tissue

SPACING_MM = 1.4
ALGORITHM = Algorithm("negvol-pacs", "0.1.0", "ab" * 32)


@dataclass(frozen=True)
class OutlinedHead:
    """CT files and series, true bones on its grid, our SEG and the corrected one."""

    folder: Path
    series: Series
    mandible: hd.Volume
    skull: hd.Volume
    ours: Path
    corrected: Path

    @property
    def ct(self) -> Path:
        return self.folder / "ct"


def outlined_head(folder: Path, seed: int = 0) -> OutlinedHead:
    """Write everything."""
    made = make_head(seed, SPACING_MM, (-80.0, -60.0, -38.0), (80.0, 60.0, 34.0))
    head = made.labels
    rng = np.random.default_rng(seed)
    grey = paint(head.array, head.spacing, rng, Appearance.scanner(rng))
    write_ct_series(on_grid(grey, head), folder / "ct")
    series = select_series(read_headers(sorted((folder / "ct").iterdir())), SeriesRules()).series
    volume = read_volume(series)
    bones = [head.array == Tissue.MANDIBLE, np.isin(head.array, (Tissue.SKULL, Tissue.AIR_CELL))]
    mandible, skull = (on_grid(bone, head).match_geometry(volume) for bone in bones)
    swollen = on_grid(np.roll(skull.array, -1, axis=0) | skull.array, skull)
    centres = {side: made.centres[side] for side in Side}
    ours = _seg(series, volume, mandible, swollen, centres)
    ours.save_as(folder / "ours.dcm")
    corrected = as_a_viewer_stores_it(_seg(series, volume, mandible, skull, centres), str(ours.SOPInstanceUID))
    corrected.save_as(folder / "corrected.dcm")
    return OutlinedHead(folder, series, mandible, skull, folder / "ours.dcm", folder / "corrected.dcm")


def _seg(
    series: Series, volume: hd.Volume, mandible: hd.Volume, skull: hd.Volume, centres: dict[Side, np.ndarray]
) -> hd.seg.Segmentation:
    masks = {side: joint_masks_from_labels(mandible, skull, side, 1.0, centres[side]) for side in Side}
    nothing = {side: JointMeasurements(side, {}) for side in Side}
    return build_seg(series, volume, masks, Findings(nothing, Symmetry({})), ALGORITHM, datetime(2026, 1, 1))


def as_a_viewer_stores_it(seg: Dataset, source: str) -> Dataset:
    """New UIDs, another maker, segments made by hand, and a reference to the SEG that was corrected."""
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    seg.SeriesInstanceUID = generate_uid()
    seg.Manufacturer, seg.ManufacturerModelName = "A viewer", "Editor"
    for item in seg.SegmentSequence:
        item.SegmentAlgorithmType = "SEMIAUTOMATIC"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = seg.SOPClassUID, source
    seg.ReferencedInstanceSequence = [reference]
    return seg
