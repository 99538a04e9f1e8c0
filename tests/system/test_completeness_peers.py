"""A part of a series comes from Orthanc; the node finds out, and fetches the rest before anything is computed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import highdicom as hd
import numpy as np
import pytest
import requests
from peers import Orthanc, wait_for
from pydicom import dcmread
from structlog.testing import capture_logs

from negvol_pacs.config import Config, Destination, Limits, Node, Peer, SeriesRules
from negvol_pacs.network import completion, retriever
from negvol_pacs.network.listener import Listener
from negvol_pacs.network.sender import send_folder
from negvol_pacs.storage.records import State
from negvol_pacs.training.ct_series import Scan, write_ct_series
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.steps import Steps

pytestmark = pytest.mark.system
SLICES = 12


class Asking:
    """A node that knows Orthanc as its sender's archive; Orthanc has a whole series."""

    def __init__(self, folder: Path, orthanc: Orthanc) -> None:
        self.study = f"1.2.826.0.1.3680043.8.498.{crc32(bytes(folder))}"
        self.orthanc, self.session = orthanc, requests.Session()
        self.session.trust_env = False
        archive = Destination(name="archive", ae_title=orthanc.ae_title, host="127.0.0.1", port=orthanc.port)
        peer = {"ae_title": orthanc.ae_title, "networks": ["127.0.0.0/8"], "archive": "archive"}
        self.config = Config(
            node=Node(state=folder / "state", port=orthanc.node_port),
            peers=(Peer.model_validate(peer),),
            destinations=(archive,),
            limits=Limits(min_free_bytes=0, association_timeout_s=5, network_timeout_s=10),
            series=SeriesRules(quiet_period_s=0),
        )
        volume = hd.Volume(np.zeros((SLICES, 16, 16), np.int16), np.eye(4)[:, [2, 1, 0, 3]], "PATIENT")
        write_ct_series(volume, folder / "ct", Scan(study_instance_uid=self.study))
        send_folder(folder / "ct", archive.model_copy(update={"calling_ae_title": "STORESCU"}), self.config)
        self.sent = sorted(str(dcmread(path).SOPInstanceUID) for path in (folder / "ct").iterdir())
        self.ledger = layout.open_ledger(self.config.node.state)
        self.inbox = layout.open_inbox(self.config, self.ledger)
        outbox, networks = layout.open_outbox(self.config.node.state), SimpleNamespace(sha256="")
        self.steps = Steps(self.config, self.ledger, self.inbox, outbox, networks)  # type: ignore[arg-type]
        self.listener = Listener(self.config, self.inbox, lambda _arrival: None)
        self.listener.start()

    def close(self) -> None:
        self.listener.stop()
        self.ledger.close()

    def route(self, count: int) -> None:
        """Let Orthanc send only some of the images."""
        ids = [self._id(uid) for uid in self.sent[:count]]
        answer = self.session.post(f"{self.orthanc.url}/modalities/negvol/store", json=ids, timeout=30)
        assert answer.status_code == 200

    def close_until(self, words: str) -> None:
        """Look again, with no generation to analyse, until the ledger says so."""

        def said() -> bool:
            assert self.steps.close(self.study)[0] == []
            return words in self.ledger.generations(self.study)[0].reason

        wait_for(said, 30, words)

    def here(self) -> list[str]:
        return sorted(entry.sop_uid for entry in self.ledger.instances(self.study))

    def _id(self, sop_uid: str) -> str:
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sop_uid}}
        (found,) = self.session.post(f"{self.orthanc.url}/tools/find", json=query, timeout=30).json()
        return str(found)


@pytest.fixture
def node(orthanc: Orthanc, tmp_path: Path) -> Iterator[Asking]:
    with closing(Asking(tmp_path, orthanc)) as node:
        yield node


@pytest.mark.parametrize("way", ["C-GET", "C-MOVE"])
def test_the_rest_of_a_series_is_fetched_before_it_counts_as_complete(
    node: Asking, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "C-MOVE":  # as with an archive that does not offer C-GET
        monkeypatch.setattr(retriever, "GET", "1.2.840.10008.5.1.4.1.2.99.3")
    node.route(7)
    assert len(node.here()) == 7
    with capture_logs() as logs:
        generations, _ = node.steps.close(node.study)
        while not generations:
            generations, _ = node.steps.close(node.study)
    assert (node.here(), generations) == (node.sent, [1])
    (entry,) = node.ledger.generations(node.study)
    assert (entry.state, entry.instances) == (State.COMPLETE, SLICES)
    assert {e.called_ae for e in node.ledger.instances(node.study)} == {"NEGVOL"}
    assert {e.calling_ae for e in node.ledger.instances(node.study)} == {"ORTHANC"}
    assert all(node.inbox.is_whole(instance) for instance in node.ledger.instances(node.study))
    (told,) = [log for log in logs if log["event"] == "study-not-whole"]
    assert sum(told["missing"].values()) == 5


def test_a_whole_series_costs_one_query(node: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    node.route(SLICES)
    asked = []
    find = completion.find
    monkeypatch.setattr(completion, "find", lambda *a: asked.append(a[1].QueryRetrieveLevel) or find(*a))
    wait_for(lambda: node.steps.close(node.study) == ([1], None), 30, "complete")
    assert set(asked) == {"SERIES"}


def test_what_cannot_be_proven_waits_and_then_needs_a_person(node: Asking) -> None:
    node.route(3)
    nobody = node.config.destinations[0].model_copy(update={"port": 1})
    node.steps.reload(node.config.model_copy(update={"destinations": (nobody,)}))
    node.close_until("cannot be reached")
    assert node.ledger.generations(node.study)[0].state is State.RECEIVING
    rules = SeriesRules(quiet_period_s=0, whole_within_s=1e-9)
    node.steps.reload(node.config.model_copy(update={"destinations": (nobody,), "series": rules}))
    node.close_until(f"negvol queue retry {node.study}")
    (entry,) = node.ledger.generations(node.study)
    assert (entry.state, entry.code) == (State.FAILED, "incomplete")


def test_an_archive_that_does_not_know_the_series_proves_nothing(node: Asking, tmp_path: Path) -> None:
    volume = hd.Volume(np.zeros((3, 16, 16), np.int16), np.eye(4)[:, [2, 1, 0, 3]], "PATIENT")
    node.study += ".2"
    write_ct_series(volume, tmp_path / "other", Scan(study_instance_uid=node.study))
    here = {"name": "node", "ae_title": "NEGVOL", "host": "127.0.0.1", "port": node.config.node.port}
    send_folder(tmp_path / "other", Destination.model_validate(here | {"calling_ae_title": node.orthanc.ae_title}))
    node.close_until("knows nothing of series")
