"""Worklist queries reach every RIS and come back whole, or with a failure that says so."""

import socket
from contextlib import closing

import pytest
from network_node import RunningNode, free_port
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind
from worklist_ris import FakeRis, WorklistNode, item, query

from negvol_pacs.storage.orders import decode, text


@pytest.fixture
def ris():
    """Start RIS; stop them at the end."""
    running = []

    def start(*items, **behaviour):
        running.append(FakeRis(*items, **behaviour))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def serve(tmp_path):
    """Start a node in front of some RIS."""
    running = []

    def start(*peers, **rules):
        ports = [peer if isinstance(peer, int) else peer.port for peer in peers]
        running.append(WorklistNode(tmp_path, *ports, **rules))
        return running[-1]

    yield start
    for node in running:
        node.close()


def accessions(found):
    return sorted(ds.AccessionNumber for ds in found)


def test_several_ris_are_merged_without_duplicates(ris, serve):
    one, two = ris(item(1), item(2)), ris(item(2), item(3))
    found, statuses, last = serve(one, two).ask(query())
    assert (accessions(found), statuses, last.Status) == (["A-1", "A-2", "A-3"], [0xFF00] * 3, 0x0000)
    assert found[0].PatientName == "Müller^Jürgen"
    assert (one.asked, two.asked) == (1, 1)


def test_the_same_accession_number_of_another_patient_is_another_order(ris, serve):
    found, _, last = serve(ris(item(1)), ris(item(1, PatientID="P-9"))).ask(query())
    assert (accessions(found), last.Status) == (["A-1", "A-1"], 0x0000)


def test_items_that_name_nothing_are_all_passed_on(ris, serve):
    nameless = Dataset()
    nameless.PatientName = "Doe^Jane"
    found, _, last = serve(ris(nameless, nameless)).ask(query())
    assert (len(found), last.Status) == (2, 0x0000)


def test_a_ris_that_is_down_is_a_failure_that_names_it_even_if_another_one_answers(ris, serve):
    found, _, last = serve(ris(item(1)), free_port()).ask(query())
    assert (accessions(found), last.Status) == (["A-1"], 0xC001)
    assert last.ErrorComment == "ris1 cannot be reached"


def test_the_failure_of_the_only_ris_is_passed_on(ris, serve):
    found, _, last = serve(ris(item(1), status=0xA700)).ask(query())
    assert (len(found), last.Status, last.ErrorComment) == (1, 0xA700, "ris0 answers A700")


def test_a_ris_that_does_not_take_the_service_is_a_failure(serve):
    ae = AE("RIS")
    ae.add_supported_context("1.2.840.10008.1.1")
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False)
    try:
        _, _, last = serve(port).ask(query())
    finally:
        server.shutdown()
    assert last.Status == 0xC001
    assert "does not accept Modality Worklist" in last.ErrorComment


def test_a_silent_ris_costs_no_more_than_the_time_out(serve):
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        _, _, last = serve(silent.getsockname()[1], timeout_s=0.5).ask(query())
    assert last.Status == 0xC001
    assert last.ErrorComment in ("ris0 does not answer in time", "ris0 cannot be reached")


def test_a_ris_that_stops_in_the_middle_runs_into_the_time_out(ris, serve):
    found, _, last = serve(ris(item(1), item(2), pause_s=2), timeout_s=0.8).ask(query())
    assert (accessions(found), last.Status) == (["A-1"], 0xC001)


def test_cancel_is_passed_on(ris, serve):
    slow = ris(*(item(number) for number in range(1, 30)), pause_s=0.15)
    found, _, last = serve(slow).ask(query(), cancel_after=2)
    assert last.Status == 0xFE00
    assert 2 <= len(found) < 10
    assert slow.cancelled == 1


def test_too_many_matches_are_cut_off_and_said_to_be(ris, serve):
    slow = ris(*(item(number) for number in range(1, 30)), pause_s=0.05)
    node = serve(slow, max_matches=3)
    found, _, last = node.ask(query())
    assert (len(found), last.Status, last.ErrorComment) == (3, 0xA700, "more than 3 matches")
    node.wait_until_idle()
    assert slow.cancelled == 1


def test_answers_without_end_are_cut_off(ris, serve, monkeypatch):
    monkeypatch.setattr("negvol_pacs.network.sender._MAX_ANSWERS", 2000)
    found, _, last = serve(ris(*(item(number) for number in range(1, 30)))).ask(query())
    assert len(found) < 10
    assert (last.Status, last.ErrorComment) == (0xC001, "ris0 does not answer")


def test_without_a_ris_no_worklist_is_offered(tmp_path):
    with closing(RunningNode(tmp_path)) as node:
        assoc = node.associate((ModalityWorklistInformationFind, ImplicitVRLittleEndian))
        assert not assoc.is_established


def test_who_is_not_on_the_allow_list_asks_nothing(ris, serve):
    quiet = ris(item(1))
    node = serve(quiet)
    stranger = AE("STRANGER")
    stranger.add_requested_context(ModalityWorklistInformationFind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    assoc = stranger.associate(*node.address, ae_title="NEGVOL")
    assert assoc.is_rejected
    assert quiet.asked == 0


def test_a_nested_bomb_as_query_is_refused_and_reaches_no_ris(ris, serve):
    quiet = ris(item(1))
    bomb = Dataset()
    for _ in range(80):
        outer = Dataset()
        outer.ScheduledProcedureStepSequence = [bomb]
        bomb = outer
    _, _, last = serve(quiet).ask(bomb)
    assert (last.Status, last.ErrorComment) == (0xA900, "nested more than 64 deep")
    assert quiet.asked == 0


def test_what_was_seen_is_kept_without_the_patients_name(ris, serve):
    node = serve(ris(item(1)))
    node.ask(query())
    (order,) = node.ledger.orders.of_accession("A-1")
    assert (order.ris, order.patient_id, order.modality) == ("ris0", "P-1", "CT")
    assert text(decode(order.identifier), "RequestedProcedureDescription") == "Kiefergelenk-CT für TMJ"
    assert "Müller".encode("latin-1") not in order.identifier


def test_kept_orders_stand_in_for_a_ris_that_is_down_where_that_is_wanted(ris, serve):
    up = ris(item(1), item(2))
    node = serve(up, answer_from_kept=True)
    node.ask(query())
    up.stop()
    found, statuses, last = node.ask(query(AccessionNumber="A-2", Modality="CT"))
    assert (accessions(found), statuses, last.Status) == (["A-2"], [0xFF01], 0x0000)
    assert found[0].PatientName == "Müller^Jürgen"
    assert found[0].RequestedProcedureComments.startswith("[KEPT COPY OF 20")
    assert node.ask(query(AccessionNumber="A-3"))[0] == []


def test_kept_orders_do_not_stand_in_by_default(ris, serve):
    up = ris(item(1))
    node = serve(up)
    node.ask(query())
    up.stop()
    found, _, last = node.ask(query())
    assert (found, last.Status) == ([], 0xC001)
