"""A node's state with a study of each standing, made by the real ledger, and a server that shows it."""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import invented_reports
import requests
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from negvol_pacs.joint.findings import Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.storage.lifesigns import LifeSign
from negvol_pacs.storage.records import DeliveryState, Instance, Result, ResultKind, SeriesVerdict, State
from negvol_pacs.workflow import layout

ROOT = "1.2.826.0.1.3680043.8.498"
SCRIPT = "<script>a()//"  # fits into an accession number (SH)
SECRET = "DOE^JANE"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301"
    "0100c9fe92ef0000000049454e44ae426082"
)
CONFIG = """
[node]
state = "{state}"
[[destinations]]
name = "archive"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
[limits]
min_free_bytes = 0
[retention]
low_free_bytes = 0
[web]
port = {port}
"""


def uid(number):
    return f"{ROOT}.{number}"


class Books:
    """Enters studies into the ledger of a state folder, with the files that the pages read."""

    def __init__(self, folder):
        self.folder = folder
        self.ledger = layout.open_ledger(folder)
        self.inbox, self.outbox = folder / "inbox", layout.open_outbox(folder)

    def study(self, number, state=State.DONE, *, accession="A-1", code="", reason="", images=3):
        """Receive images and bring their generation to a state."""
        study = uid(number)
        series = invented_reports.head(study, accession=accession, slices=images)
        for header in series.headers:
            path = Path("objects") / str(number) / f"{header.SOPInstanceUID}.dcm"
            target = self.inbox / path
            target.parent.mkdir(parents=True, exist_ok=True)
            header.PatientName = SECRET
            header.file_meta = FileMetaDataset()
            header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            header.save_as(target, enforce_file_format=True)
            self.ledger.record_instance(
                Instance(
                    header.SOPInstanceUID, header.SeriesInstanceUID, study, CTImageStorage, "1.2.840.10008.1.2.1",
                    str(path), 1000, "ab" * 32, "ORTHANC", "NEGVOL", f"association {number}", time.time(),
                )
            )  # fmt: skip
        if state is not State.RECEIVING:
            self.ledger.set_state(study, 1, State.COMPLETE)
            self.ledger.set_state(study, 1, state, code=code, reason=reason)
        return series

    def measured(self, number, *deliveries, accession="A-1", error=""):
        """A study with a report and a picture, and its deliveries to archive in these states."""
        series = self.study(number, accession=accession)
        findings = invented_reports.invent(
            number,
            left_FW=invented_reports.missing(Quantity.FW),
            right_SJS=invented_reports.doubtful(Quantity.SJS, 0.4, QualityFlag.BONE_CONTACT),
        )
        report = invented_reports.report(series, findings)
        folder = self.outbox.folder(uid(number), 1)
        folder.mkdir(parents=True)
        report.save_as(folder / "sr.dcm")
        (folder / "joints.png").write_bytes(PNG)
        made = [(ResultKind.SR, report.SOPInstanceUID, "sr.dcm"), (ResultKind.PNG, "", "joints.png")]
        results = [
            Result(uid(number), 1, kind, sop, self.outbox.relative(folder / file), "f", (), time.time())
            for kind, sop, file in made
        ]
        self.ledger.record_results(results, ["archive"] if deliveries else [])
        self.ledger.record_verdicts([SeriesVerdict(uid(number), 1, f"{uid(number)}.1", True, "", "")])
        for state in deliveries:
            self.ledger.record_attempt(report.SOPInstanceUID, "archive", state, error, time.time() + 60)

    def close(self):
        self.ledger.close()


def every_standing(folder):
    """One study of each standing; returns the signs of life of receiver and worker."""
    with closing(Books(folder)) as state:
        state.study(1, State.RECEIVING, accession="R-1")
        state.study(2, State.COMPLETE, accession="W-2")
        state.study(3, State.PROCESSING, accession="C-3", reason="Measuring the joints (70%)")
        state.measured(4, DeliveryState.SENT, accession="D-4")
        state.measured(5, DeliveryState.CONFIRMED, accession=SCRIPT)
        state.measured(6, accession="K-6")
        state.study(7, State.REFUSED, accession="F-7", code="gantry-tilt", reason=f"The gantry was tilted {SCRIPT}.")
        state.study(8, State.FAILED, accession="P-8", code="incomplete", reason="2 images are missing.")
        state.measured(9, DeliveryState.NEEDS_PERSON, accession="P-9", error="refused: 0x0122")
        state.study(10, State.CANCELLED, accession="X-10")
        state.study(
            11, State.REFUSED, accession="O-11", code="order-mismatch",
            reason="The worklist's order with the images' accession number O-11 is for another patient.",
        )  # fmt: skip
    return LifeSign(folder, "receiver"), LifeSign(folder, "worker", "node-1", device="cpu", sha256="cd" * 32)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Site:
    """A running ``negvol web``."""

    process: subprocess.Popen
    config: Path
    state: Path
    log: Path
    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, path, **options):
        self.session.trust_env = False
        return self.session.get(self.url + path, timeout=60, **options)


@contextmanager
def served(folder, settings="", scheme="http", **environment):
    """Run ``negvol web`` on the state in ``folder / "state"`` until the block ends."""
    port, state, config, log = free_port(), folder / "state", folder / "config.toml", folder / "web.log"
    config.write_text(CONFIG.format(state=state, port=port) + settings)
    command = [sys.executable, "-m", "negvol_pacs", "web", "--config", str(config)]
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stderr=stream, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment)
    try:
        deadline = time.monotonic() + 120
        while "web-ready" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Site(process, config, state, log, f"{scheme}://127.0.0.1:{port}")
    finally:
        process.terminate()
        assert process.wait(20) == 0, log.read_text()
