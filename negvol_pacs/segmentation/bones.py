"""MC and TB in one volume of interest (Belikova 2021, networks A and B) by a V-Net."""

from dataclasses import dataclass

import highdicom as hd
import numpy as np
import scipy.ndimage as ndi
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import SegmentationEmpty
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import grid
from negvol_pacs.segmentation.intensity import normalise_voi
from negvol_pacs.segmentation.masks import clip_to_joint, head_centre
from negvol_pacs.segmentation.memory import Place, with_memory
from negvol_pacs.segmentation.weights import Bundle

_OVERLAP = 0.5
_SMALLER = (0.91,)
"""Share of the window's edge that will do with little memory: 80 of 88 voxels; with 72, bone goes missing."""
_RECENTRE_MM = 4.0
_SEARCH_MM = 23.0
SUREST = 8.0
"""Log-odds are clipped to this."""


@dataclass(frozen=True)
class Outline:
    """What the network says about one joint.

    Attributes
    ----------
    mc, tb
        Logarithm of the odds of the bone against all else, on one isotropic LPS grid; 0 is the surface.
    centre
        Centre of the condylar head, LPS mm.
    flags
        What is to be known of how it was seen.
    """

    mc: hd.Volume
    tb: hd.Volume
    centre: NDArray[np.float64]
    flags: frozenset[QualityFlag]


def outline(volume: hd.Volume, centre: NDArray[np.float64], side: Side, bundle: Bundle) -> Outline:
    """Segment the bones of a joint; look again where the centre was off by more than 4 mm.

    Parameters
    ----------
    volume
        Grey values, any orientation and spacing.
    centre
        Where the localizer saw the condylar head, LPS mm.
    side
        Left joints are shown to the network in the mirror.
    bundle
        The bones' network.

    Raises
    ------
    SegmentationEmpty
        If there is no condyle or no temporal bone.
    """
    first = _look(volume, centre, side, bundle)
    if np.linalg.norm(first.centre - centre) <= _RECENTRE_MM:
        return first
    return _look(volume, first.centre, side, bundle)


def _look(volume: hd.Volume, centre: NDArray[np.float64], side: Side, bundle: Bundle) -> Outline:
    geometry = grid.canonical_grid(centre, bundle.spacing_mm)
    image = grid.resample(volume, geometry, order=3, fill=0.0)
    inside = grid.inside_field(volume, geometry)
    if not inside.any():
        raise SegmentationEmpty("The volume of interest lies outside the field of view.")
    step = -1 if side is Side.LEFT else 1
    odds, flags = log_odds(normalise_voi(image[:, :, ::step], inside[:, :, ::step]), bundle)
    mc, tb = odds[..., ::step]
    mc, tb = np.where(inside, mc, -SUREST), np.where(inside, tb, -SUREST)
    condyle, _ = clip_to_joint(sigmoid(mc), sigmoid(tb), geometry, _rough_centre(mc, geometry, centre))
    found = head_centre(grid.on_grid(condyle, geometry))
    return Outline(grid.on_grid(mc, geometry), grid.on_grid(tb, geometry), found, flags)


@torch.inference_mode()
def log_odds(image: NDArray[np.float32], bundle: Bundle) -> tuple[NDArray[np.float32], frozenset[QualityFlag]]:
    """Log-odds of MC and TB.

    Parameters
    ----------
    image
        Normalised VOI of a right joint (or a mirrored left one), shape (z, y, x).
    bundle
        The bones' network: logits of background, MC, TB.

    Returns
    -------
    odds
        Shape (2, z, y, x), clipped to ±8.
    flags
        ``SMALLER_WINDOWS`` where the GPU's memory did not suffice for those of the training.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None, None]

    def infer(module: nn.Module, place: Place) -> Tensor:
        logits: Tensor = sliding_window_inference(
            tensor.to(place.store), place.window(bundle.window, module), 1, module, overlap=_OVERLAP, mode="gaussian",
            padding_mode="replicate", sw_device=place.device, device=place.store,
        )  # fmt: skip
        return logits

    logits, place = with_memory(bundle.module, infer, _SMALLER)
    background, mc, tb = logits[0].float()
    odds = torch.stack((mc - torch.logaddexp(background, tb), tb - torch.logaddexp(background, mc)))
    flags = frozenset({QualityFlag.SMALLER_WINDOWS}) if place.share < 1 else frozenset()
    return odds.clamp(-SUREST, SUREST).cpu().numpy(), flags


def sigmoid(odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-odds)), dtype=np.float32)


def _rough_centre(
    mc: NDArray[np.float32], geometry: hd.VolumeGeometry, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Head of the piece of mandible nearest to where the localizer looked.

    A ball about a centre that is off would cut the condyle, so this one is wider; it still
    holds no coronoid process, which may be the higher one.
    """
    radius = grid.distance_from(geometry, centre)
    pieces, count = ndi.label((mc > 0) & (radius < _SEARCH_MM))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    best, nearest = 0, np.inf
    for label in np.flatnonzero(sizes * geometry.voxel_volume >= 100.0):
        distance = float(radius[pieces == label].min())
        if label and distance < nearest:
            best, nearest = int(label), distance
    if not best:
        raise SegmentationEmpty("No condyle in the volume of interest.")
    return head_centre(grid.on_grid(pieces == best, geometry))
