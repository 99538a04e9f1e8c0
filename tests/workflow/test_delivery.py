"""Sent is not delivered: commitment on both kinds of association, queries, refusals, resends, kill -9."""

from contextlib import closing, contextmanager

import pytest
from archive import RESULT, STUDY, Archive, report, reported, sr
from node_process import Node as NodeProcesses
from node_process import free_port, until
from structlog.testing import capture_logs

from negvol_pacs.config import Config, Delivery, Destination, Limits, Node
from negvol_pacs.network import commitment
from negvol_pacs.network.listener import Listener
from negvol_pacs.storage.records import DeliveryState, Result, ResultKind
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.delivery import Deliveries
from negvol_pacs.workflow.engine import Jobs, migrate


class Sending:
    """A node with one result that waits for delivery, and the listener that hears reports."""

    def __init__(self, folder, archive, **rules):
        confirm = rules.pop("confirm", "auto")
        peer = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=archive.port, confirm=confirm)
        self.config = Config(
            node=Node(state=folder, port=archive.node_port or free_port()),
            destinations=(peer,),
            limits=Limits(min_free_bytes=0, association_timeout_s=5, network_timeout_s=5),
            delivery=Delivery(**rules),
        )
        self.ledger = layout.open_ledger(folder)
        self.deliveries = Deliveries(self.config, self.ledger, plan(folder, self.ledger))
        self.listener = Listener(self.config, layout.open_inbox(self.config, self.ledger), lambda arrival: None)
        self.listener.start()

    def deliver(self):
        return self.deliveries.deliver(STUDY, RESULT, "pacs")

    @property
    def entry(self):
        return self.ledger.deliveries()[0]

    @property
    def port(self):
        return self.listener.address[1]

    def close(self):
        self.listener.stop(1)
        self.ledger.close()


def plan(folder, ledger):
    """Put a report into the outbox and plan its delivery."""
    outbox = layout.open_outbox(folder)
    path = outbox.folder(STUDY, 1) / "sr.dcm"
    path.parent.mkdir(parents=True)
    sr().save_as(path, enforce_file_format=True)
    ledger.record_results([Result(STUDY, 1, ResultKind.SR, RESULT, outbox.relative(path), "f", (), 0.0)], ["pacs"])
    return outbox


@contextmanager
def sending(tmp_path, rules=(), **archive):
    with (
        Archive(**{"node_port": free_port()} | archive) as peer,
        closing(Sending(tmp_path, peer, **dict(rules))) as node,
        pytest.MonkeyPatch.context() as patience,
    ):
        if peer.mode == "same":  # a busy machine may take longer; who answers is not waited for
            patience.setattr(commitment, "_HOLD_S", 60)
        yield node, peer


@pytest.mark.parametrize("mode", ["same", "separate"])
def test_delivered_means_that_the_archive_has_committed(tmp_path, mode):
    with capture_logs() as logs, sending(tmp_path, mode=mode) as (node, archive):
        assert node.deliver() is None
        assert node.entry.state is DeliveryState.CONFIRMED
        until(lambda: archive.answers == [0x0000])
        assert node.deliver() is None
    assert archive.stored == [RESULT]
    events = [log["event"] for log in logs if log["event"].startswith("delivery-")]
    assert events == ["delivery-sent", "delivery-confirmed"]


def test_before_the_report_it_is_sent_and_not_confirmed_and_nothing_is_repeated(tmp_path):
    with sending(tmp_path, mode="never") as (node, archive):
        assert node.deliver() == node.config.delivery.first_retry_s
        assert node.entry.state is DeliveryState.SENT
        assert node.deliver() > 0  # the step again, as after a crash
        assert (len(archive.stored), len(archive.asked)) == (1, 1)
        archive.mode = "separate"
        archive.answer()
        assert archive.answers == [0x0000]
        assert node.entry.state is DeliveryState.CONFIRMED


def test_what_the_archive_does_not_keep_is_sent_again(tmp_path):
    with sending(tmp_path, keeps=False) as (node, archive):
        assert node.deliver() == node.config.delivery.first_retry_s
        assert (node.entry.state, node.entry.attempts) == (DeliveryState.FAILED, 1)
        assert "does not commit to it: failure reason 0112" in node.entry.error
        archive.keeps = True
        assert node.deliver() is None
        assert (node.entry.state, node.entry.attempts) == (DeliveryState.CONFIRMED, 2)
        assert len(archive.stored) == 2
        assert len({ds.TransactionUID for ds in archive.asked}) == 2


