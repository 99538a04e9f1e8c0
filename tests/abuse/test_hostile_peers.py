"""Hostile and broken peers: each gets its answer, is logged with a reason, and the node goes on."""

import contextlib
import socket
import struct
import time

import pytest
from network_node import RunningNode, ct_slice
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage
from pynetdicom import AE
from raw_peer import (
    associated,
    association_request,
    dropped,
    fragment,
    leftovers,
    raw_data_set,
    read_pdu,
    store_command,
)
from structlog.testing import capture_logs

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")


# --- who is let in (threat 14) ------------------------------------------------------------


@pytest.mark.parametrize(
    ("calling", "called", "expected"),
    [("STRANGER", "NEGVOL", (1, 1, 3)), ("TESTER", "OTHER", (1, 1, 7)), ("tester", "NEGVOL", (1, 1, 3))],
)
def test_unknown_titles_are_rejected_with_the_reason(node, calling, called, expected):
    ae = AE(calling)
    ae.add_requested_context(CTImageStorage)
    with capture_logs() as logs:
        assoc = ae.associate(*node.address, ae_title=called)
    assert assoc.is_rejected
    answer = assoc.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == expected
    rejected = next(entry for entry in logs if entry["event"] == "association-rejected")
    assert rejected["calling_ae"] == calling and rejected["reason"] and rejected["address"] == "127.0.0.1"
    assert node.answers_echo()


def test_more_associations_than_allowed_are_rejected_for_the_moment(tmp_path):
    node = RunningNode(tmp_path, max_associations=2)
    first, second = (node.associate((CTImageStorage,)) for _ in range(2))
    third = node.associate((CTImageStorage,))
    assert third.is_rejected
    answer = third.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    first.release()
    node_free = node.answers_echo()
    second.release()
    assert node_free
    node.close()


# --- PDUs (threats 5, 6, 7) ---------------------------------------------------------------


@pytest.mark.parametrize("pdu_type", [0x01, 0x04, 0x05, 0x07])
def test_a_pdu_that_declares_4_gib_is_not_read(node, pdu_type):
    with capture_logs() as logs, node.connect() as connection:
        connection.sendall(struct.pack(">BxL", pdu_type, 0xFFFFFFFF) + b"\0" * 1000)
        assert dropped(connection)
    node.wait_until_idle(1.5)
    reason = next(entry["reason"] for entry in logs if entry["event"] == "connection-dropped")
    assert "too long" in reason or "no association request" in reason
    assert node.answers_echo()


def test_a_data_pdu_longer_than_negotiated_is_not_read(node):
    with associated(node) as connection:
        connection.sendall(struct.pack(">BxL", 0x04, node.config.limits.max_pdu_bytes + 100))
        assert dropped(connection)
    assert node.answers_echo()


def test_fragments_without_end_are_cut_off(tmp_path):
    node = RunningNode(tmp_path, max_object_bytes=1 << 20)
    with capture_logs() as logs, associated(node) as connection:
        connection.sendall(store_command())
        endless = fragment(b"\0" * 65536, command=False, last=False)
        with pytest.raises(ConnectionError):
            for _ in range(2000):
                connection.sendall(endless)
    node.wait_until_idle()
    assert any("a message of more than 1048576 bytes" in str(entry) for entry in logs)
    assert leftovers(node) == []
    assert node.answers_echo()
    node.close()


def test_a_command_without_end_is_cut_off(node):
    with associated(node) as connection:
        endless = fragment(b"\0" * 65536, command=True, last=False)
        with pytest.raises(ConnectionError):
            for _ in range(2000):
                connection.sendall(endless)
    assert node.answers_echo()


def test_requests_piled_up_without_waiting_are_cut_off(node, monkeypatch):
    monkeypatch.setattr(node.listener, "_take", lambda *_: time.sleep(1))
    piece = store_command() + fragment(raw_data_set(ct_slice()), command=False, last=True)
    with associated(node) as connection, pytest.raises(ConnectionError):
        for _ in range(200):
            connection.sendall(piece)
            time.sleep(0.01)
    assert node.answers_echo()
    node.wait_until_idle()
    assert leftovers(node) == []


