"""All errors of the package.

::

    NegvolError
    ├── ConfigError
    ├── SeriesRefused                 the series is not measured; the reason is a result
    │   ├── NotCT
    │   ├── LocalizerSeries
    │   ├── DerivedSeries
    │   ├── TooFewSlices
    │   ├── MissingSlice
    │   ├── DuplicatePosition
    │   ├── UnevenSpacing
    │   ├── GantryTilt
    │   ├── MixedOrientation
    │   ├── MixedPixelSpacing
    │   ├── MixedFrameOfReference
    │   ├── MixedPatient
    │   ├── SpacingTooCoarse
    │   ├── UnreadablePixels
    │   ├── MissingAttribute
    │   ├── OrderMismatch
    │   ├── NoHead
    │   └── NoSuitableSeries
    ├── JointError                    one side is lost, the other is still measured
    │   ├── JointOutsideField
    │   ├── JointNotFound
    │   ├── SegmentationEmpty
    │   ├── SurfaceError
    │   ├── FossaNotFound
    │   └── InflationError
    ├── WeightsError
    ├── StorageError
    │   ├── DiskFull
    │   ├── DatabaseDamaged
    │   ├── WrongSOPClass
    │   └── MalformedObject
    │       └── ObjectMismatch
    ├── AlreadyRunning
    ├── NetworkError
    │   ├── PeerUnreachable           try again later
    │   ├── DeliveryFailed            try again later
    │   │   └── NotConfirmed
    │   ├── DeliveryRefused           needs a person
    │   │   └── NotOffered
    │   └── QueryFailed
    ├── ReportError                   a file is no report that can be used
    │   ├── ForeignReport
    │   └── UnreadableReport
    ├── NothingFound
    └── TrainingError

Every class has a ``code`` (stable, for logs, queue and reports); the message is a
sentence that a radiographer or a PACS administrator understands.
"""

import struct
from typing import ClassVar

from pydicom.errors import BytesLengthException, InvalidDicomError

from negvol_pacs.quality import QualityFlag

