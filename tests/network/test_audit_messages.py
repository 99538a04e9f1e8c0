"""Audit messages have the structure of PS3.15 section A.5.1."""

import base64
from datetime import datetime
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ImplicitVRLittleEndian

from negvol_pacs.network.audit import messages
from negvol_pacs.network.audit.messages import Party, Reporter, Transfer

REPORTER = Reporter("NEGVOL", "Ward 3")
PEER = Party("CT1", "192.0.2.7", requestor=True)
TRANSFER = Transfer(PEER, REPORTER.party, "1.2.3", "4711")
CT, WORKLIST = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.31"
ALL = {
    "110100": messages.application(REPORTER, messages.START),
    "110113": messages.alert(REPORTER, messages.NODE_AUTHENTICATION, "4", "no certificate", Party("", "2001:db8::1")),
    "110102": messages.begin_transfer(REPORTER, TRANSFER),
    "110104": messages.transferred(REPORTER, TRANSFER, {CT: 12}, created=True),
    "110105": messages.deleted(REPORTER, "1.2.3", "4711", "after 30 days"),
    "110112": messages.query(
        REPORTER, PEER, REPORTER.party, sop_class=WORKLIST, syntax=ImplicitVRLittleEndian, identifier=b"\0\x01"
    ),
}
CODED = {"EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode"}


def check_structure(message: bytes):
    """Check order, attributes and codes as the schema has them."""
    assert b"\n" not in message
    root = fromstring(message)
    assert root.tag == "AuditMessage"
    names = [child.tag for child in root]
    participants = names.count("ActiveParticipant")
    objects = names.count("ParticipantObjectIdentification")
    expected = ["EventIdentification", *["ActiveParticipant"] * participants, "AuditSourceIdentification"]
    assert names == [*expected, *["ParticipantObjectIdentification"] * objects] and participants >= 1
    for element in root.iter():
        if element.tag in CODED:
            assert {"csd-code", "codeSystemName", "originalText"} <= element.attrib.keys()
    event, source = root[0], root.find("AuditSourceIdentification")
    assert event.get("EventActionCode") in set("CRUDE") and event.get("EventOutcomeIndicator") in {"0", "4", "8", "12"}
    assert datetime.fromisoformat(event.get("EventDateTime")).tzinfo is not None
    assert source.get("AuditSourceID").startswith("NEGVOL@")
    requestors = 0
    for participant in root.findall("ActiveParticipant"):
        assert participant.get("UserID") and participant.get("UserIsRequestor") in {"true", "false"}
        assert participant.get("NetworkAccessPointTypeCode") in {"1", "2", None}
        requestors += participant.get("UserIsRequestor") == "true"
    assert requestors <= 1
    for told in root.findall("ParticipantObjectIdentification"):
        assert told.get("ParticipantObjectID") is not None
        assert [child.tag for child in told][:2] in (
            ["ParticipantObjectIDTypeCode", "ParticipantObjectName"],
            ["ParticipantObjectIDTypeCode", "ParticipantObjectQuery"],
        )
    return root


@pytest.mark.parametrize("code", ALL)
def test_every_message_has_the_structure_of_the_schema(code):
    root = check_structure(ALL[code])
    assert root.find("EventIdentification/EventID").get("csd-code") == code


def test_a_transfer_tells_ends_study_and_patient_but_no_name():
    root = check_structure(ALL["110104"])
    roles = {p.find("RoleIDCode").get("csd-code"): p for p in root.findall("ActiveParticipant")}
    assert roles["110153"].get("AlternativeUserID") == "AETITLES=CT1"
    assert (roles["110153"].get("NetworkAccessPointID"), roles["110153"].get("NetworkAccessPointTypeCode")) == (
        "192.0.2.7",
        "2",
    )
    study, patient = root.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), patient.get("ParticipantObjectID")) == ("1.2.3", "4711")
    counted = study.find("ParticipantObjectDescription/SOPClass")
    assert (counted.get("UID"), counted.get("NumberOfInstances")) == (CT, "12")
    assert [told.find("ParticipantObjectName").text for told in (study, patient)] == [None, None]


def test_a_query_tells_its_identifier_and_syntax():
    asked = check_structure(ALL["110112"]).find("ParticipantObjectIdentification")
    assert base64.b64decode(asked.find("ParticipantObjectQuery").text) == b"\0\x01"
    detail = asked.find("ParticipantObjectDetail")
    assert (detail.get("type"), base64.b64decode(detail.get("value"))) == ("TransferSyntax", b"1.2.840.10008.1.2")


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_whatever_a_peer_calls_itself_is_one_line_of_good_xml(name, patient, reason):
    transfer = Transfer(Party(name or "X", name), REPORTER.party, name, patient)
    for message in (
        messages.begin_transfer(REPORTER, transfer),
        messages.alert(REPORTER, messages.NODE_AUTHENTICATION, "4", reason, transfer.source),
    ):
        fromstring(message)
        assert b"\n" not in message and b"\r" not in message
