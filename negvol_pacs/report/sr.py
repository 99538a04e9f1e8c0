"""Structured report of both joints: TID 1500 in a Comprehensive 3D SR (PS3.3 A.35.13)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import highdicom as hd
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.findings import Findings
from negvol_pacs.report import codes
from negvol_pacs.report.algorithm import MANUFACTURER, Algorithm
from negvol_pacs.report.change import Changes
from negvol_pacs.report.document import Report
from negvol_pacs.report.groups import Group, change_group, joint_group, symmetry_group
from negvol_pacs.report.request import refer_to_order
from negvol_pacs.report.source import identity
from negvol_pacs.report.stamp import stamp
from negvol_pacs.report.uids import result_uid, tracking
from negvol_pacs.series.series import Series

SERIES_NUMBER = 9101


def build_sr(  # noqa: PLR0917
    series: Series,
    findings: Findings,
    seg: Dataset | None,
    algorithm: Algorithm,
    now: datetime,
    former: Sequence[Dataset] = (),
    changes: Changes | None = None,
    order: Dataset | None = None,
    name: str = "sr",
) -> hd.sr.Comprehensive3DSR:
    """Make the SR: a measurement group a joint and one for their symmetry.

    A joint whose negative volume is a segment of the SEG has a TID 1411 group that refers
    to it. A joint without one has a TID 1501 group: flags, and such numbers as do not need
    the volume. The document is COMPLETE, PRELIMINARY and UNVERIFIED: a machine made it.

    Parameters
    ----------
    series
        The source images' headers.
    findings
        What the report says.
    seg
        The SEG of the same findings; None when neither joint could be segmented.
    algorithm
        What made the findings.
    now
        Content date and time.
    former
        Results of an earlier state of the same series that this one replaces.
    changes
        What changed since the patient's first study; adds three TID 1501 groups and the prior
        report as Pertinent Other Evidence (PS3.3 C.17.2), and is part of the SOP Instance UID.
    order
        Worklist item of the order that the images were made for.
    name
        Part of the SOP Instance UID: reports on the same input that refer to another SEG, or to
        none, have another one.

    Returns
    -------
    highdicom.sr.Comprehensive3DSR
        Explicit VR little endian.
    """
    uids = series.sop_instance_uids
    reports = [result for result in former if result.SOPClassUID == Comprehensive3DSRStorage]
    sr = hd.sr.Comprehensive3DSR(
        evidence=[*_evidence(series, seg), *([_prior(changes)] if changes else [])],
        content=_content(series, findings, seg, algorithm, changes),
        is_complete=True,
        series_instance_uid=result_uid("sr-series", uids, algorithm),
        series_number=SERIES_NUMBER,
        sop_instance_uid=result_uid(name, result_inputs(series, changes.prior if changes else None), algorithm),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.weights_sha256[:16],
        previous_versions=reports or None,
        series_description="TMJ negative volume SR, research use only",
        coding_schemes=codes.scheme_identification(),
        specific_character_set=None,
        content_date=now.date(),
        content_time=now.time(),
        series_date=now.date(),
        series_time=now.time(),
    )
    stamp(sr, series, now)
    if order is not None:
        refer_to_order(sr, order)
    return sr


def _evidence(series: Series, seg: Dataset | None) -> list[Dataset]:
    """Name the SEG and the images under it, or all images where there is none."""
    images = list(series.headers)
    if seg is not None:
        headers = {header.SOPInstanceUID: header for header in images}
        images = [headers[item.ReferencedSOPInstanceUID] for item in seg.SourceImageSequence]
    # The first item gives the report its patient and study.
    first = identity(series)
    first.SOPInstanceUID, first.SOPClassUID = images[0].SOPInstanceUID, images[0].SOPClassUID
    return [first, *images[1:], *([seg] if seg is not None else [])]


def result_inputs(series: Series, prior: Report | None) -> list[str]:
    """SOP Instance UIDs that a report is made from: the images, and the prior report where there is one."""
    return [*series.sop_instance_uids, *([prior.sop_instance_uid] if prior is not None else [])]


def _prior(changes: Changes) -> Dataset:
    """Name the prior report as evidence."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = Comprehensive3DSRStorage, changes.prior.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = changes.prior.study_instance_uid, changes.prior.series_instance_uid
    return ds


def _content(
    series: Series, findings: Findings, seg: Dataset | None, algorithm: Algorithm, changes: Changes | None
) -> hd.sr.MeasurementReport:
    groups = [
        joint_group(findings.joints[side], _group(side, series, findings, seg, algorithm))
        for side in (Side.RIGHT, Side.LEFT)
    ]
    groups.append(symmetry_group(findings.symmetry, _group(None, series, findings, None, algorithm)))
    if changes is not None:
        groups += [change_group(changes, _change(side, series, findings, algorithm)) for side in changes.numbers]
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=result_uid("device", (), algorithm),
        name=algorithm.name,
        manufacturer_name=MANUFACTURER,
        model_name=f"{algorithm.name} {algorithm.version}",
        serial_number=algorithm.weights_sha256[:16],
    )
    observer = hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"), observer_identifying_attributes=device
    )
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.procedure(),
        imaging_measurements=groups,
    )


def _group(side: Side | None, series: Series, findings: Findings, seg: Dataset | None, algorithm: Algorithm) -> Group:
    identifier, uid = tracking(side, Structure.NV, series.sop_instance_uids, algorithm)
    segment = None
    if seg is not None:
        numbers = [item.SegmentNumber for item in seg.SegmentSequence if item.get("TrackingUID") == uid]
        segment = (
            hd.sr.ReferencedSegment(
                sop_class_uid=seg.SOPClassUID,
                sop_instance_uid=seg.SOPInstanceUID,
                segment_number=int(numbers[0]),
                source_series=hd.sr.SourceSeriesForSegmentation(series.series_instance_uid),
            )
            if numbers
            else None
        )
    return Group(side, identifier, uid, segment, algorithm, findings.flags, str(series.first.FrameOfReferenceUID))


def _change(side: Side | None, series: Series, findings: Findings, algorithm: Algorithm) -> Group:
    group = _group(side, series, findings, None, algorithm)
    identifier = f"{group.tracking_id} change"
    uid = result_uid(f"tracking {identifier}", series.sop_instance_uids, algorithm)
    return replace(group, tracking_id=identifier, tracking_uid=uid)
