"""Results delivered to Orthanc: committed on an association of its own, or found again."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from zlib import crc32

import highdicom as hd
import numpy as np
import pytest
import requests
from invented_reports import head, invent, report, save
from peers import Orthanc, wait_for
from pydicom.uid import CTImageStorage
from structlog.testing import capture_logs

from negvol_pacs.config import Config, Destination, Limits, Node, Peer
from negvol_pacs.network.listener import Listener
from negvol_pacs.network.sender import send_folder
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import DeliveryState, Result, ResultKind
from negvol_pacs.training.ct_series import Scan, write_ct_series
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


def test_the_node_commits_to_what_orthanc_asks_about(orthanc: Orthanc, tmp_path: Path) -> None:
    volume = hd.Volume(np.zeros((3, 16, 16), np.int16), np.eye(4)[:, [2, 1, 0, 3]], "PATIENT")
    write_ct_series(volume, tmp_path / "ct", Scan(study_instance_uid="1.2.826.0.1.3680043.8.498.11"))
    config = Config(
        node=Node(state=tmp_path / "state", port=orthanc.node_port),
        peers=(Peer.model_validate({"ae_title": orthanc.ae_title, "networks": ["127.0.0.0/8"]}),),
        destinations=(pacs(orthanc),),
        limits=Limits(min_free_bytes=0),
    )
    session = requests.Session()
    session.trust_env = False
    with closing(layout.open_ledger(config.node.state)) as ledger:
        listener = Listener(config, layout.open_inbox(config, ledger), lambda arrival: None)
        listener.start()
        try:
            there = Destination(
                name="node", ae_title="NEGVOL", host="127.0.0.1", port=orthanc.node_port, calling_ae_title="ORTHANC"
            )
            kept = {sent.sop_uid for sent in send_folder(tmp_path / "ct", there)}
            asked = [[str(CTImageStorage), uid] for uid in (*kept, "1.2.3.4")]
            path = f"{orthanc.url}/modalities/negvol/storage-commitment"
            transaction = session.post(path, json={"DicomInstances": asked}, timeout=30).json()["ID"]

            def answer() -> dict[str, object]:
                return dict(session.get(f"{orthanc.url}/storage-commitment/{transaction}", timeout=30).json())

            wait_for(lambda: answer()["Status"] != "Pending", 20, "the report reaches Orthanc")
            found = answer()
        finally:
            listener.stop()
    assert {item["SOPInstanceUID"] for item in found["Success"]} == kept
    assert [item["SOPInstanceUID"] for item in found["Failures"]] == ["1.2.3.4"]


def test_orthanc_takes_it_by_stow_and_is_asked_by_qido(
    orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    peer = Destination(name="web", kind="dicomweb", dicomweb=f"{orthanc.url}/dicom-web")
    with planned(tmp_path, peer, orthanc.node_port) as (deliveries, ledger, result):
        assert deliveries.deliver(result.study_uid, result.sop_uid, "web") is None
        assert ledger.deliveries()[0].state is DeliveryState.CONFIRMED
    assert orthanc.count(result.study_uid) == {"SR": 1}
