"""Reports read back from real servers: Orthanc by C-GET and DICOMweb, dcmtk's dcmqrscp by C-MOVE."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pydicom
import pytest
from invented_reports import head, invent, report, save
from peers import Orthanc, free_port, need, running, wait_for
from typer.testing import CliRunner

from negvol_pacs.cli import app
from negvol_pacs.config import Config, Destination, Node
from negvol_pacs.errors import NetworkError, PeerUnreachable, QueryFailed
from negvol_pacs.network.retriever import Wanted, fetch_reports
from negvol_pacs.network.sender import echo, send
from negvol_pacs.report.document import read_report
from negvol_pacs.report.sr import SERIES_NUMBER
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.outbox import Outbox
from negvol_pacs.workflow import priors

pytestmark = pytest.mark.system

ALL = Wanted(SERIES_NUMBER)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two patients, one scanned twice; and a report of somebody else."""
    folder = tmp_path_factory.mktemp("reports")
    own = [
        report(head("1.2.3.1", date="20240101", accession="A-1"), invent(1)),
        report(head("1.2.3.2", date="20250101", accession="A-2"), invent(2)),
        report(head("1.2.3.3", patient="P-2", accession="A-3"), invent(3)),
    ]
    foreign = report(head("1.2.3.4", accession="A-4"), invent(4))
    foreign.Manufacturer, foreign.SeriesNumber = "Somebody", 1
    return [save(ds, folder) for ds in (*own, foreign)]


@pytest.fixture(scope="module")
def filled(orthanc: Orthanc, reports: list[Path]) -> Destination:
    """Orthanc with the reports."""
    pacs = Destination(name="archive", ae_title=orthanc.ae_title, host="127.0.0.1", port=orthanc.port)
    send(reports, pacs, Config())
    return pacs


@contextmanager
def dcmqrscp(folder: Path, *options: str, move_port: int) -> Iterator[Destination]:
    """Run dcmtk's archive, which knows the node as NEGVOL."""
    need("dcmqrscp")
    folder.mkdir()
    (folder / "db").mkdir()
    port = free_port()
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 65536\nMaxAssociations = 8\n"
        f"HostTable BEGIN\nnode = (NEGVOL, 127.0.0.1, {move_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQR {folder / 'db'} RW (100, 1024mb) ANY\nAETable END\n"
    )
    peer = Destination(name="qr", ae_title="QR", host="127.0.0.1", port=port, move_port=move_port)
    command = ["dcmqrscp", *options, "-c", str(folder / "dcmqrscp.cfg")]
    with running(command, folder / "log", env=os.environ | {"TCP_NODELAY": "1"}):
        wait_for(lambda: _answers(peer), 30, "dcmqrscp starts")
        yield peer


def _answers(peer: Destination) -> bool:
    try:
        return echo(peer, Config()) > 0
    except NetworkError:
        return False


def uids(paths: list[Path]) -> list[str]:
    return sorted(path.stem for path in paths)


def read(folder: Path) -> list[str]:
    return sorted(read_report(pydicom.dcmread(path)).sop_instance_uid for path in folder.iterdir())


def test_orthanc_gives_all_reports_by_c_get(filled: Destination, reports: list[Path], tmp_path: Path) -> None:
    paths = fetch_reports(filled, ALL, tmp_path)
    assert len(paths) == 3
    assert read(tmp_path) == uids(reports[:3])


def test_orthanc_gives_the_reports_of_one_patient(filled: Destination, reports: list[Path], tmp_path: Path) -> None:
    fetch_reports(filled, Wanted(SERIES_NUMBER, "P-1"), tmp_path)
    assert read(tmp_path) == uids(reports[:2])


@pytest.mark.parametrize("patient", ["", "P-1"])
def test_orthanc_gives_them_by_dicomweb(
    filled: Destination, orthanc: Orthanc, reports: list[Path], tmp_path: Path, patient: str
) -> None:
    web = filled.model_copy(update={"dicomweb": f"{orthanc.url}/dicom-web"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        fetch_reports(web, Wanted(SERIES_NUMBER, patient), tmp_path)
    assert read(tmp_path) == uids(reports[:2] if patient else reports[:3])


def test_what_is_not_dicomweb_or_not_there_is_said(filled: Destination, orthanc: Orthanc, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(QueryFailed):
            fetch_reports(filled.model_copy(update={"dicomweb": f"{orthanc.url}/nothing"}), ALL, tmp_path)
        with pytest.raises(PeerUnreachable):
            fetch_reports(filled.model_copy(update={"dicomweb": f"http://127.0.0.1:{free_port()}"}), ALL, tmp_path)


@pytest.mark.parametrize("options", [[], ["--disable-get"]], ids=["get", "move"])
def test_dcmqrscp_gives_them_by_what_it_offers(reports: list[Path], tmp_path: Path, options: list[str]) -> None:
    port = free_port()
    with dcmqrscp(tmp_path / "qr", *options, move_port=port) as peer:
        assert fetch_reports(peer, ALL, tmp_path / "none") == []
        send(reports, peer, Config())
        fetch_reports(peer, ALL, tmp_path / "out")
    assert read(tmp_path / "out") == uids(reports[:3])


def test_a_port_that_is_taken_is_named(reports: list[Path], tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "qr", "--disable-get", move_port=free_port()) as peer:
        send(reports, peer, Config())
        with pytest.raises(QueryFailed, match=f"port {peer.port}, to which qr should send, cannot be used"):
            fetch_reports(peer.model_copy(update={"move_port": peer.port}), ALL, tmp_path / "out")
        with pytest.raises(QueryFailed, match="qr answered A801"):
            fetch_reports(peer.model_copy(update={"move_ae_title": "NOBODY"}), ALL, tmp_path / "out")


def test_the_command_makes_a_table_of_a_pacs(filled: Destination, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        f'[[destinations]]\nname = "archive"\nae_title = "{filled.ae_title}"\n'
        f'host = "127.0.0.1"\nport = {filled.port}\n'
    )
    arguments = ["cohort", "archive", "--out", str(tmp_path / "out"), "--config", str(tmp_path / "config.toml")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert set(pd.read_csv(tmp_path / "out" / "cohort.csv")["accession_number"]) == {"A-1", "A-2", "A-3"}


def test_the_first_report_of_a_patient_is_found_in_the_pacs(
    filled: Destination, reports: list[Path], tmp_path: Path
) -> None:
    config = Config(node=Node(state=tmp_path), destinations=(filled.model_copy(update={"priors": True}),))
    now = head("1.2.3.9", date="20260101")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    try:
        found = priors.find(now, ledger, Outbox(tmp_path / "outbox"), config)
        assert found is not None
        assert (found.sop_instance_uid, found.accession_number) == (reports[0].stem, "A-1")
        unasked = config.model_copy(update={"destinations": (filled,)})
        assert priors.find(now, ledger, Outbox(tmp_path / "outbox"), unasked) is None
    finally:
        ledger.close()