def test_an_archive_that_never_keeps_it_needs_a_person(tmp_path):
    rules = {"first_retry_s": 1, "longest_retry_s": 1, "give_up_after_s": 2}
    with sending(tmp_path, rules, keeps=False) as (node, archive):
        assert [node.deliver() for _ in range(3)] == [1, 1, None]
        assert node.entry.state is DeliveryState.NEEDS_PERSON
        assert len(archive.stored) == 3


def test_a_peer_without_commitment_is_asked_by_query(tmp_path):
    with capture_logs() as logs, sending(tmp_path, offers=["find"]) as (node, archive):
        archive.finds = False
        assert node.deliver() > 0
        assert node.entry.state is DeliveryState.SENT
        archive.finds = True
        assert node.deliver() is None
        assert node.entry.state is DeliveryState.CONFIRMED
    assert [log["how"] for log in logs if log["event"] == "delivery-confirmed"] == ["query"]


def test_a_report_that_never_comes_is_replaced_by_a_query_or_by_sending_again(tmp_path):
    rules = {"confirm_within_s": 1e-9}
    with sending(tmp_path / "auto", rules, mode="never") as (node, archive):
        archive.finds = False
        assert node.deliver() > 0
        assert node.entry.state is DeliveryState.FAILED
        archive.finds = True
        assert node.deliver() is None
        assert node.entry.state is DeliveryState.CONFIRMED
    with sending(tmp_path / "strict", rules | {"confirm": "commitment"}, mode="never") as (node, archive):
        assert node.deliver() > 0
        assert node.entry.state is DeliveryState.FAILED
        assert "has not confirmed it within" in node.entry.error


@pytest.mark.parametrize("confirm", ["none", "commitment", "query", "auto"])
def test_a_peer_that_only_stores_confirms_nothing_unless_told_that_this_will_do(tmp_path, confirm):
    state = DeliveryState.CONFIRMED if confirm == "none" else DeliveryState.SENT
    with sending(tmp_path, {"confirm": confirm}, offers=[]) as (node, archive):
        assert node.deliver() is None
        assert node.entry.state is state
        assert archive.stored == [RESULT]
        assert bool(node.entry.error) is (state is DeliveryState.SENT)


def test_reports_of_unknown_transactions_and_of_others_are_refused_and_logged(tmp_path):
    with capture_logs() as logs, sending(tmp_path, mode="never") as (node, archive):
        node.deliver()
        transaction = archive.asked[0].TransactionUID
        assert report(reported("2.25.99", [RESULT]), node.port) == 0x0115
        assert report(reported(transaction, [RESULT]), node.port, event_type=7) == 0x0113
        assert report(reported(transaction, [RESULT]), node.port, calling="STRANGER") is None
        assert node.entry.state is DeliveryState.SENT
        assert report(reported(transaction, ["2.25.2"]), node.port) == 0x0000
        assert node.entry.state is DeliveryState.SENT  # the report does not name it
        assert node.deliver() > 0
        assert node.entry.state is DeliveryState.FAILED
    refused = [log["reason"] for log in logs if log["event"] == "commitment-report-refused"]
    assert refused == ["unknown transaction", "unknown event type"]


def test_transactions_cannot_be_guessed(tmp_path):
    with sending(tmp_path, keeps=False) as (node, archive):
        node.deliver()
        node.deliver()
    numbers = [int(ds.TransactionUID.removeprefix("2.25.")) for ds in archive.asked]
    assert all(number.bit_length() > 96 for number in numbers)
    assert abs(numbers[0] - numbers[1]) > 1 << 64


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pending_transaction_survives_kill_9_of_both_processes(tmp_path):
    with Archive(mode="never") as archive:
        node = NodeProcesses(tmp_path, archive.port)
        archive.node_port = node.port
        try:
            migrate(node.state)
            plan(node.state, node.ledger)
            with closing(Jobs(node.state)) as jobs:
                jobs.retry_delivery(STUDY, RESULT, "pacs")
            for only in ("receiver", "worker"):
                node.start(only)
            until(lambda: archive.asked, 600, "the request")
            for only in ("worker", "receiver"):
                node.kill(only)
            node.start("receiver")
            until(node.listening, 600, "the receiver")
            assert node.ledger.deliveries()[0].state is DeliveryState.SENT
            archive.mode = "separate"
            archive.answer()
            assert archive.answers == [0x0000]
            assert node.ledger.deliveries()[0].state is DeliveryState.CONFIRMED
            assert archive.stored == [RESULT]
            assert node.log.read_text().count("delivery-confirmed") == 1
        finally:
            node.stop()
