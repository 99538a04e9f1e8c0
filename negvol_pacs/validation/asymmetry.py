"""Known changes of one joint: which measure sees which, and in which direction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, Quantity
from negvol_pacs.joint.measure import BILATERAL, SIDED, measure
from negvol_pacs.markdown import table
from negvol_pacs.training.analytic_joints import AnalyticJoint, parametric_fossa
from negvol_pacs.validation.accuracy import LIMITS
from negvol_pacs.validation.check import Check, against
from negvol_pacs.validation.heads import head
from negvol_pacs.validation.quadrature import space

SECTION = "Known asymmetries"
GAP_MM = 2.5
AMOUNTS_MM = (0.5, 1.0, 2.0, 3.0)
COLUMNS = tuple(q for q in (*SIDED, *BILATERAL) if q is not Quantity.AXIS)
_UP, _DOWN = 1, -1
_TOP_MM = 7.0 - GAP_MM

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """A change of one joint by an amount in mm, and the direction in which each measure must move."""

    name: str
    apply: Callable[[float], AnalyticJoint]
    direction: Mapping[Quantity, int]
    amounts: Sequence[float] = AMOUNTS_MM


def sound() -> AnalyticJoint:
    """Return the joint of the other side."""
    return parametric_fossa(gap_mm=GAP_MM)


def displaced(mm: float) -> AnalyticJoint:
    """Lower the condyle."""
    joint = sound()
    return replace(joint, mc=lambda points: joint.mc(points - [0, 0, -mm]))


def forward(mm: float) -> AnalyticJoint:
    """Move the condyle to anterior."""
    joint = sound()
    return replace(joint, mc=lambda points: joint.mc(points - [0, mm, 0]))


def flattened(mm: float) -> AnalyticJoint:
    """Cut the condyle's top off."""
    joint = sound()
    return replace(joint, mc=lambda points: np.maximum(joint.mc(points), points[..., 2] - _TOP_MM + mm))


def eroded(mm: float) -> AnalyticJoint:
    """Dig a round pit of 2.5 mm radius into the condyle's top, lateral of the middle."""
    return _with_ball(lambda mc, ball: np.maximum(mc, -ball), 2.5, np.array([3.0, 0, _TOP_MM + 2.2 - mm]))


def osteophyte(mm: float) -> AnalyticJoint:
    """Put a ball of 1.5 mm radius on the condyle's front; it stands out by the amount."""
    return _with_ball(np.minimum, 1.5, np.array([0.0, 2.6 + mm, 1.0]))


def deepened(mm: float) -> AnalyticJoint:
    """Raise the roof over a condyle that stays."""
    return parametric_fossa(depth_mm=7 + mm, gap_mm=GAP_MM + mm)


def widened(mm: float) -> AnalyticJoint:
    """Move eminence and postglenoid process apart."""
    return parametric_fossa(width_mm=(10 + mm / 2, 8 + mm / 2), gap_mm=GAP_MM)


def _with_ball(combine: Callable[[Array, Array], Array], radius: float, centre: Array) -> AnalyticJoint:
    joint = sound()
    return replace(
        joint, mc=lambda points: combine(joint.mc(points), np.linalg.norm(points - centre, axis=-1) - radius)
    )


_LARGER = {Quantity.NV_VOLUME: _UP, Quantity.NV_AREA: _UP, Quantity.S_LR: _UP, Quantity.H_LR: _UP}
CHANGES = (
    Change("condyle lowered", displaced, {Quantity.SJS: _UP, Quantity.CJS: _UP, **_LARGER, Quantity.NV_AREA: _DOWN}),
    Change(
        "condyle to anterior",
        forward,
        {Quantity.AJS: _DOWN, Quantity.PJS: _UP, Quantity.H_LR: _UP},
        (0.5, 1.0, 1.5, 2.0),
    ),
    Change(
        "condyle flattened",
        flattened,
        {Quantity.SJS: _UP, Quantity.NV_VOLUME: _UP, Quantity.HEAD_VOLUME: _DOWN, Quantity.H_LR: _UP},
    ),
    Change("pit in the condyle", eroded, {Quantity.NV_VOLUME: _UP, Quantity.HEAD_VOLUME: _DOWN, Quantity.H_LR: _UP}),
    Change(
        "osteophyte",
        osteophyte,
        {Quantity.NV_VOLUME: _DOWN, Quantity.AJS: _DOWN, Quantity.HEAD_VOLUME: _UP, Quantity.H_LR: _UP},
        (0.5, 1.0, 1.5, 2.0),
    ),
    Change("fossa deepened", deepened, {Quantity.FD: _UP, Quantity.SJS: _UP, **_LARGER}),
    Change("fossa widened", widened, {Quantity.FW: _UP, **_LARGER}),
)


