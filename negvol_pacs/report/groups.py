"""Measurement groups of the structured report (PS3.16 TID 1411 and TID 1501)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import highdicom as hd
import numpy as np
from highdicom.sr import (
    CompositeContentItem,
    FindingSite,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    Scoord3DContentItem,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from numpy.typing import NDArray
from pydicom.uid import Comprehensive3DSRStorage

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.findings import JointMeasurements, Landmark, Measurement, Quantity, Symmetry
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report import codes
from negvol_pacs.report.algorithm import Algorithm
from negvol_pacs.report.change import Changes

DISCLAIMER = "Research use only. Machine output, not verified by a physician; not for diagnosis or treatment."


@dataclass(frozen=True)
class Group:
    """What a group says besides its measurements.

    Attributes
    ----------
    side
        Side of the patient; None for both.
    tracking_id, tracking_uid
        The same as the segment's in the SEG.
    segment
        Segment of the negative volume; None where there is none.
    algorithm
        What made the numbers.
    series_flags
        What holds for the whole series.
    frame_of_reference_uid
        Of the images; the landmarks lie in it.
    """

    side: Side | None
    tracking_id: str
    tracking_uid: str
    segment: ReferencedSegment | None
    algorithm: Algorithm
    series_flags: frozenset[QualityFlag]
    frame_of_reference_uid: str


def joint_group(joint: JointMeasurements, group: Group) -> MeasurementsAndQualitativeEvaluations:
    """Measurements of one side: TID 1411 with a segment, TID 1501 without one."""
    built = _build(group, joint.measurements.values(), joint.flags)
    for landmark, point in sorted(joint.landmarks.items(), key=lambda item: codes.landmark(item[0]).value):
        built[0].ContentSequence.append(_point(landmark, point, group.frame_of_reference_uid))
    return built


def symmetry_group(symmetry: Symmetry, group: Group) -> MeasurementsAndQualitativeEvaluations:
    """S_LR and H_LR: TID 1501 at a bilateral site."""
    return _build(group, symmetry.measurements.values(), frozenset())


def change_group(changes: Changes, group: Group) -> MeasurementsAndQualitativeEvaluations:
    """Say what changed since the prior report, and which report that is: TID 1501."""
    measurements = sorted(changes.numbers[group.side].values(), key=lambda m: list(Quantity).index(m.quantity))
    prior = changes.prior
    built = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=group.tracking_uid, identifier=group.tracking_id),
        finding_type=codes.change(),
        algorithm_id=group.algorithm.for_report(),
        finding_sites=[FindingSite(codes.temporomandibular_joint(), laterality=codes.laterality(group.side))],
        measurements=[
            hd.sr.Measurement(
                name=codes.change_of(m.quantity),
                value=round(m.value, 4),
                unit=codes.unit(m.quantity.unit),
                finding_sites=[FindingSite(codes.site(m.quantity), codes.laterality(group.side))],
            )
            for m in measurements
            if m.value is not None
        ],
        qualitative_evaluations=[
            *(item for m in measurements for item in _flags(partial(codes.quality_of, m.quantity), m.flags)),
            QualitativeEvaluation(codes.intended_use(), codes.research_only()),
        ],
    )
    reference = CompositeContentItem(
        codes.prior_report(), Comprehensive3DSRStorage, prior.sop_instance_uid, relationship_type="CONTAINS"
    )
    built[0].ContentSequence.extend([reference, TextContentItem(codes.comment(), DISCLAIMER, "CONTAINS")])
    return built


def _build(
    group: Group, measurements: Iterable[Measurement], flags: frozenset[QualityFlag]
) -> MeasurementsAndQualitativeEvaluations:
    measurements = sorted(measurements, key=lambda m: list(Quantity).index(m.quantity))
    common = {
        "tracking_identifier": TrackingIdentifier(uid=group.tracking_uid, identifier=group.tracking_id),
        "finding_type": codes.structure(Structure.NV),
        "finding_category": codes.category(Structure.NV),
        "algorithm_id": group.algorithm.for_report(),
        "finding_sites": [FindingSite(codes.temporomandibular_joint(), laterality=codes.laterality(group.side))],
        "measurements": [item for m in measurements for item in _numbers(m, group.side)],
        "qualitative_evaluations": [
            *_flags(codes.quality, group.series_flags | flags),
            *(item for m in measurements for item in _flags(partial(codes.quality_of, m.quantity), m.flags)),
            QualitativeEvaluation(codes.intended_use(), codes.research_only()),
        ],
    }
    if group.segment is None:
        built = MeasurementsAndQualitativeEvaluations(**common)
    else:
        built = VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=group.segment, **common)
    built[0].ContentSequence.append(TextContentItem(codes.comment(), DISCLAIMER, "CONTAINS"))
    return built


def _point(landmark: Landmark, point: NDArray[np.float64], frame_of_reference_uid: str) -> Scoord3DContentItem:
    return Scoord3DContentItem(
        name=codes.landmark(landmark),
        graphic_type="POINT",
        graphic_data=np.round(point, 3)[None],
        frame_of_reference_uid=frame_of_reference_uid,
        relationship_type="CONTAINS",
    )


def _flags(question: Callable[[], hd.sr.CodedConcept], flags: frozenset[QualityFlag]) -> list[QualitativeEvaluation]:
    return [QualitativeEvaluation(question(), codes.flag(flag)) for flag in sorted(flags, key=lambda f: f.name)]


def _numbers(measurement: Measurement, side: Side | None) -> list[hd.sr.Measurement]:
    """NUM items of a quantity: none when it is missing, a second for the deviation.

    The deviation is an own item because highdicom's MeasurementProperties writes it with
    the unit 1 whatever the unit of the value.
    """
    if measurement.value is None:
        return []
    if measurement.sd is None:
        return [_number(measurement, measurement.value, side, None)]
    return [
        _number(measurement, measurement.value, side, codes.mean()),
        _number(measurement, measurement.sd, side, codes.standard_deviation()),
    ]


def _number(
    measurement: Measurement, value: float, side: Side | None, derivation: hd.sr.CodedConcept | None
) -> hd.sr.Measurement:
    quantity = measurement.quantity
    return hd.sr.Measurement(
        name=codes.quantity(quantity),
        value=round(value, 4),
        unit=codes.unit(quantity.unit),
        method=codes.method(quantity),
        derivation=derivation,
        finding_sites=[FindingSite(codes.site(quantity), codes.laterality(side))],
    )
