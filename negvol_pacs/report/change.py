"""What changed since the first study of a patient."""

from collections.abc import Iterable
from dataclasses import dataclass

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, Measurement, Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.algorithm import Algorithm
from negvol_pacs.report.document import Report, parse_date, parse_time
from negvol_pacs.report.patient import Patient
from negvol_pacs.series.series import Series

_NO_SIZE = frozenset({Quantity.MC_DICE, Quantity.TB_DICE})
"""Say how good a segmentation is, not how large something is."""


@dataclass(frozen=True)
class Changes:
    """Differences, this study minus the first.

    Attributes
    ----------
    prior
        Report of the first study.
    numbers
        By side (None: left against right) and quantity, in the quantity's unit; with the flags
        of both numbers.
    """

    prior: Report
    numbers: dict[Side | None, dict[Quantity, Measurement]]


def find_prior(series: Series, reports: Iterable[Report]) -> Report | None:
    """Choose the report of the patient's first study.

    Parameters
    ----------
    series
        What is measured now.
    reports
        Of any patients and studies, one a series.

    Returns
    -------
    Report or None
        The earliest one of surely the same patient in a surely older study; None where there
        is none.
    """
    first = series.first
    patient, study = Patient.of(first), series.study_instance_uid
    day, moment = parse_date(first.get("StudyDate")), parse_time(first.get("StudyTime"))
    earlier = [
        report
        for report in reports
        if report.study_instance_uid != study and patient.is_same(report.patient) and report.is_before(day, moment)
    ]
    return min(earlier, key=lambda r: (str(r.study_date), str(r.study_time), r.sop_instance_uid), default=None)


def changes_since(prior: Report, findings: Findings, algorithm: Algorithm) -> Changes:
    """Subtract the numbers of a prior report.

    Parameters
    ----------
    prior
        Report of the first study.
    findings, algorithm
        What is found now, and what found it.

    Returns
    -------
    Changes
        A number that is missing in either study has no change. A change carries all that is
        held against either number, and ``DIFFERENT_METHOD`` where version or weights differ.
    """
    other = frozenset() if prior.algorithm == algorithm else frozenset({QualityFlag.DIFFERENT_METHOD})
    numbers: dict[Side | None, dict[Quantity, Measurement]] = {}
    for side in (Side.RIGHT, Side.LEFT, None):
        before = prior.findings.numbers(side)
        numbers[side] = {
            quantity: _difference(number, before.get(quantity), other)
            for quantity, number in findings.numbers(side).items()
            if quantity not in _NO_SIZE
        }
    return Changes(prior, numbers)


def _difference(now: Measurement, before: Measurement | None, other: frozenset[QualityFlag]) -> Measurement:
    if before is None:  # an older version did not measure it
        return Measurement(now.quantity, None, flags=now.flags | other | {QualityFlag.DIFFERENT_METHOD})
    value = None if now.value is None or before.value is None else now.value - before.value
    return Measurement(now.quantity, value, flags=now.flags | before.flags | other)