MALFORMED = (
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    EOFError,
    OSError,
    AssertionError,
    struct.error,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom and the decoders raise when bytes are not what they should be."""


class NegvolError(Exception):
    """Base of all errors that this package raises on purpose."""

    code: ClassVar[str] = "error"


class ConfigError(NegvolError):
    """The configuration has an unknown key or a bad value."""

    code = "config"


class SeriesRefused(NegvolError):
    """The series is not measured, and the message says why."""

    code = "series-refused"


class NotCT(SeriesRefused):
    """The objects are not CT or cone-beam CT images."""

    code = "not-ct"


class LocalizerSeries(SeriesRefused):
    """Image Type says LOCALIZER (PS3.3 C.8.2.1.1.1)."""

    code = "localizer"


class DerivedSeries(SeriesRefused):
    """Derived or secondary images: their grey values are not those of the scan."""

    code = "derived"


class TooFewSlices(SeriesRefused):
    """Not enough slices for a head."""

    code = "too-few-slices"


class MissingSlice(SeriesRefused):
    """There is a gap in the series."""

    code = "missing-slice"


class DuplicatePosition(SeriesRefused):
    """Two images lie at the same position."""

    code = "duplicate-position"


class UnevenSpacing(SeriesRefused):
    """The distance between slices varies."""

    code = "uneven-spacing"


class GantryTilt(SeriesRefused):
    """The slices are not stacked along their normal."""

    code = "gantry-tilt"


class MixedOrientation(SeriesRefused):
    """The images of one series have different orientations."""

    code = "mixed-orientation"


class MixedPixelSpacing(SeriesRefused):
    """The images of one series differ in pixel spacing or matrix."""

    code = "mixed-pixel-spacing"


class MixedFrameOfReference(SeriesRefused):
    """The images of one series lie in different frames of reference."""

    code = "mixed-frame-of-reference"


class MixedPatient(SeriesRefused):
    """The images of one series name different patients or studies."""

    code = "mixed-patient"


class SpacingTooCoarse(SeriesRefused):
    """The spacing cannot resolve a joint space."""

    code = "spacing-too-coarse"


class UnreadablePixels(SeriesRefused):
    """The pixel data cannot be decoded, or is not what its header says."""

    code = "unreadable-pixels"


class MissingAttribute(SeriesRefused):
    """An attribute without which the geometry or the identity is unknown."""

    code = "missing-attribute"


class OrderMismatch(SeriesRefused):
    """The worklist's order is for another patient than the images."""

    code = "order-mismatch"


class NoHead(SeriesRefused):
    """No head in the series."""

    code = "no-head"


class NoSuitableSeries(SeriesRefused):
    """No series of the study can be measured; the message lists each one's reason."""

    code = "no-suitable-series"


class JointError(NegvolError):
    """One joint cannot be measured; ``flag`` stands in the report instead of its numbers."""

    code = "joint"
    flag: ClassVar[QualityFlag] = QualityFlag.COMPUTATION_FAILED


class JointOutsideField(JointError):
    """The joint, or too much of it, lies outside the field of view."""

    code = "joint-outside-field"
    flag = QualityFlag.JOINT_OUTSIDE_FIELD


class JointNotFound(JointError):
    """Localisation found no joint on this side."""

    code = "joint-not-found"
    flag = QualityFlag.JOINT_NOT_FOUND


class SegmentationEmpty(JointError):
    """No condyle or no temporal bone in the volume of interest."""

    code = "segmentation-empty"
    flag = QualityFlag.SEGMENTATION_DOUBTFUL


class SurfaceError(JointError):
    """No usable surface can be built from the masks."""

    code = "surface"
    flag = QualityFlag.COMPUTATION_FAILED


class FossaNotFound(JointError):
    """The fossa has no roof, eminence or wall to measure from."""

    code = "fossa-not-found"
    flag = QualityFlag.FOSSA_NOT_FOUND


class InflationError(JointError):
    """The negative volume cannot be built as a closed surface."""

    code = "inflation"
    flag = QualityFlag.NOT_CLOSED


class WeightsError(NegvolError):
    """A model bundle is missing, damaged or not of this version."""

    code = "weights"


class StorageError(NegvolError):
    """What must survive could not be written or read."""

    code = "storage"


class DiskFull(StorageError):
    """Less free space than the watermark."""

    code = "disk-full"


class DatabaseDamaged(StorageError):
    """A database is damaged or missing; ``negvol rebuild`` makes it anew."""

    code = "database-damaged"


class MalformedObject(StorageError):
    """The received object is not a whole DICOM image."""

    code = "malformed-object"


class ObjectMismatch(MalformedObject):
    """The received object is another one than its C-STORE request said."""

    code = "object-mismatch"


class WrongSOPClass(StorageError):
    """The received object is of a kind that this node does not take."""

    code = "wrong-sop-class"


class AlreadyRunning(NegvolError):
    """Another process of this node holds the lock of this one."""

    code = "already-running"


class NetworkError(NegvolError):
    """A peer could not be spoken to."""

    code = "network"


class PeerUnreachable(NetworkError):
    """No association with the peer; try again later."""

    code = "peer-unreachable"


class DeliveryFailed(NetworkError):
    """The destination answered with a failure that may pass; try again later."""

    code = "delivery-failed"


class DeliveryRefused(NetworkError):
    """The destination will not take the object; a person must look."""

    code = "delivery-refused"


class NotOffered(DeliveryRefused):
    """The peer does not speak the service that was asked for."""

    code = "not-offered"


class NotConfirmed(DeliveryFailed):
    """The destination took an object and does not have it, or will not answer for it."""

    code = "not-confirmed"


class QueryFailed(NetworkError):
    """A peer does not find or give what was asked for."""

    code = "query-failed"


class ReportError(NegvolError):
    """A file is no report that can be used."""

    code = "report"


class ForeignReport(ReportError):
    """The object is not a report of this product."""

    code = "foreign-report"


class UnreadableReport(ReportError):
    """A report of this product that is damaged, or says what this version does not know."""

    code = "unreadable-report"


class NothingFound(NegvolError):
    """There is nothing to make a table of."""

    code = "nothing-found"


class TrainingError(NegvolError):
    """Training cannot start or go on."""

    code = "training"
