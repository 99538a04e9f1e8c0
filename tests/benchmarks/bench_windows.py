"""What smaller windows change in the bones and the numbers, on painted joints with true masks.

Usage: ``python -m tests.benchmarks.bench_windows [JOINTS] [EDGE …]``, by default 8 joints and windows of 88 (as in
training) and 80 voxels. Joints are drawn as for `negvol_pacs.validation.confidence`, every other one clear.
"""

import sys
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from negvol_pacs.anatomy import Structure
from negvol_pacs.config import Pipeline
from negvol_pacs.errors import JointNotFound
from negvol_pacs.joint.findings import Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.markdown import table
from negvol_pacs.segmentation import calibration, confidence, grid
from negvol_pacs.segmentation.masks import JointMasks, clip_to_joint, probability, surface_distance
from negvol_pacs.segmentation.pipeline import segment_joint
from negvol_pacs.segmentation.weights import Networks, load_networks
from negvol_pacs.training.metrics import dice
from negvol_pacs.validation.confidence import BONES, SEED, Subject, draw

CLEAR = patch("negvol_pacs.validation.confidence.SPOILED", {"clear": 1.0})


def volume(masks: JointMasks) -> float | None:
    """NV volume of a joint alone, mm³; None where there is none."""
    found = measure({masks.side: masks, masks.side.other: JointNotFound("not painted")})
    return found.joints[masks.side].measurements[Quantity.NV_VOLUME].value


def truth(subject: Subject, like: JointMasks) -> JointMasks:
    """True masks on the grid of what was found."""
    geometry = like.mc.get_geometry()
    bones = (probability(surface_distance(bone, geometry)) for bone in (subject.mandible, subject.skull))
    mc, tb = clip_to_joint(*bones, geometry, like.centre)
    return JointMasks(like.side, grid.on_grid(mc, geometry), grid.on_grid(tb, geometry), like.centre)


def row(subject: Subject, networks: Networks, edge: int) -> list[Any]:
    """Dice of both bones within 20 mm in %, NV volume in % of the true one, and flags, with windows of an edge."""
    bundle = replace(networks.bones, window=(edge,) * 3)
    line = calibration.estimate(grid.shrink(subject.image, networks.localizer.spacing_mm).array)
    found = segment_joint(
        subject.image, subject.centre, side=subject.side, networks=replace(networks, bones=bundle),
        options=Pipeline(), line=line,
    )  # fmt: skip
    if not isinstance(found, JointMasks):
        return [edge, "–", "–", "–", str(found)]
    true = truth(subject, found)
    near = grid.distance_from(true.mc, true.centre) < confidence.REACH_MM
    pairs = {Structure.MC: (found.mc, true.mc), Structure.TB: (found.tb, true.tb)}
    overlap = [100 * dice(*((bone.array > 0.5) & near for bone in pairs[name])) for name in BONES]
    volumes = volume(found), volume(true)
    share = "–" if None in volumes else f"{100 * volumes[0] / volumes[1]:.1f}"
    return [edge, *(f"{value:.2f}" for value in overlap), share, ", ".join(sorted(flag.name for flag in found.flags))]


def main(joints: int = 8, *edges: int) -> None:
    """Print one row for each joint and window."""
    networks, rows = load_networks(), []
    for number in range(joints):
        seed = SEED + number // 2 if number % 2 else 6000 + number // 2
        if number % 2:
            subject = draw(seed)
        else:
            with CLEAR:
                subject = draw(seed)
        for edge in edges or (networks.bones.window[0], 80):
            rows.append([f"{seed} {subject.spoiled}", *map(str, row(subject, networks, edge))])
            print(*rows[-1], sep=" | ", file=sys.stderr)
    print(*table(("joint", "window", "MC", "TB", "NV", "flags"), rows), sep="\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
