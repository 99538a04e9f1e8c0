"""Pass whole, thin CT stacks of one patient; say why anything else is refused.

The checks run from "wrong kind of object" to "too coarse", and the first that fails decides.
Every message is written for the person at the scanner or the PACS and holds no patient data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset, config
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    XRay3DCraniofacialImageStorage,
)

from negvol_pacs.config import SeriesRules
from negvol_pacs.errors import (
    MissingSlice,
    MixedFrameOfReference,
    MixedPatient,
    NoHead,
    NotCT,
    SpacingTooCoarse,
    TooFewSlices,
)
from negvol_pacs.quality import QualityFlag
from negvol_pacs.series.frames import Frame, is_multiframe, missing, read_frames, text
from negvol_pacs.series.geometry import Stack, stack
from negvol_pacs.series.image_type import check_image_type
from negvol_pacs.series.pixels import check_header
from negvol_pacs.series.series import Series

MODALITIES = {
    CTImageStorage: ("CT",),
    EnhancedCTImageStorage: ("CT",),
    LegacyConvertedEnhancedCTImageStorage: ("CT",),
    XRay3DCraniofacialImageStorage: ("DX", "CT"),
}
"""Storage classes that are measured, and the modalities they may carry."""

_DISTANT = """
    ABDOMEN ABDOMENPELVIS ANKLE ARM BREAST CALCANEUS CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON ELBOW
    EXTREMITY FEMUR FINGER FOOT FOREARM HAND HEART HIP HUMERUS KIDNEY KNEE LEG LIVER LSPINE LUMBAR LUNG PANCREAS
    PELVIS SCAPULA SHOULDER SSPINE STERNUM THIGH THORAX THUMB TOE TSPINE UTERUS WRIST
"""
NO_HEAD = frozenset(_DISTANT.split())
"""Body Part Examined (0018,0015) values with which no jaw joint is in the picture (PS3.16 Annex L). The
attribute is often wrong towards the neighbour (neck, spine), so only distant regions are listed."""


@dataclass(frozen=True)
class Passed:
    """A series that may be measured.

    Attributes
    ----------
    series
        Headers and paths in the order of the stack (see :class:`Stack`).
    flags
        What every number of the report must carry.
    stack
        Geometry; ``order`` counts the frames of ``series``.
    """

    series: Series
    flags: frozenset[QualityFlag]
    stack: Stack


def check(series: Series, rules: SeriesRules) -> Passed:
    """Pass a series or refuse it.

    Parameters
    ----------
    series
        Headers of one series, in any order.
    rules
        Limits from the configuration.

    Raises
    ------
    SeriesRefused
        One subclass for each defect.
    """
    with config.disable_value_validation():
        for look in (_is_ct, _is_one_patient, _is_head, _is_complete_object):
            look(series.headers)
        for header in series.headers:
            check_header(header)
    frames = read_frames(series)
    craniofacial = series.first.SOPClassUID == XRay3DCraniofacialImageStorage
    check_image_type(frames, craniofacial, rules.measure_derived)
    _is_one_frame_of_reference(series.headers)
    if len(frames) < rules.min_slices:
        raise TooFewSlices(f"{len(frames)} slices; a head needs at least {rules.min_slices}.")
    placed = stack(frames)
    flags = _coarse(placed, rules) | _uncalibrated(frames)
    return _in_order(series, frames, placed, flags)


def _is_ct(headers: Sequence[Dataset]) -> None:
    for header in headers:
        sop_class = text(header, "SOPClassUID")
        modality = text(header, "Modality")
        if sop_class not in MODALITIES:
            raise NotCT(f"The series holds {UID(sop_class).name or 'objects of no stated class'}, not CT images.")
        if not modality:
            raise missing(header, "Modality")
        if modality not in MODALITIES[UID(sop_class)]:
            raise NotCT(f"The modality is {modality}, not CT.")
    classes = {text(header, "SOPClassUID") for header in headers}
    if len(classes) > 1:
        raise NotCT("The series mixes " + " and ".join(sorted(UID(uid).name for uid in classes)) + ".")


def _is_one_patient(headers: Sequence[Dataset]) -> None:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        for header in headers:
            if not text(header, keyword):
                raise missing(header, keyword)
    for what, keyword in (
        ("patients (Patient ID)", "PatientID"),
        ("patients (Issuer of Patient ID)", "IssuerOfPatientID"),
        ("patients (Patient's Name)", "PatientName"),
        ("patients (Patient's Birth Date)", "PatientBirthDate"),
        ("studies", "StudyInstanceUID"),
        ("series", "SeriesInstanceUID"),
    ):
        named = {text(header, keyword).rstrip("^=") for header in headers}
        if len(named) > 1:
            raise MixedPatient(f"The images of the series name {len(named)} different {what}.")


def _is_head(headers: Sequence[Dataset]) -> None:
    parts = {text(header, "BodyPartExamined").upper() for header in headers}
    if parts <= NO_HEAD:
        raise NoHead(f"Body Part Examined is {' and '.join(sorted(parts))} in every image, not the head.")


def _is_complete_object(headers: Sequence[Dataset]) -> None:
    for header in headers:
        part, total = text(header, "InConcatenationNumber"), text(header, "InConcatenationTotalNumber")
        if text(header, "ConcatenationUID") and total != "1":
            raise MissingSlice(
                f"The object is part {part or '?'} of {total or '?'} of a concatenation: send the volume as one object."
            )


def _is_one_frame_of_reference(headers: Sequence[Dataset]) -> None:
    for header in headers:
        if not text(header, "FrameOfReferenceUID"):
            raise missing(header, "FrameOfReferenceUID")
    count = len({text(header, "FrameOfReferenceUID") for header in headers})
    if count > 1:
        raise MixedFrameOfReference(f"The slices lie in {count} frames of reference: they are not one scan.")


def _coarse(placed: Stack, rules: SeriesRules) -> frozenset[QualityFlag]:
    """Refuse or flag; overlapping thick slices are as coarse as they are thick."""
    candidates: tuple[tuple[str, float], ...] = (
        ("The slice spacing is", placed.spacing[0]),
        ("The pixel spacing is", max(placed.spacing[1:])),
        ("The slices overlap and are thick:", placed.thickness),
    )
    for what, size in candidates:
        if size > rules.max_spacing_mm + 1e-3:
            if rules.measure_coarse:
                return frozenset({QualityFlag.COARSE_SPACING})
            raise SpacingTooCoarse(
                f"{what} {size:.2f} mm; a joint space needs at most {rules.max_spacing_mm:g} mm. "
                "Send a thinner reconstruction."
            )
    return frozenset()


def _uncalibrated(frames: Sequence[Frame]) -> frozenset[QualityFlag]:
    """Rescale Type (0028,1054) is absent where the unit is HU (PS3.3 C.11.1.1.2)."""
    said = {frame.unit for frame in frames}
    return frozenset() if said <= {"", "HU"} else frozenset({QualityFlag.NOT_HOUNSFIELD})


def _in_order(series: Series, frames: Sequence[Frame], placed: Stack, flags: frozenset[QualityFlag]) -> Passed:
    if any(is_multiframe(header) for header in series.headers):
        return Passed(series, flags, placed)
    order = [frames[index].instance for index in placed.order]
    sorted_series = Series(
        tuple(series.paths[index] for index in order), tuple(series.headers[index] for index in order)
    )
    return Passed(sorted_series, flags, replace(placed, order=tuple(range(len(order)))))
