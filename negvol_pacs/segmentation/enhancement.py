"""Classical enhancement of the temporal bone (Belikova 2021, step C).

The fossa's roof can be thinner than a voxel; the network then sees it but doubts. Where it
sees at least a trace (heat above 0.1), edges of the denoised image are closed to plates,
and what is as dense as bone in them joins the bone.
"""

import numpy as np
import scipy.ndimage as ndi
import SimpleITK
from numpy.typing import NDArray

from negvol_pacs.segmentation.grid import distance_to_faces

HEAT = 0.1
_ITERATIONS, _STEP, _CONDUCTANCE = 3, 0.0625, 2.0
_CANNY_VARIANCE_MM2 = 0.15
_CLOSING_MM = 0.9
_SKIN_MM = 0.5
_LEAST_HU, _SOFT_HU = 150.0, 40.0

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


def enhance(image: Field, heat: Field, bone: Field, other: Field, spacing: float) -> Field:
    """Add to the temporal bone what edges and heat agree on.

    Parameters
    ----------
    image
        Grey values, roughly HU, on an isotropic grid.
    heat
        Probability of TB.
    bone, other
        Signed distances to the surfaces of TB and MC, mm, positive inside.
    spacing
        Of the grid, mm.

    Returns
    -------
    ndarray
        Signed distance to the surface of the enhanced TB, mm; unchanged away from what was added.
    """
    box = _box((heat > HEAT) & (other < 0), margin=4)
    if box is None:
        return bone
    added = np.zeros(image.shape, dtype=np.bool_)
    added[box] = _plates(image[box], heat[box], bone[box], other[box], spacing)
    if not added.any():
        return bone
    joined = ndi.gaussian_filter(distance_to_faces(added | (bone > 0), (spacing,) * 3), 0.5)
    near = ndi.binary_dilation(added, iterations=3)
    return np.where(near, np.maximum(joined, bone), bone).astype(np.float32)


def _plates(image: Field, heat: Field, bone: Field, other: Field, spacing: float) -> Mask:
    """Dense voxels between closed edges, beyond the bone that is known and never in MC."""
    warm = ndi.maximum_filter(heat, 3) > HEAT  # A plate's edges are colder than its middle.
    edges = edge_voxels(image, spacing) & warm
    radius = max(1, round(_CLOSING_MM / spacing))
    closed = ndi.binary_closing(edges | (bone > 0), _ball(radius))
    level = _density(image, bone)
    candidates = closed & warm & (bone <= 0) & (other < -spacing) & (image > level)
    # What only thickens a surface that is known already is no plate.
    plates = candidates & (bone < -_SKIN_MM)
    return np.asarray(ndi.binary_dilation(plates, iterations=2) & candidates)


def edge_voxels(image: Field, spacing: float) -> Mask:
    """Edges of the denoised image by the 3D Canny operator, grey values roughly HU."""
    picture = SimpleITK.GetImageFromArray(image)
    picture.SetSpacing((spacing,) * 3)
    smooth = SimpleITK.CurvatureAnisotropicDiffusion(picture, _STEP * spacing, _CONDUCTANCE, 1, _ITERATIONS)
    found = SimpleITK.CannyEdgeDetection(smooth, 100.0, 300.0, [_CANNY_VARIANCE_MM2] * 3)
    return np.asarray(SimpleITK.GetArrayFromImage(found) > 0)


def _density(image: Field, bone: Field) -> float:
    """Grey value half-way from soft tissue to the temporal bone's surface layer."""
    surface = image[(bone > 0) & (bone < 1.0)]
    dense = float(np.median(surface)) if surface.size else 2 * _LEAST_HU
    return max(_LEAST_HU, (_SOFT_HU + dense) / 2)


def _ball(radius: int) -> Mask:
    z, y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1, -radius : radius + 1]
    return np.asarray(z * z + y * y + x * x <= radius * radius + 1)


def _box(mask: Mask, margin: int) -> tuple[slice, ...] | None:
    found = ndi.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    return tuple(slice(max(0, part.start - margin), part.stop + margin) for part in found[0])
