"""A PACS in every mood, with two reports for it: none is lost, and none that it keeps is sent again."""

import socket
import time
from contextlib import closing

import pytest
from archive import STUDY, Archive, sr
from node_process import free_port
from structlog.testing import capture_logs

from negvol_pacs.config import Config, Delivery, Destination, Limits, Node
from negvol_pacs.network.listener import Listener
from negvol_pacs.storage.records import DeliveryState, Result, ResultKind
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.delivery import Deliveries

FIRST, SECOND = "2.25.1", "2.25.2"
CONFIRMED, FAILED, NEEDS_PERSON = DeliveryState.CONFIRMED, DeliveryState.FAILED, DeliveryState.NEEDS_PERSON


class Moody(Archive):
    """An archive that changes its mind; the mood holds for the second report only."""

    def __init__(self, node_port):
        self.mood, self.bad = "", set()
        super().__init__(node_port, mode="separate")

    def store(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid == SECOND:
            if self.mood == "slow":
                super().store(event)
                time.sleep(1.5)
                return 0x0000
            if self.mood == "closes":
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
            elif self.mood in ("A700", "0110", "C000"):
                return int(self.mood, 16)
        super().store(event)
        return 0xB000 if self.mood == "warns" else 0x0000

    def answer(self, assoc=None):
        (asked,) = self.asked[-1].ReferencedSOPSequence
        self.keeps = self.mood != "commits some" or asked.ReferencedSOPInstanceUID != SECOND
        super().answer(assoc)


@pytest.fixture
def pacs():
    with Moody(free_port()) as pacs:
        yield pacs


@pytest.fixture
def node(tmp_path, pacs):
    """Deliveries of two planned reports, and their ledger."""
    peer = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=pacs.port)
    config = Config(
        node=Node(state=tmp_path, port=pacs.node_port),
        destinations=(peer,),
        limits=Limits(min_free_bytes=0, association_timeout_s=2, network_timeout_s=1),
        delivery=Delivery(first_retry_s=0.1),
    )
    with closing(layout.open_ledger(tmp_path)) as ledger:
        outbox = layout.open_outbox(tmp_path)
        for kind, uid in ((ResultKind.SEG, FIRST), (ResultKind.SR, SECOND)):
            path = outbox.folder(STUDY, 1) / f"{uid}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            sr(uid).save_as(path, enforce_file_format=True)
            ledger.record_results([Result(STUDY, 1, kind, uid, outbox.relative(path), "f", (), 0.0)], ["pacs"])
        listener = Listener(config, layout.open_inbox(config, ledger), lambda arrival: None)
        listener.start()
        yield Deliveries(config, ledger, outbox), ledger
        listener.stop(1)


def deliver(node, uid):
    """Send a report and wait until the PACS has said what it thinks of it."""
    deliveries, ledger = node
    while True:
        wait_s = deliveries.deliver(STUDY, uid, "pacs")
        if not any(entry.sop_uid == uid for entry in ledger.deliveries(states=[DeliveryState.SENT])):
            return wait_s
        time.sleep(wait_s)


@pytest.mark.parametrize(
    ("mood", "state", "error"),
    [
        ("slow", FAILED, "lost"),
        ("closes", FAILED, "lost"),
        ("A700", FAILED, "A700"),
        ("0110", FAILED, "0110"),
        ("commits some", FAILED, "does not commit"),
        ("C000", NEEDS_PERSON, "C000"),
        ("warns", CONFIRMED, ""),
    ],
)
def test_what_it_does_not_take_is_sent_again_and_what_it_keeps_is_not(node, pacs, mood, state, error):
    deliveries, ledger = node
    pacs.mood = mood
    with capture_logs() as logs:
        waits = [deliver(node, uid) for uid in (FIRST, SECOND)]
    first, second = ledger.deliveries()
    assert (first.state, second.state) == (CONFIRMED, state)
    assert error in second.error
    assert waits == [None, 0.1 if state is FAILED else None]
    if mood == "warns":
        assert [log["status"] for log in logs if log["event"] == "object-sent"] == ["B000", "B000"]
    pacs.mood = ""
    if state is NEEDS_PERSON:
        assert deliveries.deliver(STUDY, SECOND, "pacs") is None
        assert SECOND not in pacs.stored
        ledger.retry_delivery(SECOND, "pacs")  # as `negvol queue retry` does
    assert [deliver(node, uid) for uid in (FIRST, SECOND)] == [None, None]
    assert {delivery.state for delivery in ledger.deliveries()} == {CONFIRMED}
    assert pacs.stored.count(FIRST) == 1
    assert pacs.stored.count(SECOND) == (2 if mood in ("slow", "closes", "commits some") else 1)
