"""Errors of the measurements on analytic joints, by spacing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Quantity
from negvol_pacs.joint.measure import measure
from negvol_pacs.training.analytic_joints import AnalyticJoint, ellipsoid_in_fossa, parametric_fossa, sphere_in_cup
from negvol_pacs.validation.quadrature import space

SPACINGS_MM = (0.8, 0.6, 0.5, 0.4, 0.3)
QUICK_MM = (0.6,)
RELATIVE = {Quantity.NV_VOLUME: 0.015, Quantity.NV_AREA: 0.015}
ABSOLUTE_MM = {Quantity.FW: 0.3, Quantity.FD: 0.3, Quantity.AJS: 0.2, Quantity.SJS: 0.2, Quantity.PJS: 0.2}


@dataclass(frozen=True)
class Check:
    """One number against its reference.

    Attributes
    ----------
    joint, quantity, spacing_mm
        What was measured, on which grid.
    value, reference
        In the quantity's unit; no value where it is flagged.
    error, limit
        In mm, or relative to the reference for volume and area.
    """

    joint: str
    quantity: str
    spacing_mm: float
    value: float | None
    reference: float
    error: float | None
    limit: float

    @property
    def passed(self) -> bool:
        """Whether there is a number and it is within the limit."""
        return self.error is not None and abs(self.error) <= self.limit


def joints() -> dict[str, AnalyticJoint]:
    """Return the joints with known numbers."""
    return {
        "sphere in cup": sphere_in_cup(),
        "ellipsoid in fossa": ellipsoid_in_fossa(),
        "parametric fossa": parametric_fossa(),
    }


def run(spacings: Sequence[float] = SPACINGS_MM, progress: Callable[[str], None] = lambda what: None) -> list[Check]:
    """Measure each joint at each spacing (mm) and compare with its references."""
    checks = []
    for name, joint in joints().items():
        volume, area = space(joint)
        truth = {
            Quantity.NV_VOLUME: volume,
            Quantity.NV_AREA: area,
            Quantity.FW: joint.width,
            Quantity.FD: joint.depth,
            Quantity.SJS: joint.superior,
            Quantity.AJS: joint.anterior,
            Quantity.PJS: joint.posterior,
        }
        for spacing in spacings:
            progress(f"{name}, {spacing} mm")
            found = measure({Side.RIGHT: joint.masks(Side.RIGHT, spacing, extent_mm=44)}).joints[Side.RIGHT]
            for quantity, reference in truth.items():
                if reference is not None:
                    checks.append(_check(name, quantity, spacing, found.measurements[quantity].value, reference))
    return checks


def _check(joint: str, quantity: Quantity, spacing: float, value: float | None, reference: float) -> Check:
    relative = quantity in RELATIVE
    limit = RELATIVE[quantity] if relative else ABSOLUTE_MM[quantity]
    error = None if value is None else float((value - reference) / (reference if relative else 1))
    return Check(joint, quantity.label, spacing, value, float(reference), error, limit)


def write(checks: Sequence[Check], folder: Path) -> Path:
    """Write ``validation.json`` and ``validation.md``; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(check), "passed": check.passed} for check in checks]
    (folder / "validation.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    missed = int(np.sum([not check.passed for check in checks]))
    lines = [
        "# Validation on analytic joints",
        "",
        "Made by `negvol validate`. References: closed forms, and quadrature of the implicit functions without meshes.",
        f"{len(checks) - missed} of {len(checks)} checks hold; the limits are those for 0.4 mm.",
        "",
        "| joint | measure | spacing mm | value | reference | error | limit | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for check in checks:
        percent = check.quantity.startswith("NV")
        error, limit = (
            "missing" if e is None else f"{100 * e:.1f} %" if percent else f"{e:.2f} mm"
            for e in (check.error, check.limit)
        )
        value = "missing" if check.value is None else f"{check.value:.2f}"
        mark = "holds" if check.passed else "**missed**"
        cells = [
            check.joint,
            check.quantity,
            str(check.spacing_mm),
            value,
            f"{check.reference:.2f}",
            error,
            limit,
            mark,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    path = folder / "validation.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
