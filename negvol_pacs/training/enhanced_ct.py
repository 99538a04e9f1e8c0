"""Enhanced CT Image Storage: one multi-frame object a volume (PS3.3 A.38.1)."""

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedCTImageStorage, generate_uid


def build(ds: Dataset, volume: hd.Volume, pixels: NDArray[np.uint16]) -> Dataset:
    """Complete the common modules with frames and functional groups.

    Parameters
    ----------
    ds
        Patient, study, series, equipment and pixel attributes; changed and returned.
    volume
        Geometry.
    pixels
        Stored values, intercept -1024, shape (frames, rows, columns).
    """
    ds.SOPClassUID = EnhancedCTImageStorage
    kernel, kvp = ds.ConvolutionKernel, float(ds.KVP)
    ds.AcquisitionDateTime, ds.AcquisitionDuration = ds.AcquisitionDate + ds.AcquisitionTime, 1.0
    for name in ("ConvolutionKernel", "KVP", "AcquisitionDate", "AcquisitionTime"):
        delattr(ds, name)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.PixelPresentation, ds.VolumetricProperties, ds.VolumeBasedCalculationTechnique = "MONOCHROME", "VOLUME", "NONE"
    ds.ContentQualification, ds.PresentationLUTShape, ds.LossyImageCompression = "RESEARCH", "IDENTITY", "00"
    ds.AcquisitionContextSequence = []
    ds.NumberOfFrames = len(pixels)
    ds.SharedFunctionalGroupsSequence = [_shared(volume, kernel, kvp)]
    ds.PerFrameFunctionalGroupsSequence = [_frame(index, volume, ds) for index in range(len(pixels))]
    _dimensions(ds)
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _item(**attributes: object) -> Dataset:
    ds = Dataset()
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def _shared(volume: hd.Volume, kernel: str, kvp: float) -> Dataset:
    rows, columns = (float(n * s) for n, s in zip(volume.spatial_shape[1:], volume.pixel_spacing, strict=True))
    region = _item(
        AnatomicRegionSequence=[hd.sr.CodedConcept.from_code(codes.SCT.Head)],
        FrameLaterality="U",
    )
    acquisition = _item(
        RotationDirection="CW",
        RevolutionTime=1.0,
        SingleCollimationWidth=0.6,
        TotalCollimationWidth=38.4,
        TableHeight=150.0,
        GantryDetectorTilt=0.0,
        DataCollectionDiameter=500.0,
    )
    reconstruction = _item(
        ReconstructionAlgorithm="FILTER_BACK_PROJ",
        ConvolutionKernel=kernel,
        ConvolutionKernelGroup="BONE",
        ReconstructionFieldOfView=[columns, rows],
        ReconstructionPixelSpacing=[float(step) for step in volume.pixel_spacing],
        ReconstructionAngle=360.0,
        ImageFilter="NONE",
    )
    xray = _item(KVP=kvp, FocalSpots=[0.7], FilterType="NONE", FilterMaterial="ALUMINUM")
    exposure = _item(
        ExposureTimeInms=1000.0,
        XRayTubeCurrentInmA=200.0,
        ExposureInmAs=200.0,
        ExposureModulationType="NONE",
        CTDIvol=40.0,
        CTDIPhantomTypeCodeSequence=[hd.sr.CodedConcept("113690", "DCM", "IEC Head Dosimetry Phantom")],
    )
    frame_type = _item(
        FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    return _item(
        PixelMeasuresSequence=volume.get_pixel_measures(),
        PlaneOrientationSequence=volume.get_plane_orientation(),
        FrameAnatomySequence=[region],
        FrameVOILUTSequence=[_item(WindowCenter=500, WindowWidth=3000)],
        PixelValueTransformationSequence=[_item(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")],
        CTImageFrameTypeSequence=[frame_type],
        CTAcquisitionTypeSequence=[_item(AcquisitionType="SEQUENCED", ConstantVolumeFlag="NO", FluoroscopyFlag="NO")],
        CTAcquisitionDetailsSequence=[acquisition],
        CTTableDynamicsSequence=[_item()],
        CTGeometrySequence=[_item(DistanceSourceToDetector=1000.0, DistanceSourceToDataCollectionCenter=550.0)],
        CTReconstructionSequence=[reconstruction],
        CTXRayDetailsSequence=[xray],
        CTExposureSequence=[exposure],
        IrradiationEventIdentificationSequence=[
            _item(IrradiationEventUID=generate_uid(entropy_srcs=["event", str(volume.affine.tolist())]))
        ],
    )


def _frame(index: int, volume: hd.Volume, ds: Dataset) -> Dataset:
    content = _item(
        FrameAcquisitionNumber=1,
        FrameReferenceDateTime=ds.AcquisitionDateTime,
        FrameAcquisitionDateTime=ds.AcquisitionDateTime,
        FrameAcquisitionDuration=1000.0,
        StackID="1",
        InStackPositionNumber=index + 1,
        DimensionIndexValues=[1, index + 1],
    )
    return _item(
        FrameContentSequence=[content],
        PlanePositionSequence=volume.get_plane_position(index),
        CTPositionSequence=[
            _item(
                TablePosition=float(index * volume.spacing[0]),
                DataCollectionCenterPatient=[0.0, 0.0, 0.0],
                ReconstructionTargetCenterPatient=[0.0, 0.0, 0.0],
            )
        ],
    )


def _dimensions(ds: Dataset) -> None:
    """Index frames by stack and position (PS3.3 C.7.6.17)."""
    uid = generate_uid(entropy_srcs=["dimensions", ds.SOPInstanceUID])
    ds.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=uid)]
    ds.DimensionOrganizationType = "3D"
    ds.DimensionIndexSequence = [
        _item(DimensionOrganizationUID=uid, DimensionIndexPointer=0x00209056, FunctionalGroupPointer=0x00209111),
        _item(DimensionOrganizationUID=uid, DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111),
    ]
