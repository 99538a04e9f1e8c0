"""The input's headers as highdicom wants them.

highdicom stops at a missing Type 2 attribute and at odd values of others, and real series
have both. Here the headers are copied with the gaps filled by empty values; nothing is
invented.
"""

from copy import deepcopy

import highdicom as hd
import numpy as np
from highdicom.spatial import is_multiframe_image
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.valuerep import DA, TM, format_number_as_ds

from negvol_pacs.series.series import Series

_TOLERANCE_MM = 0.1
_FUNCTIONAL_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_OWN = ("SOPClassUID", "SOPInstanceUID", "ImagePositionPatient")
_TYPE_2 = {
    "PatientID": "LO",
    "PatientName": "PN",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "AccessionNumber": "SH",
    "StudyID": "SH",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "ReferringPhysicianName": "PN",
}


def identity(series: Series) -> Dataset:
    """Patient, study and equipment of the series, fit for a result's header.

    Parameters
    ----------
    series
        The input.

    Returns
    -------
    Dataset
        Copy of the first header without its frames. Missing Type 2 attributes of Patient
        and General Study (PS3.3 C.7.1.1, C.7.2.1) are empty, and so is a date, time or sex
        that the Standard does not allow. The patient's name is empty too, since highdicom
        writes an unusual one into its warnings; :func:`negvol_pacs.report.stamp.stamp`
        gives it to the result.
    """
    copy = Dataset()
    for element in series.first:
        if element.keyword not in _FUNCTIONAL_GROUPS:
            copy.add(deepcopy(element))
    for keyword, vr in _TYPE_2.items():
        tag = tag_for_keyword(keyword)
        if tag is not None and (tag not in copy or not _allowed(vr, keyword, copy[tag].value)):
            copy[tag] = DataElement(tag, vr, "")
    copy.PatientName = ""
    return copy


def _allowed(vr: str, keyword: str, value: object) -> bool:
    if keyword == "PatientSex":
        return value in ("M", "F", "O", "", None)
    try:
        if vr == "DA":
            DA(value)
        elif vr == "TM":
            TM(value)
    except (TypeError, ValueError):
        return False
    return True


def source_images(
    series: Series, geometry: hd.Volume, first: int, stop: int
) -> tuple[list[Dataset], list[hd.PlanePositionSequence]]:
    """Headers of the images under some slices, and the slices' positions.

    Parameters
    ----------
    series
        The input, in any order; or one multi-frame image.
    geometry
        The series' own grid: index (slice, row, column) to LPS mm.
    first, stop
        Range of slices of ``geometry``.

    Returns
    -------
    images
        One an image in the order of the slices, or the one multi-frame image.
    positions
        One a slice, copied exactly from the headers.

    Raises
    ------
    ValueError
        If a slice of ``geometry`` is not where an image of the series is.
    """
    positions = _positions(series)
    wanted = _slice_origins(geometry, first, stop)
    distances = np.linalg.norm(wanted[:, None] - positions[None], axis=2)
    nearest = distances.argmin(axis=1)
    if distances[np.arange(len(wanted)), nearest].max() > _TOLERANCE_MM:
        raise ValueError("The geometry is not the grid of the series")
    images = _multi_frame(series, geometry) if is_multiframe_image(series.first) else _single_frames(series, geometry)
    planes = [hd.PlanePositionSequence("PATIENT", positions[index]) for index in nearest]
    return (images if len(images) == 1 else [images[index] for index in nearest]), planes


def _slice_origins(geometry: hd.Volume, first: int, stop: int) -> NDArray[np.float64]:
    affine = np.asarray(geometry.affine, dtype=np.float64)
    origins: NDArray[np.float64] = affine[:3, 3] + np.arange(first, stop)[:, None] * affine[:3, 0]
    return origins


def _positions(series: Series) -> NDArray[np.float64]:
    if not is_multiframe_image(series.first):
        return np.array([header.ImagePositionPatient for header in series.headers], dtype=np.float64)
    frames = series.first.PerFrameFunctionalGroupsSequence
    return np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], dtype=np.float64)


def _pixel_measures(geometry: hd.Volume, given: Dataset) -> hd.PixelMeasuresSequence:
    """Spacing as given in the plane; across, the distance that the positions really have."""
    across = float(geometry.spacing[0])
    thickness = given.get("SliceThickness") or across
    return hd.PixelMeasuresSequence(given.PixelSpacing, float(thickness), float(format_number_as_ds(across)))


def _single_frames(series: Series, geometry: hd.Volume) -> list[Dataset]:
    base = identity(series)
    # Dataset.update shares the elements, so what differs between images must not be in it.
    for keyword in _OWN:
        del base[keyword]
    base.update(_pixel_measures(geometry, series.first)[0])
    images = []
    for header in series.headers:
        image = Dataset()
        image.update(base)
        for keyword in _OWN:
            image.add(deepcopy(header[keyword]))
        images.append(image)
    return images


def _multi_frame(series: Series, geometry: hd.Volume) -> list[Dataset]:
    image = identity(series)
    shared, frames = (series.first.get(keyword) for keyword in reversed(_FUNCTIONAL_GROUPS))
    common = {
        element.keyword: element for group in (frames[0], *(shared or ())) for element in group if element.VR == "SQ"
    }
    group = Dataset()
    group.PlaneOrientationSequence = common["PlaneOrientationSequence"].value
    group.PixelMeasuresSequence = _pixel_measures(geometry, common["PixelMeasuresSequence"].value[0])
    image.SharedFunctionalGroupsSequence = [group]
    image.PerFrameFunctionalGroupsSequence = [_only_position(frame) for frame in frames]
    return [image]


def _only_position(frame: Dataset) -> Dataset:
    group = Dataset()
    group.PlanePositionSequence = frame.PlanePositionSequence
    return group
