"""From the scanner's grid, whatever its orientation, to isotropic grids in LPS."""

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
import scipy.ndimage as ndi
import SimpleITK
from numpy.typing import ArrayLike, NDArray

SPACING_MM = 0.4
EXTENT_MM = 64.0
_SLAB_BYTES = 64 << 20


def lps_geometry(first: ArrayLike, shape: tuple[int, int, int], spacing: float) -> hd.VolumeGeometry:
    """Isotropic axis-aligned grid: array axes z (to superior), y (to posterior), x (to left).

    Parameters
    ----------
    first
        Centre of voxel (0, 0, 0), LPS mm.
    shape
        Voxels along z, y, x.
    spacing
        Millimetres.
    """
    affine = np.eye(4)
    affine[:3, :3] = spacing * np.eye(3)[:, ::-1]
    affine[:3, 3] = first
    return hd.VolumeGeometry(affine, shape, coordinate_system="PATIENT")


def canonical_grid(centre: ArrayLike, spacing: float = SPACING_MM, extent: float = EXTENT_MM) -> hd.VolumeGeometry:
    """Cube around a point (LPS mm); voxels lie symmetrically about it."""
    count = round(extent / spacing)
    first = np.asarray(centre, dtype=np.float64) - (count - 1) / 2 * spacing
    return lps_geometry(first, (count, count, count), spacing)


def on_grid(array: NDArray[Any], geometry: hd.VolumeGeometry) -> hd.Volume:
    """Volume of an array that lies on a geometry."""
    return hd.Volume(array, geometry.affine, coordinate_system="PATIENT")


def index_map(source: hd.VolumeGeometry | hd.Volume, target: hd.VolumeGeometry | hd.Volume) -> NDArray[np.float64]:
    """4 × 4 matrix from voxel indices of the target to those of the source."""
    return np.asarray(np.linalg.inv(source.affine) @ target.affine, dtype=np.float64)


def world(volume: hd.VolumeGeometry | hd.Volume, index: ArrayLike) -> NDArray[np.float64]:
    """LPS mm of voxel indices, shape (..., 3)."""
    affine = np.asarray(volume.affine, dtype=np.float64)
    return np.asarray(np.asarray(index, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3])


def coordinates(geometry: hd.VolumeGeometry | hd.Volume) -> tuple[NDArray[np.float64], ...]:
    """Open mesh (z, y, x) of the LPS mm of an axis-aligned canonical grid's voxels."""
    affine, shape = np.asarray(geometry.affine), geometry.spatial_shape
    z, y, x = (affine[2 - k, 3] + affine[2 - k, k] * np.arange(shape[k]) for k in range(3))
    return z[:, None, None], y[None, :, None], x[None, None, :]


def distance_from(geometry: hd.VolumeGeometry | hd.Volume, point: ArrayLike) -> NDArray[np.float32]:
    """Distance of each voxel of a canonical grid from a point, mm."""
    z, y, x = coordinates(geometry)
    px, py, pz = np.asarray(point, dtype=np.float64)
    return np.asarray(np.sqrt((z - pz) ** 2 + (y - py) ** 2 + (x - px) ** 2), dtype=np.float32)


def inside_field(source: hd.VolumeGeometry | hd.Volume, target: hd.VolumeGeometry) -> NDArray[np.bool_]:
    """Voxels of the target whose centres lie in a voxel of the source."""
    matrix = index_map(source, target)
    axes = np.ogrid[tuple(slice(n) for n in target.spatial_shape)]
    inside = np.ones(target.spatial_shape, dtype=np.bool_)
    for row, count in zip(matrix[:3], source.spatial_shape, strict=True):
        index = sum((row[k] * axes[k] for k in range(3)), start=row[3])
        inside &= (index > -0.5 - 1e-6) & (index < count - 0.5 + 1e-6)
    return inside