def test_a_dripping_request_ends_at_its_deadline(tmp_path):
    node = RunningNode(tmp_path, association_timeout_s=1)
    request, start = association_request(), time.monotonic()
    with node.connect() as connection:
        with pytest.raises(ConnectionError):
            for byte in request * 10:
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        assert time.monotonic() - start < 3
    assert node.answers_echo()
    node.close()


def test_a_dripping_data_pdu_ends_at_its_deadline(tmp_path):
    node = RunningNode(tmp_path, network_timeout_s=1)
    with associated(node) as connection:
        start = time.monotonic()
        connection.sendall(store_command() + struct.pack(">BxL", 0x04, 1000))
        with pytest.raises(ConnectionError):
            for _ in range(100):
                connection.sendall(b"\0")
                time.sleep(0.1)
        assert time.monotonic() - start < 4
    node.wait_until_idle()
    assert leftovers(node) == []
    assert node.answers_echo()
    node.close()


def test_tiny_fragments_that_never_add_up_are_cut_off(tmp_path):
    node = RunningNode(tmp_path, network_timeout_s=1)
    with associated(node) as connection:
        connection.sendall(store_command())
        with pytest.raises(ConnectionError):
            for _ in range(60):
                connection.sendall(fragment(b"\0", command=False, last=False))
                time.sleep(0.1)
    assert node.answers_echo()
    node.close()


def test_silent_peers_hold_nobody_up_and_are_let_go(tmp_path):
    node = RunningNode(tmp_path, association_timeout_s=1, max_associations=2)
    silent = [node.connect() for _ in range(12)]
    assert node.answers_echo(), "connections without a request are no associations"
    node.wait_until_idle(5)
    for connection in silent:
        assert dropped(connection)
        connection.close()
    node.close()


def test_connections_from_one_address_are_bounded(tmp_path):
    node = RunningNode(tmp_path, association_timeout_s=1, max_associations=1)
    with capture_logs() as logs:
        connections = [node.connect() for _ in range(30)]
        refused = [connection for connection in connections[17:] if dropped(connection)]
    assert len(refused) == [entry["event"] for entry in logs].count("connection-refused") == 13
    for connection in connections:
        connection.close()
    node.wait_until_idle()
    assert node.answers_echo()
    node.close()


def test_an_idle_association_is_ended(tmp_path):
    node = RunningNode(tmp_path, network_timeout_s=1)
    with associated(node) as connection:
        start = time.monotonic()
        assert dropped(connection)
        assert time.monotonic() - start < 4
    node.close()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "behind", [b"", b"\xff" * 20, fragment(b"\xff" * 32, command=True, last=True)], ids=["nothing", "noise", "data"]
)
@pytest.mark.parametrize("even", [True, False])
def test_what_ends_a_state_machine_ends_the_connection(tmp_path, behind, even):
    """A context ID may not be even; and nothing may be sent before the answer."""
    node = RunningNode(tmp_path, association_timeout_s=30, network_timeout_s=30)
    request = association_request()
    if even:
        at = request.index(b"\x30\0") - 4  # before the abstract syntax (PS3.8 table 9-13)
        assert request[at] == 1
        request = request[:at] + b"\2" + request[at + 1 :]
    with node.connect() as connection:
        connection.sendall(request + behind)
        if even or behind:
            read_pdu(connection)  # an abort, or nothing
            assert read_pdu(connection) == b""
    node.wait_until_idle(5)
    assert node.answers_echo()
    node.close()


