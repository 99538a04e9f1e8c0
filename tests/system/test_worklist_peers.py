"""Worklists of real RIS (dcmtk's wlmscpfs, Orthanc's plugin) asked through the node with findscu."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest
from peers import PLUGINS, free_port, need, running, wait_for
from pydicom import Dataset, dcmread

from negvol_pacs.config import Config, Limits, Node, Peer, Ris, Worklist
from negvol_pacs.network.listener import Listener
from negvol_pacs.workflow import layout

pytestmark = pytest.mark.system

DUMP = """
(0008,0005) CS [{charset}]
(0008,0050) SH [{accession}]
(0008,0090) PN [Referrer^A]
(0010,0010) PN [{name}]
(0010,0020) LO [P-{accession}]
(0010,0030) DA [19800101]
(0010,0040) CS [F]
(0020,000d) UI [1.2.826.0.1.3680043.9.7.{number}]
(0032,1032) PN [Requester^B]
(0032,1060) LO [{description}]
(0040,0100) SQ
(fffe,e000) -
(0008,0060) CS [CT]
(0040,0001) AE [CT1]
(0040,0002) DA [20261121]
(0040,0003) TM [101500]
(0040,0006) PN [Performer^C]
(0040,0007) LO [TMJ]
(0040,0009) SH [S-{number}]
(fffe,e00d) -
(fffe,e0dd) -
(0040,1001) SH [R-{number}]
(0040,1003) SH [ROUTINE]
"""
ORDERS = {
    1: ("ISO_IR 100", "Müller^Jürgen", "Kiefergelenk für TMJ", "latin-1"),
    2: ("ISO_IR 144", "Люкceмбypг", "Сустав", "iso8859_5"),
    3: (r"\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎", "顎関節", "iso2022_jp"),
    4: ("ISO_IR 192", "Žižka^Jan", "kloub čelisti", "utf-8"),
}
KEYS = [
    "0008,0005",
    "0008,0050",
    "0010,0010",
    "0010,0020",
    "0020,000d",
    "0032,1060",
    "0040,1001",
    *(f"0040,0100[0].{tag}" for tag in ("0008,0060", "0040,0001", "0040,0002", "0040,0003", "0040,0009")),
]


def write_orders(folder: Path, numbers: list[int]) -> None:
    """Write worklist files as wlmscpfs wants them."""
    need("dump2dcm")
    folder.mkdir(parents=True)
    for number in numbers:
        charset, name, description, encoding = ORDERS[number]
        dump = DUMP.format(charset=charset, name=name, description=description, accession=f"A{number}", number=number)
        source = folder / f"{number}.dump"
        source.write_bytes(dump.encode(encoding))
        subprocess.run(["dump2dcm", "-q", source, folder / f"{number}.wl"], check=True)
        source.unlink()
    (folder / "lockfile").touch()


@pytest.fixture(scope="module")
def wlmscpfs(loopback_only: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ris]:
    """dcmtk's worklist server with orders 1 to 3."""
    need("wlmscpfs")
    folder = tmp_path_factory.mktemp("wlmscpfs")
    write_orders(folder / "WLM", [1, 2, 3])
    port = free_port()
    environment = os.environ | {"TCP_NODELAY": "1"}
    with running(["wlmscpfs", "-csk", "-dfp", str(folder), str(port)], folder / "log", env=environment):
        ris = Ris(name="wlmscpfs", ae_title="WLM", host="127.0.0.1", port=port)
        wait_for(lambda: echoes(ris), 20, "wlmscpfs starts")
        yield ris


@pytest.fixture(scope="module")
def orthanc_worklist(loopback_only: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ris]:
    """Orthanc's worklist plugin with orders 3 and 4."""
    need("Orthanc")
    folder = tmp_path_factory.mktemp("worklists")
    write_orders(folder / "orders", [3, 4])
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "HttpPort": free_port(),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DefaultEncoding": "Utf8",
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowFindWorklist": True,
        "DicomModalities": {"negvol": {"AET": "NEGVOL", "Host": "127.0.0.1", "Port": 104}},
        "Plugins": [str(PLUGINS / "libModalityWorklists.so")],
        "Worklists": {"Enable": True, "Database": str(folder / "orders")},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    environment = os.environ | {"TCP_NODELAY": "1"}
    with running(["Orthanc", str(folder / "orthanc.json")], folder / "log", env=environment):
        ris = Ris(name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=port)
        wait_for(lambda: echoes(ris), 30, "Orthanc starts")
        yield ris


