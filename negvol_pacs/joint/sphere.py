"""The manual way to a negative volume (Belikova et al. 2021): a rough sphere minus the bones.

A person places a sphere in the joint and subtracts the masks. Here the sphere stands on the
line from eminence to postglenoid process as its diameter, so it is the same every time; it
is a value to compare with, not a measurement of the joint space: it misses what lies further
medial and lateral than half the fossa's width. As by hand, voxels are counted.
"""

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from negvol_pacs.errors import InflationError
from negvol_pacs.joint.fossa import Fossa
from negvol_pacs.joint.frame import unit

STEP_MM = 0.3  # half of it changes the volume by 0.2 %


def sphere_volume(mc: hd.Volume, tb: hd.Volume, fossa: Fossa) -> float:
    """Volume of the half sphere over the fossa's opening, minus the bones, mm³.

    Parameters
    ----------
    mc, tb
        Probabilities in LPS, 0.5 at the surface; no bone outside.
    fossa
        Landmarks.

    Raises
    ------
    InflationError
        If no part of it touches the condyle.
    """
    half = int(np.ceil(fossa.width / 2 / STEP_MM))
    across, up = (np.arange(-half, half) + 0.5) * STEP_MM, (np.arange(half) + 0.5) * STEP_MM
    x, y, z = np.meshgrid(across, across, up, indexing="ij", sparse=True)
    axes, corner = _axes(fossa), (fossa.eminence + fossa.postglenoid) / 2
    corner = corner + axes @ (across[0], across[0], up[0])
    condyle, bone = (_resampled(volume, axes * STEP_MM, corner, np.broadcast(x, y, z).shape) for volume in (mc, tb))
    pieces, _ = ndimage.label((x**2 + y**2 + z**2 < (fossa.width / 2) ** 2) & ~condyle & ~bone)
    touching = np.unique(pieces[ndimage.binary_dilation(condyle)])  # the sphere may reach through the roof
    count = np.bincount(pieces.ravel())[touching[touching > 0]].sum()
    if not count:
        raise InflationError("No part of the sphere over the fossa touches the condyle.")
    return float(count * STEP_MM**3)


def _axes(fossa: Fossa) -> NDArray[np.float64]:
    """Columns: forward and sideways in the plane of the opening, and into the fossa."""
    normal = fossa.opening.normal
    forward = fossa.eminence - fossa.postglenoid
    forward = unit(forward - (forward @ normal) * normal)
    return np.column_stack([forward, np.cross(normal, forward), normal])


def _resampled(
    volume: hd.Volume, steps: NDArray[np.float64], corner: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return where bone is on another grid of these steps (columns, mm) from this corner."""
    inverse = volume.inverse_affine
    matrix, offset = inverse[:3, :3] @ steps, inverse[:3, :3] @ corner + inverse[:3, 3]
    found = ndimage.affine_transform(volume.array, matrix, offset, output_shape=shape, order=1, prefilter=False)
    return np.asarray(found >= 0.5)