# --- what is no DICOM ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\0" * 64, b"\x01"],
    ids=["http", "tls", "zeros", "one byte"],
)
def test_bytes_that_are_no_dicom_end_the_connection(node, data):
    with capture_logs() as logs, node.connect() as connection:
        connection.sendall(data)
        with contextlib.suppress(OSError):  # the node may have closed already
            connection.shutdown(socket.SHUT_WR)
        assert dropped(connection)
    node.wait_until_idle(1.5)
    if len(data) > 1:
        assert next(e["reason"] for e in logs if e["event"] == "connection-dropped") == "not a DICOM PDU"
    assert node.answers_echo()


def test_a_context_without_an_abstract_syntax_is_rejected(node):
    whole = association_request()
    at = whole.index(b"\x30\0")
    length = 4 + struct.unpack(">H", whole[at + 2 : at + 4])[0]
    context = whole.rindex(b"\x20\0", 0, at)
    (size,) = struct.unpack(">H", whole[context + 2 : context + 4])
    broken = bytearray(whole[:at] + whole[at + length :])
    broken[context + 2 : context + 4] = struct.pack(">H", size - length)
    broken[2:6] = struct.pack(">L", len(broken) - 6)
    with capture_logs() as logs, node.connect() as connection:
        connection.sendall(broken)
        assert read_pdu(connection)[:1] == b"\x03"
    node.wait_until_idle(5)
    (rejected,) = [entry for entry in logs if entry["event"] == "association-rejected"]
    assert rejected["reason"] == "a presentation context without an abstract syntax"
    assert node.answers_echo()


@pytest.mark.parametrize(
    "pdu",
    [
        struct.pack(">BxL", 0x01, 68) + b"\xff" * 68,
        struct.pack(">BxL", 0x04, 4) + b"\0\0\0\1",
        struct.pack(">BxL", 0x05, 4) + b"\0" * 4,
    ],
    ids=["garbage request", "data before a request", "release before a request"],
)
def test_pdus_out_of_order_or_undecodable_end_the_connection(node, pdu):
    with node.connect() as connection:
        connection.sendall(pdu)
        assert dropped(connection)
    node.wait_until_idle(5)
    assert node.answers_echo()


@pytest.mark.parametrize(
    "pdus",
    [
        struct.pack(">BxLLBB", 0x04, 6, 2, 1, 0) + b"",
        struct.pack(">BxLLB", 0x04, 5, 1, 1),
        fragment(b"\xff" * 32, command=True, last=True),
        fragment(b"data without a command", command=False, last=False),
        store_command() + store_command(),
        store_command() + fragment(b"x", command=False, last=False, context=3),
        fragment(store_command()[12:], command=True, last=True, context=99),
        store_command(sop_class=EnhancedCTImageStorage),
        store_command(sop_uid=" ") + fragment(b"x" * 8, command=False, last=True),
        store_command(sop_uid="1." * 40 + "1") + fragment(b"x" * 8, command=False, last=True),
    ],
    ids=[
        "data first", "empty fragment", "garbage command", "no command", "command in data", "context changes",
        "unknown context", "class of another context", "no uid", "uid too long",
    ],
)  # fmt: skip
def test_broken_messages_abort_the_association(node, pdus):
    with capture_logs() as logs, associated(node) as connection:
        connection.sendall(pdus)
        assert dropped(connection)
    node.wait_until_idle()
    assert [entry["event"] for entry in logs].count("association-dropped") == 1
    assert leftovers(node) == []
    assert node.answers_echo()


def test_what_cannot_be_decoded_is_not_quoted(node):
    with capture_logs() as logs, associated(node) as connection:
        command = struct.pack("<HHL", 0, 0x0110, 8) + b"DOE^JANE" + struct.pack("<HHLH", 0, 0x0100, 2, 1)
        connection.sendall(fragment(command, command=True, last=True))
        assert dropped(connection)
    node.wait_until_idle()
    assert [entry["event"] for entry in logs].count("association-dropped") == 1
    assert "JANE" not in str(logs) and not any(entry.get("exc_info") for entry in logs)
