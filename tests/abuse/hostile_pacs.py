"""A PACS that answers what it likes to C-FIND, C-GET and C-MOVE."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from typing import Any

from network_node import free_port
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from negvol_pacs.config import Destination


def report(sop_uid: str = "1.2.3", **attributes: Any) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = Comprehensive3DSRStorage, sop_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality, ds.PatientID = "1.2", "1.2.1", "SR", "4711"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def match() -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID, ds.SeriesInstanceUID = "SERIES", "1.2", "1.2.1"
    return ds


@contextmanager
def pacs(
    *objects: Dataset, matches: Callable[[], Iterator[Dataset]] = lambda: iter([match()]), moves_to: int = 0
) -> Iterator[Destination]:
    """Run one; with ``moves_to`` it offers C-MOVE to that port in place of C-GET."""

    def find(_event: evt.Event) -> Iterator[Any]:
        for found in matches():
            yield 0xFF00, found
        yield 0x0000, None

    def get(_event: evt.Event) -> Iterator[Any]:
        yield len(objects)
        for found in objects:
            yield 0xFF00, found

    def move(_event: evt.Event) -> Iterator[Any]:
        yield "127.0.0.1", moves_to
        yield len(objects)
        for found in objects:
            yield 0xFF00, found

    ae, port = AE("PACS"), free_port()
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    handlers: list[Any] = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get), (evt.EVT_C_MOVE, move)]
    if moves_to:
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
        ae.add_requested_context(Comprehensive3DSRStorage, ExplicitVRLittleEndian)
    else:
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        ae.add_supported_context(Comprehensive3DSRStorage, scu_role=True, scp_role=True)
    server = ae.make_server(("127.0.0.1", port), evt_handlers=handlers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Destination(
            name="pacs", ae_title="PACS", host="127.0.0.1", port=port, move_port=moves_to or None,
            move_ae_title="NEGVOL" if moves_to else None,
        )  # fmt: skip
    finally:
        BaseServer.shutdown(server)
        server.server_close()
        thread.join()
        for assoc in server.active_associations:
            assoc.abort()


def is_open(port: int, address: str = "127.0.0.1") -> bool:
    """Tell whether a connection from an address is listened to: it stays open for a moment."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.3, source_address=(address, 0)) as connection:
            return bool(connection.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False