def crop_around(volume: hd.Volume, target: hd.VolumeGeometry | hd.Volume, margin: int = 4) -> hd.Volume | None:
    """Cut out what a target grid can need; None where they do not meet."""
    matrix = index_map(volume, target)
    ends = [(0, count - 1) for count in target.spatial_shape]
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T @ matrix[:3, :3].T + matrix[:3, 3]
    first = np.maximum(np.floor(corners.min(axis=0)).astype(int) - margin, 0)
    last = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + margin + 1, volume.spatial_shape)
    if np.any(first >= last):
        return None
    affine = np.array(volume.affine, dtype=np.float64)
    affine[:3, 3] = world(volume, first)
    part = volume.array[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    return hd.Volume(part, affine, coordinate_system="PATIENT")


def resample(
    volume: hd.Volume, target: hd.VolumeGeometry, order: int = 1, fill: float = -1000.0
) -> NDArray[np.float32]:
    """Interpolate a volume on another grid, smoothed first where that grid is coarser.

    Parameters
    ----------
    volume
        Any orientation, any spacing.
    target
        Grid of the result.
    order
        Degree of the spline: 1 linear, 3 cubic.
    fill
        Value outside the volume.

    Returns
    -------
    ndarray
        float32, the target's shape.
    """
    part = crop_around(volume, target)
    if part is None:
        return np.full(target.spatial_shape, fill, dtype=np.float32)
    array = part.array.astype(np.float32)
    ratio = min(target.spacing) / np.asarray(part.spacing)
    sigma = np.where(ratio > 1.0, 0.5 * np.sqrt(np.maximum(ratio**2 - 1.0, 0.0)), 0.0)
    if sigma.any():
        array = ndi.gaussian_filter(array, sigma, mode="nearest", truncate=3.0)
    matrix = index_map(part, target)
    result: NDArray[np.float32] = ndi.affine_transform(
        array, matrix[:3, :3], matrix[:3, 3], target.spatial_shape, np.float32, order=order, mode="nearest"
    )
    result[~inside_field(volume, target)] = fill
    return result


def shrink(volume: hd.Volume, spacing: float) -> hd.Volume:
    """Block means that are not coarser than a spacing: cheap, exact anti-aliasing of huge volumes.

    Works slab by slab, so that no second copy of the volume exists.
    """
    factors = np.maximum(1, np.floor(spacing / np.asarray(volume.spacing) + 1e-3)).astype(int)
    factors = np.minimum(factors, volume.spatial_shape)
    counts = np.asarray(volume.spatial_shape) // factors
    result = np.empty(counts, dtype=np.float32)
    f, g, h = (int(factor) for factor in factors)
    rows, columns = int(counts[1]), int(counts[2])
    step = max(1, _SLAB_BYTES // max(1, 4 * f * g * rows * h * columns))
    for start in range(0, int(counts[0]), step):
        stop = min(start + step, int(counts[0]))
        slab = volume.array[start * f : stop * f, : rows * g, : columns * h]
        total = np.zeros((stop - start, rows, columns), dtype=np.float32)
        for i, j, k in np.ndindex(f, g, h):
            total += slab[i::f, j::g, k::h]
        result[start:stop] = total / np.float32(f * g * h)
    affine = np.array(volume.affine, dtype=np.float64)
    affine[:3, 3] = world(volume, (factors - 1) / 2)
    affine[:3, :3] *= factors
    return hd.Volume(result, affine, coordinate_system="PATIENT")


def distance_to_faces(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Signed distance of voxel centres to the faces between inside and outside.

    Parameters
    ----------
    mask
        Neither empty nor full.
    spacing
        Millimetres along each array axis.

    Returns
    -------
    ndarray
        float32, mm, positive inside.
    """
    half = np.float32(min(spacing) / 2)
    # Each side counts to the other's voxel centres: so oblique faces are not displaced.
    depth, outside = (_distance_to(other, spacing) for other in (~mask, mask))
    return np.where(mask, depth - half, half - outside)


def _distance_to(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    picture = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    picture.SetSpacing([float(step) for step in spacing[::-1]])
    found = SimpleITK.SignedMaurerDistanceMap(picture, squaredDistance=False, useImageSpacing=True)
    return np.asarray(SimpleITK.GetArrayFromImage(found), dtype=np.float32)
