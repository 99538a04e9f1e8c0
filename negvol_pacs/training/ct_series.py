"""Volumes to CT series in DICOM files, and files of others to volumes."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from negvol_pacs.segmentation.calibration import estimate
from negvol_pacs.segmentation.grid import on_grid, resample
from negvol_pacs.training import enhanced_ct

HU_RANGE = (-1024, 3071)
"""Hounsfield units that 12 bits hold with an intercept of -1024."""


@dataclass(frozen=True)
class Scan:
    """What the headers of a synthetic series say beside its geometry."""

    patient_name: str = "Phantom^Head"
    patient_id: str = "PHANTOM"
    patient_sex: str = "O"
    patient_birth_date: str = "19700101"
    accession_number: str = "1"
    study_description: str = "Head CT (synthetic)"
    series_description: str = "Bone 0.5 mm"
    series_number: int = 3
    manufacturer: str = "negvol phantom"
    model_name: str = "Procedural head"
    kvp: float = 120.0
    kernel: str = "H70h"
    when: datetime = datetime(2024, 1, 1, 12, 0)
    study_instance_uid: str | None = None
    frame_of_reference_uid: str | None = None


def write_ct_series(
    volume: hd.Volume,
    folder: Path,
    scan: Scan | None = None,
    *,
    transfer_syntax: str = ExplicitVRLittleEndian,
    enhanced: bool = False,
) -> list[Path]:
    """Write a volume as CT Image Storage, one file a slice, or as one Enhanced CT.

    Parameters
    ----------
    volume
        Hounsfield units; array axis 0 is the slice axis. Any orientation of either
        handedness, axes perpendicular (PS3.3 C.7.6.2).
    folder
        Made where absent.
    scan
        Patient, study and equipment.
    transfer_syntax
        One that pydicom can encode.
    enhanced
        One multi-frame object (PS3.3 A.38) instead of single slices.

    Returns
    -------
    list[Path]
        The files, in the order of the volume's slices.

    Notes
    -----
    UIDs derive from voxels, affine and `Scan`: the same volume gives the same files.
    """
    scan = scan or Scan()
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.clip(np.rint(volume.array), *HU_RANGE).astype(np.int32) - HU_RANGE[0]
    pixels = stored.astype(np.uint16)
    uids = _Uids.of(volume, pixels, scan)
    if enhanced:
        return [_save(enhanced_ct.build(_common(scan, uids, pixels), volume, pixels), folder, transfer_syntax)]
    return [
        _save(_slice(index, volume, pixels, scan, uids), folder, transfer_syntax) for index in range(pixels.shape[0])
    ]


def volume_from_nifti(path: Path) -> hd.Volume:
    """Read a NIfTI image as Hounsfield units in LPS.

    Grey values that are not Hounsfield units, such as 8-bit pictures, are brought to
    them by a straight line through air and soft tissue.

    Parameters
    ----------
    path
        NIfTI-1 with a patient orientation; one volume.

    Returns
    -------
    highdicom.Volume
        float32, array axis 0 the file's slowest axis.
    """
    volume = hd.Volume.from_nibabel(nibabel.load(path)).permute_spatial_axes([2, 1, 0])
    grey = np.asarray(volume.array, np.float32)
    line = estimate(grey)
    values = np.clip(grey * np.float32(line.slope) + np.float32(line.intercept), *HU_RANGE)
    return on_grid(values, volume)


def labels_from_nifti(path: Path) -> hd.Volume:
    """Read a NIfTI label map as uint8, array axes z (superior), y (posterior), x (left)."""
    volume = hd.Volume.from_nibabel(nibabel.load(path)).to_patient_orientation("HPL")
    return on_grid(np.asarray(volume.array, np.uint8), volume)


def oblique_grid(
    volume: hd.Volume | hd.VolumeGeometry,
    degrees: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    spacing: Sequence[float] | None = None,
    flip: Sequence[int] = (),
    extent_mm: Sequence[float] | None = None,
    centre: ArrayLike | None = None,
) -> hd.VolumeGeometry:
    """Return a grid turned, flipped, cropped or coarser than that of a volume.

    Parameters
    ----------
    volume
        Where the grid comes from.
    degrees
        Rotations about patient x, y, z, applied in this order.
    spacing
        Millimetres along the array's axes; the volume's own when None.
    flip
        Array axes to run through backwards.
    extent_mm
        Size along the array's axes; the volume's own when None.
    centre
        Middle of the grid, LPS mm; the volume's own when None.
    """
    steps = np.asarray(volume.spacing if spacing is None else spacing, np.float64)
    sizes = np.asarray(
        [n * s for n, s in zip(volume.spatial_shape, volume.spacing, strict=True)] if extent_mm is None else extent_mm
    )
    shape = np.maximum(1, np.floor(sizes / steps + 1e-6)).astype(int)
    directions = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.stack(volume.unit_vectors(), axis=1)
    directions[:, list(flip)] *= -1
    affine = np.eye(4)
    affine[:3, :3] = directions * steps
    middle = volume.center_position if centre is None else np.asarray(centre, np.float64)
    affine[:3, 3] = np.asarray(middle) - affine[:3, :3] @ ((shape - 1) / 2)
    return hd.VolumeGeometry(affine, tuple(int(n) for n in shape), coordinate_system="PATIENT")


def resample_to_grid(volume: hd.Volume, grid: hd.VolumeGeometry, order: int = 1) -> hd.Volume:
    """Interpolate Hounsfield units on another grid, air outside; see `oblique_grid`."""
    return on_grid(resample(volume, grid, order), grid)


@dataclass(frozen=True)
class _Uids:
    study: str
    series: str
    frame_of_reference: str
    seed: str

    @classmethod
    def of(cls, volume: hd.Volume, pixels: NDArray[np.uint16], scan: Scan) -> "_Uids":
        digest = hashlib.sha256(pixels.tobytes())
        digest.update(np.round(volume.affine, 6).astype("<f8").tobytes())
        digest.update(repr(scan).encode())
        seed = digest.hexdigest()
        return cls(
            study=scan.study_instance_uid or generate_uid(entropy_srcs=["study", scan.patient_id, seed]),
            series=generate_uid(entropy_srcs=["series", seed]),
            frame_of_reference=scan.frame_of_reference_uid or generate_uid(entropy_srcs=["frame of reference", seed]),
            seed=seed,
        )

    def instance(self, number: int) -> str:
        return generate_uid(entropy_srcs=["instance", self.seed, str(number)])


def _common(scan: Scan, uids: _Uids, pixels: NDArray[np.uint16]) -> Dataset:
    """Patient, study, series, equipment and pixel modules (PS3.3 A.3)."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID = scan.patient_name, scan.patient_id
    ds.PatientBirthDate, ds.PatientSex = scan.patient_birth_date, scan.patient_sex
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids.study, uids.series
    ds.FrameOfReferenceUID = uids.frame_of_reference
    ds.PositionReferenceIndicator = ""
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", scan.accession_number, ""
    ds.StudyDescription, ds.SeriesDescription = scan.study_description, scan.series_description
    ds.Modality, ds.SeriesNumber, ds.PatientPosition, ds.BodyPartExamined = "CT", scan.series_number, "HFS", "HEAD"
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{name}Date", scan.when.strftime("%Y%m%d"))
        setattr(ds, f"{name}Time", scan.when.strftime("%H%M%S"))
    ds.Manufacturer, ds.ManufacturerModelName = scan.manufacturer, scan.model_name
    ds.DeviceSerialNumber, ds.SoftwareVersions, ds.InstitutionName = "1", "1", "Synthetic"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.SOPInstanceUID, ds.InstanceNumber, ds.AcquisitionNumber = uids.instance(1), 1, 1
    ds.SOPClassUID = EnhancedCTImageStorage
    ds.KVP, ds.ConvolutionKernel = scan.kvp, scan.kernel
    return ds


