"""A series finds its order, or none, or is refused; never a guess."""

from contextlib import closing

import pytest
from pydicom import Dataset, dcmread
from test_steps import STUDY, Books
from typer.testing import CliRunner

from negvol_pacs.commands import queue
from negvol_pacs.errors import OrderMismatch
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.orders import encode, order
from negvol_pacs.storage.records import State
from negvol_pacs.workflow import pipeline
from negvol_pacs.workflow.orders import find_order

HOUR = 3600.0


def worklist_item(**attributes):
    ds, step = Dataset(), Dataset()
    ds.AccessionNumber, ds.StudyInstanceUID, ds.PatientID = "A-1", "1.2.9", "P-1"
    ds.IssuerOfPatientID, ds.RequestedProcedureID = "", "R-1"
    step.Modality, step.ScheduledProcedureStepID = "CT", "S-1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20261121", "101500"
    for keyword, value in attributes.items():
        setattr(step if keyword in step else ds, keyword, value)
    ds.ScheduledProcedureStepSequence = [step]
    return ds


def header(**attributes):
    ds = Dataset()
    ds.PatientID, ds.AccessionNumber, ds.StudyInstanceUID, ds.Modality = "P-1", "", "1.2.8", "CT"
    ds.StudyDate, ds.StudyTime = "20261121", "112000.123"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


@pytest.fixture
def find(tmp_path):
    """Find the order of a header among some items; returns its accession number."""
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db", lambda: 0.0)) as ledger:

        def run(image, *items):
            ledger.orders.record([order("ris", encode(item), 0.0, whole=False) for item in items], HOUR)
            found = find_order(image, ledger.orders, 24 * HOUR)
            return None if found is None else found.AccessionNumber

        yield run


@pytest.mark.parametrize(
    "image",
    [
        header(AccessionNumber="A-1"),
        header(AccessionNumber="A-1", StudyDate="20270101"),
        header(StudyInstanceUID="1.2.9"),
        header(StudyInstanceUID="1.2.9", AccessionNumber="A-77"),
        header(),
        header(StudyDate="20261120", StudyTime="1030"),
        header(IssuerOfPatientID="HERE"),
    ],
)
def test_found_by_accession_study_or_patient_near_in_time(find, image):
    assert find(image, worklist_item(), worklist_item(AccessionNumber="A-2", PatientID="P-2")) == "A-1"


@pytest.mark.parametrize(
    "image",
    [
        header(StudyDate="20261124"),
        header(StudyDate="", StudyTime=""),
        header(Modality="MR"),
        header(AccessionNumber="A-77"),
        header(PatientID="P-7"),
        header(PatientID="", AccessionNumber="A-1"),
    ],
)
def test_not_found(find, image):
    assert find(image, worklist_item()) is None


def test_two_steps_of_one_order_are_one_order_and_two_orders_are_none(find):
    second = {"ScheduledProcedureStepID": "S-2"}
    assert find(header(), worklist_item(), worklist_item(**second)) == "A-1"
    assert find(header(), worklist_item(AccessionNumber="A-2", StudyInstanceUID="1.2.10", **second)) is None


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (header(AccessionNumber="A-1", PatientID="P-2"), "accession number A-1"),
        (header(StudyInstanceUID="1.2.9", PatientID="P-2"), "study instance UID"),
    ],
)
def test_an_order_for_another_patient_is_refused(find, image, name):
    with pytest.raises(OrderMismatch, match=f"{name} is for another patient"):
        find(image, worklist_item())


def test_the_same_patient_id_of_another_issuer_is_another_patient(find):
    with pytest.raises(OrderMismatch):
        find(header(AccessionNumber="A-1", IssuerOfPatientID="THERE"), worklist_item(IssuerOfPatientID="HERE"))


def test_an_accession_number_that_two_hospitals_use_is_no_mismatch(find):
    other = worklist_item(PatientID="P-2", StudyInstanceUID="1.2.11")
    assert find(header(AccessionNumber="A-1"), other, worklist_item()) == "A-1"


@pytest.fixture
def books(tmp_path):
    with closing(Books(tmp_path / "state", series={"quiet_period_s": 0})) as books:
        yield books


def see(books, **attributes):
    item = worklist_item(StudyInstanceUID=STUDY, AccessionNumber="A-5", **attributes)
    books.ledger.orders.record([order("ris", encode(item), 1e12, whole=False)], HOUR)


def test_a_study_of_another_patient_than_its_order_is_refused_and_the_queue_says_why(books, make_ct, tmp_path):
    books.receive(make_ct())
    see(books, PatientID="SOMEBODY ELSE")
    books.steps.close(STUDY)
    assert books.steps.select(STUDY, 1) is False
    assert (books.generation().state, books.generation().code) == (State.REFUSED, "order-mismatch")
    assert "the images' study instance UID is for another patient" in books.generation().reason
    assert [verdict.code for verdict in books.ledger.verdicts(STUDY, 1)] == ["order-mismatch"]
    config = tmp_path / "config.toml"
    config.write_text(f'[node]\nstate = "{books.config.node.state}"\n')
    shown = CliRunner().invoke(queue.app, ["list", "--config", str(config)], catch_exceptions=False).output
    assert "refused" in shown
    assert "order-mismatch: The worklist's order" in shown


def test_an_order_that_comes_after_the_choice_is_still_looked_at(books, make_ct):
    books.receive(make_ct())
    books.steps.close(STUDY)
    assert books.steps.select(STUDY, 1)
    see(books, PatientID="SOMEBODY ELSE")
    assert books.steps.analyse(STUDY, 1) == []
    assert (books.generation().state, books.generation().code) == (State.REFUSED, "order-mismatch")


def test_the_series_is_measured_with_its_order(books, make_ct, monkeypatch):
    folder = make_ct()
    patient = dcmread(next(folder.iterdir()), stop_before_pixels=True).PatientID
    books.receive(folder)
    see(books, PatientID=patient)
    books.steps.close(STUDY)
    assert books.steps.select(STUDY, 1)
    given = []

    def process(selection, *_, **__):
        given.append(selection.order.AccessionNumber)
        raise OrderMismatch("seen enough")

    monkeypatch.setattr(pipeline, "process_series", process)
    books.steps.analyse(STUDY, 1)
    assert given == ["A-5"]
