"""kill -9 of a receiving process: every acknowledged instance survives, nothing half-written does."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from network_node import RunningNode, ct_slice, free_port, write_series
from pydicom import dcmread

from negvol_pacs.config import Config, Destination, Limits
from negvol_pacs.errors import DeliveryFailed
from negvol_pacs.network.sender import send
from negvol_pacs.storage.inbox import Inbox
from negvol_pacs.storage.ledger import Ledger

CONFIG = Config(limits=Limits(association_timeout_s=30, network_timeout_s=60))

RECEIVER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import network_node
network_node.free_port = lambda: int(sys.argv[3])
node = network_node.RunningNode(Path(sys.argv[2]), network_timeout_s=60)
print("ready", flush=True)
time.sleep(120)
"""


class Receiver:
    """A receiver in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [sys.executable, "-c", RECEIVER, str(Path(__file__).parent), str(folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while "ready" not in (line := self.process.stdout.readline()):
            assert line, "the receiver did not start"
        self._drain = threading.Thread(target=self.process.stdout.read, daemon=True)
        self._drain.start()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._drain.join()
        self.process.stdout.close()


def send_until_dead(port: int, slices: list[Path], acknowledged: list[str]) -> None:
    there = Destination(name="node", ae_title="NEGVOL", host="127.0.0.1", port=port, calling_ae_title="TESTER")
    with contextlib.suppress(DeliveryFailed):
        send(slices, there, CONFIG, on_sent=lambda sent: acknowledged.append(sent.sop_uid))


@pytest.mark.parametrize("delay", [0.03, 0.31])
def test_killed_in_the_middle_of_transfers(tmp_path, delay):
    receiver = Receiver(tmp_path)
    acknowledged: list[str] = []
    studies = [f"1.2.826.0.1.3680043.9.{number}" for number in (1, 2)]
    batches = [write_series(tmp_path / study, 60, study=study, size=192) for study in studies]
    senders = [
        threading.Thread(target=send_until_dead, args=(receiver.port, batch, acknowledged), daemon=True)
        for batch in batches
    ]
    for sender in senders:
        sender.start()
    while not acknowledged:
        time.sleep(0.005)
    time.sleep(delay)
    receiver.kill()
    for sender in senders:
        sender.join(60)
        assert not sender.is_alive()
    assert 0 < len(acknowledged) < 120

    node = RunningNode(tmp_path, network_timeout_s=60)
    assert not list((tmp_path / "inbox" / "incoming").iterdir()), "half-received files are swept"
    sent = {(ds := dcmread(path)).SOPInstanceUID: ds for batch in batches for path in batch}
    for uid in acknowledged:
        instance = node.ledger.find_instance(uid)
        assert instance is not None, "acknowledged, but not in the ledger"
        assert dcmread(node.inbox.path(instance)).PixelData == sent[uid].PixelData
    for study in studies:
        assert node.ledger.complete_if_quiet(study, 0) is not None, "its association has ended with the process"
    again: list[str] = []
    for batch in batches:
        send_until_dead(node.address[1], batch, again)
    assert len(again) == 120
    files = [path for path in node.files if path.suffix == ".dcm"]
    assert len(files) == len({i.path for s in studies for i in node.ledger.instances(s)}) == 120
    node.close()


POINTS = ["os.fsync", "durable.move", "durable.sync", "ledger.record_instance", "after"]

DYING = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pydicom
from negvol_pacs.storage import durable
from negvol_pacs.storage import inbox as module
from negvol_pacs.storage.ledger import Ledger

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

root, point = Path(sys.argv[2]), sys.argv[3]
ledger = Ledger(f"sqlite:///{root}/ledger.db")
inbox = module.Inbox(root / "inbox", ledger, 0)
from network_node import ct_slice
from pynetdicom.dsutils import encode
ds = ct_slice()
origin = module.Origin("a", "TESTER", "NEGVOL", "node-1")
incoming = inbox.receive(origin, ds.SOPClassUID, ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID)
incoming.write(encode(ds, False, True))
if point == "os.fsync": module.os.fsync = die
elif point == "durable.move": durable.move = die
elif point == "durable.sync": durable.sync = die
elif point == "ledger.record_instance": ledger.record_instance = die
inbox.commit(incoming)
print("acknowledged", flush=True)
die()
"""


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_of_storing(tmp_path, point):
    command = [sys.executable, "-c", DYING, str(Path(__file__).parent), str(tmp_path), point]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert ("acknowledged" in died.stdout) == (point == "after")
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    inbox = Inbox(tmp_path / "inbox", ledger, 0)
    inbox.recover("node-1")
    known = ledger.find_instance(ct_slice().SOPInstanceUID)
    # A whole file that was not acknowledged is entered at the restart.
    assert (known is not None) == (point in ("ledger.record_instance", "after"))
    if known is not None:
        assert dcmread(inbox.path(known)).PixelData == ct_slice().PixelData
    ledger.close()
    node = RunningNode(tmp_path, network_timeout_s=60)
    acknowledged: list[str] = []
    send_until_dead(node.address[1], write_series(tmp_path / "series", 1), acknowledged)
    assert len(acknowledged) == 1
    assert len([path for path in node.files if path.suffix in {".dcm", ".part"}]) == 1
    node.close()
