"""One head in many positions and on many grids: how far each measure scatters."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from negvol_pacs.anatomy import Side
from negvol_pacs.config import Pipeline
from negvol_pacs.joint.findings import Findings, Measurement, Quantity
from negvol_pacs.joint.measure import BILATERAL, SIDED, measure
from negvol_pacs.markdown import table
from negvol_pacs.segmentation.pipeline import segment
from negvol_pacs.segmentation.weights import Networks
from negvol_pacs.validation.check import Check, below
from negvol_pacs.validation.poses import POSES, SHIFT_MM, TURN_DEG, Pose, poses
from negvol_pacs.validation.reposed_heads import PaintedHead

SECTION = "Re-posing"
Limits = Mapping[Quantity, tuple[float, str]]
PAINTED_LIMITS: Limits = {
    Quantity.NV_VOLUME: (3.0, "%"),
    Quantity.NV_AREA: (2.0, "%"),
    Quantity.FW: (0.4, "mm"),
    Quantity.FD: (0.4, "mm"),
    Quantity.SJS: (0.2, "mm"),
    Quantity.S_LR: (0.02, ""),
    Quantity.H_LR: (0.3, "mm"),
}
"""Of the coefficient of variation (%) or of the standard deviation, from a painted CT through the whole pipeline."""
LIMITS: Limits = {quantity: (limit / 2, unit) for quantity, (limit, unit) in PAINTED_LIMITS.items()}
"""From true masks: half of that."""

Key = tuple[Quantity, Side | None]
Row = Mapping[Key, Measurement]
KEYS: tuple[Key, ...] = (*((q, side) for q in SIDED for side in Side), *((q, None) for q in BILATERAL))
"""All measures: of each side, then of both."""


@dataclass(frozen=True)
class Study:
    """A head measured in each pose.

    Attributes
    ----------
    name
        Of the head.
    poses, rows
        Position, and the measures with all that is held against them; one each a pose.
    limits
        Of the scatter.
    """

    name: str
    poses: Sequence[Pose]
    rows: Sequence[Row]
    limits: Limits

    def values(self, key: Key) -> list[float | None]:
        """Return a measure in each pose."""
        return [row[key].value for row in self.rows]

    def scatter(self, key: Key) -> tuple[float | None, str]:
        """Return standard deviation, or coefficient of variation where the limit is in %, and its unit.

        None where the measure is missing in any pose.
        """
        unit = self.limits[key[0]][1] if key[0] in self.limits else _unit(key[0])
        known = [value for value in self.values(key) if value is not None]
        if len(known) < len(self.poses):
            return None, unit
        sd = float(np.std(known, ddof=1))
        return (100 * sd / float(np.mean(known)) if unit == "%" else sd), unit


def run(
    name: str,
    findings: Callable[[Pose], Findings],
    count: int = POSES,
    limits: Limits = LIMITS,
    progress: Callable[[str], None] = lambda what: None,
) -> Study:
    """Measure a head in each pose."""
    drawn, measured = poses(count), []
    for k, pose in enumerate(drawn):
        progress(f"{name}, pose {k + 1} of {count}, {pose.grid} mm")
        measured.append(_row(findings(pose)))
    return Study(name, drawn, measured, limits)


def through_pipeline(head: PaintedHead, networks: Networks, options: Pipeline) -> Callable[[Pose], Findings]:
    """Return what scans a painted head in a pose and sends the CT the way of `workflow.pipeline`."""

    def findings(pose: Pose) -> Findings:
        segmentation = segment(head.scan(pose), networks, options)
        return measure(segmentation.joints, segmentation.flags)

    return findings


def checks(study: Study) -> list[Check]:
    """Hold the scatter of each measure against its limit."""
    result = []
    for key in KEYS:
        if key[0] in study.limits:
            scatter, unit = study.scatter(key)
            what = "coefficient of variation" if unit == "%" else "sd"
            place = (SECTION, study.name, f"{label(key)}: {what}", f"{len(study.poses)} poses")
            result.append(below(place, scatter, study.limits[key[0]][0], unit))
    return result


def numbers(study: Study) -> list[dict[str, object]]:
    """Return what was measured in each pose, ready for JSON."""
    return [
        {
            "head": study.name,
            "pose": pose.number + 1,
            "grid_mm": pose.grid,
            "turn": pose.turn.tolist(),
            "shift_mm": pose.shift.tolist(),
            "values": {label(key): row[key].value for key in KEYS},
            "flags": {label(key): sorted(flag.name for flag in row[key].flags) for key in KEYS if row[key].flags},
        }
        for pose, row in zip(study.poses, study.rows, strict=True)
    ]


def write_numbers(study: Study, path: Path) -> None:
    """Write what was measured in each pose as JSON."""
    path.write_text(json.dumps(numbers(study), indent=1) + "\n", encoding="utf-8")


def introduction(count: int) -> list[str]:
    """Return what the tables show."""
    return [
        "",
        f"Each head in {count} positions: turned by up to {TURN_DEG:g}° about each axis, shifted by up to",
        f"{SHIFT_MM:g} mm; grids of 0.3 to 0.6 mm and of 0.4 mm with slices of 0.8 mm, in turn. From true masks half",
        "of the scatter is allowed that a painted CT may have. Scatter: standard deviation, or coefficient of",
        "variation (%). Each pose is in `reposing-N.json`.",
    ]


def markdown(study: Study) -> list[str]:
    """Return the table of all measures: mean and scatter over all poses, mean on each grid."""
    grids = list(dict.fromkeys(pose.grid for pose in study.poses))
    lines = []
    for key in KEYS:
        values, (scatter, unit) = study.values(key), study.scatter(key)
        on_grid = [[v for v, pose in zip(values, study.poses, strict=True) if pose.grid == grid] for grid in grids]
        limit = f"{study.limits[key[0]][0]:g} {unit}".strip() if key[0] in study.limits else ""
        doubtful = sum(bool(row[key].flags) for row in study.rows)
        lines.append(
            [
                label(key),
                _unit(key[0]),
                _mean(values, key),
                "missing" if scatter is None else f"{scatter:.3g} {unit}".strip(),
                limit,
                *(_mean(found, key) for found in on_grid),
                str(doubtful or ""),
            ]
        )
    header = ("measure", "unit", "mean", "scatter", "limit", *(f"mean at {grid} mm" for grid in grids), "flagged poses")
    return ["", f"### {study.name}, {len(study.poses)} poses", "", *table(header, lines)]


def label(key: Key) -> str:
    """Name of a measure of a side or of both."""
    return key[0].label + (f", {key[1]}" if key[1] else "")


def _row(found: Findings) -> Row:
    """Numbers alone: the surfaces of many poses would fill the memory."""
    return {(q, side): number for side in (*Side, None) for q, number in found.numbers(side).items()}


def _unit(quantity: Quantity) -> str:
    return "" if quantity.unit.startswith("{") else quantity.unit


def _mean(values: Sequence[float | None], key: Key) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.{2 if _unit(key[0]) else 3}f}" if known else "missing"
