"""Which reports count: ours, readable, one a measured series."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from negvol_pacs.errors import ForeignReport, UnreadableReport
from negvol_pacs.report.document import Report, read_report


@dataclass(frozen=True)
class Collection:
    """Reports found.

    Attributes
    ----------
    reports
        Those that count, by study date.
    replaced
        Those that a later one replaces.
    unreadable
        Reason by file: reports of this product that cannot be read.
    """

    reports: tuple[Report, ...]
    replaced: tuple[Report, ...]
    unreadable: dict[Path, str]


def read_folder(folder: Path) -> Collection:
    """Read all reports of this product below a folder; other files are passed over."""
    reports, unreadable = list[Report](), dict[Path, str]()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            reports.append(read_file(path))
        except ForeignReport:
            continue
        except UnreadableReport as error:
            unreadable[path] = str(error)
    counting, replaced = latest(reports)
    return Collection(tuple(counting), tuple(replaced), unreadable)


def read_file(path: Path) -> Report:
    """Read one file.

    Raises
    ------
    ForeignReport, UnreadableReport
        As :func:`negvol_pacs.report.document.read_report`.
    """
    try:
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise ForeignReport("deflated, as no report of this product is")  # it could inflate without bound
        ds = pydicom.dcmread(path, defer_size=1 << 20)
    except ForeignReport:
        raise
    except (InvalidDicomError, OSError) as error:
        raise ForeignReport(f"not a DICOM file: {error}") from error
    except Exception as error:  # cut off or damaged in any way
        raise UnreadableReport(f"a DICOM file that cannot be read: {type(error).__name__}: {error}") from error
    return read_report(ds)


def latest(reports: Iterable[Report]) -> tuple[list[Report], list[Report]]:
    """Keep one report a measured series.

    A report that another one names as its predecessor is replaced. Of those left for one
    series, such as those of two versions of the program, the last made counts.

    Parameters
    ----------
    reports
        In any order, also twice.

    Returns
    -------
    counting, replaced
        Each by study date and then by UID.
    """
    known = {report.sop_instance_uid: report for report in reports}
    named = {uid for report in known.values() for uid in report.replaces - {report.sop_instance_uid}}
    last: dict[tuple[str, str], Report] = {}
    for report in sorted(known.values(), key=lambda r: (r.created, r.sop_instance_uid)):
        if report.sop_instance_uid not in named:
            last[report.study_instance_uid, report.measured_series] = report
    counting = {report.sop_instance_uid for report in last.values()}
    ordered = sorted(known.values(), key=lambda r: (str(r.study_date), str(r.study_time), r.sop_instance_uid))
    return (
        [report for report in ordered if report.sop_instance_uid in counting],
        [report for report in ordered if report.sop_instance_uid not in counting],
    )
