"""Sub-voxel bone surfaces: the network finds the bone, the grey values say where it ends.

A joint space is about 2 mm wide, so a surface that is off by a third of a millimetre costs
the negative volume a fifth. The network's surface is therefore moved, by less than a
millimetre, to where the grey value is half-way between the soft tissue outside and the
cortex inside (half maximum), both taken locally.
"""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from negvol_pacs.segmentation.grid import distance_to_faces

_NOISE_MM = 0.2
_BAND_MM = 1.4
_PLATEAU_MM = 1.2
_LEVEL = 0.53
"""Little above the half: a thin blurred cortex does not reach its true maximum."""
_FARTHEST_MM = 1.0
_USUAL_MM = 0.6
_STIFFNESS_MM = 0.5
_LEAST_CONTRAST_HU = 150.0
_DOUBT = 0.02

Field = NDArray[np.float32]


def snap(image: Field, bone: Field, other: Field, spacing: float) -> Field:
    """Move one bone's surface to the edge in the grey values.

    Every voxel near the surface votes for a shift; clear and small ones count most, and
    the average over half a millimetre moves the surface. Where nothing votes it stays.

    Parameters
    ----------
    image
        Grey values, roughly HU, on an isotropic grid.
    bone, other
        Signed distance to the surface of this bone and of the other one, mm, positive inside.
    spacing
        Of the grid, mm.

    Returns
    -------
    ndarray
        Signed distance to the moved surface, mm.
    """
    smooth = ndi.gaussian_filter(image, _NOISE_MM / spacing)
    soft = -_plateau(-smooth, (bone < 0.2) & (bone > -_BAND_MM) & (other < 0.2), spacing)
    hard = _plateau(smooth, (bone > -0.2) & (bone < _BAND_MM), spacing)
    contrast = np.maximum(hard - soft, 1.0)
    slope = _slope(smooth, spacing)
    edge = (smooth - soft - _LEVEL * contrast) / np.maximum(slope, 0.25 * contrast)
    shift = edge - bone
    votes = (np.abs(edge) < 0.8) & (np.abs(bone) < _BAND_MM) & (np.abs(shift) < _FARTHEST_MM)
    weight = np.where(votes & (contrast > _LEAST_CONTRAST_HU), np.clip(slope / contrast, 0, 1) ** 2, 0.0)
    weight = (weight * np.exp(-0.5 * (shift / _USUAL_MM) ** 2)).astype(np.float32)
    reach = _STIFFNESS_MM / spacing
    mean = ndi.gaussian_filter(weight * shift, reach) / (ndi.gaussian_filter(weight, reach) + _DOUBT)
    return np.asarray(bone + mean, dtype=np.float32)


def signed_distance(odds: Field, spacing: float) -> Field:
    """Signed distance (mm, positive inside) to the zero level of log-odds, sub-voxel near it.

    Where the zero level is nearer than a voxel, value over slope; else the distance
    transform.
    """
    bone = odds > 0
    if not bone.any() or bone.all():
        return np.full(odds.shape, 9.0 if bone.any() else -9.0, dtype=np.float32)
    far = distance_to_faces(bone, (spacing,) * 3)
    near = odds / np.maximum(_slope(odds, spacing), 1e-3)
    result = np.where(np.abs(far) < spacing, np.clip(near, -1.5 * spacing, 1.5 * spacing), far)
    return np.asarray(ndi.gaussian_filter(result, 0.5), dtype=np.float32)


def _slope(field: Field, spacing: float) -> Field:
    squares = [part**2 for part in np.gradient(field, spacing)]
    return np.asarray(np.sqrt(squares[0] + squares[1] + squares[2]), dtype=np.float32)


def _plateau(field: Field, where: NDArray[np.bool_], spacing: float) -> Field:
    """Local maximum of a field over a region, averaged over a millimetre."""
    lowest = np.float32(field.min())
    size = 2 * round(_PLATEAU_MM / spacing) + 1
    highest = ndi.maximum_filter(np.where(where, field, lowest), size)
    weight = ndi.gaussian_filter(where.astype(np.float32), 1.0 / spacing)
    total = ndi.gaussian_filter(np.where(where, highest, 0).astype(np.float32), 1.0 / spacing)
    return np.asarray(np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), lowest), dtype=np.float32)
