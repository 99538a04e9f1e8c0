"""Where the two joints are (Belikova 2021, "VOI localization"): a V-Net on the whole head."""

from dataclasses import dataclass
from itertools import combinations

import highdicom as hd
import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_minimum
from torch import Tensor, nn

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import JointError, JointNotFound, JointOutsideField, NoHead
from negvol_pacs.segmentation import calibration, grid
from negvol_pacs.segmentation.body import Body, find_body
from negvol_pacs.segmentation.intensity import normalise_head
from negvol_pacs.segmentation.memory import Place, with_memory
from negvol_pacs.segmentation.weights import Bundle

FIELD_MARGIN_MM = 12.0
"""A condylar head nearer than this to the border of the field of view is cut."""
_SMALLEST_JOINT_MM3 = 400.0
_LEAST_SHARE = 0.1
_DISTANCE_MM = (70.0, 130.0)
_LARGEST_SHIFT_MM = 45.0
_USUAL_DISTANCE_MM = 100.0


@dataclass(frozen=True)
class Localization:
    """What the localizer found.

    Attributes
    ----------
    centres
        Centre of each condylar head, LPS mm, or why there is none.
    line
        Calibration of the grey values.
    """

    centres: dict[Side, NDArray[np.float64] | JointError]
    line: calibration.Calibration


@dataclass(frozen=True)
class Candidate:
    """A region that may be a joint: its centroid (LPS mm) and its probability masses."""

    centre: NDArray[np.float64]
    right: float
    left: float

    @property
    def mass(self) -> float:
        """Sum of both sides' probabilities."""
        return self.right + self.left


def locate(volume: hd.Volume, bundle: Bundle) -> Localization:
    """Find both joints.

    Parameters
    ----------
    volume
        Grey values, any orientation and spacing.
    bundle
        The localizer.

    Raises
    ------
    NoHead
        If there is no head in the volume.
    """
    coarse = grid.shrink(volume, bundle.spacing_mm)
    line = calibration.estimate(coarse.array)
    body = find_body(coarse, line)
    geometry = head_grid(body, bundle)
    image = grid.resample(coarse, geometry, fill=line.grey(calibration.AIR_HU))
    centres = choose(candidates(heat_maps(image, bundle), geometry), volume)
    if not body.head_like and all(isinstance(centre, JointError) for centre in centres.values()):
        raise NoHead("What the images show is too wide for a head, and no jaw joint was found in it.")
    return Localization(centres, line)


def head_grid(body: Body, bundle: Bundle) -> hd.VolumeGeometry:
    """Cube of the localizer: around the body, or its uppermost part where it is longer."""
    spacing, window = bundle.spacing_mm, np.array(bundle.window)
    length = (window[0] - 1) * spacing
    centre = body.centre.copy()
    centre[2] = (body.top + body.bottom) / 2 if body.top - body.bottom < length else body.top - length / 2
    first = centre - (window[::-1] - 1) / 2 * spacing
    return grid.lps_geometry(first, bundle.window, spacing)


@torch.inference_mode()
def heat_maps(image: NDArray[np.float32], bundle: Bundle) -> NDArray[np.float32]:
    """Probabilities of the right and of the left joint, shape (2, z, y, x).

    The network sees the head and its mirror image, so that no side is preferred; always as a
    whole, since a part of a head does not tell where the joints are.
    """
    tensor = torch.from_numpy(normalise_head(image))[None, None]

    def infer(module: nn.Module, place: Place) -> Tensor:
        whole = tensor.to(place.store)
        seen = module(whole.to(place.device)).softmax(dim=1)[0, 1:].to(place.store)
        mirrored = module(whole.flip(-1).to(place.device)).softmax(dim=1)[0, 1:].to(place.store)
        both: Tensor = (seen + mirrored.flip((0, -1))) / 2
        return both

    mean, _ = with_memory(bundle.module, infer)
    result: NDArray[np.float32] = mean.float().cpu().numpy()
    return result


