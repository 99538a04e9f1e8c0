"""Findings as a table for people and as JSON for machines."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, JointMeasurements, Measurement, Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.change import Changes
from negvol_pacs.report.wording import NAMES, NOTICE, UNITS, difference, number, sentences

if TYPE_CHECKING:
    from negvol_pacs.joint.midsagittal import MidsagittalPlane


def findings_table(findings: Findings, changes: Changes | None = None) -> Table:
    """Lay out the findings for the terminal.

    Parameters
    ----------
    findings
        What the report says.
    changes
        What changed since the patient's first study.

    Returns
    -------
    rich.table.Table
        A row a quantity; a column each for the right, the left and both, and the same again for
        the changes; unit; flags. An asterisk marks a doubtful number, a dash a missing one.
    """
    common = _common(changes)
    caption = _caption(findings, common)
    table = Table(title="Temporomandibular joints", caption=caption, caption_justify="left")
    table.add_column("Measurement")
    for heading in ("Right", "Left", "Right and left"):
        table.add_column(heading, justify="right")
    changed: dict[Side | None, dict[Quantity, Measurement]] = changes.numbers if changes is not None else {}
    if changes is not None:
        table.add_column(f"Change since {changes.prior.study_date}\n(right, left or both)", justify="right")
    table.add_column("Unit")
    table.add_column("Flags")
    for row in findings_rows(findings):
        cells, flags = list(row.cells), "\n".join(row.flags)
        if changes is not None:
            own = [changed[side].get(row.quantity) for side in (Side.RIGHT, Side.LEFT, None)]
            cells.append(", ".join(difference(m) for m in own if m is not None))
            flags = _since(flags, own, common | row.said)
        table.add_row(NAMES[row.quantity], *cells, UNITS[row.quantity.unit], flags, end_section=row.is_last_of_sides)
    return table


@dataclass(frozen=True)
class Row:
    """One quantity as people read it.

    Attributes
    ----------
    quantity
        Which; ``wording`` has its name and unit.
    cells
        Number on the right, on the left, and of both; empty where there is none of that kind.
    flags
        What is held against each number, and on which side.
    said
        The same as flags.
    is_last_of_sides
        Whether only quantities of both sides follow.
    """

    quantity: Quantity
    cells: tuple[str, str, str]
    flags: tuple[str, ...]
    said: frozenset[QualityFlag]
    is_last_of_sides: bool


def findings_rows(findings: Findings) -> list[Row]:
    """Lay out the findings, a row a quantity, those of the sides first."""
    right, left = (findings.joints[side].measurements for side in (Side.RIGHT, Side.LEFT))
    both = findings.symmetry.measurements
    sided = [quantity for quantity in Quantity if quantity in right or quantity in left]
    rows = []
    for quantity in (quantity for quantity in Quantity if quantity in sided or quantity in both):
        found = [numbers.get(quantity) for numbers in (right, left, both)]
        on_right, on_left, of_both = ("" if m is None else number(m) for m in found)
        said = frozenset(flag for m in found if m is not None for flag in m.flags)
        flags = _flags(*zip(("right", "left", ""), found, strict=True))
        rows.append(Row(quantity, (on_right, on_left, of_both), flags, said, bool(sided) and quantity is sided[-1]))
    return rows


def _common(changes: Changes | None) -> frozenset[QualityFlag]:
    """Return what is held against every change."""
    every = [m.flags for numbers in (changes.numbers.values() if changes else ()) for m in numbers.values()]
    return frozenset.intersection(*every) if every else frozenset()


def _since(flags: str, changed: Iterable[Measurement | None], said: frozenset[QualityFlag]) -> str:
    """Add what is held against a change and not yet said."""
    more = sentences({flag for m in changed if m is not None for flag in m.flags} - said)
    return "\n".join(text for text in (flags, f"change: {more}" if more else "") if text)


def _flags(*measurements: tuple[str, Measurement | None]) -> tuple[str, ...]:
    found = {side: sentences(m.flags) for side, m in measurements if m is not None and m.flags}
    if len(set(found.values())) == 1 and len(found) == 2:
        return (f"both: {found['right']}",)
    return tuple(f"{side}: {text}" if side else text for side, text in found.items())


def _caption(findings: Findings, changed: frozenset[QualityFlag]) -> str:
    lines = [f"Series: {sentences(findings.flags)}"] if findings.flags else []
    for side in (Side.RIGHT, Side.LEFT):
        if findings.joints[side].flags:
            lines.append(f"{side.capitalize()} joint: {sentences(findings.joints[side].flags)}")
    if changed - findings.flags:
        lines.append(f"Change: {sentences(changed - findings.flags)}")
    return "\n".join([*lines, NOTICE])


def findings_json(findings: Findings, changes: Changes | None = None) -> dict[str, Any]:
    """Turn the findings into plain values for ``json.dumps``.

    Parameters
    ----------
    findings
        What the report says.
    changes
        What changed since the patient's first study.

    Returns
    -------
    dict
        ``joints`` by side and ``symmetry``, each measurement with value, sd, unit and
        flags (name to sentence); landmarks and mid-sagittal plane in LPS mm; without the surfaces.
        ``changes`` where there is a prior report.
    """
    found = {
        "notice": NOTICE,
        "flags": _named(findings.flags),
        "joints": {side.value: _joint(findings.joints[side]) for side in (Side.RIGHT, Side.LEFT)},
        "symmetry": _measurements(findings.symmetry.measurements.values()),
        "midsagittal_plane": _plane(findings.midsagittal),
    }
    return found if changes is None else found | {"changes": _changes(changes)}


def _plane(found: "MidsagittalPlane | None") -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "point": [float(x) for x in found.plane.point],
        "normal": [float(x) for x in found.plane.normal],
        "uncertainty_deg": found.uncertainty_deg,
    }


def _changes(changes: Changes) -> dict[str, Any]:
    prior, numbers = changes.prior, changes.numbers
    return {
        "since": str(prior.study_date),
        "accession_number": prior.accession_number,
        "report": prior.sop_instance_uid,
        "joints": {side.value: _measurements(numbers[side].values()) for side in (Side.RIGHT, Side.LEFT)},
        "symmetry": _measurements(numbers[None].values()),
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
