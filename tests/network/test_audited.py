"""What the listener and the sender leave in the audit trail; the trail by syslog over TLS."""

import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from xml.etree.ElementTree import fromstring

import pytest
from certificates import Authority
from network_node import RunningNode, free_port, write_series
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

from negvol_pacs.config import Audit, Destination, Syslog
from negvol_pacs.errors import DeliveryRefused
from negvol_pacs.network.audit import trail
from negvol_pacs.network.audit.messages import Party
from negvol_pacs.network.sender import send
from negvol_pacs.network.tls import server_context


@pytest.fixture
def audited(tmp_path):
    node = RunningNode(tmp_path / "node")
    with trail.recording(node.config):
        yield node
        node.close()


def events(node, code):
    lines = (node.folder / "audit.log").read_bytes().splitlines()
    found = [fromstring(line) for line in lines]
    return [message for message in found if message.find("EventIdentification/EventID").get("csd-code") == code]


def outcome(message):
    return message.find("EventIdentification").get("EventOutcomeIndicator")


@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed")
def test_what_storescu_sends_is_told_without_the_name(audited, tmp_path):
    sent = write_series(tmp_path / "series", 4)
    host, port = audited.address
    command = ["storescu", "-aet", "TESTER", "-aec", "NEGVOL", host, str(port), *map(str, sent)]
    subprocess.run(command, check=True, timeout=60)
    audited.wait_until_idle()
    (begun,), (done,) = events(audited, "110102"), events(audited, "110104")
    for message in (begun, done):
        study, patient = message.findall("ParticipantObjectIdentification")
        assert study.get("ParticipantObjectID") == "1.2.826.0.1.3680043.9.1"
        assert patient.get("ParticipantObjectID") == "4711"
        source = message.find("ActiveParticipant")
        assert (
            source.get("AlternativeUserID") == "AETITLES=TESTER" and source.get("NetworkAccessPointID") == "127.0.0.1"
        )
        assert source.get("UserIsRequestor") == "true"
    assert done.find(".//SOPClass").attrib == {"UID": CTImageStorage, "NumberOfInstances": "4"}
    assert done.find("EventIdentification").get("EventActionCode") == "C" and outcome(done) == "0"
    assert b"DOE" not in (audited.folder / "audit.log").read_bytes()


def test_who_is_turned_away_is_told_with_the_reason(audited):
    ae = AE("STRANGER")
    ae.add_requested_context(CTImageStorage)
    assert ae.associate(*audited.address, ae_title="NEGVOL").is_rejected
    (alert,) = events(audited, "110113")
    assert alert.find("EventIdentification/EventOutcomeDescription").text == "calling AE title not allowed: STRANGER"
    assert outcome(alert) == "4"
    assert alert.findall("ActiveParticipant")[1].get("AlternativeUserID") == "AETITLES=STRANGER"


def test_a_broken_association_is_a_failed_transfer(audited, tmp_path):
    (path,) = write_series(tmp_path / "series", 1)
    assoc = audited.associate((CTImageStorage, "1.2.840.10008.1.2.1"))
    assoc.send_c_store(path)
    assoc.abort()
    audited.wait_until_idle()
    (done,) = events(audited, "110104")
    assert outcome(done) == "4" and done.find(".//SOPClass").get("NumberOfInstances") == "1"


@pytest.mark.parametrize("status", [0x0000, 0xC000])
def test_what_is_sent_is_told_with_its_outcome(audited, tmp_path, status):
    paths = write_series(tmp_path / "series", 2)
    ae = AE("PACS")
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _event: status)])
    there = Destination(name="archive", ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    try:
        send(paths, there, audited.config)
    except DeliveryRefused:
        assert status
    server.shutdown()
    (begun,), (done,) = events(audited, "110102"), events(audited, "110104")
    assert done.find("EventIdentification").get("EventActionCode") == "R"
    assert outcome(done) == ("4" if status else "0") and outcome(begun) == "0"
    assert [p.get("UserIsRequestor") for p in done.findall("ActiveParticipant")] == ["true", "false"]
    counts = [told.get("NumberOfInstances") for told in done.iter("SOPClass")]
    assert counts == ([] if status else ["2"])


class SyslogServer:
    """A server over TLS that reads only when it may."""

    def __init__(self, authority, pair, port):
        self.context, self.port = server_context(authority.tls(pair)), port
        self.listening = socket.create_server(("127.0.0.1", port))
        self.received = b""
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        plain, _ = self.listening.accept()
        with self.context.wrap_socket(plain, server_side=True) as connection:
            while data := connection.recv(65536):
                self.received += data
        self.listening.close()

    @property
    def messages(self):
        rest, found = self.received, []
        while match := re.match(rb"(\d+) ", rest):
            end = match.end() + int(match[1])
            found.append(rest[match.end() : end])
            rest = rest[end:]
        return found


def test_syslog_over_tls_gets_every_message_when_it_is_back(tmp_path):
    authority = Authority(tmp_path / "authority", "ca")
    pair, port = authority.sign("logs"), free_port()
    syslog = Syslog(host="127.0.0.1", port=port, tls=authority.to_destination(pair), queue=8)
    node = RunningNode(tmp_path / "node")
    config = node.config.model_copy(update={"audit": Audit(syslog=syslog)})
    with trail.recording(config, grace_s=10):
        for number in range(20):
            trail.admitted(Party("CT1", f"192.0.2.{number}"))
        assert node.answers_echo(), "a dead server holds nobody up"
        server = SyslogServer(authority, pair, port)
        deadline = time.monotonic() + 10
        while b"did not reach" not in (node.folder / "audit.log").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        node.close()
    server.thread.join(10)
    content = (node.folder / "audit.log").read_bytes()
    lost = sum(map(int, re.findall(rb">(\d+) audit messages did not reach", content)))
    told = [line for line in content.splitlines() if b"110133" not in line and b"110134" not in line]
    assert lost > 0 and len(server.messages) == len(told) - lost
    assert all(message.partition(b"\xef\xbb\xbf")[2] in told for message in server.messages)


def test_a_server_with_a_foreign_certificate_hears_nothing(tmp_path):
    authority, other = Authority(tmp_path / "a", "ca"), Authority(tmp_path / "b", "ca2")
    pair, port = authority.sign("node"), free_port()
    with socket.create_server(("127.0.0.1", port)) as listening:
        syslog = Syslog(host="127.0.0.1", port=port, tls=authority.to_destination(pair))
        node = RunningNode(tmp_path / "node")
        with trail.recording(node.config.model_copy(update={"audit": Audit(syslog=syslog)}), grace_s=0.1):
            plain, _ = listening.accept()
            with plain, pytest.raises(ssl.SSLError):
                server_context(other.tls(other.sign("impostor"))).wrap_socket(plain, server_side=True)
        node.close()
