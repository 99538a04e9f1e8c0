"""One row a report: identity, numbers of both sides and of their symmetry, flags."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, Measurement, Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.document import Report
from negvol_pacs.report.wording import UNITS

SIDES = (Side.RIGHT, Side.LEFT, None)
_UNIT_SUFFIX = {"{ratio}": "", "1": ""}


@dataclass(frozen=True)
class Measure:
    """A column of numbers: what is measured, and on which side (None: left against right)."""

    side: Side | None
    quantity: Quantity

    @property
    def _stem(self) -> str:
        return f"{self.side}_{self.quantity.name}" if self.side else self.quantity.name

    @property
    def _unit(self) -> str:
        unit = self.quantity.unit
        return _UNIT_SUFFIX.get(unit, f"_{unit}")

    @property
    def value(self) -> str:
        """Name of the column of values, with the unit."""
        return f"{self._stem}{self._unit}"

    @property
    def sd(self) -> str:
        """Name of the column of standard deviations."""
        return f"{self._stem}_sd{self._unit}"

    @property
    def flags(self) -> str:
        """Name of the column of flags: names of all that is held against the value, by semicolons."""
        return f"{self._stem}_flags"

    @property
    def label(self) -> str:
        """What a person reads."""
        return f"{self.quantity.label} {self.side}" if self.side else self.quantity.label

    @property
    def unit(self) -> str:
        """Unit as a person reads it."""
        return UNITS.get(self.quantity.unit, self.quantity.unit)


def measures(reports: Iterable[Report]) -> list[Measure]:
    """List what any of the reports measures, right and left of each quantity together."""
    found = {Measure(side, quantity) for r in reports for side in SIDES for quantity in r.findings.numbers(side)}
    return [m for quantity in Quantity for side in SIDES if (m := Measure(side, quantity)) in found]


def build_table(reports: Sequence[Report]) -> pd.DataFrame:
    """Lay out the reports.

    Parameters
    ----------
    reports
        One a row.

    Returns
    -------
    pandas.DataFrame
        Identity (text and dates), then for each `Measure` its value (mm, mm², mm³ or a
        ratio), its standard deviation where any report has one, and its flags. What is
        missing is missing (NaN), with its reason among the flags; an empty text means that
        nothing is held against the value.
    """
    columns = measures(reports)
    rows = [_identity(r) | _numbers(r.findings, columns) for r in reports]
    table = pd.DataFrame(rows)
    # An empty column of dates or numbers would otherwise be of no type in parquet.
    numeric = [name for m in columns for name in (m.value, m.sd)]
    table = table.astype({name: "float64" for name in numeric if name in table})
    return table.drop(columns=[m.sd for m in columns if table[m.sd].isna().all()])


def values(table: pd.DataFrame, measure: Measure, *, flagged: bool = False) -> "pd.Series[float]":
    """Values of a measure; doubtful ones are missing unless ``flagged``."""
    found = table[measure.value]
    return found if flagged else found.where(table[measure.flags] == "")


def _identity(report: Report) -> dict[str, object]:
    findings = report.findings
    return {
        "patient_id": report.patient.patient_id,
        "issuer_of_patient_id": report.patient.issuer,
        "birth_date": report.patient.birth_date,
        "accession_number": report.accession_number,
        "study_date": report.study_date,
        "study_time": report.study_time,
        "study_instance_uid": report.study_instance_uid,
        "series_instance_uid": report.measured_series,
        "report_instance_uid": report.sop_instance_uid,
        "version": report.algorithm.version,
        "weights_sha256": report.algorithm.weights_sha256,
        "series_flags": names(findings.flags),
        "right_flags": names(findings.joints[Side.RIGHT].flags),
        "left_flags": names(findings.joints[Side.LEFT].flags),
    }


def _numbers(findings: Findings, columns: Sequence[Measure]) -> dict[str, object]:
    numbers = {side: findings.numbers(side) for side in SIDES}
    row: dict[str, object] = {}
    for column in columns:
        found: Measurement | None = numbers[column.side].get(column.quantity)
        row[column.value] = None if found is None else found.value
        row[column.sd] = None if found is None else found.sd
        row[column.flags] = "NOT_REPORTED" if found is None else names(found.flags)
    return row


def names(flags: Iterable[QualityFlag]) -> str:
    """Names of flags in a fixed order, by semicolons."""
    return ";".join(sorted(flag.name for flag in flags))
