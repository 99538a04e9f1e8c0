"""Peers that declare too much, never end, or never begin (threats 5 to 8), and strangers (14)."""

import shutil
import socket
import ssl
import struct
import threading
import time
from ipaddress import ip_network
from pathlib import Path

import pytest
from certificates import Authority
from network_node import RunningNode, ct_slice
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.transport import AssociationSocket
from raw_peer import associated, association_request, dropped, fragment, read_pdu, store_command

from negvol_pacs.network import door, guards
from negvol_pacs.network.guards import GuardedServer, GuardedSocket
from negvol_pacs.network.reception import Reception
from negvol_pacs.network.tls import peer_context


@pytest.mark.threat(5)
def test_a_pdu_that_declares_too_much_is_not_read(switch, node, monkeypatch):
    asked = []
    read = GuardedSocket._read
    monkeypatch.setattr(GuardedSocket, "_read", lambda self, size: asked.append(size) or read(self, min(size, 1 << 20)))
    switch.off(GuardedSocket, "_objection", lambda *_: "")
    with node.connect() as connection:
        connection.sendall(struct.pack(">BxL", 0x01, 0xFFFFFFFF) + b"\0" * 100)
        connection.shutdown(socket.SHUT_WR)
        assert dropped(connection)
    node.wait_until_idle()
    assert (max(asked) == 0xFFFFFFFF) == switch.is_off


@pytest.mark.threat(6)
def test_fragments_without_end_are_cut_off(switch, tmp_path):
    switch.off(Reception, "_bound", lambda _self: 1 << 40)
    node = RunningNode(tmp_path, max_object_bytes=1 << 20)
    endless, taken = fragment(b"\0" * 65536, command=False, last=False), 0
    with associated(node) as connection:
        connection.sendall(store_command())
        try:
            for _ in range(200):
                connection.sendall(endless)
                taken = max(taken, *(path.stat().st_size for path in node.files if path.suffix == ".part"), 0)
        except (OSError, TypeError):  # the node has closed, and the file is gone
            pass
    node.wait_until_idle()
    node.close()
    assert (taken > 4 << 20) == switch.is_off


@pytest.mark.threat(7)
def test_a_peer_that_drips_is_let_go_at_its_deadline(switch, tmp_path):
    """A time-out for each read, which is all that a socket offers, is never reached."""

    def each_byte(self, size):
        self.socket.settimeout(0.5)
        return AssociationSocket.recv(self, size)

    switch.off(GuardedSocket, "_read", each_byte)
    node = RunningNode(tmp_path, association_timeout_s=0.5)
    request, let_go = association_request(), False
    with node.connect() as connection:
        try:
            for index in range(20):
                connection.sendall(request[index : index + 1])
                time.sleep(0.1)
        except ConnectionError:
            let_go = True
    node.close()
    assert let_go != switch.is_off


@pytest.mark.threat(7)
def test_silent_peers_of_one_address_leave_room_for_others(switch, tmp_path):
    bound = GuardedServer.process_request

    def unbounded(self, request, address):
        self.limits = self.limits.model_copy(update={"max_associations": 1000})
        bound(self, request, address)

    switch.off(GuardedServer, "process_request", unbounded)
    node = RunningNode(tmp_path, association_timeout_s=5, max_associations=1)
    silent = [node.connect() for _ in range(30)]
    silent[-1].settimeout(0.5)
    try:
        assert (len(read_pdu(silent[-1])) == 0) != switch.is_off
    except TimeoutError:
        assert switch.is_off
    for connection in silent:
        connection.close()
    node.close()


@pytest.mark.threat(8)
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_silent_peer_in_the_handshake_holds_nobody_up(switch, tmp_path):
    process = GuardedServer.process_request

    def in_the_loop(self, request, address):
        secured, self._secured = self._secured, None
        try:
            process(self, secured.shake_hands(request, 1.5), address)
        except OSError:
            self.shutdown_request(request)
        finally:
            self._secured = secured

    switch.off(GuardedServer, "process_request", in_the_loop)
    authority = Authority(tmp_path / "ca", "ca")
    own, modality = authority.sign("node"), authority.sign("ct1")
    node = RunningNode(tmp_path, tls=authority.tls(own))
    with node.connect(), socket.create_connection(node.address, timeout=0.5) as connection:
        try:
            with peer_context(authority.to_destination(modality)).wrap_socket(connection, server_hostname="127.0.0.1"):
                shaken = True
        except (TimeoutError, ssl.SSLError):
            shaken = False
    node.close()
    assert shaken != switch.is_off


@pytest.mark.threat(14)
@pytest.mark.parametrize("stranger", ["title", "address"])
def test_who_is_not_listed_is_not_let_in(switch, node, stranger):
    switch.off(door, "admit", lambda _request, _config: None)
    switch.off(door, "may_connect", lambda _address, _config: True)
    if stranger == "address":
        elsewhere = node.config.peers[0].model_copy(update={"networks": (ip_network("192.0.2.0/24"),)})
        node.listener.reload(node.config.model_copy(update={"peers": (elsewhere,)}))
    with node.connect() as connection:
        connection.sendall(association_request(calling="TESTER" if stranger == "address" else "STRANGER"))
        answer = read_pdu(connection)
    assert (answer[:1] == b"\x02") == switch.is_off


@pytest.mark.threat(14)
def test_who_may_only_ask_the_worklist_stores_nothing(switch, node):
    switch.off(door, "granted", lambda contexts, *_, **__: list(contexts))
    limited = node.config.peers[0].model_copy(update={"services": frozenset({"worklist"})})
    node.listener.reload(node.config.model_copy(update={"peers": (limited,)}))
    assoc = node.associate((CTImageStorage, ExplicitVRLittleEndian))
    assert assoc.is_established == switch.is_off, "with no context left the peer goes away"
    if switch.is_off:
        assert assoc.send_c_store(ct_slice()).Status == 0
    assoc.abort()
    node.wait_until_idle()
    assert bool(node.arrivals) == switch.is_off


def test_nothing_is_read_from_an_address_that_nobody_may_come_from(node, monkeypatch):
    read = []
    monkeypatch.setattr(GuardedSocket, "_read", lambda *_: read.append(1) or bytearray())
    elsewhere = node.config.peers[0].model_copy(update={"networks": (ip_network("192.0.2.0/24"),)})
    node.listener.reload(node.config.model_copy(update={"peers": (elsewhere,)}))
    with node.connect() as connection:
        assert read_pdu(connection) == b""
    assert not read


@pytest.mark.threat(15)
def test_connections_that_come_to_nothing_leave_no_thread(switch, tmp_path):
    """pynetdicom's association waits for ever for a request from a peer that has gone."""
    switch.off(guards, "_wake", lambda _event: None)
    node = RunningNode(tmp_path)
    before, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(15):
        node.connect().close()
    connection = associated(node)
    connection.sendall(b"\xff" * 10)
    connection.close()
    until = time.monotonic() + 1.5
    while node.listener.connections and time.monotonic() < until:
        time.sleep(0.02)
    left = node.listener.connections
    assert (left >= 15) == switch.is_off
    if not switch.is_off:
        assert left == 0
        assert threading.active_count() <= before + 1
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1
    node.close()
