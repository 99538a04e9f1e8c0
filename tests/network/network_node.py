"""A running node, and CT slices to send to it."""

import socket
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from negvol_pacs.config import Config, Limits, Node, Peer, Tls
from negvol_pacs.network.listener import Listener
from negvol_pacs.network.sender import echo
from negvol_pacs.storage.inbox import Inbox
from negvol_pacs.storage.ledger import Ledger

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_config(folder: Path, tls: Tls | None = None, certificates: tuple[str, ...] = (), **limits: Any) -> Config:
    bounds = {"association_timeout_s": 2, "network_timeout_s": 5, "min_free_bytes": 0, **limits}
    return Config(
        node=Node(state=folder, port=free_port(), tls=tls),
        peers=(Peer(ae_title="TESTER", networks=LOOPBACK, certificates=certificates),),
        limits=Limits(**bounds),
    )


class RunningNode:
    """A listener with its inbox, and what it reported."""

    def __init__(self, folder: Path, config: Config | None = None, **limits: Any) -> None:
        self.config = config or make_config(folder, **limits)
        self.folder = folder
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        self.inbox = Inbox(folder / "inbox", self.ledger, self.config.limits.min_free_bytes)
        self.arrivals: list[Any] = []
        self.ends: list[Any] = []
        self.listener = Listener(self.config, self.inbox, self.arrivals.append, self.ends.append)
        self.listener.start()

    @property
    def address(self) -> tuple[str, int]:
        return self.listener.address

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "inbox").rglob("*") if path.is_file())

    def associate(self, *contexts: Any, **options: Any) -> Any:
        ae = AE("TESTER")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
        for context in contexts:
            ae.add_requested_context(*context)
        return ae.associate(*self.address, ae_title="NEGVOL", **options)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)

    def answers_echo(self) -> bool:
        from negvol_pacs.config import Destination

        host, port = self.address
        here = Destination(name="node", ae_title="NEGVOL", host=host, port=port, calling_ae_title="TESTER")
        return echo(here, self.config) < 5

    def wait_until_idle(self, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while self.listener.connections:
            assert time.monotonic() < deadline, "an association never ended"
            time.sleep(0.02)

    def close(self) -> None:
        self.listener.stop(1)
        self.ledger.close()


def ct_slice(number: int = 1, study: str = "1.2.826.0.1.3680043.9.1", size: int = 64) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{study}.2.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.2"
    ds.PatientName, ds.PatientID, ds.Modality = "DOE^JANE", "4711", "CT"
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=[study])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.5, 0.5], 1
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = 0, 1
    pixels = np.random.default_rng(number).integers(-1000, 1000, (size, size), np.int16)
    ds.PixelData = pixels.tobytes()
    return ds


def write_series(folder: Path, count: int, **options: Any) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(1, count + 1):
        paths.append(folder / f"{number:04}.dcm")
        ct_slice(number, **options).save_as(paths[-1], enforce_file_format=True)
    return paths
