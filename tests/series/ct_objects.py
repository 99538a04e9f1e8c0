"""CT objects for the tests of this room: real DICOM data sets, in memory or as files."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    XRay3DCraniofacialImageStorage,
    generate_uid,
)

from negvol_pacs.series.series import Series

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
Axes = tuple[Sequence[float], Sequence[float]]
Change = Callable[[int, Dataset], None]


def voxels(shape: tuple[int, int, int] = (48, 12, 10), seed: int = 0) -> np.ndarray:
    """Hounsfield units without any symmetry, so that no flip goes unseen."""
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)


def headers(
    count: int = 48,
    spacing: tuple[float, float, float] = (0.6, 0.5, 0.4),
    axes: Axes = AXIAL,
    origin: Sequence[float] = (-60.0, -80.0, 30.0),
    decimals: int = 6,
    shape: tuple[int, int] = (12, 10),
    change: Change | None = None,
    series_uid: str | None = None,
    study_uid: str = "1.2.826.0.1.3680043.8.498.1",
) -> list[Dataset]:
    """Single-frame CT headers, numbered from 1 along row × column; ``change`` injects a defect."""
    row, column = np.array(axes[0], float), np.array(axes[1], float)
    normal = np.cross(row, column)
    series_uid = series_uid or generate_uid()
    made = []
    for index in range(count):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
        ds.FrameOfReferenceUID = study_uid + ".1"
        ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "P1", "Test^Head", "", ""
        ds.StudyID, ds.AccessionNumber, ds.StudyDate, ds.StudyTime = "", "", "20240101", "120000"
        ds.ReferringPhysicianName, ds.SeriesNumber, ds.Manufacturer = "", None, "negvol"
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.InstanceNumber = index + 1
        ds.ImageOrientationPatient = [float(np.round(c, 6)) for c in (*row, *column)]
        position = np.array(origin, float) + index * spacing[0] * normal
        ds.ImagePositionPatient = [float(np.round(p, decimals)) for p in position]
        ds.PixelSpacing, ds.SliceThickness = [spacing[1], spacing[2]], spacing[0]
        ds.Rows, ds.Columns = shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        if change:
            change(index, ds)
        made.append(ds)
    return made


def series(made: Sequence[Dataset]) -> Series:
    """Headers as a series whose files are not needed."""
    return Series(tuple(Path(f"{index}.dcm") for index in range(len(made))), tuple(made))


def write(folder: Path, made: Sequence[Dataset], stored: Sequence[np.ndarray]) -> list[Path]:
    """Save headers with their stored values, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, (ds, pixels) in enumerate(zip(made, stored, strict=True)):
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW"
        path = folder / f"{index:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_ct(folder: Path, hu: np.ndarray, **options: object) -> list[Path]:
    """Save a CT series whose first file is the first slice of ``hu``."""
    made = headers(count=hu.shape[0], shape=hu.shape[1:], **options)  # type: ignore[arg-type]
    return write(folder, made, hu)


SEQUENCES = {
    EnhancedCTImageStorage: "CTImageFrameTypeSequence",
    LegacyConvertedEnhancedCTImageStorage: "CTImageFrameTypeSequence",
    XRay3DCraniofacialImageStorage: "XRay3DFrameTypeSequence",
}


def multiframe(
    single: Sequence[Dataset], sop_class: str = EnhancedCTImageStorage, stored: Sequence[np.ndarray] | None = None
) -> Dataset:
    """One multi-frame object from single-frame headers; what is equal in all of them is shared."""
    first = single[0]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    moved = {"ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"}
    for element in first:
        if element.keyword not in moved | {"RescaleSlope", "RescaleIntercept", "PixelData"}:
            ds.add(deepcopy(element))
    ds.SOPClassUID, ds.SOPInstanceUID, ds.InstanceNumber = sop_class, generate_uid(), 1
    ds.Modality = "DX" if sop_class == XRay3DCraniofacialImageStorage else "CT"
    ds.ImageType = [*first.ImageType[:2], "VOLUME", "NONE"]
    ds.NumberOfFrames = len(single)
    ds.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=_copy(first, "PixelSpacing", "SliceThickness"),
            PlaneOrientationSequence=_copy(first, "ImageOrientationPatient"),
            **{SEQUENCES[sop_class]: _frame_type(ds.ImageType)},
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=_copy(each, "ImagePositionPatient"),
            PixelValueTransformationSequence=_copy(each, "RescaleSlope", "RescaleIntercept"),
            FrameContentSequence=_dimension(index + 1),
        )
        for index, each in enumerate(single)
    ]
    if stored is not None:
        ds.PixelData = b"".join(np.ascontiguousarray(pixels).tobytes() for pixels in stored)
        ds["PixelData"].VR = "OW"
    return ds


def _item(**sequences: Dataset) -> Dataset:
    item = Dataset()
    for keyword, content in sequences.items():
        setattr(item, keyword, [content])
    return item


def _copy(source: Dataset, *keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        item.add(source[keyword])
    return item


def _frame_type(image_type: Sequence[str]) -> Dataset:
    item = Dataset()
    item.FrameType = list(image_type)
    return item


def _dimension(index: int) -> Dataset:
    item = Dataset()
    item.StackID, item.InStackPositionNumber, item.DimensionIndexValues = "1", index, [1, index]
    return item


def rotation(quaternion: Sequence[float]) -> Axes:
    """Row and column direction of a rotated patient."""
    from scipy.spatial.transform import Rotation

    matrix = Rotation.from_quat(quaternion).as_matrix()
    return tuple(matrix[0]), tuple(matrix[1])
