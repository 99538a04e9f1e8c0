"""The table says every number with all that is held against it, and invents none."""

from dataclasses import replace
from datetime import date

import pandas as pd
import pytest
from invented_reports import doubtful, head, invent, missing, report

from negvol_pacs.anatomy import Side
from negvol_pacs.cohort.agreement import agreement, find_repeats, paired
from negvol_pacs.cohort.asymmetry import outliers
from negvol_pacs.cohort.correlation import correlate
from negvol_pacs.cohort.table import Measure, build_table, measures, values
from negvol_pacs.joint.findings import Measurement, Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.document import read_report

FW = Measure(Side.RIGHT, Quantity.FW)


def read(findings, **identity):
    return read_report(report(head(**identity), findings))


@pytest.fixture(scope="module")
def template():
    return read(invent())


@pytest.fixture
def make(template):
    """A report without writing one."""

    def make(number=0, findings=None, **changed):
        uid = f"1.2.3.{number}"
        own = {"sop_instance_uid": f"{uid}.7", "study_instance_uid": uid, "accession_number": f"A-{number}"}
        return replace(template, **own | {"findings": findings or invent(number)} | changed)

    return make


def test_a_row_has_identity_numbers_and_flags():
    findings = invent(1, right_FW=missing(Quantity.FW), left_SJS=doubtful(Quantity.SJS, 0.125))
    (row,) = build_table([read(findings, issuer="HOSPITAL")]).to_dict("records")
    assert (row["patient_id"], row["issuer_of_patient_id"], row["accession_number"]) == ("P-1", "HOSPITAL", "A-1")
    assert row["study_date"] == date(2026, 1, 2)
    assert pd.isna(row["right_FW_mm"]) and row["right_FW_flags"] == "FOSSA_NOT_FOUND"
    assert (row["left_SJS_mm"], row["left_SJS_flags"]) == (0.125, "BONE_CONTACT")
    assert row["right_NV_VOLUME_mm3"] == findings.joints[Side.RIGHT].measurements[Quantity.NV_VOLUME].value
    assert row["S_LR"] == findings.symmetry.measurements[Quantity.S_LR].value
    assert (row["H_LR_sd_mm"], row["H_LR_flags"]) == (0.25, "")


def test_there_is_a_column_for_whatever_any_report_measures(make):
    one, other = make(0), make(1)
    del one.findings.joints[Side.LEFT].measurements[Quantity.PJS]
    table = build_table([one, other])
    assert pd.isna(table["left_PJS_mm"][0]) and table["left_PJS_flags"][0] == "NOT_REPORTED"
    assert table["left_PJS_mm"].notna()[1] and table["left_PJS_flags"][1] == ""
    sided = {m.quantity for m in measures([other]) if m.side}
    assert sided | {m.quantity for m in measures([other]) if m.side is None} == set(
        other.findings.joints[Side.LEFT].measurements
    ) | set(other.findings.symmetry.measurements)


def test_flags_of_joint_and_series_hold_for_their_numbers(make):
    findings = invent(1)
    right = replace(findings.joints[Side.RIGHT], flags=frozenset({QualityFlag.BONE_CONTACT}))
    findings = replace(findings, joints={**findings.joints, Side.RIGHT: right})
    row = build_table([make(0, findings)]).iloc[0]
    assert (row["right_FD_flags"], row["left_FD_flags"], row["S_LR_flags"]) == ("BONE_CONTACT", "", "BONE_CONTACT")
    row = build_table([make(0, replace(findings, flags=frozenset({QualityFlag.NOT_HOUNSFIELD})))]).iloc[0]
    assert (row["right_FD_flags"], row["left_FD_flags"]) == ("BONE_CONTACT;NOT_HOUNSFIELD", "NOT_HOUNSFIELD")


def test_doubtful_values_are_left_out_unless_asked_for(make):
    table = build_table([make(0), make(1, invent(1, right_FW=doubtful(Quantity.FW, 30.0)))])
    assert values(table, FW).isna().tolist() == [False, True]
    assert values(table, FW, flagged=True)[1] == 30.0


