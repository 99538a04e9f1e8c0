"""A listed peer gets the services that its entry names, and the rest is refused when the association is negotiated."""

import xml.etree.ElementTree as ET
from contextlib import closing
from ipaddress import ip_network

import pytest
from network_node import LOOPBACK, RunningNode, ct_slice, free_port, make_config
from pydicom.uid import CTImageStorage, SegmentationStorage
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    Verification,
)
from structlog.testing import capture_logs
from test_committer import ask, request

from negvol_pacs.config import Config, Destination, Peer, Ris
from negvol_pacs.network.admission import Request, rights
from negvol_pacs.network.audit import trail

CLASSES = {
    "echo": Verification,
    "store": CTImageStorage,
    "commitment": StorageCommitmentPushModel,
    "mpps": ModalityPerformedProcedureStep,
    "worklist": ModalityWorklistInformationFind,
}
ALL = frozenset(CLASSES)
RIS = Ris(name="ris", ae_title="RIS", host="127.0.0.1", port=1)


def listed(*services, title="TESTER", networks=LOOPBACK, **options):
    return Peer(ae_title=title, networks=networks, services=frozenset(services), **options)


@pytest.fixture
def node(tmp_path):
    config = make_config(tmp_path).model_copy(update={"ris": (RIS,)})
    with closing(RunningNode(tmp_path, config)) as node, trail.recording(config):
        yield node


def given(node, *peers, **changed):
    """Reload with these peers, ask for everything; return the services that were accepted."""
    node.listener.reload(node.config.model_copy(update={"peers": peers, **changed}))
    assoc = node.associate(*((sop_class,) for sop_class in CLASSES.values()))
    accepted = {context.abstract_syntax for context in assoc.accepted_contexts}
    if assoc.is_established:
        assoc.release()
    return {name for name, sop_class in CLASSES.items() if sop_class in accepted}


def alerts(node):
    """Type, outcome and description of each security alert."""
    messages = map(ET.fromstring, (node.folder / "audit.log").read_text().splitlines())
    told = [message.find("EventIdentification") for message in messages]
    found = [event for event in told if event.find("EventID").get("csd-code") == "110113"]
    return [
        (e.find("EventTypeCode").get("csd-code"), e.get("EventOutcomeIndicator"), e.findtext("EventOutcomeDescription"))
        for e in found
    ]


def test_a_peer_may_do_all_by_default(node):
    assert given(node, *node.config.peers) == ALL
    assert [kind for kind, *_ in alerts(node)] == ["110126"]


@pytest.mark.parametrize("service", sorted(ALL))
def test_a_peer_gets_what_its_entry_names_and_the_rest_is_told(node, service):
    with capture_logs() as logs:
        assert given(node, listed(service)) == {service}
    (refused,) = [entry for entry in logs if entry["event"] == "services-refused"]
    assert refused["services"] == sorted(ALL - {service})
    (alert,) = [alert for alert in alerts(node) if alert[0] == "110132"]
    assert alert[1] == "4"
    assert alert[2] == f"not for this peer: {', '.join(sorted(ALL - {service}))}: TESTER"


def test_who_asks_for_no_more_than_it_may_have_is_no_alert(node):
    node.listener.reload(node.config.model_copy(update={"peers": (listed("echo"),)}))
    assert node.answers_echo()
    assert [kind for kind, *_ in alerts(node)] == ["110126"]


def test_who_may_ask_the_worklist_and_no_more_stores_nothing(node, tmp_path):
    path = tmp_path / "slice.dcm"
    ct_slice().save_as(path, enforce_file_format=True)
    node.listener.reload(node.config.model_copy(update={"peers": (listed("worklist"),)}))
    assoc = node.associate((CTImageStorage,), (SegmentationStorage,), (ModalityWorklistInformationFind,))
    assert {context.abstract_syntax for context in assoc.rejected_contexts} == {CTImageStorage, SegmentationStorage}
    assert {context.result for context in assoc.rejected_contexts} == {0x03}
    with pytest.raises(ValueError, match="No presentation context"):
        assoc.send_c_store(ct_slice())
    assoc.release()
    assert not node.arrivals
    assert given(node, listed("store")) == {"store"}, "and after a reload it may"


def test_of_entries_that_fit_each_gives_its_services(node):
    elsewhere = listed("store", networks=(ip_network("192.0.2.0/24"),))
    other_title = listed("mpps", called_ae_titles=("OTHER",))
    assert given(node, listed("echo"), listed("worklist"), elsewhere, other_title) == {"echo", "worklist"}


def test_a_destination_may_report_whatever_else_it_may_do_and_ask_only_where_it_is_listed_so(node):
    archive = Destination(name="archive", ae_title="TESTER", host="127.0.0.1", port=free_port())
    assert given(node, listed("store"), destinations=(archive,)) == {"store", "commitment"}
    assoc = node.associate((StorageCommitmentPushModel,))
    assert ask(assoc, request({"1.2.3": CTImageStorage})) == 0x0124
    assoc.release()
    assert node.ledger.commitment_requests.waiting() == []
    assert given(node, listed("store", "commitment"), destinations=(archive,)) == {"store", "commitment"}
    assoc = node.associate((StorageCommitmentPushModel,))
    assert ask(assoc, request({"1.2.3": CTImageStorage})) == 0
    assoc.release()


def test_a_destination_that_is_no_peer_has_no_services_but_an_echo():
    archive = Destination(name="archive", ae_title="PACS", host="127.0.0.1", port=104)
    asked = Request("PACS", "NEGVOL", "127.0.0.1", 0, reports_only=True)
    assert rights(asked, Config(destinations=(archive,))) == {"echo"}
    assert rights(asked, Config()) == frozenset()