def run(
    spacing_mm: float = 0.4,
    changes: Sequence[Change] = CHANGES,
    progress: Callable[[str], None] = lambda what: None,
) -> tuple[list[Check], dict[str, list[dict[Quantity, float | None]]]]:
    """Change the right joint step by step, the left one stays.

    Returns
    -------
    tuple
        One check a measure with a known direction: how far any step goes back; volume and area at
        the greatest amount. And by change the right side's and the symmetry's numbers at each
        amount, the unchanged joint first.
    """
    checks, tables = [], {}
    base = _numbers(measure(head({Side.RIGHT: sound(), Side.LEFT: sound()}, spacing_mm)))
    for change in changes:
        progress(change.name)
        joints = (change.apply(mm) for mm in change.amounts)
        rows = [base] + [
            _numbers(measure(head({Side.RIGHT: joint, Side.LEFT: sound()}, spacing_mm))) for joint in joints
        ]
        tables[change.name] = rows
        checks += [_monotone(change, quantity, rows, spacing_mm) for quantity in change.direction]
        checks += _against_quadrature(change, rows[-1], spacing_mm)
    return checks, tables


def _numbers(found: Findings) -> dict[Quantity, float | None]:
    every = found.joints[Side.RIGHT].measurements | found.symmetry.measurements
    return {quantity: every[quantity].value for quantity in COLUMNS}


def _monotone(
    change: Change, quantity: Quantity, rows: Sequence[Mapping[Quantity, float | None]], spacing_mm: float
) -> Check:
    values = [row[quantity] for row in rows]
    known = [value for value in values if value is not None]
    back = None
    if len(known) == len(values):
        back = float(max(0.0, -(np.diff(known) * change.direction[quantity]).min()))
    direction = "grows" if change.direction[quantity] > 0 else "shrinks"
    place = (SECTION, change.name, f"{quantity.label} {direction}", f"to {change.amounts[-1]} mm, {spacing_mm} mm grid")
    return Check(*place, known[-1] if known else None, known[0] if known else None, back, 0.0, _unit(quantity))


def _against_quadrature(change: Change, row: Mapping[Quantity, float | None], spacing_mm: float) -> list[Check]:
    truth = zip((Quantity.NV_VOLUME, Quantity.NV_AREA), space(change.apply(change.amounts[-1])), strict=True)
    setting = f"at {change.amounts[-1]} mm, {spacing_mm} mm grid"
    return [against((SECTION, change.name, q.label, setting), row[q], value, *LIMITS[q]) for q, value in truth]


def _unit(quantity: Quantity) -> str:
    return "" if quantity.unit.startswith("{") else quantity.unit


def markdown(tables: Mapping[str, Sequence[Mapping[Quantity, float | None]]]) -> list[str]:
    """Return the table of which measure sees which change: its change at the greatest amount."""
    rows = []
    for quantity in COLUMNS:
        cells = []
        for values in tables.values():
            last, first = values[-1][quantity], values[0][quantity]
            cells.append("missing" if last is None or first is None else _seen(last - first, quantity))
        rows.append([quantity.label, _unit(quantity), *cells])
    amounts = {change.name: change.amounts[-1] for change in CHANGES}
    return [
        "",
        "### Which measure sees which change",
        "",
        "Change of each measure of the changed side at the greatest amount; bold where it is more than three times the",
        "repeatability asked of it (re-posing, below).",
        "",
        *table(("measure", "unit", *(f"{name}, {amounts[name]:g} mm" for name in tables)), rows),
    ]


NOISE = {
    Quantity.NV_VOLUME: 13.0,
    Quantity.NV_AREA: 10.0,
    Quantity.HEAD_VOLUME: 13.0,
    Quantity.HEAD_AREA: 10.0,
    Quantity.FOSSA_AREA: 10.0,
    Quantity.SPHERE: 13.0,
    Quantity.FW: 0.2,
    Quantity.FD: 0.2,
    Quantity.HCA: 1.0,
    Quantity.SRA: 1.0,
    Quantity.S_LR: 0.01,
    Quantity.H_LR: 0.15,
}
"""Repeatability asked of a measure, in its unit; 0.1 mm for the others."""


def _seen(change: float, quantity: Quantity) -> str:
    text = f"{change:+.3f}" if quantity is Quantity.S_LR else f"{change:+.2f}"
    return f"**{text}**" if abs(change) > 3 * NOISE.get(quantity, 0.1) else text
