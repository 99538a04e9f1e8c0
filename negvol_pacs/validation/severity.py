"""One synthetic head under rising artefacts: the error of each measure, and where the quality flag falls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np

from negvol_pacs.anatomy import Side
from negvol_pacs.config import Pipeline
from negvol_pacs.errors import SeriesRefused
from negvol_pacs.joint.findings import Findings, Measurement, Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.markdown import table
from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.segmentation.masks import JointMasks, joint_masks_from_labels
from negvol_pacs.segmentation.pipeline import segment
from negvol_pacs.segmentation.weights import load_networks
from negvol_pacs.training.phantom import Head
from negvol_pacs.training.tissues import Tissue
from negvol_pacs.validation.artefacts import ARTEFACTS, Artefact, Scene
from negvol_pacs.validation.check import Check, below

SECTION = "Artefacts"
SEED = 7
VOLUME_LIMIT, LENGTH_LIMIT_MM = 10.0, 0.8
MANDIBLE, SKULL = (Tissue.MANDIBLE, Tissue.TEETH), (Tissue.SKULL, Tissue.AIR_CELL)

Finder = Callable[[hd.Volume], Findings]
Key = tuple[Side | None, Quantity]


@dataclass(frozen=True)
class Reading:
    """One measure of one image.

    Attributes
    ----------
    error
        Against the true masks: % of volumes and areas, else in the measure's unit; None without a number.
    flags
        All that is held against it.
    """

    error: float | None
    flags: frozenset[QualityFlag]


Step = Mapping[Key, Reading]


@dataclass(frozen=True)
class Curve:
    """All measures of one head under one artefact; ``steps`` has a mapping for each severity, the clean image first."""

    artefact: Artefact
    steps: Sequence[Step]

    @property
    def severities(self) -> tuple[float, ...]:
        """Severity of each step."""
        return (0.0, *self.artefact.severities)

    def worst(self, unit: str, *, flagged: bool = False) -> list[tuple[float, Key] | None]:
        """Return the largest error of each severity with its measure; of unflagged numbers, or of all."""
        found = []
        for step in self.steps:
            errors = [
                (abs(reading.error), key)
                for key, reading in step.items()
                if reading.error is not None and _kind(key[1]) == unit and (flagged or not reading.flags)
            ]
            found.append(max(errors, key=lambda pair: pair[0]) if errors else None)
        return found


def run(
    seed: int = SEED,
    artefacts: Sequence[Artefact] = ARTEFACTS,
    progress: Callable[[str], None] = lambda what: None,
) -> tuple[list[Check], list[Curve]]:
    """Spoil the CT of a painted head, run the whole pipeline with the shipped weights, compare with the true masks."""
    progress("artefacts: the clean head")
    scene = Scene.of(seed)
    truth = measure(true_masks(scene.head))
    networks = load_networks()

    def find(volume: hd.Volume) -> Findings:
        segmentation = segment(volume, networks, Pipeline())
        return measure(segmentation.joints, segmentation.flags)

    clean = compare(find(on_grid(scene.clean, scene.head.labels)), truth)
    curves = []
    for artefact in artefacts:
        progress(f"artefacts: {artefact.name}")
        curves.append(follow(scene, artefact, truth, find, clean))
    return [check for curve in curves for check in checks(curve)], curves


def true_masks(head: Head) -> dict[Side, JointMasks]:
    """Return the masks that a head's labels say."""
    mandible, skull = (on_grid(np.isin(head.labels.array, part), head.labels) for part in (MANDIBLE, SKULL))
    return {side: joint_masks_from_labels(mandible, skull, side, centre=head.centres[side]) for side in Side}


def follow(scene: Scene, artefact: Artefact, truth: Findings, find: Finder, clean: Step) -> Curve:
    """Measure a head at each severity of an artefact, beside the errors without it."""
    spoiled = artefact.spoil(scene)
    steps = [clean]
    for severity in artefact.severities:
        try:
            found = find(spoiled(severity))
        except SeriesRefused:
            steps.append({key: Reading(None, frozenset({QualityFlag.JOINT_NOT_FOUND})) for key in _numbers(truth)})
            continue
        steps.append(compare(found, truth))
    return Curve(artefact, steps)


def compare(found: Findings, truth: Findings) -> Step:
    """Return the error of each number that the true masks give."""
    ours = _numbers(found)
    readings = {}
    for key, true in _numbers(truth).items():
        if true.value is None:
            continue
        value = ours[key].value
        scale = 100 / true.value if _kind(key[1]) == "%" else 1.0
        readings[key] = Reading(None if value is None else scale * (value - true.value), ours[key].flags)
    return readings


def checks(curve: Curve) -> list[Check]:
    """Hold the worst unflagged volume, area and length of each severity above 0 against the limits."""
    rows = []
    for unit, limit in (("%", VOLUME_LIMIT), ("mm", LENGTH_LIMIT_MM)):
        for severity, worst in list(zip(curve.severities, curve.worst(unit), strict=True))[1:]:
            if worst is None:  # all of them are flagged or missing
                continue
            setting = f"{severity:g} {curve.artefact.unit}; {_name(worst[1])}"
            what = f"worst unflagged number, {unit}"
            rows.append(below((SECTION, curve.artefact.name, what, setting), worst[0], limit, unit))
    return rows


def markdown(curves: Sequence[Curve]) -> list[str]:
    """Return the table of all artefacts."""
    rows = []
    for curve in curves:
        for severity, step, *worst in zip(
            curve.severities,
            curve.steps,
            curve.worst("%"),
            curve.worst("mm"),
            curve.worst("%", flagged=True),
            curve.worst("mm", flagged=True),
            strict=True,
        ):
            flags = [_flags(step, side) for side in Side]
            cells = [_error(pair) for pair in worst]
            rows.append([curve.artefact.name, f"{severity:g} {curve.artefact.unit}", *cells, *flags])
    return [
        "",
        f"A synthetic head (seed {SEED}) painted as CT, each artefact added with rising severity, through the whole",
        "pipeline with the shipped weights, against its true masks. Largest error of the unflagged numbers (limits:",
        f"{VOLUME_LIMIT:g} % and {LENGTH_LIMIT_MM:g} mm) and of all numbers: volumes and areas in %, lengths in mm;",
        "flags of a whole joint.",
        "",
        *table(("artefact", "severity", "unflagged, %", "unflagged, mm", "all, %", "all, mm", *Side), rows),
    ]


def _flags(step: Step, side: Side) -> str:
    """Name what is held against every number of a side."""
    own = [reading.flags for (of, _), reading in step.items() if of is side]
    return ", ".join(sorted(flag.name for flag in frozenset.intersection(*own))) if own else ""


def _error(worst: tuple[float, Key] | None) -> str:
    return "none" if worst is None else f"{worst[0]:.2f} ({_name(worst[1])})"


def _name(key: Key) -> str:
    side, quantity = key
    return quantity.label if side is None else f"{quantity.label}, {side}"


def _numbers(found: Findings) -> dict[Key, Measurement]:
    return {(side, quantity): m for side in (*Side, None) for quantity, m in found.numbers(side).items()}


def _kind(quantity: Quantity) -> str:
    """Return the unit of the error."""
    return "%" if quantity.unit in {"mm2", "mm3"} else quantity.unit
