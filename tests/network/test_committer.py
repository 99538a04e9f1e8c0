"""The node as storage commitment SCP: whole on disk or not, on this association or another, after a crash too."""

import shutil
import socket
import time
from contextlib import contextmanager
from ipaddress import ip_network

import pytest
from certificates import Authority
from network_node import RunningNode, ct_slice, free_port
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from negvol_pacs.config import Delivery, Destination
from negvol_pacs.network import committer
from negvol_pacs.network.committer import Committer
from negvol_pacs.network.listener import Listener
from negvol_pacs.network.tls import peer_context, server_context
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
def listening(heard, port, tls=None):
    """The peer's own listener."""
    ae = AE("TESTER")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", port), block=False, ssl_context=tls, evt_handlers=[(evt.EVT_N_EVENT_REPORT, heard)]
    )
    try:
        yield
    finally:
        server.shutdown()


def here(port):
    return Destination(name="archive", ae_title="TESTER", host="127.0.0.1", port=port)


def reload(node, **changed):
    node.config = node.config.model_copy(update=changed)
    node.listener.reload(node.config)


def store(node, *numbers, heard=None, **options):
    heard = Heard() if heard is None else heard
    assoc = node.associate(*CONTEXTS, evt_handlers=[(evt.EVT_N_EVENT_REPORT, heard)], **options)
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


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("shows", ["its own", "another one"])
def test_a_peer_of_a_tls_node_hears_it_over_tls_and_with_its_own_certificate_only(tmp_path, shows):
    authority = Authority(tmp_path / "ca", "ca")
    own, modality, other = (authority.sign(name) for name in ("node", "ct1", "ct2"))
    node = RunningNode(tmp_path, tls=authority.tls(own), certificates=(modality.fingerprint,))
    heard, port = Heard(), free_port()
    reload(node, peers=(node.config.peers[0].model_copy(update={"port": port}),))
    shown = server_context(authority.tls(modality if shows == "its own" else other))
    with listening(heard, port, shown):
        tls_args = (peer_context(authority.to_destination(modality)), "127.0.0.1")
        assoc, uids = store(node, 1, tls_args=tls_args)
        assert ask(assoc, request(dict.fromkeys(uids, CTImageStorage))) == 0
        assoc.release()
        waiting = node.ledger.commitment_requests.waiting
        until(lambda: heard or (waiting() and waiting()[0].attempts))
    node.close()
    assert heard == ([(1, set(uids), {})] if shows == "its own" else [])


def test_of_two_entries_of_a_peer_the_one_that_it_called_from_counts(node):
    heard, port = Heard(), free_port()
    here = node.config.peers[0].model_copy(update={"port": port})
    elsewhere = here.model_copy(update={"networks": (ip_network("192.0.2.0/24"),), "port": 1})
    reload(node, peers=(elsewhere, here))
    with listening(heard, port):
        assoc, uids = store(node, 1)
        assert ask(assoc, request(dict.fromkeys(uids, CTImageStorage))) == 0
        assoc.release()
        until(lambda: heard)


def waits(node, calling_ae, number):
    entry = CommitmentRequest(
        calling_ae, f"2.25.{number}", "NEGVOL", "127.0.0.1", {"1.2.3": CTImageStorage}, time.time()
    )
    node.ledger.commitment_requests.enter(entry)


def test_who_cannot_be_reached_is_tried_once_and_holds_nobody_up(node, monkeypatch):
    peer = node.config.peers[0].model_copy(update={"port": free_port()})
    node.config = node.config.model_copy(update={"peers": (peer,)})
    tried = []
    real = committer.associated
    monkeypatch.setattr(committer, "associated", lambda *a: tried.append(a[0].ae_title) or real(*a))
    for number in range(5):
        waits(node, "TESTER", number)
    committing = Committer(node.config, node.inbox)
    committing._turn()
    until(lambda: not committing._busy)
    assert tried == ["TESTER"]
    assert {entry.attempts for entry in node.ledger.commitment_requests.waiting()} == {1}


def test_a_peer_that_answers_nothing_holds_no_other_up(node):
    """It takes the connection and is silent; another peer asked later."""
    heard, port = Heard(), free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stuck = node.config.peers[0].model_copy(update={"ae_title": "STUCK", "port": silent.getsockname()[1]})
        limits = node.config.limits.model_copy(update={"association_timeout_s": 60})
        reload(node, peers=(stuck, node.config.peers[0].model_copy(update={"port": port})), limits=limits)
        waits(node, "STUCK", 1)
        assoc, uids = store(node, 1)
        with listening(heard, port):
            node.listener._committer._wake.set()
            until(lambda: node.listener._committer._busy.keys() == {"STUCK"})
            assert ask(assoc, request(dict.fromkeys(uids, CTImageStorage))) == 0
            assoc.release()
            until(lambda: heard)
            assert "STUCK" in node.listener._committer._busy, "it is still waited for"
            until(lambda: [entry.calling_ae for entry in node.ledger.commitment_requests.waiting()] == ["STUCK"])
        silent.accept()[0].close()


def test_one_peer_cannot_fill_the_books(node, monkeypatch):
    monkeypatch.setattr(committer, "_MAX_OF_ONE", 2)
    monkeypatch.setattr(Committer, "_report", lambda *_: None)
    assoc, uids = store(node, 1)
    asked = [ask(assoc, request(dict.fromkeys(uids, CTImageStorage), f"2.25.{n}")) for n in range(1, 4)]
    assert asked == [0, 0, 0x0213]
    assoc.release()


def test_a_request_that_is_reported_at_once_leaves_no_association_behind(node, monkeypatch):
    books, heard = node.ledger.commitment_requests, Heard()
    enter = books.enter

    def enter_and_wait(entry):
        enter(entry)
        if not entry.attempts:
            node.listener._committer._wake.set()
            until(lambda: not books.waiting() or books.waiting()[0].attempts)

    monkeypatch.setattr(committer, "_stays", lambda _assoc: False)
    monkeypatch.setattr(type(books), "enter", lambda _self, entry: enter_and_wait(entry))
    assoc, uids = store(node, 1, heard=heard)
    assert ask(assoc, request(dict.fromkeys(uids, CTImageStorage))) == 0
    assoc.release()
    node.wait_until_idle()
    assert node.listener._committer._open == {}
