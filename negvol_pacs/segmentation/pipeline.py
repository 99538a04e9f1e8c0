"""From a volume to the masks of both joints."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace

import highdicom as hd
import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.config import Pipeline
from negvol_pacs.errors import JointError, SegmentationEmpty
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import clarity, confidence, edges, grid
from negvol_pacs.segmentation.bones import SUREST, Outline, outline, sigmoid
from negvol_pacs.segmentation.calibration import AIR_HU, Calibration
from negvol_pacs.segmentation.enhancement import enhance
from negvol_pacs.segmentation.leaks import give_back
from negvol_pacs.segmentation.localization import locate, within_field
from negvol_pacs.segmentation.masks import (
    MC_RADIUS_MM,
    TB_RADIUS_MM,
    JointMasks,
    clip_to_joint,
    head_centre,
    probability,
)
from negvol_pacs.segmentation.weights import Networks

Progress = Callable[[str, float], None]

_CONDYLE_MM3 = (500.0, 6000.0)
_TEMPORAL_BONE_MM3 = (3000.0, 40000.0)


@dataclass(frozen=True)
class Segmentation:
    """Both joints of a head.

    Attributes
    ----------
    joints
        Masks of each side, or why there are none; both sides always.
    flags
        What holds for the whole series.
    """

    joints: dict[Side, JointMasks | JointError]
    flags: frozenset[QualityFlag]


def segment(volume: hd.Volume, networks: Networks, options: Pipeline, progress: Progress | None = None) -> Segmentation:
    """Find both joints and segment their bones.

    Parameters
    ----------
    volume
        Grey values, any orientation and spacing; not changed.
    networks
        Weights, on their device.
    options
        Threads and enhancement.
    progress
        Called with a sentence and the share done, 0 to 1.

    Raises
    ------
    NoHead
        If the volume shows no head. The failure of one joint is a value, not an exception.
    """
    report = progress or (lambda _sentence, _share: None)
    with _settled(options.threads, networks.device):
        report("Looking for the joints", 0.0)
        found = locate(volume, networks.localizer)
        report("Outlining the bones", 0.2)
        # Filters run in one thread each: the sides go side by side.
        with ThreadPoolExecutor(1 if options.threads == 1 else 2) as pool:
            work = {
                pool.submit(
                    segment_joint, volume, centre, side=side, networks=networks, options=options, line=found.line
                ): side
                for side, centre in found.centres.items()
            }
            joints: dict[Side, JointMasks | JointError] = {}
            for done in as_completed(work):
                joints[work[done]] = done.result()
                report(f"The {work[done]} joint is outlined", 0.2 + 0.4 * len(joints))
    flags = frozenset() if found.line.hounsfield else frozenset({QualityFlag.NOT_HOUNSFIELD})
    return Segmentation({side: joints[side] for side in Side}, flags)


def segment_joint(
    volume: hd.Volume,
    centre: NDArray[np.float64] | JointError,
    *,
    side: Side,
    networks: Networks,
    options: Pipeline,
    line: Calibration,
) -> JointMasks | JointError:
    """Segment the bones of one joint.

    Parameters
    ----------
    volume
        Grey values, any orientation and spacing; not changed.
    centre
        Where the condylar head was seen, LPS mm, or why it was not.
    side
        Which joint.
    networks, options
        As for `segment`.
    line
        Calibration of the grey values.
    """
    if isinstance(centre, JointError):
        return centre
    try:
        seen = outline(volume, centre, side, networks.bones)
        place = within_field(seen.centre, side, volume)
        if isinstance(place, JointError):
            return place
        return _masks(volume, seen, side, options, line)
    except SegmentationEmpty as error:
        return error


def _masks(volume: hd.Volume, seen: Outline, side: Side, options: Pipeline, line: Calibration) -> JointMasks:
    """Masks on the canonical grid: snapped to the grey values' edges, enhanced, clipped."""
    geometry = grid.canonical_grid(seen.centre)
    image = line.hu(grid.resample(volume, geometry, order=3, fill=line.grey(AIR_HU)))
    mc_odds, tb_odds = (grid.resample(bone, geometry, order=3, fill=-SUREST) for bone in (seen.mc, seen.tb))
    mc_odds, tb_odds = give_back(image, mc_odds, tb_odds, grid.SPACING_MM)
    outlined = mc, tb = [edges.signed_distance(odds, grid.SPACING_MM) for odds in (mc_odds, tb_odds)]
    snapped = mc, tb = edges.snap(image, mc, tb, grid.SPACING_MM), edges.snap(image, tb, mc, grid.SPACING_MM)
    if options.tb_enhancement:
        tb = enhance(image, sigmoid(tb_odds), tb, mc, grid.SPACING_MM)
    centre = _centre(mc, geometry, seen.centre)
    bones = [clarity.Traced(*fields) for fields in zip((mc_odds, tb_odds), outlined, snapped, strict=True)]
    radius = grid.distance_from(geometry, centre)
    unclear = clarity.doubts(image, bones, radius, grid.SPACING_MM)
    named = zip((Structure.MC, Structure.TB), bones, strict=True)
    dice = {name: confidence.predicted_dice(name, bone, radius) for name, bone in named}
    mc, tb = clip_to_joint(probability(mc), probability(tb), geometry, centre)
    inside = grid.inside_field(volume, geometry)
    masks = JointMasks(
        side=side,
        mc=grid.on_grid(mc, geometry),
        tb=grid.on_grid(tb, geometry),
        centre=centre,
        inside=None if inside.all() else grid.on_grid(inside, geometry),
        dice=dice,
    )
    return replace(masks, flags=seen.flags | _doubts(masks) | unclear | confidence.doubts(dice))


def _centre(mc: NDArray[np.float32], geometry: hd.VolumeGeometry, rough: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of the condylar head without the spurs that would raise its highest point."""
    near = grid.distance_from(geometry, rough) < MC_RADIUS_MM
    pieces, count = ndi.label(ndi.binary_opening((mc > 0) & near, iterations=3))
    if not count:
        raise SegmentationEmpty("No condyle in the volume of interest.")
    return head_centre(grid.on_grid(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax(), geometry))


def _doubts(masks: JointMasks) -> frozenset[QualityFlag]:
    flags = set()
    for bone, (least, most) in ((masks.mc, _CONDYLE_MM3), (masks.tb, _TEMPORAL_BONE_MM3)):
        if not least <= (bone.array > 0.5).sum() * bone.voxel_volume <= most:
            flags.add(QualityFlag.SEGMENTATION_DOUBTFUL)
    if masks.inside is not None:
        near = grid.distance_from(masks.inside, masks.centre) <= TB_RADIUS_MM
        if not masks.inside.array[near].all():
            flags.add(QualityFlag.PART_OUTSIDE_FIELD)
    return frozenset(flags)


@contextmanager
def _settled(threads: int, device: torch.device) -> Iterator[None]:
    """Run torch with so many threads (0: its own choice) and the same result every time."""
    before = torch.get_num_threads()
    cuda = device.type == "cuda"  # On the CPU these operations are deterministic as they are.
    if threads:
        torch.set_num_threads(threads)
    if cuda:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if cuda:
            torch.use_deterministic_algorithms(False)
