"""Whether a destination has an object: C-FIND at the image level (PS3.4 annex C), or QIDO-RS."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import DeliveryRefused
from negvol_pacs.network.retriever import QUERIES, find
from negvol_pacs.network.sender import associated


@dataclass(frozen=True)
class Identity:
    """Who an object is, and where in its study it lies."""

    sop_class_uid: str
    sop_uid: str
    study_uid: str
    series_uid: str

    @classmethod
    def of(cls, path: Path) -> "Identity":
        """Read it from a file.

        Raises
        ------
        DeliveryRefused
            If it cannot be read.
        """
        keywords = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
        try:
            header = dcmread(path, specific_tags=keywords)
            return cls(*(str(header[keyword].value) for keyword in keywords))
        except (OSError, InvalidDicomError, KeyError) as error:
            raise DeliveryRefused(f"{path.name} cannot be read: {error}") from error


def has(destination: Destination, identity: Identity, config: Config) -> bool:
    """Ask a destination whether it has an object.

    Parameters
    ----------
    destination
        The peer; by QIDO-RS where it has ``dicomweb``.
    identity
        The object.
    config
        Own AE title and time limits.

    Returns
    -------
    bool
        Whether the object is found.

    Raises
    ------
    NotOffered
        The peer does not take queries.
    PeerUnreachable, QueryFailed
        No answer, or none that tells.
    """
    if destination.dicomweb is not None:
        from negvol_pacs.network import dicomweb

        return dicomweb.has(destination, identity.study_uid, identity.series_uid, identity.sop_uid)
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "IMAGE", identity.study_uid
    query.SeriesInstanceUID, query.SOPInstanceUID = identity.series_uid, identity.sop_uid
    with associated(destination, config, QUERIES) as assoc:
        return any(match.get("SOPInstanceUID") == identity.sop_uid for match in find(assoc, query, destination))