def test_parquet_and_csv_keep_the_types(make, tmp_path):
    none = {f"right_{q}": missing(Quantity[q]) for q in ("FW", "FD")}
    table = build_table([make(0, invent(0, **none)), make(1, invent(1, **none), study_date=None)])
    table.to_parquet(tmp_path / "t.parquet")
    read_back = pd.read_parquet(tmp_path / "t.parquet")
    assert read_back["right_FW_mm"].dtype == "float64" and read_back["right_FW_mm"].isna().all()
    assert read_back["study_date"].tolist()[0] == date(2026, 1, 2) and pd.isna(read_back["study_date"][1])
    table.to_csv(tmp_path / "t.csv", index=False)
    assert list(pd.read_csv(tmp_path / "t.csv").columns) == list(table.columns)


def test_correlation_is_pearsons_over_the_studies_that_have_both(make):
    reports = [make(n, invent(n, right_FW=Measurement(Quantity.FW, 10.0 + n))) for n in range(6)]
    reports += [make(6, invent(6, right_FW=doubtful(Quantity.FW, 900.0)))]
    reports = [
        replace(r, findings=_with(r.findings, Measurement(Quantity.FD, 20.0 - 2 * n))) for n, r in enumerate(reports)
    ]
    table = build_table(reports)
    columns = measures(reports)
    found = correlate(table, columns)
    assert found.loc["FW right", "FD right"] == pytest.approx(-1)
    assert correlate(table, columns, flagged=True).loc["FW right", "FD right"] > -0.9
    assert correlate(table[:4], columns).empty


def _with(findings, number):
    right = findings.joints[Side.RIGHT]
    right = replace(right, measurements={**right.measurements, number.quantity: number})
    return replace(findings, joints={**findings.joints, Side.RIGHT: right})


def test_outliers_are_beyond_tukeys_upper_fence(make):
    far = {"S_LR": Measurement(Quantity.S_LR, 1.9)}
    symmetric = {"S_LR": Measurement(Quantity.S_LR, 0.1)}
    reports = [make(n, invent(n, **{3: far, 4: symmetric}.get(n, {}))) for n in range(10)]
    marked = outliers(build_table(reports))
    assert marked[marked].index.tolist() == [3]
    assert not outliers(build_table(reports[:7])).any()
    doubt = {"S_LR": doubtful(Quantity.S_LR, 1.9)}
    reports[3] = make(3, invent(3, **doubt))
    assert not outliers(build_table(reports))[3]
    assert outliers(build_table(reports), flagged=True)[3]


def test_repeats_are_consecutive_scans_of_one_patient_by_one_version(make):
    days = [date(2026, 1, day) for day in (9, 1, 5, 7)]
    reports = [make(n, study_date=day) for n, day in enumerate(days)]
    stranger = replace(reports[0].patient, patient_id="P-2")
    reports += [make(4, patient=stranger), make(5, study_date=None)]
    reports[3] = replace(reports[3], algorithm=replace(reports[3].algorithm, version="9"))
    repeats = find_repeats(reports)
    assert repeats.pairs == ((1, 2),)
    assert repeats.incomparable == 2


def test_limits_of_agreement_are_bland_and_altmans(make):
    numbers = [(10.0, 11.0), (20.0, 20.5), (30.0, 28.0), (40.0, 41.5)]
    reports = []
    for n, pair in enumerate(numbers):
        patient = replace(make().patient, patient_id=f"P-{n}")
        for k, value in enumerate(pair):
            findings = invent(n, right_FW=Measurement(Quantity.FW, value))
            reports.append(make(10 * n + k, findings, patient=patient, study_date=date(2026, 1, 1 + k)))
    points = paired(values(build_table(reports), FW), find_repeats(reports))
    assert points["mean"].tolist() == [10.5, 20.25, 29.0, 40.75]
    assert points["difference"].tolist() == [1.0, 0.5, -2.0, 1.5]
    limits = agreement(points["difference"])
    assert limits.bias == 0.25
    assert (limits.lower, limits.upper) == pytest.approx((0.25 - 1.96 * 1.554563, 0.25 + 1.96 * 1.554563))
    assert agreement(points["difference"][:2]) is None
