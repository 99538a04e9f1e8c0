"""The same patient, or none: never a guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from negvol_pacs.report.patient import Patient

WORDS = st.text("AB01 ", max_size=3)
PATIENTS = st.builds(Patient, WORDS, WORDS, WORDS)


@given(PATIENTS, PATIENTS)
def test_nothing_but_equality_of_all_three_makes_the_same_patient(one, other):
    assert one.is_same(other) == (one == other and one.key is not None)


@pytest.mark.parametrize("patient_id", ["", "ANONYMOUS", "anon", "Unknown", "000", "N/A", "xxx", "no id"])
def test_an_id_of_nobody_in_particular_needs_a_birth_date(patient_id):
    assert not Patient(patient_id).is_same(Patient(patient_id))
    assert not Patient(patient_id, "HOSPITAL").is_same(Patient(patient_id, "HOSPITAL"))
    assert Patient(patient_id, "", "19800101").is_same(Patient(patient_id, "", "19800101")) is bool(patient_id)


@pytest.mark.parametrize("patient_id", ["ANON-0012", "P1", "10", "TESTER"])
def test_a_pseudonym_is_an_id(patient_id):
    assert Patient(patient_id).is_same(Patient(patient_id))


def test_what_only_one_of_two_knows_is_no_match():
    known = Patient("P-1", "HOSPITAL", "19800101")
    assert not known.is_same(Patient("P-1", "", "19800101"))
    assert not known.is_same(Patient("P-1", "HOSPITAL", ""))
    assert not known.is_same(Patient("P-1", "OTHER", "19800101"))


def test_patient_of_a_data_set_without_padding():
    ds = Dataset()
    ds.PatientID, ds.PatientBirthDate = " P-1 ", "19800101"
    assert Patient.of(ds) == Patient("P-1", "", "19800101")
    assert Patient.of(Dataset()) == Patient("")