def candidates(heat: NDArray[np.float32], geometry: hd.VolumeGeometry) -> list[Candidate]:
    """Regions above the minimum between the histogram's two peaks, likeliest first."""
    joint = heat.sum(axis=0)
    pieces, count = ndi.label(ndi.binary_opening(joint > _threshold(joint)))
    voxels = np.bincount(pieces.ravel(), minlength=count + 1)
    large = [label for label in range(1, count + 1) if voxels[label] * geometry.voxel_volume >= _SMALLEST_JOINT_MM3]
    found = []
    for label in large:
        index = np.argwhere(pieces == label)
        weights = joint[tuple(index.T)]
        right, left = (float(side[tuple(index.T)].sum()) for side in heat)
        found.append(Candidate(grid.world(geometry, np.average(index, axis=0, weights=weights)), right, left))
    return sorted(found, key=lambda candidate: -candidate.mass)[:6]


def _threshold(joint: NDArray[np.float32]) -> float:
    try:
        return float(np.clip(threshold_minimum(joint), 0.3, 0.6))
    except RuntimeError:  # The histogram has no two peaks.
        return 0.5


def choose(
    found: list[Candidate], field: hd.Volume | hd.VolumeGeometry
) -> dict[Side, NDArray[np.float64] | JointError]:
    """Give the candidates their sides.

    Of all pairs that can be the two joints of one head the likeliest is taken, and the
    patient's right one is that with the smaller x. A lone candidate goes to the side
    that the network names.

    Parameters
    ----------
    found
        Candidates, likeliest first.
    field
        The source grid: its border is that of the field of view.
    """
    pairs = [sorted(pair, key=lambda joint: joint.centre[0]) for pair in combinations(found, 2)]
    pairs = [pair for pair in pairs if _plausible(*pair)]
    chosen: dict[Side, Candidate] = {}
    if pairs:
        right, left = max(pairs, key=lambda pair: pair[0].right + pair[1].left + 0.5 * (pair[0].left + pair[1].right))
        chosen = {Side.RIGHT: right, Side.LEFT: left}
    elif found:
        chosen = {Side.RIGHT if found[0].right >= found[0].left else Side.LEFT: found[0]}
    return {side: _checked(side, chosen, field) for side in Side}


def _plausible(right: Candidate, left: Candidate) -> bool:
    shift = np.abs(left.centre - right.centre)
    distance = float(np.linalg.norm(shift))
    shares = sorted((right.mass, left.mass))
    near = _DISTANCE_MM[0] <= distance <= _DISTANCE_MM[1] and shift[1:].max() <= _LARGEST_SHIFT_MM
    return bool(near and shares[0] >= _LEAST_SHARE * shares[1])


def _checked(
    side: Side, chosen: dict[Side, Candidate], field: hd.Volume | hd.VolumeGeometry
) -> NDArray[np.float64] | JointError:
    if side in chosen:
        return within_field(chosen[side].centre, side, field)
    if side.other in chosen:
        sign = -1.0 if side is Side.RIGHT else 1.0
        expected = chosen[side.other].centre + np.array([sign * _USUAL_DISTANCE_MM, 0.0, 0.0])
        if border_distance(expected, field) < 0:
            return JointOutsideField(f"The {side} joint lies outside the field of view.")
    return JointNotFound(f"No {side} jaw joint was found.")


def within_field(
    centre: NDArray[np.float64], side: Side, field: hd.Volume | hd.VolumeGeometry
) -> NDArray[np.float64] | JointError:
    """Return the centre, or the error where the field of view cuts the condylar head."""
    if border_distance(centre, field) < FIELD_MARGIN_MM:
        return JointOutsideField(f"The {side} joint is cut by the border of the field of view.")
    return centre


def border_distance(point: NDArray[np.float64], field: hd.Volume | hd.VolumeGeometry) -> float:
    """Distance of a point (LPS mm) from the border of the field of view; negative outside."""
    index = np.linalg.inv(np.asarray(field.affine)) @ np.append(point, 1.0)
    last = np.asarray(field.spatial_shape) - 0.5
    return float((np.minimum(index[:3] + 0.5, last - index[:3]) * np.asarray(field.spacing)).min())
