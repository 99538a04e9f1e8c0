"""Which series of a study is measured."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydicom import Dataset, config, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from negvol_pacs.config import SeriesRules
from negvol_pacs.errors import MALFORMED, NoSuitableSeries, SeriesRefused
from negvol_pacs.quality import QualityFlag
from negvol_pacs.series.frames import is_multiframe, items, text
from negvol_pacs.series.gate import Passed, check
from negvol_pacs.series.series import Series

WIDTH_OF_BOTH_JOINTS_MM = 120.0
HEIGHT_OF_A_JOINT_MM = 40.0
_LARGE_ELEMENT = 16 << 20  # bytes; a larger element of a header stays on disk

_BONE = re.compile(r"BONE|EDGE|SHARP|CORTICAL|INNER ?EAR|^FC[38]\d|^(?!FC)[A-Z]{1,2}[6-9]\d", re.IGNORECASE)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Selection:
    """The series to measure.

    Attributes
    ----------
    series
        Ordered by the gate.
    flags
        What every number of the report must carry.
    refused
        Why each other series is not measured, by Series Instance UID; a second multi-frame
        object of the same series stands under its SOP Instance UID. A series that could be
        measured but is not the best one is not here.
    order
        The worklist's item that the series was made for, where one is known.
    """

    series: Series
    flags: frozenset[QualityFlag]
    refused: dict[str, SeriesRefused]
    order: Dataset | None = None


def read_headers(paths: Iterable[Path], skipped: Callable[[Path, str], None] | None = None) -> list[Series]:
    """Read files without their pixels and group them into series.

    Parameters
    ----------
    paths
        Files in any order; those that hold no DICOM image are left out.
    skipped
        Called with every file that is left out and the reason; by default it is logged.

    Returns
    -------
    list[Series]
        In the order of Series Instance UIDs, instances in the order of ``paths``. Every
        multi-frame object stands for itself, because each is a volume of its own.
    """
    report = skipped or (lambda path, reason: log.warning("file-skipped", file=path.name, reason=reason))
    groups: dict[tuple[str, str], list[tuple[Path, Dataset]]] = {}
    seen: set[str] = set()
    for path in paths:
        try:
            header = _read_header(path)
        except _NotAnImage as error:
            report(path, str(error))
            continue
        instance = text(header, "SOPInstanceUID")
        if instance and instance in seen:
            report(path, "the same SOP Instance UID as another file")
            continue
        seen.add(instance)
        key = (text(header, "SeriesInstanceUID"), instance if is_multiframe(header) else "")
        groups.setdefault(key, []).append((path, header))
    return [
        Series(tuple(path for path, _ in files), tuple(header for _, header in files))
        for _, files in sorted(groups.items())
    ]


def select_series(series: Sequence[Series], rules: SeriesRules) -> Selection:
    """Choose the thinnest suitable reconstruction of a head.

    Of the series that pass the gate the first by: spacing within the limit; field of view wide
    enough for both joints (120 mm left to right, 40 mm head to feet: a thin reconstruction of
    one ear must not hide the head); slice spacing; slice thickness; bone kernel before soft
    tissue; covered volume; Series Instance UID.

    Raises
    ------
    SeriesRefused
        The only series' own reason.
    NoSuitableSeries
        The reason of each of several series.
    """
    passed: list[Passed] = []
    refused: dict[str, SeriesRefused] = {}
    for candidate in series:
        try:
            passed.append(check(candidate, rules))
        except SeriesRefused as reason:
            refused[_name(candidate, refused)] = reason
    if passed:
        best = min(passed, key=_rank)
        return Selection(best.series, best.flags, refused)
    if len(refused) == 1:
        raise next(iter(refused.values()))
    reasons = [f"series {uid}: {reason}" for uid, reason in sorted(refused.items())]
    raise NoSuitableSeries("No series can be measured. " + " ".join(reasons) if reasons else "There are no CT images.")


class _NotAnImage(Exception):
    """The file is left out; the message says why."""


def _read_header(path: Path) -> Dataset:
    try:
        meta = read_file_meta_info(path)
        if text(meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise _NotAnImage("deflated transfer syntax, which is not read")
        header = dcmread(path, stop_before_pixels=True, defer_size=_LARGE_ELEMENT)
    except InvalidDicomError:
        raise _NotAnImage("not a DICOM file") from None
    except RecursionError:
        raise _NotAnImage("sequences nested too deeply") from None
    except OSError as error:
        raise _NotAnImage(f"cannot be read: {error.strerror or error}") from error
    except MALFORMED as error:
        raise _NotAnImage(f"damaged header: {error}") from error
    with config.disable_value_validation():
        if not text(header, "SeriesInstanceUID"):
            raise _NotAnImage("no Series Instance UID")
        if not text(header, "Rows"):
            raise _NotAnImage("no image")
    return header


def _name(series: Series, taken: dict[str, SeriesRefused]) -> str:
    uid = text(series.first, "SeriesInstanceUID")
    return text(series.first, "SOPInstanceUID") if uid in taken else uid


def _rank(passed: Passed) -> tuple[object, ...]:
    extent = passed.stack.extent_lps
    narrow = extent[0] < WIDTH_OF_BOTH_JOINTS_MM or extent[2] < HEIGHT_OF_A_JOINT_MM
    volume = extent[0] * extent[1] * extent[2]
    first = passed.series.first
    return (
        QualityFlag.COARSE_SPACING in passed.flags,
        narrow,
        round(passed.stack.spacing[0], 2),
        passed.stack.thickness,
        not _is_bone(first),
        -round(volume),
        text(first, "SeriesInstanceUID"),
        text(first, "SOPInstanceUID"),
    )


def _is_bone(header: Dataset) -> bool:
    """Whether Convolution Kernel (0018,1210) names a sharp kernel, as far as vendors' names tell."""
    return any(_BONE.search(kernel) for kernel in _kernels(header))


def _kernels(header: Dataset) -> list[str]:
    found = [header]
    for group in items(header, "SharedFunctionalGroupsSequence"):
        found.extend(items(group, "CTReconstructionSequence"))
    said = [text(item, "ConvolutionKernel") for item in found]
    return [kernel for value in said for kernel in value.strip("[]").replace("'", "").split(", ")]
