"""Where an object lies below the inbox's folder: no name comes from a peer."""

import hashlib

from negvol_pacs.storage.identify import Identity

OBJECTS = "objects"
"""Folder of what was received, in the inbox's."""


def of_study(study_uid: str) -> str:
    """Return the folder of a study."""
    return f"{OBJECTS}/{_digest(study_uid)}"


def of_object(identity: Identity, sha256: str) -> str:
    """Return the file of an object; named by its content too: two contents under one UID never overwrite each other."""
    series, sop = _digest(identity.series_uid), _digest(identity.sop_uid)
    return f"{of_study(identity.study_uid)}/{series}/{sop}-{sha256[:16]}.dcm"


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode("ascii")).hexdigest()[:32]
