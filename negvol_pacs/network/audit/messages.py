"""Audit messages in the XML of PS3.15 section A.5.1, each on one line.

They carry Study Instance UIDs and patient IDs, as section A.5.3 asks, and never a name: the
element for it is there, since the schema wants it, and empty.
"""

import base64
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, tostring

SUCCESS, MINOR_FAILURE = "0", "4"

START, STOP = ("110120", "Application Start"), ("110121", "Application Stop")
NODE_AUTHENTICATION = ("110126", "Node Authentication")
RESTRICTED_FUNCTION = ("110132", "Use of Restricted Function")
RECORDING_STOPPED, RECORDING_STARTED = ("110133", "Audit Recording Stopped"), ("110134", "Audit Recording Started")

_SOURCE, _DESTINATION = ("110153", "Source Role ID"), ("110152", "Destination Role ID")
_APPLICATION = ("110150", "Application")
_PERSON, _SYSTEM = "1", "2"
_UNPRINTABLE = re.compile("[^\t\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Party:
    """An active participant: this process, or a peer."""

    ae_title: str
    address: str = ""
    """IP address or host name; empty where it is not known."""
    process: str = ""
    """Process ID; empty for a peer."""
    requestor: bool = False
    """Whether it began what is told."""
    user: str = ""
    """Who is logged in; empty where nobody has to."""


@dataclass(frozen=True)
class Transfer:
    """Instances of one study on their way between two ends."""

    source: Party
    destination: Party
    study: str
    """Study Instance UID."""
    patient: str
    """Patient ID."""


@dataclass(frozen=True)
class Reporter:
    """Who tells."""

    ae_title: str
    site: str = ""

    @property
    def party(self) -> Party:
        """Own process as a participant."""
        return Party(self.ae_title, socket.gethostname(), str(os.getpid()))


def application(reporter: Reporter, kind: tuple[str, str]) -> bytes:
    """Tell that the application starts or stops (A.5.3.1)."""
    message = _event(("110100", "Application Activity"), "E", SUCCESS, kind)
    _participant(message, reporter.party, _APPLICATION)
    return _finished(message, reporter)


def alert(
    reporter: Reporter, kind: tuple[str, str], outcome: str, description: str, peer: Party | None = None
) -> bytes:
    """Tell a security alert (A.5.3.11): a peer that was let in or turned away, or a gap in the trail."""
    message = _event(("110113", "Security Alert"), "E", outcome, kind, description)
    _participant(message, reporter.party, _APPLICATION)
    subject = reporter.ae_title
    if peer is not None:
        _participant(message, peer)
        subject = peer.address or peer.ae_title
    about = _object(message, _SYSTEM, "13", ("110182", "DCM", "Node ID"), subject)
    SubElement(about, "ParticipantObjectName").text = ""
    _detail(about, "Alert Description", description)
    return _finished(message, reporter)


def begin_transfer(reporter: Reporter, transfer: Transfer) -> bytes:
    """Tell that instances of a study begin to go from one node to another (A.5.3.3)."""
    message = _event(("110102", "Begin Transferring DICOM Instances"), "E", SUCCESS)
    return _transfer(message, reporter, transfer, {})


def transferred(
    reporter: Reporter, transfer: Transfer, instances: Mapping[str, int], *, created: bool, failure: str = ""
) -> bytes:
    """Tell that instances of a study went from one node to another (A.5.3.7).

    Parameters
    ----------
    reporter, transfer
        Who tells, and of what.
    instances
        How many, by SOP Class UID.
    created
        Whether they are new here; False for what was read from here and sent.
    failure
        Why it ended before its end.
    """
    action, outcome = "C" if created else "R", MINOR_FAILURE if failure else SUCCESS
    message = _event(("110104", "DICOM Instances Transferred"), action, outcome, description=failure)
    return _transfer(message, reporter, transfer, instances)


def query(
    reporter: Reporter, source: Party, destination: Party, *, sop_class: str, syntax: str, identifier: bytes
) -> bytes:
    """Tell that a query was received or issued (A.5.3.10), with its identifier as the standard asks."""
    message = _event(("110112", "Query"), "E", SUCCESS)
    _participant(message, source, _SOURCE)
    _participant(message, destination, _DESTINATION)
    asked = _object(message, _SYSTEM, "3", ("110181", "DCM", "SOP Class UID"), sop_class)
    SubElement(asked, "ParticipantObjectQuery").text = base64.b64encode(identifier).decode()
    _detail(asked, "TransferSyntax", syntax)
    return _finished(message, reporter)


def accessed(reporter: Reporter, reader: Party, study: str, patient: str) -> bytes:
    """Tell that somebody looked at what is here of a study (A.5.3.6)."""
    message = _event(("110103", "DICOM Instances Accessed"), "R", SUCCESS)
    _participant(message, replace(reader, requestor=True))
    _participant(message, reporter.party)
    return _about(message, reporter, study, patient, {})


def deleted(reporter: Reporter, study: str, patient: str, description: str) -> bytes:
    """Tell that the images of a study were deleted here, and why (A.5.3.8)."""
    message = _event(("110105", "DICOM Study Deleted"), "D", SUCCESS, description=description)
    _participant(message, replace(reporter.party, requestor=True))
    return _about(message, reporter, study, patient, {})


def _transfer(message: Element, reporter: Reporter, transfer: Transfer, instances: Mapping[str, int]) -> bytes:
    _participant(message, transfer.source, _SOURCE)
    _participant(message, transfer.destination, _DESTINATION)
    return _about(message, reporter, transfer.study, transfer.patient, instances)


def _about(message: Element, reporter: Reporter, study: str, patient: str, instances: Mapping[str, int]) -> bytes:
    told = _object(message, _SYSTEM, "3", ("110180", "DCM", "Study Instance UID"), study)
    SubElement(told, "ParticipantObjectName").text = ""
    if instances:
        described = SubElement(told, "ParticipantObjectDescription")
        for uid, count in sorted(instances.items()):
            SubElement(described, "SOPClass", UID=uid, NumberOfInstances=str(count))
    person = _object(message, _PERSON, "1", ("2", "RFC-3881", "Patient Number"), patient)
    SubElement(person, "ParticipantObjectName").text = ""
    return _finished(message, reporter)


def _event(
    event: tuple[str, str], action: str, outcome: str, kind: tuple[str, str] | None = None, description: str = ""
) -> Element:
    message = Element("AuditMessage")
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    attributes = {"EventActionCode": action, "EventDateTime": now, "EventOutcomeIndicator": outcome}
    told = SubElement(message, "EventIdentification", attributes)
    _code(told, "EventID", event)
    if kind is not None:
        _code(told, "EventTypeCode", kind)
    if description:
        SubElement(told, "EventOutcomeDescription").text = _clean(description)
    return message


def _participant(message: Element, party: Party, role: tuple[str, str] | None = None) -> None:
    attributes = {
        "UserID": _clean(party.user or party.process or party.ae_title or party.address),
        "UserIsRequestor": "true" if party.requestor else "false",
    }
    if party.ae_title:
        attributes["AlternativeUserID"] = "AETITLES=" + _clean(party.ae_title)
    if party.address:
        attributes["NetworkAccessPointID"] = _clean(party.address)
        is_ip = re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.%\w]*", party.address) is not None
        attributes["NetworkAccessPointTypeCode"] = "2" if is_ip else "1"
    participant = SubElement(message, "ActiveParticipant", attributes)
    if role is not None:
        _code(participant, "RoleIDCode", role)


