"""A modality tells what it performs, and the study is whole when all of that is here."""

import pytest
from network_node import RunningNode, ct_slice, make_config, write_series
from pydicom import Dataset
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage
from pynetdicom.sop_class import ModalityPerformedProcedureStep as MPPS

from negvol_pacs.config import Destination
from negvol_pacs.network.sender import send
from negvol_pacs.storage.performed import StepState

STUDY, STEP = "1.2.826.0.1.3680043.9.1", "1.2.826.0.1.3680043.9.7"


@pytest.fixture
def node(tmp_path):
    node = RunningNode(tmp_path, make_config(tmp_path))
    yield node
    node.close()


class Modality:
    def __init__(self, node):
        self.node, self.assoc = node, node.associate((MPPS,))
        assert self.assoc.is_established

    def create(self, uid=STEP, study=STUDY, **attributes):
        ds, scheduled = Dataset(), Dataset()
        scheduled.StudyInstanceUID = study
        ds.ScheduledStepAttributesSequence, ds.PerformedSeriesSequence = [scheduled], []
        ds.PerformedProcedureStepStatus, ds.PatientID = "IN PROGRESS", "4711"
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        return self.assoc.send_n_create(ds, MPPS, uid)[0].Status

    def set(self, status="COMPLETED", images=(), uid=STEP):
        ds, series = Dataset(), Dataset()
        series.SeriesInstanceUID, series.ReferencedImageSequence = f"{STUDY}.2", []
        for sop_class, image in images:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, image
            series.ReferencedImageSequence.append(item)
        ds.PerformedProcedureStepStatus, ds.PerformedSeriesSequence = status, [series]
        return self.assoc.send_n_set(ds, MPPS, uid)[0]


@pytest.fixture
def modality(node):
    modality = Modality(node)
    yield modality
    modality.assoc.release()


def made(count):
    return [(CTImageStorage, ct_slice(number).SOPInstanceUID) for number in range(1, count + 1)]


def test_whole_when_completed_and_all_its_images_are_here(node, modality, tmp_path):
    whole = node.ledger.performed.is_whole
    assert modality.create() == 0x0000
    capture = (SecondaryCaptureImageStorage, "1.2.3.4")  # this node never gets one
    assert modality.set("IN PROGRESS", made(1)).Status == 0x0000
    host, port = node.address
    here = Destination(name="node", ae_title="NEGVOL", host=host, port=port, calling_ae_title="TESTER")
    first, second, unannounced = write_series(tmp_path / "ct", 3)
    send([first], here, node.config)
    assert not whole(STUDY), "it is still in progress"
    assert modality.set("COMPLETED", [*made(2), capture]).Status == 0x0000
    assert not whole(STUDY), "the second image is missing"
    send([second], here, node.config)
    assert whole(STUDY) and not whole("1.2.3")
    send([unannounced], here, node.config)
    assert not whole(STUDY), "more of that kind may come"


def test_a_step_that_was_discontinued_or_another_in_progress_proves_nothing(node, modality, tmp_path):
    host, port = node.address
    here = Destination(name="node", ae_title="NEGVOL", host=host, port=port, calling_ae_title="TESTER")
    send(write_series(tmp_path / "ct", 1), here, node.config)
    modality.create()
    modality.set("DISCONTINUED", made(1))
    assert not node.ledger.performed.is_whole(STUDY)
    modality.create(f"{STEP}.2")
    modality.set("COMPLETED", made(1), f"{STEP}.2")
    assert not node.ledger.performed.is_whole(STUDY)


def test_what_is_no_step_is_refused_with_the_standards_status(node, modality):
    assert modality.create(PerformedProcedureStepStatus="COMPLETED") == 0x0106
    assert modality.create(study="") == 0x0120
    assert modality.set().Status == 0x0112
    assert modality.create() == 0x0000
    assert modality.create() == 0x0111
    assert modality.set("DONE").Status == 0x0106
    assert modality.set("COMPLETED").Status == 0x0000
    answer = modality.set("IN PROGRESS")
    assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
    assert node.ledger.performed.find(STEP).state is StepState.COMPLETED
    assert node.answers_echo()
