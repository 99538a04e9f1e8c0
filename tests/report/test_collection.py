"""Which reports of a folder count."""

from dataclasses import replace
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st
from invented_reports import ALGORITHM, head, invent, report, save
from pydicom import Dataset

from negvol_pacs.report.collection import latest, read_folder
from negvol_pacs.report.document import read_report


def test_only_own_reports_of_a_folder_are_read_and_damaged_ones_are_named(tmp_path):
    kept = save(report(head(), invent()), tmp_path / "deep" / "down")
    whole = save(report(head("1.2.4"), invent()), tmp_path)
    lost = tmp_path / "lost.dcm"
    lost.write_bytes(whole.read_bytes()[:-900])
    whole.unlink()
    (tmp_path / "notes.txt").write_text("no report")
    foreign = report(head("1.2.5"), invent())
    foreign.Manufacturer = "Somebody"
    save(foreign, tmp_path)
    found = read_folder(tmp_path)
    assert [r.sop_instance_uid for r in found.reports] == [kept.stem]
    assert list(found.unreadable) == [lost]


def test_a_later_report_replaces_the_one_that_it_names():
    old = report(head(), invent())
    # More images came: another series of the study is the best now.
    new = report(head(series="2"), invent(1), former=(old,), made=datetime(2026, 3, 4, 5, 6, 6))
    counting, replaced = latest([read_report(new), read_report(old)])
    assert [r.sop_instance_uid for r in counting] == [new.SOPInstanceUID]
    assert [r.sop_instance_uid for r in replaced] == [old.SOPInstanceUID]


def test_the_last_report_of_a_series_counts_whatever_made_it():
    old = read_report(report(head(), invent()))
    later = report(head(), invent(), algorithm=replace(ALGORITHM, version="0.2.0"), made=datetime(2026, 4, 1))
    other_series = read_report(report(head(series="2"), invent()))
    counting, replaced = latest([old, read_report(later), other_series, old])
    assert {r.sop_instance_uid for r in counting} == {later.SOPInstanceUID, other_series.sop_instance_uid}
    assert replaced == [old]


ONE = read_report(report(head(), invent()))
UIDS = st.sampled_from(["1", "2", "3", "4"])


@given(st.lists(st.tuples(UIDS, st.sampled_from("ab"), st.sets(UIDS), st.integers(1, 3)), max_size=6))
def test_each_report_counts_or_is_replaced_and_each_series_counts_once(drawn):
    reports = [
        replace(
            ONE, sop_instance_uid=uid, measured_series=series, replaces=frozenset(names), created=datetime(day, 1, 1)
        )
        for uid, series, names, day in drawn
    ]
    counting, replaced = latest(reports)
    assert sorted(r.sop_instance_uid for r in counting + replaced) == sorted({uid for uid, *_ in drawn})
    assert len({r.measured_series for r in counting}) == len(counting)
    named = {name for r in counting + replaced for name in r.replaces - {r.sop_instance_uid}}
    assert not named & {r.sop_instance_uid for r in counting}


def test_a_data_set_of_nothing_is_passed_over(tmp_path):
    empty = Dataset()
    empty.PatientID = "P-1"
    empty.save_as(tmp_path / "x.dcm", implicit_vr=False, little_endian=True)
    assert read_folder(tmp_path).reports == ()
