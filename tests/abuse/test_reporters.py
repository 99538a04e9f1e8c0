"""A destination that is no peer may report about storage commitment, and do nothing else by that door."""

import threading
import time

import pytest
from network_node import RunningNode, make_config
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)
from raw_peer import associated, command_set, dropped, fragment, raw_data_set, read_pdu
from structlog.testing import capture_logs

from negvol_pacs.config import Destination, Ris

ARCHIVE = Destination(name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=104)
CONTEXTS = ((Verification, ImplicitVRLittleEndian), (StorageCommitmentPushModel, ImplicitVRLittleEndian))


@pytest.fixture
def reported(tmp_path):
    """A node with a destination and a worklist server."""
    ris = Ris(name="ris", ae_title="RIS", host="127.0.0.1", port=1)
    node = RunningNode(tmp_path, make_config(tmp_path).model_copy(update={"destinations": (ARCHIVE,), "ris": (ris,)}))
    yield node
    node.close()


def report(number: int) -> bytes:
    """An N-EVENT-REPORT-RQ about nothing that was asked."""
    ds = Dataset()
    ds.TransactionUID = f"2.25.{number}"
    elements = [(0x0002, StorageCommitmentPushModel), (0x0100, 0x0100), (0x0110, number), (0x0800, 0)]
    elements += [(0x1000, StorageCommitmentPushModelInstance), (0x1002, 1)]
    data = fragment(raw_data_set(ds, implicit=True), command=False, last=True, context=3)
    return command_set(elements, context=3) + data


def test_a_worklist_query_does_not_come_in_under_another_class(reported):
    elements = [(0x0002, ModalityWorklistInformationFind), (0x0100, 0x0020), (0x0110, 1), (0x0700, 0), (0x0800, 0)]
    ds = Dataset()
    ds.PatientName = ""
    query = fragment(raw_data_set(ds, implicit=True), command=False, last=True)
    with capture_logs() as logs, associated(reported, *CONTEXTS, calling="ARCHIVE") as connection:
        connection.sendall(command_set(elements) + query)
        assert dropped(connection), "the query was answered"
    reported.wait_until_idle()
    reason = next(entry["reason"] for entry in logs if entry["event"] == "association-dropped")
    assert reason == "a SOP class that is not the presentation context's"
    assert reported.answers_echo()


def test_it_may_not_ask_for_commitment(reported):
    ae = AE("ARCHIVE")
    ae.add_requested_context(StorageCommitmentPushModel)
    assoc = ae.associate(*reported.address, ae_title="NEGVOL")
    ds, item = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.3", "1.2.3"
    ds.TransactionUID, ds.ReferencedSOPSequence = "2.25.1", [item]
    answer, _ = assoc.send_n_action(ds, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    assert answer.Status == 0x0124
    assert reported.ledger.commitment_requests.waiting() == []
    assoc.release()


def test_reports_piled_up_without_waiting_are_cut_off(reported, monkeypatch):
    """pynetdicom serves each N-EVENT-REPORT in a thread of its own, however many there are."""
    found = reported.ledger.commitments.find
    monkeypatch.setattr(type(reported.ledger.commitments), "find", lambda _self, uid: time.sleep(1) or found(uid))
    before, most = threading.active_count(), 0
    with associated(reported, *CONTEXTS, calling="ARCHIVE") as connection:
        try:
            for number in range(1, 100):
                connection.sendall(report(number))
                most = max(most, threading.active_count())
                time.sleep(0.002)
            refused = dropped(connection)
        except ConnectionError:
            refused = True
    assert most < before + 30
    assert refused
    reported.wait_until_idle()


def test_reports_one_after_the_other_are_all_answered(reported):
    with associated(reported, *CONTEXTS, calling="ARCHIVE") as connection:
        for number in range(1, 30):
            connection.sendall(report(number))
            assert read_pdu(connection)[0] == 0x04
