"""Random and degenerate joints: the negative volume is a proper solid, or it is flagged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import JointMeasurements, Quantity
from negvol_pacs.joint.folding import crossings
from negvol_pacs.joint.measure import measure, volume
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.surface import to_manifold
from negvol_pacs.quality import QualityFlag
from negvol_pacs.training.analytic_joints import AnalyticJoint, parametric_fossa
from negvol_pacs.validation.check import Check, below
from negvol_pacs.validation.heads import head
from negvol_pacs.validation.random_joints import Recipe, moved

SECTION = "Solids of random and degenerate joints"
OVERLAP_MM3 = 0.05
RANDOM = 60
SEED = 20211109


def degenerate() -> dict[str, AnalyticJoint]:
    """Return joints at the edge of what can be measured."""
    normal = parametric_fossa()
    return {
        "flat fossa": parametric_fossa(depth_mm=2.0, gap_mm=1.0),
        "shallow fossa": parametric_fossa(depth_mm=3.5, gap_mm=1.5),
        "contact": moved(normal, np.array([0, 0, 2.45])),
        "pressed into the roof": moved(normal, np.array([0, 0, 2.9])),
        "perforated roof": _perforated(normal, 0.0),
        "perforated beside the middle": _perforated(normal, 4.0),
        "open mouth": moved(normal, np.array([0, 13.0, -4.0])),
        "missing eminence": replace(normal, tb=lambda p: np.maximum(normal.tb(p), p[..., 1] - 2.0)),
        "tiny condyle": parametric_fossa(condyle_mm=(3.0, 2.0, 3.0)),
        "bifid condyle": replace(
            normal,
            mc=lambda p: np.maximum(normal.mc(p), 2.0 - np.hypot(p[..., 0], p[..., 2] - 4.0)),
        ),
    }


def run(
    spacing_mm: float = 0.5, count: int = RANDOM, progress: Callable[[str], None] = lambda what: None
) -> list[Check]:
    """Count the faults of the negative volume of each degenerate joint and of random ones.

    Each faulty random joint has a row of its own, whose number makes it again: ``recipe``.
    """
    checks = []
    for name, joint in degenerate().items():
        progress(name)
        checks.append(check(name, joint, spacing_mm))
    tallies: dict[str, _Tally] = {}
    for number in range(count):
        progress(f"random joint {number + 1} of {count}")
        drawn = recipe(number)
        found = measure(drawn.masks(spacing_mm)).joints[Side.RIGHT]
        wrong = faults(found)
        tallies.setdefault(drawn.kind, _Tally()).add(found, wrong)
        if wrong:
            place = (SECTION, f"random {number}: {drawn.kind}", ", ".join(wrong), f"{spacing_mm} mm")
            checks.append(below(place, float(len(wrong)), 0.0, ""))
    return checks + [tallies[kind].check(kind, spacing_mm) for kind in sorted(tallies)]


def recipe(number: int) -> Recipe:
    """Return the random joint of this number."""
    return Recipe.draw(np.random.default_rng([SEED, number]))


@dataclass
class _Tally:
    """What became of the joints of one kind."""

    clean: int = 0
    flagged: int = 0
    missing: int = 0
    wrong: int = 0

    def add(self, found: JointMeasurements, wrong: Sequence[str]) -> None:
        number = found.measurements[Quantity.NV_VOLUME]
        self.missing += number.value is None
        self.flagged += number.value is not None and bool(_flags(found))
        self.clean += number.value is not None and not _flags(found)
        self.wrong += bool(wrong)

    def check(self, kind: str, spacing_mm: float) -> Check:
        what = f"{spacing_mm} mm; {self.clean} plain, {self.flagged} flagged, {self.missing} without a number"
        total = self.clean + self.flagged + self.missing
        return below((SECTION, f"{total} random: {kind}", "joints with a fault", what), float(self.wrong), 0.0, "")


def check(name: str, joint: AnalyticJoint, spacing_mm: float = 0.5) -> Check:
    """Count the faults of one joint's negative volume; none is allowed."""
    found = measure(head({Side.RIGHT: joint}, spacing_mm)).joints[Side.RIGHT]
    number = found.measurements[Quantity.NV_VOLUME]
    setting = f"{spacing_mm} mm; " + ("" if number.value else "no number; ") + ", ".join(_flags(found))
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


def _flags(found: JointMeasurements) -> list[str]:
    """Names of all that is held against a joint's volume, but for the side that is not there."""
    flags = found.measurements[Quantity.NV_VOLUME].flags | found.flags
    return sorted(flag.name for flag in flags - {QualityFlag.OTHER_SIDE_MISSING})


def _perforated(joint: AnalyticJoint, x: float) -> AnalyticJoint:
    return replace(joint, tb=lambda p: np.maximum(joint.tb(p), 1.5 - np.hypot(p[..., 0] - x, p[..., 1])))