def _slice(index: int, volume: hd.Volume, pixels: NDArray[np.uint16], scan: Scan, uids: _Uids) -> Dataset:
    ds = _common(scan, uids, pixels)
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID, ds.InstanceNumber = uids.instance(index + 1), index + 1
    time = scan.when + timedelta(seconds=index // 100)
    ds.AcquisitionTime = ds.ContentTime = time.strftime("%H%M%S")
    position = volume.get_plane_position(index)[0].ImagePositionPatient
    orientation = volume.get_plane_orientation()[0].ImageOrientationPatient
    ds.ImagePositionPatient, ds.ImageOrientationPatient = position, orientation
    row, column = (np.asarray(orientation[k : k + 3], np.float64) for k in (0, 3))
    ds.SliceLocation = _decimal(float(np.cross(row, column) @ np.asarray(position, np.float64)))
    ds.PixelSpacing = [_decimal(step) for step in volume.pixel_spacing]
    ds.SliceThickness = _decimal(volume.spacing[0])
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = HU_RANGE[0], 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 500, 3000
    ds.XRayTubeCurrent, ds.ExposureTime, ds.FilterType, ds.RotationDirection = 200, 1000, "0", "CW"
    ds.GantryDetectorTilt, ds.TableHeight = 0, 150
    ds.AnatomicRegionSequence = [hd.sr.CodedConcept.from_code(codes.SCT.Head)]
    ds.PixelData = pixels[index].tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _decimal(value: float) -> str:
    """At most 16 characters (PS3.5 6.2, DS)."""
    return f"{value:.10g}" if math.isfinite(value) and abs(value) >= 1e-4 else "0"


def _save(ds: Dataset, folder: Path, transfer_syntax: str) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    if transfer_syntax != ExplicitVRLittleEndian:
        _recode(ds, UID(transfer_syntax))
    path = folder / f"CT{ds.InstanceNumber:05d}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def _recode(ds: Dataset, transfer_syntax: UID) -> None:
    if transfer_syntax.is_encapsulated:
        ds.compress(transfer_syntax, generate_instance_uid=False)
        return
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    if not transfer_syntax.is_little_endian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
