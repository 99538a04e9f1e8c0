"""A workflow manager hears of a result when the archive has confirmed it, not before, and until it has taken it."""

from contextlib import closing

import pytest
from archive import RESULT, STUDY, sr
from node_process import free_port
from pynetdicom import AE, evt
from pynetdicom.sop_class import InstanceAvailabilityNotification

from negvol_pacs.config import Config, Destination, Limits, Node
from negvol_pacs.storage.records import DeliveryState, Result, ResultKind
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.delivery import Deliveries


class Manager:
    """Takes notifications, with the status that it is told to answer."""

    def __init__(self):
        self.port, self.told, self.status = free_port(), [], 0x0000
        ae = AE("MANAGER")
        ae.add_supported_context(InstanceAvailabilityNotification)
        handlers = [(evt.EVT_N_CREATE, self.take)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def take(self, event):
        self.told.append(event.attribute_list)
        return self.status, None

    def close(self):
        self.server.shutdown()


class Telling:
    def __init__(self, folder, manager, *names):
        archive = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
        to = Destination(name="manager", kind="availability", ae_title="MANAGER", host="127.0.0.1", port=manager.port)
        limits = Limits(min_free_bytes=0, association_timeout_s=5, network_timeout_s=5)
        config = Config(node=Node(state=folder), destinations=(archive, to), limits=limits)
        self.ledger, outbox = layout.open_ledger(folder), layout.open_outbox(folder)
        path = outbox.folder(STUDY, 1) / "sr.dcm"
        path.parent.mkdir(parents=True)
        sr().save_as(path, enforce_file_format=True)
        self.ledger.record_results(
            [Result(STUDY, 1, ResultKind.SR, RESULT, outbox.relative(path), "f", (), 0.0)], names
        )
        self.deliveries = Deliveries(config, self.ledger, outbox)

    def deliver(self):
        return self.deliveries.deliver(STUDY, RESULT, "manager")

    @property
    def entry(self):
        return next(item for item in self.ledger.deliveries() if item.destination == "manager")

    def close(self):
        self.ledger.close()


@pytest.fixture
def manager():
    with closing(Manager()) as manager:
        yield manager


def test_told_once_and_only_when_the_archive_has_confirmed(tmp_path, manager):
    with closing(Telling(tmp_path, manager, "pacs", "manager")) as node:
        assert node.deliver() == 5.0
        assert (manager.told, node.entry.state, node.entry.attempts) == ([], DeliveryState.PENDING, 0)
        node.ledger.commitments.confirm(RESULT, "pacs")
        assert node.deliver() is None and node.deliver() is None
        assert node.entry.state is DeliveryState.CONFIRMED
    (ds,) = manager.told
    (series,) = ds.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert (ds.StudyInstanceUID, series.SeriesInstanceUID) == (STUDY, sr().SeriesInstanceUID)
    assert (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID) == (sr().SOPClassUID, RESULT)
    assert (instance.InstanceAvailability, instance.RetrieveAETitle) == ("ONLINE", "PACS")
    assert len(ds.ReferencedPerformedProcedureStepSequence) == 0


@pytest.mark.parametrize(
    ("status", "state"), [(0x0110, DeliveryState.FAILED), (0x0106, DeliveryState.NEEDS_PERSON)], ids=["later", "never"]
)
def test_a_notification_that_is_not_taken_is_a_delivery_like_another(tmp_path, manager, status, state):
    with closing(Telling(tmp_path, manager, "pacs", "manager")) as node:
        node.ledger.commitments.confirm(RESULT, "pacs")
        manager.status = status
        assert (node.deliver() is None) is (state is DeliveryState.NEEDS_PERSON)
        assert node.entry.state is state and f"{status:04X}" in node.entry.error
        manager.status = 0x0000
        node.ledger.retry_delivery(RESULT, "manager")
        node.deliver()
        assert node.entry.state is DeliveryState.CONFIRMED


def test_without_an_archive_there_is_nothing_to_tell(tmp_path, manager):
    with closing(Telling(tmp_path, manager, "manager")) as node:
        assert node.deliver() is None
        assert node.entry.state is DeliveryState.NEEDS_PERSON and "no DICOM destination" in node.entry.error
