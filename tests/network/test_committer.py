"""The node as storage commitment SCP: whole on disk or not, on this association or another, after a crash too."""

import time
from contextlib import contextmanager

import pytest
from network_node import RunningNode, ct_slice, free_port
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from negvol_pacs.config import Delivery, Destination
from negvol_pacs.network.listener import Listener
from negvol_pacs.storage.commitment_requests import CommitmentRequest

CONTEXTS = ((CTImageStorage,), (StorageCommitmentPushModel,))


def until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


def request(objects, transaction="2.25.77"):
    ds = Dataset()
    ds.TransactionUID = transaction
    ds.ReferencedSOPSequence = []
    for uid, kind in objects.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, uid
        ds.ReferencedSOPSequence.append(item)
    return ds


def ask(assoc, ds, action=1):
    status, _ = assoc.send_n_action(ds, action, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    return status.Status


class Heard(list):
    """Reports that came: event type, committed UIDs, failure reason by UID."""

    def __call__(self, event):
        ds = event.event_information
        assert ds.TransactionUID == "2.25.77"
        kept = {str(item.ReferencedSOPInstanceUID) for item in ds.get("ReferencedSOPSequence", [])}
        failed = {str(i.ReferencedSOPInstanceUID): i.FailureReason for i in ds.get("FailedSOPSequence", [])}
        self.append((event.event_type, kept, failed))
        return 0x0000, None


@contextmanager
def listening(heard, port):
    """The peer's own listener."""
    ae = AE("TESTER")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, heard)])
    try:
        yield
    finally:
        server.shutdown()


def here(port):
    return Destination(name="archive", ae_title="TESTER", host="127.0.0.1", port=port)


def reload(node, **changed):
    node.config = node.config.model_copy(update=changed)
    node.listener.reload(node.config)


def store(node, *numbers, heard=None):
    heard = Heard() if heard is None else heard
    assoc = node.associate(*CONTEXTS, evt_handlers=[(evt.EVT_N_EVENT_REPORT, heard)])
    for number in numbers:
        assert assoc.send_c_store(ct_slice(number)).Status == 0
    return assoc, [ct_slice(number).SOPInstanceUID for number in numbers]


def test_what_is_whole_is_committed_and_the_rest_is_not_on_the_same_association(node):
    heard = Heard()
    assoc, (whole, broken, gone, other) = store(node, 1, 2, 3, 4, heard=heard)
    broken_file, gone_file = (node.inbox.path(node.ledger.find_instance(uid)) for uid in (broken, gone))
    with broken_file.open("r+b") as file:
        file.seek(-10, 2)
        file.write(b"\xff" * 10)
    gone_file.unlink()
    objects = dict.fromkeys([whole, broken, gone, "1.2.3"], CTImageStorage) | {other: EnhancedCTImageStorage}
    assert ask(assoc, request(objects)) == 0
    until(lambda: heard)
    assert heard == [(2, {whole}, {broken: 0x0110, gone: 0x0110, "1.2.3": 0x0112, other: 0x0119})]
    assert assoc.send_c_store(ct_slice(5)).Status == 0  # the association goes on
    assoc.release()
    until(lambda: not node.ledger.commitment_requests.waiting())


@pytest.mark.parametrize("known_as", ["destination", "peer"])
def test_a_peer_that_has_gone_hears_it_on_an_association_of_its_own(node, known_as):
    heard, port = Heard(), free_port()
    if known_as == "destination":
        reload(node, destinations=(here(port),))
    else:
        reload(node, peers=(node.config.peers[0].model_copy(update={"port": port}),))
    with listening(heard, port):
        assoc, uids = store(node, 1)
        assert ask(assoc, request(dict.fromkeys(uids, CTImageStorage))) == 0
        assoc.release()
        until(lambda: heard)
    assert heard == [(1, set(uids), {})]
    until(lambda: not node.ledger.commitment_requests.waiting())


def test_a_report_that_nobody_hears_survives_a_restart(tmp_path):
    node, heard, port = RunningNode(tmp_path), Heard(), free_port()
    reload(node, destinations=(here(port),), delivery=Delivery(first_retry_s=0.2))
    assoc, uids = store(node, 1)
    assert ask(assoc, request(dict.fromkeys(uids, CTImageStorage))) == 0
    assoc.release()
    until(lambda: node.ledger.commitment_requests.waiting()[0].attempts)
    node.listener.stop(1)
    with listening(heard, port):
        node.listener = Listener(node.config, node.inbox, node.arrivals.append)
        node.listener.start()
        until(lambda: heard)
    assert heard == [(1, set(uids), {})]
    node.close()


def test_a_report_is_not_put_off_by_a_clock_that_is_set_back(tmp_path):
    node, heard, port = RunningNode(tmp_path), Heard(), free_port()
    assoc, uids = store(node, 1)
    assoc.release()
    objects = dict.fromkeys(uids, str(CTImageStorage))
    tomorrow = time.time() + 86400
    waiting = CommitmentRequest("TESTER", "2.25.77", "NEGVOL", "127.0.0.1", objects, tomorrow, 1, tomorrow + 1)
    node.ledger.commitment_requests.enter(waiting)
    node.listener.stop(1)
    reload(node, destinations=(here(port),))
    with listening(heard, port):
        node.listener = Listener(node.config, node.inbox, node.arrivals.append)
        node.listener.start()
        until(lambda: heard)
    node.close()


@pytest.mark.parametrize(
    ("uids", "transaction", "action", "status"),
    [
        (["1.2.3"], "2.25.77", 2, 0x0123),
        ([], "2.25.77", 1, 0x0115),
        (["../../etc/passwd"], "2.25.77", 1, 0x0115),
        (["1.2.3"], "x", 1, 0x0115),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_request_that_is_none_is_refused(node, uids, transaction, action, status):
    assoc = node.associate(*CONTEXTS)
    assert ask(assoc, request(dict.fromkeys(uids, CTImageStorage), transaction), action) == status
    assoc.release()
    assert node.ledger.commitment_requests.waiting() == []
