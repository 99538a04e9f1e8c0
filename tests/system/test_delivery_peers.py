"""Results delivered to Orthanc: committed on an association of its own, or found again."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from zlib import crc32

import pytest
from conftest import Orthanc
from invented_reports import head, invent, report, save
from structlog.testing import capture_logs

from negvol_pacs.config import Config, Destination, Limits, Node
from negvol_pacs.network.listener import Listener
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import DeliveryState, Result, ResultKind
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.delivery import Deliveries

pytestmark = pytest.mark.system


@contextmanager
def planned(folder: Path, destination: Destination, port: int) -> Iterator[tuple[Deliveries, Ledger, Result]]:
    """A report in the outbox, to be delivered by a node that listens on ``port``."""
    config = Config(node=Node(state=folder, port=port), destinations=(destination,), limits=Limits(min_free_bytes=0))
    with closing(layout.open_ledger(folder)) as ledger:
        outbox = layout.open_outbox(folder)
        ds = report(head(f"1.2.826.0.1.3680043.8.498.{crc32(bytes(folder))}"), invent(1))
        made = outbox.folder(ds.StudyInstanceUID, 1)
        made.mkdir(parents=True)
        path = save(ds, made)
        result = Result(ds.StudyInstanceUID, 1, ResultKind.SR, ds.SOPInstanceUID, outbox.relative(path), "f", (), 0.0)
        ledger.record_results([result], [destination.name])
        listener = Listener(config, layout.open_inbox(config, ledger), lambda arrival: None)
        listener.start()
        try:
            yield Deliveries(config, ledger, outbox), ledger, result
        finally:
            listener.stop()


def pacs(orthanc: Orthanc, **settings: object) -> Destination:
    return Destination.model_validate(
        {"name": "archive", "ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.port} | settings
    )


@pytest.mark.parametrize(
    ("confirm", "how"), [("auto", "commitment"), ("commitment", "commitment"), ("query", "query"), ("none", "store")]
)
def test_orthanc_confirms(orthanc: Orthanc, tmp_path: Path, confirm: str, how: str) -> None:
    with capture_logs() as logs, planned(tmp_path, pacs(orthanc, confirm=confirm), orthanc.node_port) as node:
        deliveries, ledger, result = node
        assert deliveries.deliver(result.study_uid, result.sop_uid, "archive") is None
        assert ledger.deliveries()[0].state is DeliveryState.CONFIRMED
    assert [log["how"] for log in logs if log["event"] == "delivery-confirmed"] == [how]
    assert orthanc.count(result.study_uid) == {"SR": 1}


def test_what_orthanc_lost_is_not_committed_and_is_sent_again(orthanc: Orthanc, tmp_path: Path) -> None:
    with planned(tmp_path, pacs(orthanc), orthanc.node_port) as (deliveries, ledger, result):
        # As if it had been sent: Orthanc has never seen it.
        ledger.record_attempt(result.sop_uid, "archive", DeliveryState.SENT)
        assert deliveries.deliver(result.study_uid, result.sop_uid, "archive") is not None
        (entry,) = ledger.deliveries()
        assert entry.state is DeliveryState.FAILED
        assert "0112" in entry.error
        assert deliveries.deliver(result.study_uid, result.sop_uid, "archive") is None
        assert ledger.deliveries()[0].state is DeliveryState.CONFIRMED


def test_orthanc_is_asked_by_qido(orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    peer = pacs(orthanc, confirm="query", dicomweb=f"{orthanc.url}/dicom-web")
    with planned(tmp_path, peer, orthanc.node_port) as (deliveries, ledger, result):
        ledger.record_attempt(result.sop_uid, "archive", DeliveryState.SENT)
        assert deliveries.deliver(result.study_uid, result.sop_uid, "archive") is not None
        ledger.retry_delivery(result.sop_uid, "archive")
        assert deliveries.deliver(result.study_uid, result.sop_uid, "archive") is None
        assert ledger.deliveries()[0].state is DeliveryState.CONFIRMED
