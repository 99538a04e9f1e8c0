"""The trail in a file and by UDP: rotation, full disks, floods and servers that are not there."""

import errno
import os
import re
import socket
from xml.etree.ElementTree import fromstring

import pytest
from structlog.testing import capture_logs

from negvol_pacs.config import Audit, Config, Node, Syslog
from negvol_pacs.network.audit import trail
from negvol_pacs.network.audit.messages import Party


def make_config(folder, **audit):
    return Config(node=Node(state=folder), audit=Audit(**audit))


def told(path):
    """Codes of the messages in a file: event, kind and outcome."""
    events = []
    for line in path.read_bytes().splitlines():
        event = fromstring(line).find("EventIdentification")
        kind = event.find("EventTypeCode")
        code = None if kind is None else kind.get("csd-code")
        events.append((event.find("EventID").get("csd-code"), code, event.get("EventOutcomeIndicator")))
    return events


START, STOP = ("110100", "110120", "0"), ("110100", "110121", "0")


def test_the_file_has_start_refusal_and_stop_and_is_private(tmp_path):
    with trail.recording(make_config(tmp_path)):
        trail.refused(Party("CT9", "192.0.2.9"), "calling AE title not allowed")
        assert told(tmp_path / "audit.log")[-1][0] == "110113", "written before it is asked for"
    assert told(tmp_path / "audit.log") == [START, ("110113", "110126", "4"), STOP]
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


def test_without_a_trail_nothing_is_told(tmp_path):
    with trail.recording(make_config(tmp_path, enabled=False)):
        trail.refused(Party("CT9", "192.0.2.9"), "x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_moved_away_is_begun_again(tmp_path):
    path = tmp_path / "audit.log"
    with trail.recording(make_config(tmp_path)):
        path.rename(tmp_path / "audit.log.1")
        trail.admitted(Party("CT1", "192.0.2.1"))
    assert told(tmp_path / "audit.log.1") == [START]
    assert told(path) == [("110113", "110126", "0"), STOP]


def test_a_flood_of_refusals_is_a_line_with_a_number(tmp_path, monkeypatch):
    with trail.recording(make_config(tmp_path)):
        for _ in range(500):
            trail.refused(Party("", "192.0.2.9"), "not TLS")
        trail.refused(Party("", "192.0.2.8"), "not TLS")
        assert len(told(tmp_path / "audit.log")) == 3
        monkeypatch.setattr(trail, "_ALERT_EVERY_S", 0)
        trail.refused(Party("", "192.0.2.9"), "not TLS")
    assert b"499 more since" in (tmp_path / "audit.log").read_bytes()


def test_a_flood_of_invented_names_is_a_line_too(tmp_path):
    with trail.recording(make_config(tmp_path)):
        for number in range(100):
            trail.refused(Party(f"CT{number}", "192.0.2.9"), "calling AE title not allowed")
        assert len(told(tmp_path / "audit.log")) == 2
    assert b"calling AE title not allowed: CT0" in (tmp_path / "audit.log").read_bytes()


def test_a_full_disk_stops_nobody_and_the_gap_is_told(tmp_path, monkeypatch):
    def full(_descriptor, _data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with trail.recording(make_config(tmp_path)):
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(trail.os, "write", full)
            for _ in range(3):
                trail.admitted(Party("CT1", "192.0.2.1"))
        assert [entry["event"] for entry in logs] == ["audit-not-written"]
        trail.admitted(Party("CT1", "192.0.2.1"))
    assert b"3 audit messages could not be written" in (tmp_path / "audit.log").read_bytes()
    assert told(tmp_path / "audit.log")[2] == ("110113", "110134", "4")


def test_udp_datagrams_are_syslog_messages(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        syslog = Syslog(host="127.0.0.1", port=server.getsockname()[1])
        with trail.recording(make_config(tmp_path, syslog=syslog)):
            datagram = server.recv(65535)
    header, _, message = datagram.partition(b"\xef\xbb\xbf")
    pattern = rb"<85>1 \d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d \S+ negvol-pacs \d+ DICOM\+RFC3881 - "
    assert re.fullmatch(pattern, header)
    assert message == (tmp_path / "audit.log").read_bytes().splitlines()[0]


def test_what_no_datagram_can_hold_is_counted_and_holds_nothing_up(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        syslog = Syslog(host="127.0.0.1", port=server.getsockname()[1])
        with trail.recording(make_config(tmp_path, syslog=syslog)):
            trail.queried(Party("CT1", "192.0.2.1"), "1.2.840.10008.5.1.4.31", "1.2.840.10008.1.2", bytes(100_000))
        messages = [server.recv(65535) for _ in range(2)]
    assert b"110120" in messages[0] and b"110121" in messages[1]
    assert b">1 audit messages did not reach" in (tmp_path / "audit.log").read_bytes()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_server_that_is_not_there_costs_only_its_copies(tmp_path, host):
    with socket.socket() as closed:  # bound, and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        tls = {"certificate": "/none", "key": "/none", "ca": "/none"}
        syslog = Syslog(host=host, port=closed.getsockname()[1], queue=5, tls=tls)
        with trail.recording(make_config(tmp_path, syslog=syslog), grace_s=0.1):
            for number in range(50):
                trail.admitted(Party("CT1", f"192.0.2.{number}"))
    content = (tmp_path / "audit.log").read_bytes()
    assert content.count(b"association accepted</EventOutcomeDescription>") == 50, "the file has all of them"
    assert content.count(b"takes no messages</EventOutcomeDescription>") == 1
    lost = int(re.search(rb"(\d+) audit messages did not reach", content)[1])
    assert 50 + 2 - 6 <= lost <= 50 + 2
