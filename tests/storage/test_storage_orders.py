"""What is kept of worklist items, and that no bytes of a RIS can do harm."""

import warnings
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from negvol_pacs.errors import MalformedObject
from negvol_pacs.network.matching import answer, matches
from negvol_pacs.storage import orders
from negvol_pacs.storage.ledger import Ledger

DAY = 86400.0


def item(accession="A-1", charset="ISO_IR 100", **attributes):
    ds, step = Dataset(), Dataset()
    ds.SpecificCharacterSet = charset
    ds.AccessionNumber, ds.PatientID, ds.PatientName = accession, "P-1", "Müller^Jürgen"
    ds.StudyInstanceUID, ds.RequestedProcedureID = "1.2.3", "R-1"
    step.Modality, step.ScheduledStationAETitle, step.ScheduledProcedureStepID = "CT", "CT1", "S-1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20261121", "101500"
    for keyword, value in attributes.items():
        setattr(step if keyword in step else ds, keyword, value)
    ds.ScheduledProcedureStepSequence = [step]
    return ds


def entry(ds, ris="ris", seen_at=100.0, whole=True):
    return orders.order(ris, orders.encode(ds), seen_at, whole=whole)


@pytest.fixture
def ledger(tmp_path):
    now = [100.0]
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db", lambda: now[0])) as ledger:
        ledger.now = now
        yield ledger


def test_texts_keep_their_bytes():
    encoded = orders.encode(item())
    assert orders.encode(orders.decode(encoded)) == encoded
    assert "Müller^Jürgen".encode("latin-1") in encoded


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192"])
def test_texts_are_read_in_their_character_set(charset):
    assert orders.text(orders.decode(orders.encode(item(charset=charset))), "PatientName") == "Müller^Jürgen"


def test_an_order_is_found_again_by_each_of_its_names(ledger):
    ledger.orders.record([entry(item())], DAY)
    (found,) = ledger.orders.of_accession("A-1")
    assert [found] == ledger.orders.of_study("1.2.3") == ledger.orders.of_patient("P-1") == ledger.orders.of_ris("ris")
    assert found.scheduled_at == orders.moment("20261121", "10:15")
    assert ledger.orders.of_accession("") == ledger.orders.of_study("") == []


def test_what_nobody_answers_any_more_is_forgotten(ledger):
    ledger.orders.record([entry(item())], DAY)
    ledger.now[0] = 100.0 + 2 * DAY
    ledger.orders.record([entry(item("A-2"), seen_at=ledger.now[0])], DAY)
    assert [found.accession for found in ledger.orders.of_ris("ris")] == ["A-2"]


def test_a_rescheduled_step_is_kept_anew_and_a_poorer_answer_takes_nothing_away(ledger):
    ledger.orders.record([entry(item())], DAY)
    ledger.orders.record([entry(item(ScheduledProcedureStepStartTime="113000"), seen_at=101.0)], DAY)
    poor = item()
    del poor.PatientName
    ledger.orders.record([entry(poor, seen_at=102.0)], DAY)
    (found,) = ledger.orders.of_accession("A-1")
    assert (found.scheduled_at, found.seen_at) == (orders.moment("20261121", "113000"), 102.0)
    assert orders.text(orders.decode(found.identifier), "PatientName") == "Müller^Jürgen"


def test_without_a_patient_there_is_no_order():
    assert entry(item(PatientID="")) is None


def test_the_patients_name_is_left_out_unless_the_whole_is_wanted():
    kept = orders.decode(entry(item(), whole=False).identifier)
    assert "PatientName" not in kept
    assert orders.step(kept).ScheduledProcedureStepID == "S-1"


KEYS = {
    "AccessionNumber": [("A-1", True), ("A-*", True), ("A-?", True), ("B*", False), ("a-1", False), ("A.1", False)],
    "PatientName": [("müller*", True), ("*^j*", True), ("Meier*", False)],
    "StudyInstanceUID": [("1.2.3", True), ("1.2.4\\1.2.3", True), ("1.2", False)],
    "ScheduledProcedureStepStartDate": [
        ("20261121", True),
        ("20261101-20261130", True),
        ("-20261121", True),
        ("20261122-", False),
        ("20261101-20261120", False),
    ],
    "ScheduledProcedureStepStartTime": [("1015", True), ("10-11", True), ("0800-101500", True), ("103000-", False)],
    "Modality": [("CT", True), ("MR", False)],
    "RequestedProcedureDescription": [("", True), ("*", True), ("TMJ", False)],
}


@pytest.mark.parametrize(
    ("keyword", "value", "expected"), [(key, value, want) for key, cases in KEYS.items() for value, want in cases]
)
def test_keys_match_as_the_standard_says(keyword, value, expected):
    query, step = Dataset(), Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    setattr(step if keyword in orders.step(item()) else query, keyword, value)
    query.ScheduledProcedureStepSequence = [step]
    query = orders.decode(orders.encode(query))
    assert matches(query, orders.decode(orders.encode(item()))) is expected


def test_an_answer_has_what_was_asked_for_and_the_note():
    query, step = Dataset(), Dataset()
    query.AccessionNumber, query.PatientSex = "A*", ""
    step.Modality = ""
    query.ScheduledProcedureStepSequence = [step]
    kept = orders.decode(orders.encode(item()))
    given = orders.decode(orders.encode(answer(orders.decode(orders.encode(query)), kept, "[KEPT]")))
    assert {element.keyword for element in given} == {
        "SpecificCharacterSet",
        "AccessionNumber",
        "PatientSex",
        "ScheduledProcedureStepSequence",
        "RequestedProcedureComments",
    }
    assert (given.AccessionNumber, given.RequestedProcedureComments) == ("A-1", "[KEPT]")
    assert [element.keyword for element in orders.step(given)] == ["Modality"]


@st.composite
def damaged(draw):
    encoded = bytearray(orders.encode(item()))
    for _ in range(draw(st.integers(1, 4))):
        encoded[draw(st.integers(0, len(encoded) - 1))] = draw(st.integers(0, 255))
    return bytes(encoded[: draw(st.integers(len(encoded) - 40, len(encoded)))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged() | st.binary(max_size=64))
def test_damaged_items_are_read_or_refused(encoded):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = orders.decode(encoded)
        except MalformedObject:
            return
        made = orders.order("ris", encoded, 1.0, whole=False)
        assert made is None or made.patient_id == orders.text(ds, "PatientID")
        assert matches(ds, orders.decode(encoded)) in (True, False)
