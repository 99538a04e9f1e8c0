"""What the node offers: SOP classes, transfer syntaxes, and the service that each belongs to."""

from collections.abc import Collection, Iterable

from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    LabelMapSegmentationStorage,
    LegacyConvertedEnhancedCTImageStorage,
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    SegmentationStorage,
    StorageCommitmentPushModel,
    Verification,
    XRay3DCraniofacialImageStorage,
)

from negvol_pacs.config import Config, Service
from negvol_pacs.network.commitment import SYNTAXES
from negvol_pacs.storage.inbox import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

IMAGE_CLASSES = (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    XRay3DCraniofacialImageStorage,
)
"""SOP classes that are stored."""

RESULT_CLASSES = (SegmentationStorage, LabelMapSegmentationStorage, Comprehensive3DSRStorage)
"""SOP classes accepted only so that this node's own results, routed back, are answered politely."""

TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
"""Deflated is missing on purpose: 261 kB of it can inflate to 256 MiB."""

_SERVICES: dict[str, Service] = {
    Verification: "echo",
    StorageCommitmentPushModel: "commitment",
    ModalityPerformedProcedureStep: "mpps",
    ModalityWorklistInformationFind: "worklist",
}


def service_of(sop_class_uid: str) -> Service:
    """Return the service that an offered SOP class belongs to."""
    return _SERVICES.get(sop_class_uid, "store")


def granted(
    contexts: Iterable[PresentationContext], services: Collection[Service], *, reports: bool
) -> list[PresentationContext]:
    """Choose the presentation contexts that a peer may have.

    Parameters
    ----------
    contexts
        All that are offered.
    services
        That the peer may use.
    reports
        Whether it may report on storage commitment, which goes by the SOP class by which it is asked for.
    """
    allowed = {*services, *(["commitment"] if reports else [])}
    return [context for context in contexts if service_of(str(context.abstract_syntax)) in allowed]


def entity(config: Config) -> AE:
    """Return the application entity that offers it all."""
    ae = AE(config.node.ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_pdu_size = config.limits.max_pdu_bytes
    ae.acse_timeout = config.limits.association_timeout_s
    ae.dimse_timeout = ae.network_timeout = config.limits.network_timeout_s
    ae.maximum_associations = 1 << 30  # pynetdicom counts silent connections too: admission counts instead
    ae.add_supported_context(Verification, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    # As SCU, too: a destination reports by an association of its own (PS3.4 section J.3.3).
    ae.add_supported_context(StorageCommitmentPushModel, list(SYNTAXES), scu_role=True, scp_role=True)
    ae.add_supported_context(ModalityPerformedProcedureStep, list(SYNTAXES))
    for sop_class in IMAGE_CLASSES:
        ae.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    for sop_class in RESULT_CLASSES:
        ae.add_supported_context(sop_class, [*TRANSFER_SYNTAXES[:3], RLELossless])
    if config.ris:
        ae.add_supported_context(ModalityWorklistInformationFind, [ImplicitVRLittleEndian])
    return ae
