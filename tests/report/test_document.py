"""A report read back from its file, whole, damaged or somebody else's."""

import warnings
from datetime import date, datetime, time
from io import BytesIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from invented_reports import ALGORITHM, doubtful, head, invent, missing, report
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage

from negvol_pacs.errors import ForeignReport, UnreadableReport
from negvol_pacs.joint.findings import Quantity
from negvol_pacs.report.document import parse_date, parse_time, read_report
from negvol_pacs.report.patient import Patient

FINDINGS = invent(1, right_FW=missing(Quantity.FW), left_SJS=doubtful(Quantity.SJS, 0.125))


def stored(ds):
    file = BytesIO()
    ds.save_as(file)
    return file.getvalue()


def read_or_refuse(content):
    """Read as the command does, for which pydicom's warnings are no errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read_report(dcmread(BytesIO(content)))
        except (ForeignReport, UnreadableReport):
            return None
        except (EOFError, OSError, ValueError, NotImplementedError, AttributeError, KeyError, TypeError):
            return None  # of dcmread: see test_cohort_collect


@pytest.fixture(scope="module")
def whole():
    return stored(report(head(issuer="HOSPITAL"), FINDINGS))


def test_everything_comes_back(whole):
    ds = dcmread(BytesIO(whole))
    found = read_report(ds)
    assert found.findings.joints == FINDINGS.joints
    assert found.findings.symmetry == FINDINGS.symmetry
    assert found.patient == Patient("P-1", "HOSPITAL", "19800101")
    assert (found.study_date, found.study_time, found.accession_number) == (date(2026, 1, 2), time(3, 4, 5), "A-1")
    assert (found.study_instance_uid, found.measured_series) == ("1.2.3", "1.2.3.1")
    assert found.sop_instance_uid == ds.SOPInstanceUID
    assert found.algorithm == ALGORITHM
    assert found.created == datetime(2026, 3, 4, 5, 6, 7)
    assert found.replaces == frozenset()


def test_a_report_in_memory_reads_as_from_its_file(whole):
    assert read_report(report(head(issuer="HOSPITAL"), FINDINGS)) == read_report(dcmread(BytesIO(whole)))


def test_predecessors_are_named(whole):
    old = dcmread(BytesIO(whole))
    new = read_report(report(head(slices=4), FINDINGS, former=(old,)))
    assert new.replaces == {old.SOPInstanceUID}


@pytest.mark.parametrize("keyword", ["Manufacturer", "SOPClassUID", "CodingSchemeIdentificationSequence"])
def test_what_is_not_ours_is_foreign(whole, keyword):
    ds = dcmread(BytesIO(whole))
    del ds[keyword]
    with pytest.raises(ForeignReport):
        read_report(ds)


def test_an_image_is_foreign():
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    with pytest.raises(ForeignReport):
        read_report(ds)


@pytest.mark.parametrize("keyword", ["CurrentRequestedProcedureEvidenceSequence", "ContentDate", "StudyInstanceUID"])
def test_ours_without_what_it_needs_is_unreadable(whole, keyword):
    ds = dcmread(BytesIO(whole))
    del ds[keyword]
    with pytest.raises(UnreadableReport):
        read_report(ds)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_bytes_are_damaged_it_is_read_or_refused(whole, data):
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0x200, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    found = read_or_refuse(bytes(damaged))
    assert found is None or set(found.findings.joints) == set(FINDINGS.joints)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60000))
@example(1)
@example(700)
@example(900)
def test_wherever_it_is_cut_off_it_is_refused_or_says_all(whole, lost):
    found = read_or_refuse(whole[: max(0x200, len(whole) - lost)])
    assert found is None or found.findings == FINDINGS


@given(st.dates(), st.times())
def test_dates_and_times_come_back(day, moment):
    assert parse_date(day.strftime("%Y%m%d").zfill(8)) == day
    assert parse_time(moment.strftime("%H%M%S.%f")) == moment.replace(microsecond=0)
    assert parse_time(moment.strftime("%H%M")) == moment.replace(second=0, microsecond=0)


@given(st.one_of(st.none(), st.text(max_size=9)))
def test_a_bad_date_is_none(text):
    for found in (parse_date(text), parse_time(text)):
        assert found is None or isinstance(found, date | time)


def test_nothing_is_no_midnight():
    assert parse_time("") is parse_time(None) is parse_date("") is parse_date("20261340") is None