def echoes(ris: Ris) -> bool:
    command = ["echoscu", "-aet", "NEGVOL", "-aec", ris.ae_title, ris.host, str(ris.port)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def findscu(called: str, port: int, folder: Path, *keys: str, calling: str = "CT1") -> tuple[list[Path], str]:
    """Ask; return the answers as files and what findscu says."""
    need("findscu")
    folder.mkdir()
    command = ["findscu", "-v", "-W", "-X", "-od", str(folder), "-aet", calling, "-aec", called]
    for key in [*KEYS, *keys]:
        command += ["-k", key]
    done = subprocess.run(
        [*command, "127.0.0.1", str(port)],
        capture_output=True,
        check=False,
        env=os.environ | {"TCP_NODELAY": "1"},
        timeout=60,
    )
    return sorted(folder.iterdir()), (done.stdout + done.stderr).decode("utf-8", "replace")


class WorklistNode:
    """A node in this process that passes queries on."""

    def __init__(self, state: Path, *ris: Ris, **rules: object) -> None:
        here = Peer(ae_title="CT1", networks=(ip_network("127.0.0.0/8"),))
        node = Node(state=state, port=free_port())
        limits, worklist = Limits(min_free_bytes=0), Worklist(timeout_s=10, **rules)
        config = Config(node=node, peers=(here,), limits=limits, ris=ris, worklist=worklist)
        self.port, self.ledger = node.port, layout.open_ledger(state)
        self.listener = Listener(config, layout.open_inbox(config, self.ledger), lambda _arrival: None)
        self.listener.start()

    def close(self) -> None:
        self.listener.stop(1)
        self.ledger.close()


def names(files: list[Path]) -> set[str]:
    return {str(dcmread(path, force=True).PatientName) for path in files}


def values(path: Path) -> dict[str, bytes]:
    """Return the bytes of every value, items included."""

    def walk(ds: Dataset, prefix: str) -> None:
        for tag in ds.keys():  # noqa: SIM118 - items would decode the values
            raw = ds.get_item(tag)
            if raw.VR == "SQ" or tag == 0x00400100:
                for item in ds[tag].value:
                    walk(item, f"{prefix}{tag:08X}/")
            else:
                found[f"{prefix}{tag:08X}"] = raw.value

    found: dict[str, bytes] = {}
    walk(dcmread(path, force=True), "")
    return found


def test_every_answer_of_wlmscpfs_comes_through_with_its_bytes(wlmscpfs: Ris, tmp_path: Path) -> None:
    direct, _ = findscu("WLM", wlmscpfs.port, tmp_path / "direct")
    with closing(WorklistNode(tmp_path / "state", wlmscpfs)) as node:
        through, said = findscu("NEGVOL", node.port, tmp_path / "through")
    assert "Received Final Find Response (Success)" in said
    assert len(direct) == len(through) == 3
    assert [values(path) for path in through] == [values(path) for path in direct]
    texts = b"".join(values(path)["00100010"] for path in through)
    for number in (1, 2, 3):
        assert ORDERS[number][1].encode(ORDERS[number][3]) in texts


def test_both_are_merged_and_the_order_that_both_have_comes_once(
    wlmscpfs: Ris, orthanc_worklist: Ris, tmp_path: Path
) -> None:
    with closing(WorklistNode(tmp_path / "state", wlmscpfs, orthanc_worklist)) as node:
        found, said = findscu("NEGVOL", node.port, tmp_path / "through")
        assert "Received Final Find Response (Success)" in said
        accessions = sorted(str(dcmread(path, force=True).AccessionNumber) for path in found)
        assert accessions == ["A1", "A2", "A3", "A4"]
        assert {entry.ris for number in range(1, 5) for entry in node.ledger.orders.of_accession(f"A{number}")} == {
            "wlmscpfs",
            "orthanc",
        }
        narrow, _ = findscu("NEGVOL", node.port, tmp_path / "narrow", "0008,0050=A4")
    assert names(narrow) == {"Žižka^Jan"}


def test_a_ris_that_is_down_is_a_failure_or_is_stood_in_for_by_choice(wlmscpfs: Ris, tmp_path: Path) -> None:
    with closing(WorklistNode(tmp_path / "state", wlmscpfs, answer_from_kept=True)) as node:
        seen, _ = findscu("NEGVOL", node.port, tmp_path / "seen")
    down = wlmscpfs.model_copy(update={"port": free_port()})
    with closing(WorklistNode(tmp_path / "state", down)) as node:
        none, said = findscu("NEGVOL", node.port, tmp_path / "none")
    assert none == []
    assert re.search(r"Received Final Find Response \(Failed: UnableToProcess\)", said), said
    with closing(WorklistNode(tmp_path / "state", down, answer_from_kept=True)) as node:
        kept, said = findscu("NEGVOL", node.port, tmp_path / "kept", "0040,1400")
    assert "Received Final Find Response (Success)" in said
    assert names(kept) == names(seen)
    assert all("WORKLIST SERVER IS DOWN" in dcmread(path, force=True).RequestedProcedureComments for path in kept)


def test_a_modality_that_is_not_on_the_allow_list_is_rejected(wlmscpfs: Ris, tmp_path: Path) -> None:
    with closing(WorklistNode(tmp_path / "state", wlmscpfs)) as node:
        found, said = findscu("NEGVOL", node.port, tmp_path / "found", calling="STRANGER")
    assert found == []
    assert "Calling AE Title Not Recognized" in said
