"""The masks of one joint."""

from dataclasses import dataclass, field

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.quality import QualityFlag


@dataclass(frozen=True)
class JointMasks:
    """Mandibular condyle (MC) and temporal bone (TB) of one side.

    Both volumes share one grid: isotropic, axis-aligned in LPS, array axes (z to
    superior, y to posterior, x to left), covering the volume of interest.

    Attributes
    ----------
    side
        Side of the patient.
    mc, tb
        Probability, float32 in [0, 1]; the bone's surface is the 0.5 level, placed with
        sub-voxel accuracy. Never both above 0.5 in one voxel.
    centre
        Centre of the condylar head, LPS mm, shape (3,).
    inside
        Optional mask on the same grid: True where the source image has data. None when
        all of the grid lies inside the field of view.
    flags
        What the segmentation doubts.
    """

    side: Side
    mc: hd.Volume
    tb: hd.Volume
    centre: NDArray[np.float64]
    inside: hd.Volume | None = None
    flags: frozenset[QualityFlag] = field(default_factory=frozenset)
