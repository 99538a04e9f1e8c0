"""Bad input through a real socket: the right answer, a reason in the log, and the node goes on."""

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import structlog
from peers import free_port, need, wait_for
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from negvol_pacs.config import Config
from negvol_pacs.network.listener import Arrival, Listener
from negvol_pacs.storage.inbox import Inbox
from negvol_pacs.storage.ledger import Ledger

pytestmark = pytest.mark.system


class Node:
    """A listening node and what it said."""

    def __init__(self, folder: Path, port: int, logs: list) -> None:
        self.folder, self.port, self.logs = folder, port, logs
        self.arrivals: list[Arrival] = []

    def reasons(self, *events: str) -> list[str]:
        return [str(entry.get("reason")) for entry in list(self.logs) if entry["event"] in events]

    def said(self, event: str, reason: str) -> None:
        """Wait for a log line; it may come after the answer."""
        wait_for(lambda: any(reason in said for said in self.reasons(event)), 10, f"{event}: {reason}, in {self.logs}")

    def leftovers(self) -> list[Path]:
        return list((self.folder / "inbox" / "incoming").iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    config = Config.model_validate(
        {
            "node": {"port": free_port(), "state": tmp_path},
            "peers": [{"ae_title": "SENDER", "networks": ["127.0.0.0/8"]}],
            "limits": {"min_free_bytes": 0, "association_timeout_s": 2, "network_timeout_s": 3},
        }
    )
    with structlog.testing.capture_logs() as logs, closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        made = Node(tmp_path, config.node.port, logs)
        listener = Listener(config, Inbox(tmp_path / "inbox", ledger, 0), made.arrivals.append)
        listener.start()
        try:
            yield made
            goes_on(made)
            wait_for(lambda: not made.leftovers(), 10, "half-received files are removed")
        finally:
            listener.stop()


def ct(**changes: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientID, ds.PatientName, ds.Modality = "P1", "Secret^Patient", "CT"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 64
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = np.arange(64 * 64, dtype=np.int16).tobytes()
    ds["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def encoded(ds: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return buffer.getvalue()


@contextmanager
def associated(node: Node, *sop_classes: str, calling: str = "SENDER", called: str = "NEGVOL") -> Iterator[Association]:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    contexts = [build_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for uid in sop_classes]
    association = ae.associate("127.0.0.1", node.port, contexts, called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def store(association: Association, data: bytes, sop_uid: str, sop_class: str = CTImageStorage) -> Dataset:
    """C-STORE of raw bytes, which pynetdicom's own method would not send."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_uid
    request.DataSet = BytesIO(data)
    (context,) = [each for each in association.accepted_contexts if each.abstract_syntax == sop_class]
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.01)
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert answer is not None, "no answer"
    return answer


def goes_on(node: Node) -> None:
    """A good object is taken as if nothing had happened."""
    ds = ct()
    before = len(node.arrivals)
    with associated(node, CTImageStorage, Verification) as association:
        assert association.send_c_echo().Status == 0x0000
        assert store(association, encoded(ds), ds.SOPInstanceUID).Status == 0x0000
    assert [arrival.sop_uid for arrival in node.arrivals[before:]] == [ds.SOPInstanceUID]
    assert not any("Secret" in str(entry) for entry in node.logs)


CLIENT_HELLO = bytes.fromhex("160301 0200 010001fc0303") + bytes(32)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", "not a DICOM PDU"),
        (CLIENT_HELLO, "not a DICOM PDU"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not a DICOM PDU"),
        (b"\x01\x00\xff\xff\xff\xff" + bytes(64), "too long"),
        (b"\x04\x00\x00\x00\x00\x10" + bytes(16), "no association request"),
        (b"\x01\x00\x00\x00\x00\x44\x00\x01", "took too long"),
    ],
)
def test_a_peer_that_does_not_speak_dicom(node: Node, sent: bytes, reason: str):
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as peer:
        peer.sendall(sent)
        answer = b""
        try:
            while chunk := peer.recv(1024):
                answer += chunk
        except ConnectionResetError:
            pass
    assert answer in (b"", b"\x07\x00\x00\x00\x00\x04\x00\x00" + answer[8:10])  # nothing, or A-ABORT
    node.said("connection-dropped", reason)


@pytest.mark.parametrize("silent", [0, 1])
def test_peers_that_say_nothing_do_not_lock_the_others_out(node: Node, silent: int):
    peers = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(12)]
    try:
        if silent:
            for peer in peers:
                peer.sendall(b"\x01")
        goes_on(node)
    finally:
        for peer in peers:
            peer.close()


@pytest.mark.parametrize("cut", [1, 50, 3000, 64 * 64 * 2])
def test_a_truncated_object(node: Node, cut: int):
    ds = ct()
    with associated(node, CTImageStorage) as association:
        answer = store(association, encoded(ds)[:-cut], ds.SOPInstanceUID)
        assert answer.Status == 0xC000
        assert "past the end" in answer.ErrorComment
        good = ct()  # on the same association
        assert store(association, encoded(good), good.SOPInstanceUID).Status == 0x0000
    node.said("instance-refused", "past the end")


def test_a_sender_that_dies_in_the_middle_of_an_object(node: Node):
    ds = ct()
    with associated(node, CTImageStorage) as association:
        (context,) = association.accepted_contexts
        connection = association.dul.socket.socket
        command = command_set(ds.SOPInstanceUID)
        half = encoded(ds)[:2000]
        for control, payload in ((3, command), (0, half)):
            fragment = struct.pack(">LBB", len(payload) + 2, context.context_id, control) + payload
            connection.sendall(struct.pack(">BBL", 4, 0, len(fragment)) + fragment)
        wait_for(node.leftovers, 10, "the object is being received")
        connection.shutdown(socket.SHUT_RDWR)
        association.join(10)
        connection.close()
    wait_for(lambda: not node.leftovers(), 10, "the half object is removed")
    assert node.arrivals == []


def command_set(sop_uid: str) -> bytes:
    elements = {
        0x0002: CTImageStorage.encode() + b"\0" * (len(CTImageStorage) % 2),
        0x0100: struct.pack("<H", 0x0001),
        0x0110: struct.pack("<H", 1),
        0x0700: struct.pack("<H", 2),
        0x0800: struct.pack("<H", 1),
        0x1000: sop_uid.encode() + b"\0" * (len(sop_uid) % 2),
    }
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in elements.items())
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def test_a_sop_class_that_is_not_ct_is_not_negotiated(node: Node):
    with associated(node, MRImageStorage, Verification) as association:
        assert association.is_established
        (rejected,) = association.rejected_contexts
        assert (rejected.abstract_syntax, rejected.result) == (MRImageStorage, 3)  # abstract syntax not supported
    node.said("contexts-rejected", "not supported")


def test_an_mr_image_sent_as_ct(node: Node):
    ds = ct(SOPClassUID=MRImageStorage)
    with associated(node, CTImageStorage) as association:
        answer = store(association, encoded(ds), ds.SOPInstanceUID)
    assert answer.Status == 0xA900
    node.said("instance-refused", "SOP Class UID is not the request's")


def test_a_segmentation_of_somebody_else(node: Node):
    ds = ct(SOPClassUID=SegmentationStorage)
    with associated(node, SegmentationStorage) as association:
        answer = store(association, encoded(ds), ds.SOPInstanceUID, SegmentationStorage)
    assert answer.Status == 0x0122
    node.said("instance-refused", "only CT images")


@pytest.mark.parametrize(
    ("calling", "called", "diagnostic", "reason"),
    [
        ("STRANGER", "NEGVOL", 3, "calling AE title not allowed"),
        ("SENDER", "OTHER", 7, "called AE title is not this node's"),
    ],
)
def test_an_unknown_ae(node: Node, calling: str, called: str, diagnostic: int, reason: str):
    with associated(node, CTImageStorage, calling=calling, called=called) as association:
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, diagnostic)
    node.said("association-rejected", reason)


@pytest.mark.parametrize("length", [0xFFFFFFF0, 64 * 64 * 2 + 2, 0x7FFFFFFE])
def test_a_pixel_length_that_runs_past_the_object(node: Node, length: int):
    ds = ct()
    data = encoded(ds)
    place = data.rindex(b"\xe0\x7f\x10\x00OW\0\0") + 8
    corrupt = data[:place] + struct.pack("<L", length) + data[place + 4 :]
    with associated(node, CTImageStorage) as association:
        answer = store(association, corrupt, ds.SOPInstanceUID)
    assert answer.Status == 0xC000
    node.said("instance-refused", "(7FE0,0010) runs")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": 65}, "where the header says 8320"),
        ({"Rows": 65535, "Columns": 65535}, "where the header says"),
        ({"NumberOfFrames": "2"}, "where the header says 16384"),
        ({"NumberOfFrames": "99999999999"}, "where the header says"),
        ({"PixelData": b""}, "pixel data of 0 bytes"),
    ],
)
def test_fewer_pixels_than_the_header_says(node: Node, changes: dict, reason: str):
    ds = ct(**changes)
    with associated(node, CTImageStorage) as association:
        assert store(association, encoded(ds), ds.SOPInstanceUID).Status == 0xC000
    node.said("instance-refused", reason)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", [None, "../../etc/passwd", "1.2.3/../4"])
def test_a_uid_that_is_none(node: Node, keyword: str, value: str | None):
    ds = ct()
    sop_uid, uid = ds.SOPInstanceUID, ds[keyword].value
    if value is None:
        delattr(ds, keyword)
    data = encoded(ds)
    if value is not None:
        data = data.replace(uid.encode(), value.encode().ljust(len(uid), b"1"))
    with associated(node, CTImageStorage) as association:
        assert store(association, data, sop_uid).Status in (0xA900, 0xC000)
    assert node.reasons("instance-refused")
    written = {path for path in node.folder.rglob("*") if path.is_file() and path.suffix == ".dcm"}
    assert written == set()


def test_dcmtk_sends_good_and_bad_files(node: Node, tmp_path: Path):
    """A real sender: the good file arrives, the broken ones are refused, the exit codes say so."""
    need("storescu")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name, ds in (("good", ct()), ("bad", ct(Rows=65))):
        ds.file_meta = meta
        ds.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    command = ["storescu", "-v", "-aet", "SENDER", "-aec", "NEGVOL", "127.0.0.1", str(node.port)]
    environment = os.environ | {"TCP_NODELAY": "1"}
    results = {
        name: subprocess.run(
            [*command, str(tmp_path / f"{name}.dcm")], check=False, capture_output=True, text=True, env=environment
        )
        for name in ("good", "bad")
    }
    assert "Success" in results["good"].stdout + results["good"].stderr
    assert "CannotUnderstand" in results["bad"].stdout + results["bad"].stderr  # dcmtk's word for Cxxx
    assert len(node.arrivals) == 1
