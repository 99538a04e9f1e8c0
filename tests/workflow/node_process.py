"""A node of real processes, and a PACS that counts what it gets."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt

from negvol_pacs.config import Config, Destination, Limits
from negvol_pacs.errors import NetworkError
from negvol_pacs.network.sender import send_folder
from negvol_pacs.storage.records import State
from negvol_pacs.workflow import layout

STAND_IN = Path(__file__).with_name("stand_in.py")
CONFIG = """
[node]
port = {port}
state = "{state}"
[[peers]]
ae_title = "MODALITY"
networks = ["127.0.0.1/32"]
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
[limits]
min_free_bytes = 0
[series]
quiet_period_s = 1.0
[delivery]
first_retry_s = 1.0
longest_retry_s = 2.0
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, timeout_s=120, what="condition"):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come in {timeout_s} s"
        time.sleep(0.1)
    return found


class Pacs:
    """A storage SCP that keeps every data set, also those that come twice."""

    def __init__(self):
        self.port, self.stored, self.server = free_port(), [], None

    def start(self):
        ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax)
        handlers = [(evt.EVT_C_STORE, self.store)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self):
        if self.server is not None:
            self.server.shutdown()
            self.server = None

    def store(self, event):
        self.stored.append(event.dataset)
        return 0x0000

    @property
    def modalities(self):
        return sorted(str(dataset.Modality) for dataset in self.stored)


class Node:
    """Config, state and processes of a node; the worker's networks are those of stand_in.py."""

    def __init__(self, folder, pacs_port):
        self.folder, self.state, self.port = folder, folder / "state", free_port()
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(port=self.port, state=self.state, pacs_port=pacs_port))
        self.log, self.segmented = folder / "node.log", folder / "segmented.txt"
        self.segmented.touch()
        self.running = {}
        self._ledger = None

    def start(self, only, **environment):
        program = [str(STAND_IN)] if only == "worker" else ["-m", "negvol_pacs"]
        command = [sys.executable, *program, "serve", "--only", only, "--config", str(self.config)]
        with self.log.open("ab") as stream:
            self.running[only] = subprocess.Popen(
                command,
                stderr=stream,
                env=os.environ | {"STAND_IN_LOG": str(self.segmented), "OMP_NUM_THREADS": "1"} | environment,
            )

    def kill(self, only, number=signal.SIGKILL):
        process = self.running.pop(only)
        process.send_signal(number)
        return process.wait(timeout=60)

    def stop(self):
        for only in list(self.running):
            self.kill(only)

    def listening(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def send(self, folder, called="NEGVOL"):
        until(self.listening, what="receiver")
        node = Destination(name="node", ae_title=called, host="127.0.0.1", port=self.port, calling_ae_title="MODALITY")
        patience = Config(limits=Limits(network_timeout_s=20))
        for last_try in (False, False, True):
            try:
                send_folder(folder, node, patience)
                return
            except NetworkError:  # a busy machine; what came already is taken again without harm
                if last_try:
                    raise

    @property
    def ledger(self):
        if self._ledger is None:
            self._ledger = layout.open_ledger(self.state)
        return self._ledger

    def wait_for(self, state, study=None, number=None, timeout_s=120):
        def reached():
            return [g for g in self.ledger.generations(study, states=[State(state)]) if number in (None, g.number)]

        return until(reached, timeout_s, f"state {state}")[0]

    def segmentations(self):
        return self.segmented.read_text().split()

    def cli(self, *arguments):
        command = [sys.executable, "-m", "negvol_pacs", *arguments]
        environment = os.environ | {"NEGVOL_CONFIG": str(self.config), "COLUMNS": "400"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