def _object(message: Element, kind: str, role: str, code: tuple[str, str, str], identifier: str) -> Element:
    attributes = {"ParticipantObjectID": _clean(identifier), "ParticipantObjectTypeCode": kind}
    told = Element("ParticipantObjectIdentification", {**attributes, "ParticipantObjectTypeCodeRole": role})
    message.append(told)
    value, scheme, meaning = code
    SubElement(told, "ParticipantObjectIDTypeCode", _coded(value, meaning, scheme))
    return told


def _detail(told: Element, name: str, value: str) -> None:
    encoded = base64.b64encode(value.encode()).decode()
    SubElement(told, "ParticipantObjectDetail", type=name, value=encoded)


def _code(parent: Element, name: str, code: tuple[str, str]) -> None:
    SubElement(parent, name, _coded(*code))


def _coded(value: str, meaning: str, scheme: str = "DCM") -> dict[str, str]:
    return {"csd-code": value, "codeSystemName": scheme, "displayName": meaning, "originalText": meaning}


def _finished(message: Element, reporter: Reporter) -> bytes:
    attributes = {"AuditSourceID": f"{reporter.ae_title}@{socket.gethostname()}"}
    if reporter.site:
        attributes["AuditEnterpriseSiteID"] = reporter.site
    source = Element("AuditSourceIdentification", attributes)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    objects = message.findall("ParticipantObjectIdentification")
    message.insert(len(message) - len(objects), source)
    return tostring(message, encoding="utf-8", xml_declaration=False)  # type: ignore[no-any-return]


def _clean(text: str) -> str:
    """Leave nothing that XML 1.0 forbids or that ends a line."""
    return _UNPRINTABLE.sub("?", text)
