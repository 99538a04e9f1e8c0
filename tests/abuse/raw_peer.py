"""A peer that says what it likes: PDUs and messages byte for byte (PS3.7, PS3.8)."""

import socket
import struct
from collections.abc import Sequence
from io import BytesIO

from network_node import RunningNode
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

STUDY = "1.2.826.0.1.3680043.9.1"
CT = (CTImageStorage, ExplicitVRLittleEndian)


def association_request(*contexts: tuple[str, str], calling: str = "TESTER", called: str = "NEGVOL") -> bytes:
    """An A-ASSOCIATE-RQ PDU; contexts have the IDs 1, 3, 5 and so on."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    proposed = [build_context(*context) for context in contexts or (CT,)]
    for index, context in enumerate(proposed):
        context.context_id = 2 * index + 1
    request.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16384, "1.2.3"
    request.user_information = [length, implementation]
    return A_ASSOCIATE_RQ(request).encode()


def associated(node: RunningNode, *contexts: tuple[str, str], calling: str = "TESTER") -> socket.socket:
    connection = node.connect()
    connection.sendall(association_request(*contexts, calling=calling))
    assert read_pdu(connection)[0] == 0x02
    return connection


def read_pdu(connection: socket.socket) -> bytes:
    """Read one PDU; empty when the connection was closed."""
    try:
        header = connection.recv(6, socket.MSG_WAITALL)
        body = connection.recv(struct.unpack(">BxL", header)[1], socket.MSG_WAITALL) if len(header) == 6 else b""
    except ConnectionError:
        return b""
    return header + body


def fragment(data: bytes, *, command: bool, last: bool, context: int = 1) -> bytes:
    """A P-DATA-TF PDU with one fragment."""
    value = bytes([context, command | last << 1]) + data
    item = struct.pack(">L", len(value)) + value
    return struct.pack(">BxL", 0x04, len(item)) + item


def command_set(elements: Sequence[tuple[int, int | str]], context: int = 1) -> bytes:
    """A P-DATA-TF PDU with a command set (PS3.7 section 6.3.1): elements of group 0000, numbers as US."""
    body = b""
    for element, value in elements:
        encoded = struct.pack("<H", value) if isinstance(value, int) else value.encode() + b"\0" * (len(value) % 2)
        body += struct.pack("<HHL", 0, element, len(encoded)) + encoded
    return fragment(struct.pack("<HHLL", 0, 0, 4, len(body)) + body, command=True, last=True, context=context)


def store_command(sop_uid: str = f"{STUDY}.2.1", sop_class: str = CTImageStorage) -> bytes:
    """A C-STORE-RQ, to be followed by a data set."""
    return command_set(
        [(0x0002, sop_class), (0x0100, 0x0001), (0x0110, 1), (0x0700, 0), (0x0800, 0), (0x1000, sop_uid)]
    )


def raw_data_set(ds: Dataset, *, implicit: bool = False) -> bytes:
    encoded = encode(ds, implicit, True)
    assert encoded is not None
    return encoded


def send_raw(node: RunningNode, data: bytes, **command: str) -> tuple[int, str]:
    """Send bytes as the data set of a C-STORE; return the status and the comment."""
    with associated(node) as connection:
        connection.sendall(store_command(**command) + fragment(data, command=False, last=True))
        answer = read_pdu(connection)
        assert answer[:1] == b"\x04"
        response = decode(BytesIO(answer[12:]), True, True)
        return response.Status, response.get("ErrorComment", "")


def dropped(connection: socket.socket) -> bool:
    """Tell whether the node aborts or closes."""
    answer = read_pdu(connection)
    return not answer or answer[0] == 0x07


def leftovers(node: RunningNode) -> list[str]:
    return [path.name for path in node.files if path.suffix in {".part", ".dcm"}]
