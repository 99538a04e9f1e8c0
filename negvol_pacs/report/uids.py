"""UIDs of results: the same input and algorithm give the same UIDs."""

import uuid
from collections.abc import Iterable
from hashlib import sha256

from pydicom.uid import UID, SegmentationStorage

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.report.algorithm import Algorithm

LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage (PS3.4 table B.5-1, Supplement 243), which pydicom 3.0 has no name for."""

SEGMENTATIONS = (SegmentationStorage, LABEL_MAP_STORAGE)


def result_uid(kind: str, sop_instance_uids: Iterable[str], algorithm: Algorithm) -> str:
    """UID of a result, derived from what it was made of.

    Parameters
    ----------
    kind
        What the UID names, such as ``seg`` or ``sr-series``.
    sop_instance_uids
        SOP Instance UIDs of the input, in any order.
    algorithm
        What made the result.

    Returns
    -------
    str
        ``2.25.`` and a UUID as a decimal number (PS3.5 section B.2), at most 44 characters.
    """
    parts = [kind, algorithm.name, algorithm.version, algorithm.weights_sha256, *sorted(sop_instance_uids)]
    digest = sha256("\n".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def tracking(
    side: Side | None, structure: Structure, sop_instance_uids: Iterable[str], algorithm: Algorithm
) -> tuple[str, str]:
    """Tracking identifier and unique identifier, the same in the SEG and in the SR.

    Parameters
    ----------
    side
        Side of the patient; None for both.
    structure
        What is tracked.
    sop_instance_uids, algorithm
        As for :func:`result_uid`.
    """
    identifier = f"TMJ {side or 'bilateral'} {structure.name}"
    return identifier, result_uid(f"tracking {identifier}", sop_instance_uids, algorithm)
