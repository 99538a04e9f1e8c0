"""Real heads that the networks were not trained on, painted whole as CT, through the whole pipeline."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from negvol_pacs.anatomy import Side
from negvol_pacs.config import Pipeline
from negvol_pacs.errors import JointError
from negvol_pacs.joint.findings import JointMeasurements, Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.segmentation.grid import resample
from negvol_pacs.segmentation.localization import locate
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.segmentation.pipeline import segment
from negvol_pacs.segmentation.shipped import BUNDLES
from negvol_pacs.segmentation.weights import Networks, load_networks
from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.evaluation.cross_head import CrossHead, bundles_without
from negvol_pacs.training.evaluation.patients import voxels_inside
from negvol_pacs.training.evaluation.run import Row
from negvol_pacs.training.metrics import dice, hausdorff
from negvol_pacs.training.pool import HeadPlan, heads
from negvol_pacs.training.shapes import NAMES
from negvol_pacs.validation.poses import Pose
from negvol_pacs.validation.reposed_heads import LabelledHead, Masks, PaintedHead

Progress = Callable[[str], None]

SCANNERS: Mapping[str, Callable[[np.random.Generator], Appearance]] = {
    "thin-slice CT": Appearance.scanner,
    "any scanner": Appearance.draw,
}
"""The second as in training: from clear CT to noisy cone-beam CT and 8-bit pictures."""
SCANS = 2
_SEED = 3_000_017
_TURN_DEG = (15.0, 10.0, 15.0)
_SPACING_MM = 0.5


def whole_heads(
    shapes: Path, name: str, networks: Networks, runs: Path, *, scans: int = SCANS, progress: Progress | None = None
) -> list[Row]:
    """Send scans of a real head through the pipeline and compare with the truth.

    The head is as it was scanned, of its own size and shape; soft tissue, position in the scanner and the scanner
    are new in each scan.

    Parameters
    ----------
    shapes
        Folder of the real shapes.
    name
        Of the head, one of `negvol_pacs.training.shapes.NAMES`.
    networks
        Trained without it.
    runs
        Folder for the figures; what is done is not done again.
    scans
        So many of each kind of scanner.
    progress
        Called with what is being done.

    Returns
    -------
    list[Row]
        One a scan and side; without MC and TB where no joint was found, without NV where there is none in truth.
    """
    path = runs / f"whole-{name}.json"
    key = [networks.sha256, scans, list(SCANNERS)]
    if path.is_file() and (known := json.loads(path.read_text(encoding="utf-8")))["key"] == key:
        return list(known["rows"])
    rows = [row for scan in _scans(shapes, name, scans) for row in _rows(*scan, networks, progress)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"key": key, "rows": rows}), encoding="utf-8")
    return rows


def whole_heads_left_out(
    crossed: Sequence[CrossHead], runs: Path, progress: Progress | None = None, *, scans: int = SCANS
) -> dict[str, list[Row]]:
    """Do `whole_heads` for every head that both networks were trained without.

    Parameters
    ----------
    crossed
        Trainings without a real head.
    runs, progress, scans
        See `whole_heads`.

    Returns
    -------
    dict[str, list[Row]]
        By the head's name.
    """
    done = [(cross.recipe.network, cross.recipe.without, cross.recipe.shapes) for cross in crossed]
    return {
        without[0]: whole_heads(
            shapes, without[0], load_networks(bundles_without(without, runs)), runs, scans=scans, progress=progress
        )
        for network, without, shapes in done
        if network == BUNDLES[0] and shapes and len(without) == 1 and (BUNDLES[1], without, shapes) in done
    }


def _scans(shapes: Path, name: str, scans: int) -> Iterator[tuple[str, hd.Volume, Masks]]:
    """Yield each scan: kind of scanner, grey values, true masks."""
    plan = HeadPlan(shapes, 0, _SEED, without=tuple(other for other in NAMES if other != name))
    clothed = [tissues for _, tissues in heads(plan)]
    for number, (scanner, draw) in enumerate((kind, draw) for _ in range(scans) for kind, draw in SCANNERS.items()):
        tissues = clothed[number // len(SCANNERS) % len(clothed)]
        pose = _pose(number)
        volume = PaintedHead(tissues, _SEED + number, draw).scan(pose)
        yield scanner, volume, LabelledHead.of_tissues(tissues).masks(pose)


def _pose(number: int) -> Pose:
    rng = np.random.default_rng((_SEED, number))
    turn = Rotation.from_euler("xyz", rng.uniform(-1, 1, 3) * _TURN_DEG, degrees=True).as_matrix()
    return Pose(number, turn, rng.uniform(-20, 20, 3), _SPACING_MM, thick=False)


def _rows(
    scanner: str, volume: hd.Volume, truth: Masks, networks: Networks, progress: Progress | None
) -> Iterator[Row]:
    if progress:
        progress(f"whole head, {scanner}")
    boxes = locate(volume, networks.localizer).centres
    answer = segment(volume, networks, Pipeline(threads=torch.get_num_threads()))
    true, found = measure(truth), measure(answer.joints, answer.flags)
    for side in Side:
        row: Row = {"scanner": scanner, "side": side.value, "flags": sorted(f.name for f in found.joints[side].flags)}
        box, joint, own = boxes[side], answer.joints[side], truth[side]
        if not isinstance(box, JointError):
            row["box_mm"] = float(np.linalg.norm(box - own.centre))
        if not isinstance(joint, JointError):
            row |= _bones(joint, own)
        if (mesh := true.joints[side].nv) is not None:
            row |= _negative_volume(found.joints[side], mesh, own)
        yield row


def _bones(answer: JointMasks, truth: JointMasks) -> Row:
    row: Row = {"centre_mm": float(np.linalg.norm(answer.centre - truth.centre))}
    for name, seen, true in (("MC", answer.mc, truth.mc), ("TB", answer.tb, truth.tb)):
        masks = resample(seen, true, fill=0.0) > 0.5, true.array > 0.5
        row |= {f"{name}_dice": dice(*masks), f"{name}_hd95": hausdorff(*masks, true.spacing, 95)}
    return row


def _negative_volume(answer: JointMeasurements, truth: Mesh, masks: JointMasks) -> Row:
    if answer.nv is None:
        return {"NV_found": False}
    found = dice(*(voxels_inside(mesh, masks.mc) for mesh in (answer.nv, truth)))
    sure = not answer.flags | answer.measurements[Quantity.NV_VOLUME].flags
    return {"NV_found": True, "NV_dice": found, "NV_sure": sure} | ({"NV_sure_dice": found} if sure else {})
