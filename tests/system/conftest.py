"""Real peers on loopback, in a network namespace of their own.

Orthanc 1.10 and dcmtk's servers listen on every address, so the whole test process moves into
a namespace that has nothing but loopback before it starts one, and leaves it afterwards.
"""

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from forged_node import Forge
from peers import PLUGINS, Orthanc, answers, free_port, need, running, wait_for

_CLONE_NEWNET = 0x40000000


@pytest.fixture(scope="module", autouse=True)
def loopback_only() -> Iterator[None]:
    """Give this module's peers a network of their own; set NEGVOL_OPEN_PEERS=1 where that is forbidden."""
    if os.environ.get("NEGVOL_OPEN_PEERS"):
        yield
        return
    need("ip")
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            pytest.skip(f"no network namespace ({reason}): run as root, or set NEGVOL_OPEN_PEERS=1 in a container")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
        libc.setns(outside, _CLONE_NEWNET)
    finally:
        os.close(outside)


@pytest.fixture(scope="module")
def orthanc(loopback_only: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc with DICOMweb, which knows the node as NEGVOL on ``node_port``."""
    need("Orthanc")
    if not (PLUGINS / "libOrthancDicomWeb.so").exists():
        pytest.skip("orthanc-dicomweb is not installed (see deploy/test.sh)")
    folder = tmp_path_factory.mktemp("orthanc")
    pacs = Orthanc("ORTHANC", free_port(), free_port(), free_port(), folder / "orthanc.log")
    settings = {
        "Name": "PACS of the tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": pacs.http_port,
        "DicomAet": pacs.ae_title,
        "DicomPort": pacs.port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "UnknownSopClassAccepted": True,
        "MaximumPduLength": 131072,
        "DicomModalities": {
            "negvol": {"AET": "NEGVOL", "Host": "127.0.0.1", "Port": pacs.node_port},
            "scanner": {"AET": "STORESCU", "Host": "127.0.0.1", "Port": 104},
        },
        "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so"), str(PLUGINS / "libOrthancGdcm.so")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    environment = os.environ | {"TCP_NODELAY": "1"}  # else dcmtk's servers wait 45 ms an instance
    with running(["Orthanc", str(folder / "orthanc.json")], pacs.log, env=environment):
        wait_for(lambda: answers(f"{pacs.url}/system"), 30, "Orthanc starts")
        yield pacs


@pytest.fixture(scope="module")
def forge(loopback_only: None) -> Iterator[Forge]:
    """Start processes of a node quickly, in the module's network."""
    forge = Forge()
    yield forge
    forge.close()
