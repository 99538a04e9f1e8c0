"""One series through a node whose processes are killed, restarted and watched until the PACS has everything."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from conftest import Orthanc
from pydicom import dcmread

from negvol_pacs.config import Config, Destination, Limits, load
from negvol_pacs.errors import NetworkError
from negvol_pacs.network.sender import Sent, send
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import DeliveryState, State
from negvol_pacs.training.ct_series import Scan, write_ct_series
from negvol_pacs.workflow import layout

STUDY, SLICES = "1.2.826.0.1.3680043.8.498.9", 3
ROLES = ("receiver", "worker")
PATIENCE_S, STILL_S = 60.0, 0.6
CONFIG = """
[node]
port = {pacs.node_port}
state = "{state}"
[[peers]]
ae_title = "MODALITY"
networks = ["127.0.0.0/8"]
[[destinations]]
name = "pacs"
ae_title = "{pacs.ae_title}"
host = "127.0.0.1"
port = {pacs.port}
[limits]
min_free_bytes = 0
[series]
quiet_period_s = 1.0
min_slices = {slices}
[delivery]
first_retry_s = 1.0
longest_retry_s = 1.0
confirm_within_s = 2.0
[log]
format = "json"
"""


@dataclass(frozen=True)
class Outcome:
    """What was left when nothing moved any more.

    Attributes
    ----------
    finished
        Whether the PACS has confirmed both results.
    killed
        How many processes were.
    exits
        Exit statuses of processes that ended otherwise.
    uids
        SOP Instance UIDs of the study at the PACS.
    lost
        Acknowledged instances that the node does not have, whole, in files and ledger.
    stored
        How often a result's data set went to the PACS.
    measured, generations
        How often the series was measured, and how many generations the study had.
    trace
        Names of the points, in their order.
    """

    finished: bool
    killed: int
    exits: tuple[int, ...]
    uids: frozenset[str]
    lost: frozenset[str]
    stored: int
    measured: int
    generations: int
    trace: tuple[str, ...]


class Forge:
    """Starts processes: see forge.py."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "STAND_IN_LOG": "segmented"}
        command = [sys.executable, str(Path(__file__).with_name("forge.py"))]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._server.stdout is not None and self._server.stdout.readline() == "ready\n"

    def ask(self, **request: object) -> int | None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        """End it, and every process with it."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(10)
        self._server.stdout.close()


class Killable:
    """A node whose processes die at points, and are started again as a service manager would."""

    def __init__(self, forge: Forge, folder: Path, pacs: Orthanc, deadly: Mapping[str, bool]) -> None:
        self._forge, self._folder, self._deadly = forge, folder, dict(deadly)
        self.state, self.trace = folder / "state", folder / "trace.txt"
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(pacs=pacs, state=self.state, slices=SLICES))
        self.killed, self.exits = 0, list[int]()
        self._pids: dict[str, int] = {}
        for role in ROLES:
            self._start(role)

    def _start(self, role: str) -> None:
        other = self._pid_file(ROLES[1 - ROLES.index(role)])
        pid = self._forge.ask(
            start={
                "role": role, "config": str(self.config), "log": str(self._folder / "node.log"),
                "trace": str(self.trace), "deadly": self._deadly, "other": str(other),
            }
        )  # fmt: skip
        assert pid is not None
        self._pids[role] = pid
        self._pid_file(role).write_text(str(pid))

    def _pid_file(self, role: str) -> Path:
        return self._folder / f"{role}.pid"

    def revive(self) -> None:
        """Start again what was killed; each point kills once."""
        for role, pid in list(self._pids.items()):
            status = self._forge.ask(ended=pid)
            if status is None:
                continue
            if status == -signal.SIGKILL:
                self.killed += 1
            else:
                self.exits.append(status)
            passed = set(self.names())
            self._deadly = {name: both for name, both in self._deadly.items() if name not in passed}
            self._start(role)

    def names(self) -> list[str]:
        return self.trace.read_text().splitlines() if self.trace.exists() else []

    def stop(self) -> None:
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
            while self._forge.ask(ended=pid) is None:
                time.sleep(0.01)


def write_series(folder: Path) -> list[Path]:
    array = np.random.default_rng(1).integers(-1000, 1500, (SLICES, 48, 48)).astype(np.int16)
    volume = hd.Volume(array, np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]], "PATIENT")
    return write_ct_series(volume, folder, Scan(study_instance_uid=STUDY))


def run(
    forge: Forge, folder: Path, pacs: Orthanc, files: Sequence[Path], deadly: Mapping[str, bool] | None = None
) -> Outcome:
    """Send the series, again and again what was not acknowledged, and wait until the PACS has confirmed the results.

    Parameters
    ----------
    deadly
        Points at which a process is killed, each once, and whether the other one dies at the same moment.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pacs.forget(STUDY)
    with _node(forge, folder, pacs, deadly or {}) as node:
        acknowledged = _send(node, files, pacs.node_port)
        config = load(node.config)
        with closing(layout.open_ledger(node.state)) as ledger:
            finished = _settle(node, ledger)
            inbox = layout.open_inbox(config, ledger)
            generations = len(ledger.generations(STUDY))
            known = {entry.sop_uid for entry in ledger.instances(STUDY) if inbox.is_whole(entry)}
    names = node.names()
    return Outcome(
        finished,
        node.killed,
        tuple(node.exits),
        pacs.uids(STUDY),
        frozenset(acknowledged - known),
        sum(" before | send C-STORE-RQ, data set " in name for name in names),
        (folder / "node.log").read_text().count('"Outlining"'),
        generations,
        tuple(names),
    )


def _settle(node: Killable, ledger: Ledger) -> bool:
    """Wait until both results are delivered and no point has been passed for a while."""
    deadline, passed, since = time.monotonic() + PATIENCE_S, -1, 0.0
    while (now := time.monotonic()) < deadline:
        node.revive()
        if (names := len(node.names())) != passed:
            passed, since = names, now
        done = ledger.generations(STUDY, [State.DONE]) and len(ledger.deliveries(STUDY, [DeliveryState.CONFIRMED])) == 2
        if done and now - since > STILL_S:
            return True
        time.sleep(0.1)
    return False


@contextmanager
def _node(forge: Forge, folder: Path, pacs: Orthanc, deadly: Mapping[str, bool]) -> Iterator[Killable]:
    node = Killable(forge, folder, pacs, deadly)
    try:
        yield node
    finally:
        node.stop()


def _send(node: Killable, files: Sequence[Path], port: int) -> set[str]:
    """Send as a modality does; what was acknowledged is never sent again."""
    there = Destination(name="node", ae_title="NEGVOL", host="127.0.0.1", port=port, calling_ae_title="MODALITY")
    patience = Config(limits=Limits(network_timeout_s=10, association_timeout_s=10))
    left = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in files}
    acknowledged: set[str] = set()

    def taken(sent: Sent) -> None:
        assert sent.status == 0x0000
        acknowledged.add(sent.sop_uid)
        del left[sent.sop_uid]

    deadline = time.monotonic() + PATIENCE_S
    while left:
        node.revive()
        try:
            send(list(left.values()), there, patience, taken)
        except NetworkError as error:
            assert time.monotonic() < deadline, error
            time.sleep(0.05)
    return acknowledged
