"""Figures of a segmentation against the truth, and of a segmentation alone.

Distances between classes are in voxels where the papers give them so, surfaces in millimetres.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

GAP_VOXELS = 10.0
EPSILON_VOXELS = 2.0
Labels = NDArray[np.integer]
Mask = NDArray[np.bool_]


def dice(first: Mask, second: Mask) -> float:
    """Dice coefficient of two masks; 1 when both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2 * int((first & second).sum()) / total


def hausdorff(first: Mask, second: Mask, spacing: Sequence[float], percentile: float = 100) -> float | None:
    """Symmetric Hausdorff distance of two masks' surface voxels, mm.

    Parameters
    ----------
    first, second
        The same grid.
    spacing
        Millimetres along each axis.
    percentile
        95 for HD95: the larger one of both directions' percentiles, as MONAI defines it.

    Returns
    -------
    float or None
        None where one mask is empty: there is no distance then.
    """
    if not (first.any() and second.any()):
        return None
    clouds = [_shells(mask.astype(np.uint8))[1] * np.asarray(spacing, dtype=np.float64) for mask in (first, second)]
    ways = (clouds, clouds[::-1])
    return max(float(np.percentile(cKDTree(target).query(points)[0], percentile)) for points, target in ways)


def in_gap(labels: Labels, points: NDArray[np.integer], width: float = GAP_VOXELS) -> Mask:
    """Tell which voxels lie near two classes: d1 + d2 < width (Xu et al. 2022).

    Parameters
    ----------
    labels
        0 is background; d1 and d2 are the distances, in voxels, to the nearest and the second-nearest
        other class.
    points
        Voxels that are asked about, shape (n, dimensions).
    width
        Voxels.
    """
    nearest = np.full((2, len(points)), np.inf)
    own = labels[tuple(points.T)]
    for label, shell in _shells(labels).items():
        away = own != label
        distance = np.where(away, np.inf, 0.0)
        asked = away & (points > shell.min(0) - width).all(1) & (points < shell.max(0) + width).all(1)
        distance[asked] = cKDTree(shell).query(points[asked], distance_upper_bound=width)[0]
        nearest[1] = np.minimum(nearest[1], np.maximum(nearest[0], distance))
        nearest[0] = np.minimum(nearest[0], distance)
    return np.asarray(nearest.sum(0) < width)


def gap_dice(prediction: Labels, truth: Labels, width: float = GAP_VOXELS) -> dict[int, float]:
    """Dice of each class inside the true labels' gap region (Xu et al. 2022, GapDice).

    Returns
    -------
    dict[int, float]
        One number a class of the truth that has voxels in the region; empty where there is no gap.
    """
    points = np.argwhere((prediction > 0) | (truth > 0))
    points = points[in_gap(truth, points, width)]
    true, seen = truth[tuple(points.T)], prediction[tuple(points.T)]
    return {int(label): dice(seen == label, true == label) for label in np.unique(true[true > 0])}


def collisions(labels: Labels, epsilon: float = EPSILON_VOXELS) -> int:
    """Size of the collision set E: foreground voxels within ``epsilon`` voxels of another class (Xu et al. 2022)."""
    shells = _shells(labels)
    count = 0
    for label in shells:
        others = [shell for other, shell in shells.items() if other != label]
        if others:
            points = np.argwhere(labels == label)
            reach = np.nextafter(epsilon, np.inf)
            found, _ = cKDTree(np.concatenate(others)).query(points, distance_upper_bound=reach)
            count += int(np.isfinite(found).sum())
    return count


def mend_sides(labels: Labels, pairs: Sequence[tuple[int, int]]) -> NDArray[np.integer]:
    """Mend left and right mixed up (Xu et al. 2022, symmetric-component post-processing).

    For each pair of classes that are each other's mirror image the largest component of each stays, and
    the others get the opposite class; then of every class the largest component stays. For networks that name
    both sides in one answer, as the localizer does when it is evaluated; the pipeline has no use for it:
    `localization.choose` takes the sides from where the joints lie, and the bones' network sees one joint at a time.

    Parameters
    ----------
    labels
        Not changed.
    pairs
        Symmetric classes, such as right and left condyle.
    """
    result = labels.copy()
    for first, second in pairs:
        for label, other in ((first, second), (second, first)):
            result[(labels == label) & ~largest(labels == label)] = other
    for label in np.unique(result[result > 0]):
        mask = result == label
        result[mask & ~largest(mask)] = 0
    return result


def largest(mask: Mask) -> Mask:
    """Largest component, voxels joined by faces, edges or corners."""
    pieces, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    if count < 2:
        return mask.copy()
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())


def _shells(labels: Labels) -> dict[int, NDArray[np.int64]]:
    """Voxels of each class with a neighbour that is none of it."""
    shells = {}
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            part = labels[box] == label
            shell = part & ~ndimage.binary_erosion(part)
            shells[label] = np.argwhere(shell) + [side.start for side in box]
    return shells
