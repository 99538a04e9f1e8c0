"""Random and degenerate joints: the negative volume is a proper solid, or it is flagged."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import JointMeasurements, Quantity
from negvol_pacs.joint.folding import crossings
from negvol_pacs.joint.measure import measure, volume
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.surface import to_manifold
from negvol_pacs.training.analytic_joints import AnalyticJoint, ellipsoid_in_fossa, parametric_fossa
from negvol_pacs.validation.check import Check, below
from negvol_pacs.validation.heads import head

SECTION = "Solids of random and degenerate joints"
OVERLAP_MM3 = 0.05
RANDOM = 20
SEED = 20211109

Array = NDArray[np.float64]


def degenerate() -> dict[str, AnalyticJoint]:
    """Return joints at the edge of what can be measured."""
    normal = parametric_fossa()
    return {
        "flat fossa": parametric_fossa(depth_mm=2.0, gap_mm=1.0),
        "shallow fossa": parametric_fossa(depth_mm=3.5, gap_mm=1.5),
        "contact": _moved(normal, [0, 0, 2.45]),
        "pressed into the roof": _moved(normal, [0, 0, 2.9]),
        "perforated roof": _perforated(normal, 0.0),
        "perforated beside the middle": _perforated(normal, 4.0),
        "open mouth": _moved(normal, [0, 13.0, -4.0]),
        "missing eminence": replace(normal, tb=lambda p: np.maximum(normal.tb(p), p[..., 1] - 2.0)),
        "tiny condyle": parametric_fossa(condyle_mm=(3.0, 2.0, 3.0)),
        "bifid condyle": replace(
            normal,
            mc=lambda p: np.maximum(normal.mc(p), 2.0 - np.hypot(p[..., 0], p[..., 2] - 4.0)),
        ),
    }


def drawn(random: np.random.Generator) -> AnalyticJoint:
    """Draw a joint of any proportions."""
    if random.random() < 0.5:
        return parametric_fossa(
            width_mm=(random.uniform(7, 12), random.uniform(6, 10)),
            sides_mm=(random.uniform(9, 13), random.uniform(9, 13)),
            depth_mm=random.uniform(4, 9),
            gap_mm=random.uniform(0.3, 4),
            condyle_mm=(random.uniform(6, 10), random.uniform(3, 5), random.uniform(4, 7)),
            steepness=random.uniform(2, 4),
        )
    return ellipsoid_in_fossa(
        condyle_mm=(random.uniform(6, 10), random.uniform(3, 5), random.uniform(4, 6)),
        fossa_mm=(random.uniform(11, 13), random.uniform(6, 9), random.uniform(6.5, 9)),
        shift_mm=(random.uniform(-1, 1), random.uniform(-1, 1), random.uniform(-1, 1)),
    )


def run(spacing_mm: float = 0.5, progress: Callable[[str], None] = lambda what: None) -> list[Check]:
    """Count the faults of the negative volume of each joint."""
    random = np.random.default_rng(SEED)
    joints = degenerate() | {f"random {k + 1}": drawn(random) for k in range(RANDOM)}
    checks = []
    for name, joint in joints.items():
        progress(name)
        checks.append(check(name, joint, spacing_mm))
    return checks


def check(name: str, joint: AnalyticJoint, spacing_mm: float = 0.5) -> Check:
    """Count the faults of one joint's negative volume; none is allowed."""
    found = measure(head({Side.RIGHT: joint}, spacing_mm)).joints[Side.RIGHT]
    number = found.measurements[Quantity.NV_VOLUME]
    flags = sorted(str(flag.name) for flag in number.flags | found.flags if flag.name != "OTHER_SIDE_MISSING")
    setting = f"{spacing_mm} mm; " + ("" if number.value else "no number; ") + ", ".join(flags)
    return below((SECTION, name, "faults", setting.rstrip("; ")), float(len(faults(found))), 0.0, "")


def faults(found: JointMeasurements) -> list[str]:
    """Say what is wrong with a joint's negative volume; a missing one has to be flagged."""
    number = found.measurements[Quantity.NV_VOLUME]
    if found.nv is None or number.value is None:
        return [] if number.flags else ["missing without a flag"]
    nv = found.nv
    wrong = []
    if not closed(nv):
        wrong.append("open or not oriented")
    if volume(nv) <= 0:
        wrong.append("inside out")
    if len(crossings(nv)):
        wrong.append("crosses itself")
    for name, bone in (("condyle", found.mc), ("temporal bone", found.tb)):
        if bone is not None and (to_manifold(nv) ^ to_manifold(bone)).volume() > OVERLAP_MM3:
            wrong.append(f"overlaps the {name}")
    return wrong


def closed(mesh: Mesh) -> bool:
    """Whether each edge is passed as often in one direction as in the other."""
    t = mesh.triangles.astype(np.int64)
    edges = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
    there = edges[:, 0] * len(mesh.vertices) + edges[:, 1]
    back = edges[:, 1] * len(mesh.vertices) + edges[:, 0]
    return bool(np.array_equal(np.sort(there), np.sort(back)))


def _perforated(joint: AnalyticJoint, x: float) -> AnalyticJoint:
    return replace(joint, tb=lambda p: np.maximum(joint.tb(p), 1.5 - np.hypot(p[..., 0] - x, p[..., 1])))


def _moved(joint: AnalyticJoint, by: list[float]) -> AnalyticJoint:
    """Move the condyle; where it would enter the bone, it ends there."""
    return replace(joint, mc=lambda points: np.maximum(joint.mc(points - by), -joint.tb(points)))
