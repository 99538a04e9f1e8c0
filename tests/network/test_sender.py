"""The store SCU against SCPs that accept, warn, refuse, vanish and are not there."""

import socket
import time
from contextlib import contextmanager

import pytest
from network_node import ct_slice, free_port, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
from structlog.testing import capture_logs

from negvol_pacs.config import Config, Destination, Limits
from negvol_pacs.errors import DeliveryFailed, DeliveryRefused, PeerUnreachable
from negvol_pacs.network.sender import echo, send, send_folder

CONFIG = Config(limits=Limits(association_timeout_s=2, network_timeout_s=2))


@contextmanager
def pacs(store=lambda _event: 0x0000, classes=(CTImageStorage, SegmentationStorage), syntax=ExplicitVRLittleEndian):
    """Run an SCP that answers as told; yield how to reach it and what it got."""
    received: list[Dataset] = []

    def handle(event):
        status = store(event)
        if status == 0x0000 or status in range(0xB000, 0xC000):
            ds = event.dataset
            ds.file_meta = event.file_meta
            received.append(ds)
        return status

    ae = AE("PACS")
    ae.add_supported_context(Verification)
    for uid in classes:
        ae.add_supported_context(uid, syntax)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    try:
        yield Destination(name="main PACS", ae_title="PACS", host="127.0.0.1", port=server.server_address[1]), received
    finally:
        server.shutdown()


def test_a_series_arrives_in_order_and_whole(tmp_path):
    paths = write_series(tmp_path / "series", 5)
    seen = []
    with pacs() as (destination, received):
        sent = send(paths, destination, CONFIG, on_sent=seen.append)
    assert [entry.sop_uid for entry in sent] == [dcmread(path).SOPInstanceUID for path in paths]
    assert seen == sent and {entry.status for entry in sent} == {0}
    assert [ds.PixelData for ds in received] == [dcmread(path).PixelData for path in paths]


def test_a_folder_is_sent_without_what_is_no_dicom(tmp_path):
    write_series(tmp_path / "series", 2)
    (tmp_path / "series" / "notes.txt").write_text("not DICOM" * 100)
    with pacs() as (destination, received):
        assert len(send_folder(tmp_path / "series", destination, CONFIG)) == len(received) == 2


def test_explicit_objects_go_to_a_peer_that_takes_only_implicit(tmp_path):
    paths = write_series(tmp_path / "series", 1)
    with pacs(syntax=ImplicitVRLittleEndian) as (destination, received):
        send(paths, destination, CONFIG)
    assert received[0].file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert received[0].PixelData == ct_slice(1).PixelData


@pytest.mark.parametrize("status", [0xB000, 0xB007, 0x0107, 0x0111])
def test_warnings_count_as_stored_and_are_logged(tmp_path, status):
    paths = write_series(tmp_path / "series", 1)
    with capture_logs() as logs, pacs(lambda _event: status) as (destination, _):
        assert send(paths, destination, CONFIG)[0].status == status
    assert {"event": "object-sent", "log_level": "warning", "status": f"{status:04X}"}.items() <= logs[-1].items()


@pytest.mark.parametrize(
    ("status", "error"),
    [(0xA700, DeliveryFailed), (0xA702, DeliveryFailed), (0x0110, DeliveryFailed),
     (0xA900, DeliveryRefused), (0xC000, DeliveryRefused), (0x0122, DeliveryRefused), (0x0124, DeliveryRefused)],
)  # fmt: skip
def test_failures_are_told_apart(tmp_path, status, error):
    paths = write_series(tmp_path / "series", 2)
    with pacs(lambda _event: status) as (destination, received), pytest.raises(error, match=f"main PACS.*{status:04X}"):
        send(paths, destination, CONFIG)
    assert received == []


def test_a_class_that_is_not_accepted_is_refused_by_name(tmp_path):
    ds = ct_slice()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = Comprehensive3DSRStorage
    ds.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    with pacs() as (destination, _), pytest.raises(DeliveryRefused, match="Comprehensive 3D SR Storage"):
        send([tmp_path / "sr.dcm"], destination, CONFIG)


def test_an_association_that_is_lost_in_the_middle_can_be_tried_again(tmp_path):
    paths = write_series(tmp_path / "series", 3)

    def vanish(event):
        if event.request.AffectedSOPInstanceUID.endswith(".2"):
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        return 0x0000

    with pacs(vanish) as (destination, _), pytest.raises(DeliveryFailed, match="lost"):
        send(paths, destination, CONFIG)


def test_a_peer_that_never_answers_is_given_up(tmp_path):
    paths = write_series(tmp_path / "series", 1)
    start = time.monotonic()
    with pacs(lambda _event: time.sleep(4) or 0x0000) as (destination, _), pytest.raises(DeliveryFailed):
        send(paths, destination, CONFIG)
    assert time.monotonic() - start < 8


def test_a_rejection_that_will_not_pass_needs_a_person():
    with pacs() as (destination, _):
        ae = AE("PICKY")
        ae.add_supported_context(Verification)
        ae.require_calling_aet = ["SOMEBODY"]
        server = ae.start_server(("127.0.0.1", 0), block=False)
        try:
            there = destination.model_copy(update={"port": server.server_address[1]})
            with pytest.raises(DeliveryRefused, match="alling AE"):
                echo(there, CONFIG)
        finally:
            server.shutdown()


def test_nobody_there_is_worth_another_try(tmp_path):
    nowhere = Destination(name="off", ae_title="PACS", host="127.0.0.1", port=free_port())
    with pytest.raises(PeerUnreachable, match="off"):
        send(write_series(tmp_path / "series", 1), nowhere, CONFIG)
    with pytest.raises(PeerUnreachable):
        echo(nowhere, CONFIG)
    with pytest.raises(PeerUnreachable):
        echo(nowhere.model_copy(update={"host": "no-such-host.invalid"}), CONFIG)


def test_a_silent_peer_is_worth_another_try():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = Destination(name="mute", ae_title="PACS", host="127.0.0.1", port=silent.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(PeerUnreachable):
            echo(there, CONFIG)
        assert time.monotonic() - start < 6


def test_echo_measures():
    with pacs() as (destination, _):
        assert 0 < echo(destination, CONFIG) < 2


def test_a_file_that_is_no_dicom_is_named(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    with pacs() as (destination, _), pytest.raises(DeliveryRefused, match=r"x\.dcm"):
        send([tmp_path / "x.dcm"], destination, CONFIG)
