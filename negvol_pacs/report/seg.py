"""Segmentation of both joints on the grid of the source images (PS3.3 A.51, as label map A.92)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import highdicom as hd
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.errors import JointError, SegmentationEmpty
from negvol_pacs.joint.findings import Findings
from negvol_pacs.report import codes
from negvol_pacs.report.algorithm import MANUFACTURER, Algorithm
from negvol_pacs.report.labels import LabelBox, label_box
from negvol_pacs.report.palette import COLOURS
from negvol_pacs.report.source import source_images
from negvol_pacs.report.stamp import stamp
from negvol_pacs.report.uids import SEGMENTATIONS, result_uid, tracking
from negvol_pacs.segmentation.masks import JointMasks
from negvol_pacs.series.series import Series

SERIES_NUMBER = 9100


def build_seg(  # noqa: PLR0917
    series: Series,
    geometry: hd.Volume,
    masks: Mapping[Side, JointMasks | JointError],
    findings: Findings,
    algorithm: Algorithm,
    now: datetime,
    former: Sequence[Dataset] = (),
    kind: Literal["binary", "labelmap"] = "binary",
) -> hd.seg.Segmentation:
    """Make the SEG: MC, TB and NV of the right and the left joint.

    Segments stand in the order right MC, TB, NV, left MC, TB, NV and are numbered from 1
    without gaps (PS3.3 C.8.20.4.2), so 1 to 6 when all exist. A segment that is lost has
    no number: find segments by their Tracking ID, never by number. A voxel belongs to a
    segment when its centre does; no voxel belongs to two. The same arguments give the
    same bytes.

    Parameters
    ----------
    series
        The source images' headers.
    geometry
        The source grid: index (slice, row, column) to LPS mm; the voxels are not used.
    masks
        Both sides, each with its masks or its error.
    findings
        Where the negative volumes' meshes are.
    algorithm
        What made the masks.
    now
        Content date and time.
    former
        Results of an earlier state of the same series that this one replaces.
    kind
        One bit a voxel and segment, uncompressed; or one label a voxel (Label Map Segmentation
        Storage, Supplement 243), run-length encoded, where segment 0 is the background.

    Returns
    -------
    highdicom.seg.Segmentation
        BINARY or LABELMAP, empty frames omitted.

    Raises
    ------
    SegmentationEmpty
        If no voxel of any structure of either side lies in the source grid; a SEG without
        segments does not exist.
    ValueError
        If ``geometry`` is not the grid of the series.
    """
    meshes = {side: joint.nv for side, joint in findings.joints.items()}
    box = label_box(geometry, {side: m for side, m in masks.items() if isinstance(m, JointMasks)}, meshes)
    if box is None:
        raise SegmentationEmpty("Neither joint has a segmentation within the images")
    images, positions = source_images(series, geometry, box.first, box.first + len(box.labels))
    uids = series.sop_instance_uids
    is_map = kind == "labelmap"
    name = "seg-labelmap" if is_map else "seg"
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=box.labels,
        segmentation_type=kind.upper(),
        transfer_syntax_uid=RLELossless if is_map else ExplicitVRLittleEndian,
        segment_descriptions=_descriptions(box, uids, algorithm),
        series_instance_uid=result_uid(f"{name}-series", uids, algorithm),
        series_number=SERIES_NUMBER,
        sop_instance_uid=result_uid(name, uids, algorithm),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.weights_sha256[:16],
        plane_positions=positions,
        omit_empty_frames=True,
        content_creator_name="",
        content_label="TMJ_NEGVOL",
        content_description="Condyle, temporal bone, negative volume; research use only",
        series_description="TMJ negative volume SEG, research use only",
        coding_schemes=codes.scheme_identification(),
        specific_character_set=None,
        content_date=now.date(),
        content_time=now.time(),
        series_date=now.date(),
        series_time=now.time(),
    )
    stamp(seg, series, now)
    seg.BodyPartExamined = "HEAD"
    _set_dimension_organization(seg, result_uid(f"{name}-dimensions", uids, algorithm))
    _refer_to_former(seg, [result for result in former if result.SOPClassUID in SEGMENTATIONS])
    return seg


def _descriptions(box: LabelBox, uids: Sequence[str], algorithm: Algorithm) -> list[hd.seg.SegmentDescription]:
    return [
        _description(number, side, structure, uids, algorithm)
        for number, (side, structure) in enumerate(box.segments, start=1)
    ]


def _description(
    number: int, side: Side, structure: Structure, uids: Sequence[str], algorithm: Algorithm
) -> hd.seg.SegmentDescription:
    tracking_id, tracking_uid = tracking(side, structure, uids, algorithm)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"{structure.name} {side}",
        segmented_property_category=codes.category(structure),
        segmented_property_type=codes.structure(structure),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm.for_segment(),
        tracking_uid=tracking_uid,
        tracking_id=tracking_id,
        anatomic_regions=[codes.temporomandibular_joint()],
        display_color=hd.color.CIELabColor.from_rgb(*COLOURS[structure]),
    )
    description.SegmentDescription = f"{structure.value} of the patient's {side} temporomandibular joint"
    # highdicom has no argument for laterality (PS3.3 C.8.20.2, table 10-17a).
    kind = description.SegmentedPropertyTypeCodeSequence[0]
    kind.SegmentedPropertyTypeModifierCodeSequence = [codes.laterality(side)]
    description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [codes.laterality(side)]
    red, green, blue = COLOURS[structure]
    description.RecommendedDisplayGrayscaleValue = round((0.299 * red + 0.587 * green + 0.114 * blue) * 257)
    return description


def _set_dimension_organization(seg: Dataset, uid: str) -> None:
    """Replace highdicom's random Dimension Organization UID."""
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _refer_to_former(seg: Dataset, former: Sequence[Dataset]) -> None:
    """Name replaced results: General Reference and Common Instance Reference (PS3.3 C.12.4, C.12.2)."""
    references = []
    for result in former:
        reference, series, instance = Dataset(), Dataset(), Dataset()
        for item in (reference, instance):
            item.ReferencedSOPClassUID = result.SOPClassUID
            item.ReferencedSOPInstanceUID = result.SOPInstanceUID
        reference.PurposeOfReferenceCodeSequence = [codes.former_result()]
        references.append(reference)
        series.SeriesInstanceUID = result.SeriesInstanceUID
        series.ReferencedInstanceSequence = [instance]
        seg.ReferencedSeriesSequence.append(series)
    if references:
        seg.ReferencedInstanceSequence = references
