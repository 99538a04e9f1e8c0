"""What the gate and the reader need to know of every image plane.

Single-frame objects carry it at the top level, multi-frame objects (Enhanced CT, Legacy
Converted Enhanced CT, X-Ray 3D Craniofacial) in shared and per-frame functional groups
(PS3.3 C.7.6.16); behind :func:`read_frames` there is no difference. The order of frames is
taken from their positions alone, so Dimension Index Values are not needed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset, config
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.uid import XRay3DCraniofacialImageStorage

from negvol_pacs.errors import MALFORMED, MissingAttribute
from negvol_pacs.series.series import Series

_LARGEST = 1e7  # no millimetre, count or grey value of a CT is larger; NaN is refused by the same comparison
_FRAME_TYPES = ("CTImageFrameTypeSequence", "XRay3DFrameTypeSequence")


@dataclass(frozen=True)
class Frame:
    """One image plane.

    Attributes
    ----------
    instance
        Index into the series' ``headers`` and ``paths``.
    number
        Index of the frame in its instance; 0 in a single-frame object.
    label
        Instance Number (0020,0013) or, in a multi-frame object, the frame's number from 1.
    position
        LPS mm of the first pixel's centre (PS3.3 C.7.6.2.1.1).
    orientation
        Direction cosines of a row, then of a column.
    spacing
        Millimetres between rows, then between columns (PS3.3 10.7.1.3).
    shape
        Rows and columns.
    image_type
        Image Type (0008,0008) or Frame Type (0008,9007).
    slope, intercept
        From stored value to output unit (PS3.3 C.11.1).
    unit
        Rescale Type (0028,1054), "" where it is not said.
    thickness
        Slice Thickness (0018,0050) in mm; 0 where it is not said.
    """

    instance: int
    number: int
    label: int | None
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    shape: tuple[int, int]
    image_type: tuple[str, ...]
    slope: float
    intercept: float
    unit: str
    thickness: float


def is_multiframe(header: Dataset) -> bool:
    """Whether the planes of the object are described in functional groups."""
    return "SharedFunctionalGroupsSequence" in header or "PerFrameFunctionalGroupsSequence" in header


def read_frames(series: Series) -> list[Frame]:
    """Describe every plane of a series, in the order of its headers.

    Raises
    ------
    MissingAttribute
        If an attribute of geometry or grey value is absent, empty or no finite number; the
        message names the attribute and the image.
    """
    with config.disable_value_validation():  # overlong decimal strings are common, and harmless here
        return [
            _frame(header, instance, number)
            for instance, header in enumerate(series.headers)
            for number in range(_count(header))
        ]


def missing(header: Dataset, keyword: str, frame: int | None = None, problem: str = "is missing") -> MissingAttribute:
    """Build the error that names an attribute and the image that lacks it."""
    instance = text(header, "InstanceNumber")
    where = f"image {instance}" if instance else "one image"
    if frame is not None:
        where = f"frame {frame + 1} of {where}"
    name = f"{dictionary_description(keyword)} {Tag(tag_for_keyword(keyword) or 0)}"
    return MissingAttribute(f"{name} {problem} in {where} (SOP Instance UID {text(header, 'SOPInstanceUID')}).")


def text(item: Dataset, keyword: str) -> str:
    """Value of an attribute as a string, stripped; "" where it is absent, empty or malformed."""
    try:
        value = item.get(keyword)
    except MALFORMED:
        return ""
    return "" if value is None or isinstance(value, DicomSequence) else str(value).strip()


def items(item: Dataset, keyword: str) -> Sequence[Dataset]:
    """Items of a sequence; none where it is absent, empty or malformed."""
    try:
        value = item.get(keyword)
    except MALFORMED:
        return ()
    return value if isinstance(value, DicomSequence) else ()


def _count(header: Dataset) -> int:
    if not is_multiframe(header):
        return 1
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    if not groups or text(header, "NumberOfFrames") not in ("", str(len(groups))):
        raise missing(header, "PerFrameFunctionalGroupsSequence", problem="does not describe every frame")
    return len(groups)


def _frame(header: Dataset, instance: int, number: int) -> Frame:
    multiframe = is_multiframe(header)
    frame = number if multiframe else None

    def numbers(sequence: str, keyword: str, count: int) -> tuple[float, ...]:
        return _numbers(_macro(header, number, sequence), header, keyword, count, frame)

    slope, intercept, unit = _rescale(header, number, frame)
    rows, columns = (_numbers(header, header, keyword, 1, None)[0] for keyword in ("Rows", "Columns"))
    if min(rows, columns) < 1:
        raise missing(header, "Rows" if rows < 1 else "Columns", None, "is zero")
    orientation = numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if not _orthonormal(orientation):
        raise missing(header, "ImageOrientationPatient", frame, "is not two perpendicular unit vectors")
    spacing = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise missing(header, "PixelSpacing", frame, "is not positive")
    return Frame(
        instance=instance,
        number=number,
        label=number + 1 if multiframe else _integer(text(header, "InstanceNumber")),
        position=numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=orientation,
        spacing=spacing,
        shape=(int(rows), int(columns)),
        image_type=_image_type(header, number, frame),
        slope=slope,
        intercept=intercept,
        unit=unit,
        thickness=_thickness(_macro(header, number, "PixelMeasuresSequence")),
    )


def _macro(header: Dataset, number: int, sequence: str) -> Dataset:
    """Item that holds a macro's attributes: the frame's own, else the shared one (PS3.3 C.7.6.16.1)."""
    if not is_multiframe(header):
        return header
    per_frame = items(header, "PerFrameFunctionalGroupsSequence")
    for group in (*per_frame[number : number + 1], *items(header, "SharedFunctionalGroupsSequence")):
        found = items(group, sequence)
        if found:
            return found[0]
    return Dataset()


def _rescale(header: Dataset, number: int, frame: int | None) -> tuple[float, float, str]:
    item = _macro(header, number, "PixelValueTransformationSequence")
    optional = header.get("SOPClassUID") == XRay3DCraniofacialImageStorage
    if optional and "RescaleSlope" not in item:  # stored values are the grey values
        return 1.0, 0.0, "US"
    (slope,) = _numbers(item, header, "RescaleSlope", 1, frame)
    (intercept,) = _numbers(item, header, "RescaleIntercept", 1, frame)
    if slope == 0:
        raise missing(header, "RescaleSlope", frame, "is zero")
    return slope, intercept, text(item, "RescaleType").upper()


def _image_type(header: Dataset, number: int, frame: int | None) -> tuple[str, ...]:
    candidates = [(_macro(header, number, sequence), "FrameType") for sequence in _FRAME_TYPES]
    if frame is None:
        candidates = []
    for item, keyword in [*candidates, (header, "ImageType")]:
        try:
            value = item.get(keyword)
        except MALFORMED:
            continue
        if value:
            return tuple(str(part).strip().upper() for part in ([value] if isinstance(value, str) else value))
    raise missing(header, "ImageType", frame)


def _numbers(item: Dataset, header: Dataset, keyword: str, count: int, frame: int | None) -> tuple[float, ...]:
    try:
        value = item.get(keyword)
        parts = value if isinstance(value, Sequence) else [value]
        values = () if value is None or value == "" else tuple(float(part) for part in parts)
    except MALFORMED:
        raise missing(header, keyword, frame, "is not a number") from None
    if not values:
        raise missing(header, keyword, frame)
    if len(values) != count or not all(abs(part) < _LARGEST for part in values):
        raise missing(header, keyword, frame, f"does not hold {count} usable number{'s' if count > 1 else ''}")
    return values


def _thickness(item: Dataset) -> float:
    try:
        return float(item.get("SliceThickness") or 0)
    except MALFORMED:
        return 0.0


def _orthonormal(cosines: tuple[float, ...]) -> bool:
    row, column = cosines[:3], cosines[3:]
    return (
        abs(math.hypot(*row) - 1) < 0.01
        and abs(math.hypot(*column) - 1) < 0.01
        and abs(sum(a * b for a, b in zip(row, column, strict=True))) < 0.01
    )


def _integer(value: str) -> int | None:
    return int(value) if value.lstrip("+-").isdecimal() else None
