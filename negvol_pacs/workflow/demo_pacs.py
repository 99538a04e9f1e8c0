"""What stands for the PACS in the demo: Orthanc where it can run on loopback alone, else a small storage SCP."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Protocol

from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

from negvol_pacs.workflow import process

AE_TITLE = "DEMOPACS"
_ALONE = "NEGVOL_DEMO_ALONE"
_START_S = 30.0


class Pacs(Protocol):
    """A PACS that got results."""

    name: str
    port: int
    folder: Path

    def received(self) -> dict[str, Path]:
        """Return the files of what came, by modality."""

    def close(self) -> None:
        """Stop it."""


def free_port() -> int:
    """Return a port of loopback that nobody listens to now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def open_pacs(folder: Path, state: Path) -> Pacs:
    """Start Orthanc when this process is alone in its network; else, or if it does not start, the small SCP.

    Parameters
    ----------
    folder
        Where what comes is put.
    state
        What only the demo needs.
    """
    if _ALONE in os.environ:
        with contextlib.suppress(OSError):
            return Orthanc(folder, state)
    return StorageScp(folder)


def run_alone() -> None:
    """Start this program again in a network namespace of its own, if Orthanc is here and that is permitted.

    Orthanc listens on every address whatever its configuration says; where there is only
    loopback, that is loopback. Returns when it cannot be done or has been done.
    """
    if _ALONE in os.environ:
        _raise_loopback()
        return
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--"]
    if sys.platform != "linux" or not shutil.which("Orthanc") or not shutil.which("unshare"):
        return
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
        os.environ[_ALONE] = "1"
        sys.stdout.flush()
        os.execvp("unshare", [*unshare, sys.executable, "-m", "negvol_pacs", *sys.argv[1:]])


def _raise_loopback() -> None:
    """``ip link set lo up``, without the program ``ip`` (netdevice(7): SIOCSIFFLAGS, IFF_UP and IFF_RUNNING)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, 0x8914, struct.pack("16sH14x", b"lo", 0x41))


class StorageScp:
    """A storage SCP on loopback that keeps what it gets."""

    name = "storage SCP"

    def __init__(self, folder: Path) -> None:
        self.folder, self._received = folder, dict[str, Path]()
        ae = AE(ae_title=AE_TITLE)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port: int = self._server.socket.getsockname()[1]

    def received(self) -> dict[str, Path]:
        """Return the files of what came, by modality."""
        return dict(self._received)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _store(self, event: Event) -> int:
        dataset: Dataset = event.dataset
        dataset.file_meta = event.file_meta
        modality = str(dataset.Modality)
        path = self.folder / f"{modality}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        self._received[modality] = path
        return 0x0000


class Orthanc:
    """Orthanc on loopback; what came is read back through its REST API."""

    name = "Orthanc"

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder, self._received = folder, dict[str, Path]()
        self.port, http = free_port(), free_port()
        self._url = f"http://127.0.0.1:{http}"
        (state / "orthanc").mkdir()
        settings = {
            "Name": "negvol demo",
            "StorageDirectory": str(state / "orthanc"),
            "IndexDirectory": str(state / "orthanc"),
            "DicomAet": AE_TITLE,
            "DicomPort": self.port,
            "HttpPort": http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "Plugins": [],
        }
        (state / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
        with (folder / "orthanc.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["Orthanc", str(state / "orthanc.json")],
                stdout=log,
                stderr=log,
                env=process.environment() | {"TCP_NODELAY": "1"},
            )
        self._wait()

    def received(self) -> dict[str, Path]:
        """Return the files of what came, by modality."""
        known = {path.stem for path in self._received.values()}
        for identifier in json.loads(self._get("/instances")):
            tags = json.loads(self._get(f"/instances/{identifier}/simplified-tags"))
            if tags["Modality"] not in known:
                path = self.folder / f"{tags['Modality']}.dcm"
                path.write_bytes(self._get(f"/instances/{identifier}/file"))
                self._received[tags["Modality"]] = path
        return dict(self._received)

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self._get("/system")
            except OSError:
                if time.monotonic() > deadline:
                    self.close()
                    raise
                time.sleep(0.2)
            else:
                return

    def _get(self, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self._url + path, timeout=30) as answer:
            return bytes(answer.read())
