"""The head's mid-sagittal plane, from the skull: one temporal bone is the mirror image of the other.

The left temporal bone, mirrored, is laid onto the right one by iterated closest points; each
of its points and the point's image are then symmetric about the plane (De Momi et al. 2006).
Unlike the line through the condyles it does not turn with a jaw that is displaced or lopsided.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.joint.frame import Plane, unit
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.symmetry import best_motion, mirror, sample_evenly

POINTS = 600  # ten times as many turn the plane by less than 0.1°
REACH_MM = 26.0  # around the condyle; farther out the volume of interest cuts the bone
STEPS = 40
SETTLED_MM = 0.01
FIRST_STEPS = 5  # with the nearer 70 % of the points, however far
TRIM_MM = 2.0  # farther points have no counterpart on the other side
LEAST_USED = 0.6
MOST_MISFIT_MM = 1.2

Point = NDArray[np.float64]


@dataclass(frozen=True)
class MidsagittalPlane:
    """Plane of the skull's symmetry.

    Attributes
    ----------
    plane
        The normal points to the patient's left; LPS mm.
    uncertainty_deg
        The turn of the normal if one temporal bone moved by the root mean square distance
        that is left between it and the other's mirror image.
    """

    plane: Plane
    uncertainty_deg: float


def find_midsagittal_plane(
    right: Rays, left: Mesh, centres: tuple[Point, Point], transverse: Point
) -> MidsagittalPlane | None:
    """Find the plane that mirrors the left temporal bone onto the right one.

    Parameters
    ----------
    right, left
        Temporal bones.
    centres
        Centres of the right and of the left condylar head, LPS mm.
    transverse
        Rough unit vector from right to left.

    Returns
    -------
    MidsagittalPlane or None
        None where the bones are too unlike.
    """
    source = sample_evenly(left, POINTS)
    source = source[np.linalg.norm(source - centres[1], axis=1) < REACH_MM]
    mirrored = mirror(Mesh(np.vstack([source, centres[1]]), np.zeros((0, 3), np.int32)), transverse).vertices
    image = mirrored[:-1] + centres[0] - mirrored[-1]
    for step in range(STEPS):
        nearest, normals = right.nearest_with_normals(image)
        distance = np.linalg.norm(nearest - image, axis=1)
        limit = max(TRIM_MM, float(np.percentile(distance, 70))) if step < FIRST_STEPS else TRIM_MM
        used = (distance < limit) & (np.linalg.norm(nearest - centres[0], axis=1) < REACH_MM + TRIM_MM)
        if used.mean() < LEAST_USED:
            return None
        rotation, shift = best_motion(image[used], nearest[used], normals[used])
        moved = image @ rotation.T + shift
        settled = np.abs(moved - image).max() < SETTLED_MM
        image = moved
        if settled:
            break
    misfit = float(np.sqrt(np.mean(distance[used] ** 2)))
    if misfit > MOST_MISFIT_MM:
        return None
    across = (source - image)[used].mean(axis=0)
    plane = Plane((source + image)[used].mean(axis=0) / 2, unit(across))
    return MidsagittalPlane(plane, float(np.degrees(np.arctan2(misfit, np.linalg.norm(across)))))
