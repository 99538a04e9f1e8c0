"""From a walk through a received object to its identity, or the reason why it is not taken."""

import re
import struct
from dataclasses import dataclass

from pydicom.uid import UID

from negvol_pacs.errors import MalformedObject, ObjectMismatch
from negvol_pacs.storage import scan
from negvol_pacs.storage.scan import Scan

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Identity:
    """Who an object says it is."""

    sop_class_uid: str
    sop_uid: str
    series_uid: str
    study_uid: str


def is_uid(text: str) -> bool:
    """Tell whether a text is a UID (PS3.5 section 9.1; leading zeros are forgiven)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def identify(found: Scan, sop_class_uid: str, sop_uid: str, transfer_syntax: UID) -> Identity:
    """Check an image against its C-STORE request.

    Parameters
    ----------
    found
        What the walk through the data set found.
    sop_class_uid, sop_uid
        What the C-STORE request named.

    Raises
    ------
    ObjectMismatch
        If the data set is another object than the request said (PS3.4 section B.2.3, A9xx).
    MalformedObject
        If a UID is missing or is none, or the pixel data are missing or too short.
    """
    identity = Identity(
        _uid(found, scan.SOP_CLASS, "SOP Class UID"),
        _uid(found, scan.SOP_INSTANCE, "SOP Instance UID"),
        _uid(found, scan.SERIES, "Series Instance UID"),
        _uid(found, scan.STUDY, "Study Instance UID"),
    )
    if identity.sop_class_uid != sop_class_uid:
        raise ObjectMismatch("the data set's SOP Class UID is not the request's")
    if identity.sop_uid != sop_uid:
        raise ObjectMismatch("the data set's SOP Instance UID is not the request's")
    _check_pixels(found, transfer_syntax)
    return identity


def _uid(found: Scan, tag: int, name: str) -> str:
    text = found.values.get(tag, b"").rstrip(b"\0 ").decode("ascii", "replace")
    if not text:
        raise MalformedObject(f"no {name}")
    if not is_uid(text):
        raise MalformedObject(f"the {name} is not a UID")
    return text


def _check_pixels(found: Scan, transfer_syntax: UID) -> None:
    if transfer_syntax.is_encapsulated:
        if found.fragments < 2:  # the first item is the basic offset table
            raise MalformedObject("no compressed pixel data")
        return
    if found.pixel_bytes is None:
        raise MalformedObject("no pixel data")
    order = "<" if transfer_syntax.is_little_endian else ">"
    bits = _number(found, scan.BITS, order) * _number(found, scan.SAMPLES, order, 1) * _frames(found)
    needed = (bits * _number(found, scan.ROWS, order) * _number(found, scan.COLUMNS, order) + 7) // 8
    if found.pixel_bytes < needed:
        raise MalformedObject(f"pixel data of {found.pixel_bytes} bytes where the header says {needed}")


def _number(found: Scan, tag: int, order: str, default: int | None = None) -> int:
    value = found.values.get(tag, b"")
    if len(value) == 2:
        return int(struct.unpack(f"{order}H", value)[0])
    if value or default is None:
        raise MalformedObject(f"no usable ({tag >> 16:04X},{tag & 0xFFFF:04X})")
    return default


def _frames(found: Scan) -> int:
    text = found.values.get(scan.FRAMES, b"").strip(b"\0 ")
    if not text:
        return 1
    if not re.fullmatch(rb"\+?[0-9]{1,11}", text):
        raise MalformedObject("the Number of Frames is no number")
    return max(int(text), 1)
