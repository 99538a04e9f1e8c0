"""Findings as a table for people and as JSON for machines."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, JointMeasurements, Measurement, Quantity
from negvol_pacs.joint.midsagittal import MidsagittalPlane
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.wording import NAMES, NOTICE, UNITS, number, sentences


def findings_table(findings: Findings) -> Table:
    """Lay out the findings for the terminal.

    Parameters
    ----------
    findings
        What the report says.

    Returns
    -------
    rich.table.Table
        A row a quantity; a column each for the right, the left and both; unit; flags. An
        asterisk marks a doubtful number, a dash a missing one.
    """
    table = Table(title="Temporomandibular joints", caption=_caption(findings), caption_justify="left")
    table.add_column("Measurement")
    for heading in ("Right", "Left", "Right and left"):
        table.add_column(heading, justify="right")
    table.add_column("Unit")
    table.add_column("Flags")
    right, left = (findings.joints[side].measurements for side in (Side.RIGHT, Side.LEFT))
    both = findings.symmetry.measurements
    sided = [quantity for quantity in Quantity if quantity in right or quantity in left]
    for quantity in Quantity:
        if quantity not in sided and quantity not in both:
            continue
        cells = [number(m[quantity]) if quantity in m else "" for m in (right, left, both)]
        flags = _flags(("right", right.get(quantity)), ("left", left.get(quantity)), ("", both.get(quantity)))
        table.add_row(NAMES[quantity], *cells, UNITS[quantity.unit], flags, end_section=quantity is sided[-1])
    return table


def _flags(*measurements: tuple[str, Measurement | None]) -> str:
    found = {side: sentences(m.flags) for side, m in measurements if m is not None and m.flags}
    if len(set(found.values())) == 1 and len(found) == 2:
        return f"both: {found['right']}"
    return "\n".join(f"{side}: {text}" if side else text for side, text in found.items())


def _caption(findings: Findings) -> str:
    lines = [f"Series: {sentences(findings.flags)}"] if findings.flags else []
    for side in (Side.RIGHT, Side.LEFT):
        if findings.joints[side].flags:
            lines.append(f"{side.capitalize()} joint: {sentences(findings.joints[side].flags)}")
    return "\n".join([*lines, NOTICE])


def findings_json(findings: Findings) -> dict[str, Any]:
    """Turn the findings into plain values for ``json.dumps``.

    Parameters
    ----------
    findings
        What the report says.

    Returns
    -------
    dict
        ``joints`` by side and ``symmetry``, each measurement with value, sd, unit and
        flags (name to sentence); landmarks and mid-sagittal plane in LPS mm; without the surfaces.
    """
    return {
        "notice": NOTICE,
        "flags": _named(findings.flags),
        "joints": {side.value: _joint(findings.joints[side]) for side in (Side.RIGHT, Side.LEFT)},
        "symmetry": _measurements(findings.symmetry.measurements.values()),
        "midsagittal_plane": _plane(findings.midsagittal),
    }


def _plane(found: MidsagittalPlane | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "point": [float(x) for x in found.plane.point],
        "normal": [float(x) for x in found.plane.normal],
        "uncertainty_deg": found.uncertainty_deg,
    }


def _joint(joint: JointMeasurements) -> dict[str, Any]:
    return {
        "flags": _named(joint.flags),
        "measurements": _measurements(joint.measurements.values()),
        "landmarks": {key.name: [float(x) for x in point] for key, point in sorted(joint.landmarks.items())},
    }


def _measurements(measurements: Iterable[Measurement]) -> dict[str, Any]:
    return {
        m.quantity.name: {
            "value": None if m.value is None else float(m.value),
            "sd": None if m.sd is None else float(m.sd),
            "unit": m.quantity.unit,
            "flags": _named(m.flags),
        }
        for m in measurements
    }


def _named(flags: Iterable[QualityFlag]) -> dict[str, str]:
    return {flag.name: flag.value for flag in sorted(flags, key=lambda flag: flag.name)}
