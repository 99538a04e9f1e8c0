"""A disk that is really full, a small tmpfs: told to the sender, nothing acknowledged lost, no hand needed later."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from forged_node import Forge, ForgedNode
from kill_points import fill
from kill_run import SLICES, STUDY, resumed, run, table, write_series
from node_settings import node_settings
from peers import Orthanc, free_port, wait_for
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from negvol_pacs.config import load
from negvol_pacs.storage.records import State
from negvol_pacs.workflow import layout

pytestmark = pytest.mark.system

MIB = 1 << 20
TABLE = os.environ.get("NEGVOL_FULL_DISK_TABLE")


class Disk:
    """A small file system, and something that fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ballast = folder, folder / "ballast"

    def fill(self) -> None:
        fill(self.ballast)

    def free(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[tuple[Disk, Disk]]:
    """Disks of 8 MiB for the state and for what was received."""
    with mounted(tmp_path / "state", tmp_path / "state" / "inbox") as (state, inbox):
        yield state, inbox


@contextmanager
def mounted(*paths: Path) -> Iterator[list[Disk]]:
    with ExitStack() as mounted:
        for path in paths:
            path.mkdir(exist_ok=True)
            command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("no tmpfs can be mounted: run as root")
            mounted.callback(subprocess.run, ["umount", "--lazy", str(path)], check=True)
        yield [Disk(path) for path in paths]


@pytest.fixture
def node(forge: Forge, disks: tuple[Disk, Disk], tmp_path: Path) -> Iterator[ForgedNode]:
    rules = {"limits": {"min_free_bytes": MIB}, "series": {"quiet_period_s": 1.0, "min_slices": SLICES}}
    settings = node_settings(tmp_path / "state", free_port(), ["MODALITY"], **rules)
    with closing(ForgedNode(forge, tmp_path, settings, STAND_IN_SECONDS="1")) as node:
        wait_for(lambda: node.logged("receiver-ready"), 60, "the receiver is ready")
        yield node


def associate(node: ForgedNode) -> Association:
    ae = AE("MODALITY")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    return ae.associate("127.0.0.1", load(node.config).node.port, ae_title="NEGVOL")


def kept(node: ForgedNode) -> set[str]:
    config = load(node.config)
    with closing(layout.open_ledger(config.node.state)) as ledger:
        inbox = layout.open_inbox(config, ledger)
        return {entry.sop_uid for entry in ledger.instances(STUDY) if inbox.is_whole(entry)}


@pytest.mark.parametrize("full", ["inbox", "database"])
def test_full_while_receiving(node: ForgedNode, disks: tuple[Disk, Disk], tmp_path: Path, full: str) -> None:
    state, inbox = disks
    slices = [dcmread(path) for path in write_series(tmp_path / "ct")]
    assoc = associate(node)
    assert assoc.send_c_store(slices[0]).Status == 0x0000
    disk = inbox if full == "inbox" else state
    disk.fill()
    assert {assoc.send_c_store(ds).Status for ds in slices[1:]} == {0xA700}
    if full == "inbox":  # below the watermark
        rejected = associate(node).acceptor.primitive
        assert (rejected.result, rejected.result_source, rejected.diagnostic) == (2, 3, 1)
    disk.free()
    assert {assoc.send_c_store(ds).Status for ds in slices[1:]} == {0x0000}
    assoc.release()
    assert kept(node) == {ds.SOPInstanceUID for ds in slices}
    assert not list((tmp_path / "state" / "inbox" / "incoming").iterdir())


def test_full_while_computing(node: ForgedNode, disks: tuple[Disk, Disk], tmp_path: Path) -> None:
    assoc = associate(node)
    for path in write_series(tmp_path / "ct"):
        assert assoc.send_c_store(dcmread(path)).Status == 0x0000
    assoc.release()
    segmented = tmp_path / "segmented.txt"
    wait_for(lambda: segmented.exists() and segmented.read_text() == "begin\n", 60, "the segmentation begins")
    disks[0].fill()

    def waits() -> bool:
        node.revive()
        return node.logged("worker-disk-full") > 0

    wait_for(waits, 60, "the worker ends and its successor waits for space")
    assert set(node.exits) == {74}
    disks[0].free()
    config = load(node.config)
    with closing(layout.open_ledger(config.node.state)) as ledger:

        def done() -> bool:
            node.revive()
            return bool(ledger.generations(STUDY, [State.DONE]))

        wait_for(done, 60, "the study is measured")
        outbox = layout.open_outbox(config.node.state)
        made = {result.kind: outbox.path(result.path) for result in ledger.results(STUDY)}
        assert len(ledger.generations(STUDY)) == 1
    assert {str(dcmread(made[kind]).Modality) for kind in ("SEG", "SR")} == {"SEG", "SR"}


class Relieved(ForgedNode):
    """Somebody makes space two seconds after the disk is full."""

    def revive(self) -> None:
        ballast = load(self.config).node.state.parent / "ballast"
        if ballast.exists() and time.time() - ballast.stat().st_mtime > 2:
            ballast.unlink()
        super().revive()


@pytest.mark.skipif(TABLE is None, reason="takes long: set NEGVOL_FULL_DISK_TABLE to the file to write")
@pytest.mark.timeout(4 * 3600)
def test_full_at_every_point(forge: Forge, orthanc: Orthanc, tmp_path: Path) -> None:
    """The disk is full from a point on, for two seconds: each run of its own."""
    files = write_series(tmp_path / "ct")
    undisturbed = run(forge, tmp_path / "node", orthanc, files)
    outcomes = {}
    with mounted(tmp_path / "disk") as (disk,):
        for name in undisturbed.trace:
            if "| before |" in name and "| send" not in name:
                full, state = {name: str(disk.ballast)}, disk.folder / "state"
                make = partial(run, state=state, kind=Relieved, least=MIB)
                make = partial(make, forge, tmp_path / "node", orthanc, files, full)
                outcomes[name, "full"] = resumed(Path(f"{TABLE}.jsonl"), name, "full", make)
                Path(str(TABLE)).write_text(table(outcomes, undisturbed), encoding="utf-8")
    for outcome in outcomes.values():
        assert (outcome.finished, outcome.lost, outcome.uids) == (True, frozenset(), undisturbed.uids)
