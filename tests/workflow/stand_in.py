"""``negvol`` with two balls in place of the networks and no measurement: fast, and everything else is real.

Usage: as ``python -m negvol_pacs``. STAND_IN_SECONDS makes the segmentation slow; STAND_IN_LOG
names a file that gets a line at each beginning and end of a segmentation.
"""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import highdicom as hd
import numpy as np

from negvol_pacs.anatomy import Side
from negvol_pacs.cli import main
from negvol_pacs.joint.findings import Findings, JointMeasurements, Measurement, Quantity, Symmetry
from negvol_pacs.joint.measure import BILATERAL
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.segmentation.pipeline import Segmentation
from negvol_pacs.workflow import demo, pipeline, supervise, worker

SPACING, SIZE = 0.5, 48
LOST = frozenset({QualityFlag.COMPUTATION_FAILED})


def say(line):
    with Path(os.environ["STAND_IN_LOG"]).open("a") as file:
        file.write(line + "\n")


def ball(centre, inner, outer):
    origin = np.asarray(centre) - SPACING * (SIZE - 1) / 2
    affine = np.array([[0, 0, SPACING, 0], [0, SPACING, 0, 0], [SPACING, 0, 0, 0], [0, 0, 0, 1]], float)
    affine[:3, 3] = origin
    index = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij"), axis=-1)
    distance = np.linalg.norm(index @ affine[:3, :3].T + origin - centre, axis=-1)
    inside = np.minimum(distance - inner, outer - distance)
    return hd.Volume(np.clip(0.5 + inside / SPACING, 0, 1).astype(np.float32), affine, "PATIENT")


def segment(volume, networks, options, progress):
    say("begin")
    progress("Outlining", 0.5)
    time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))
    middle = np.asarray(volume.map_indices_to_reference(np.array([np.array(volume.spatial_shape) / 2])))[0]
    joints = {}
    for side, x in ((Side.RIGHT, -8.0), (Side.LEFT, 8.0)):
        centre = middle + np.array([x, 0, 0])
        joints[side] = JointMasks(side, ball(centre, -1, 4), ball(centre, 5, 7), centre)
    say("end")
    return Segmentation(joints, frozenset())


def measure(joints, flags):
    sided = [q for q in Quantity if q not in BILATERAL]
    return Findings(
        {side: JointMeasurements(side, {q: Measurement(q, None, flags=LOST) for q in sided}) for side in Side},
        Symmetry({q: Measurement(q, None, flags=LOST) for q in BILATERAL}),
        flags,
    )


pipeline.segment, pipeline.measure = segment, measure
demo.models_folder = lambda: None
if "NEGVOL_DEMO_ALONE" not in os.environ:
    demo.run_alone = lambda: None  # it would start the real program
demo.negvol = supervise.negvol = lambda *arguments: [sys.executable, __file__, *arguments]
worker.load_networks = lambda models, device: SimpleNamespace(sha256="ab" * 32, version="stand-in")

if __name__ == "__main__":
    main()
