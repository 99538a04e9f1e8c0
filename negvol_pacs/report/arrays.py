"""The map of joint space widths as arrays for other programs."""

from pathlib import Path

import numpy as np

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings


def save_widths(findings: Findings, path: Path) -> None:
    """Write the widths of both joints into a NumPy archive.

    Parameters
    ----------
    findings
        What was measured; a joint without a map adds nothing.
    path
        ``.npz`` file: ``vertices`` (n, 3) on the condyles, LPS mm; ``width`` (n,), mm;
        ``area`` (n,) of surface that a vertex stands for, mm²; ``side`` (n,), of the patient.
    """
    maps = {side: findings.joints[side].widths for side in (Side.RIGHT, Side.LEFT)}
    found = {side: widths for side, widths in maps.items() if widths is not None}
    np.savez_compressed(
        path,
        vertices=np.concatenate([np.empty((0, 3)), *(widths.vertices for widths in found.values())]),
        width=np.concatenate([np.empty(0), *(widths.width for widths in found.values())]),
        area=np.concatenate([np.empty(0), *(widths.area for widths in found.values())]),
        side=np.concatenate([np.empty(0, "U5"), *(np.full(len(w.width), s.value) for s, w in found.items())]),
    )
