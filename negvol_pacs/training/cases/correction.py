"""Recognise a SEG that somebody made of ours, and make a training case of it with its images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from negvol_pacs.errors import MALFORMED, TrainingError
from negvol_pacs.report import codes
from negvol_pacs.report.algorithm import MANUFACTURER, Algorithm
from negvol_pacs.report.uids import result_uid
from negvol_pacs.series.frames import items, text
from negvol_pacs.series.reader import read_volume
from negvol_pacs.series.series import Series
from negvol_pacs.training.cases.case import MANDIBLE, SKULL, Case, patient_key
from negvol_pacs.training.cases.outlines import from_seg, segment_kind


@dataclass(frozen=True)
class Correction:
    """A SEG that a person made of one of ours.

    Attributes
    ----------
    sop_uid
        Its SOP Instance UID.
    of
        SOP Instance UID of our SEG; empty where it names only the images.
    algorithm
        AUTOMATIC, SEMIAUTOMATIC or MANUAL, as its first segment says.
    """

    sop_uid: str
    of: str
    algorithm: str


def read_seg(path: Path) -> Dataset | None:
    """Header of a DICOM Segmentation; None where the file is another object."""
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
    except MALFORMED:
        return None
    return ds if text(ds, "SOPClassUID") == SegmentationStorage else None


def recognise(seg: Dataset, series: Series) -> Correction:
    """Tell whether a SEG is a correction of our SEG of a series.

    It refers to our SEG as an instance, or to the images, with segments of our kinds: condyle and
    temporal bone, by code. And it is not ours: its SOP
    Instance UID is not the one that this product gives to its own result of these images.

    Parameters
    ----------
    seg
        Header of a SEG.
    series
        The images that were segmented.

    Raises
    ------
    TrainingError
        If it is none; the message says why.
    """
    uid = text(seg, "SOPInstanceUID")
    own = set(_own(seg, series))
    if uid in own:
        raise TrainingError("This SEG bears the UID of our own result: it is no correction.")
    source = next((made for made in _instances(seg) if made in own), "")
    if not source and not refers(seg, series):
        raise TrainingError("This SEG refers neither to these images nor to our SEG of them.")
    if not outlines_joints(seg):
        raise TrainingError("This SEG does not outline condyles and temporal bones.")
    first = next(iter(items(seg, "SegmentSequence")))
    return Correction(uid, source, text(first, "SegmentAlgorithmType"))


def outlines_joints(seg: Dataset) -> bool:
    """Tell whether a SEG has segments of our kinds: condyle and temporal bone, by code."""
    kinds = {segment_kind(item) for item in items(seg, "SegmentSequence")}
    return {(MANDIBLE, "joint"), (SKULL, "joint")} <= kinds


def refers(seg: Dataset, series: Series) -> bool:
    """Tell whether a SEG refers to a series, or to any of its images."""
    named = {text(item, "SeriesInstanceUID") for item in items(seg, "ReferencedSeriesSequence")}
    return series.series_instance_uid in named or not set(series.sop_instance_uids).isdisjoint(_instances(seg))


def correction_case(path: Path, seg: Dataset, series: Series) -> Case:
    """Make a training case of a correction and its images, with its provenance and without a name.

    Raises
    ------
    TrainingError
        If it is no correction, or its outlines do not lie on the bones of the images.
    SeriesRefused
        If the images cannot be read.
    """
    found = recognise(seg, series)
    provenance = {
        "kind": "correction",
        "source": series.series_instance_uid,
        "outline": found.sop_uid,
        "corrected": found.of,
        "study": series.study_instance_uid,
        "patient": patient_key(text(series.first, "PatientID"), text(series.first, "IssuerOfPatientID")),
        "made": f"{text(seg, 'ContentDate')} {text(seg, 'ContentTime')}".strip(),
        "made_with": f"{text(seg, 'Manufacturer')} {text(seg, 'ManufacturerModelName')}".strip(),
        "algorithm_type": found.algorithm,
    }
    return from_seg(path, read_volume(series), provenance)


def _instances(ds: Dataset) -> Iterator[str]:
    """Every Referenced SOP Instance UID outside the frames."""
    for element in ds:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ" and element.keyword != "PerFrameFunctionalGroupsSequence":
            for item in element.value:
                yield from _instances(item)


def _own(seg: Dataset, series: Series) -> Iterator[str]:
    """UIDs that this product gives to its SEG of the series, by every algorithm that the SEG names."""
    if text(seg, "Manufacturer") == MANUFACTURER or any(_is_ours(item) for item in items(seg, "SegmentSequence")):
        for item in items(seg, "SegmentSequence"):
            for named in items(item, "SegmentationAlgorithmIdentificationSequence"):
                for weights in str(named.get("AlgorithmParameters", "")).split("\\"):
                    _, _, sha256 = weights.partition("weights_sha256=")
                    made_by = Algorithm(text(named, "AlgorithmName"), text(named, "AlgorithmVersion"), sha256)
                    yield result_uid("seg", series.sop_instance_uids, made_by)


def _is_ours(segment: Dataset) -> bool:
    return any(text(item, "CodingSchemeDesignator") == codes.SCHEME for item in _types(segment)) or any(
        text(named, "AlgorithmSource") == MANUFACTURER
        for named in items(segment, "SegmentationAlgorithmIdentificationSequence")
    )


def _types(segment: Dataset) -> list[Dataset]:
    return list(items(segment, "SegmentedPropertyTypeCodeSequence"))
