"""Changes since the first study: whose, since when, with which doubts; and in the SR."""

import json
import subprocess
from dataclasses import replace
from io import BytesIO

import highdicom as hd
import pytest
from invented_reports import ALGORITHM, doubtful, head, invent, missing, report
from pydicom import dcmread
from rich.console import Console

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Measurement, Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report import codes
from negvol_pacs.report.change import changes_since, find_prior
from negvol_pacs.report.document import read_report
from negvol_pacs.report.sr import build_sr
from negvol_pacs.report.table import findings_json, findings_table

NOW = head("1.2.9", date="20260601", accession="A-9")
SIDES = (Side.RIGHT, Side.LEFT, None)


def first(findings=None, algorithm=ALGORITHM, **identity):
    return read_report(report(head(**identity), findings or invent(1), algorithm=algorithm))


def test_the_first_study_of_the_patient_is_the_prior(now):
    one, two = first(date="20240101"), first(study="1.2.4", date="20250101")
    assert find_prior(NOW, [two, one]) == one


@pytest.mark.parametrize(
    "identity",
    [
        {"patient": "P-2"},
        {"birth": "19800102"},
        {"birth": ""},
        {"issuer": "HOSPITAL"},
        {"date": "20260602"},
        {"date": ""},
        {"date": "20260601", "time": "030405"},
        {"study": "1.2.9"},
    ],
    ids=str,
)
def test_another_patient_or_no_older_study_is_no_prior(identity):
    assert find_prior(NOW, [first(**identity)]) is None


def test_an_earlier_hour_of_the_same_day_is_older():
    morning = first(date="20260601", time="0203")
    assert find_prior(NOW, [morning]) == morning


def test_a_change_is_now_minus_then():
    findings = invent(2)
    changes = changes_since(first(), findings, ALGORITHM)
    for side in SIDES:
        then, now = invent(1).numbers(side), findings.numbers(side)
        assert changes.numbers[side].keys() == now.keys()
        for quantity, change in changes.numbers[side].items():
            assert change.value == pytest.approx(now[quantity].value - then[quantity].value)
            assert change.flags == frozenset()


def test_doubts_about_either_number_hold_for_the_change():
    before = invent(1, right_FW=missing(Quantity.FW), left_SJS=doubtful(Quantity.SJS, 1.0))
    after = replace(
        invent(2, right_FD=doubtful(Quantity.FD, 7.0, QualityFlag.NOT_CONVERGED)),
        flags=frozenset({QualityFlag.NOT_HOUNSFIELD}),
    )
    changes = changes_since(first(before), after, ALGORITHM)
    right, left = changes.numbers[Side.RIGHT], changes.numbers[Side.LEFT]
    both = {QualityFlag.NOT_HOUNSFIELD}
    assert right[Quantity.FW] == Measurement(Quantity.FW, None, flags=both | {QualityFlag.FOSSA_NOT_FOUND})
    assert left[Quantity.SJS].flags == both | {QualityFlag.BONE_CONTACT}
    assert right[Quantity.FD].flags == both | {QualityFlag.NOT_CONVERGED}
    assert left[Quantity.FW].flags == both


@pytest.mark.parametrize("other", [{"version": "0.0.9"}, {"weights_sha256": "cd" * 32}], ids=str)
def test_another_version_or_other_weights_are_said(other):
    changes = changes_since(first(algorithm=replace(ALGORITHM, **other)), invent(2), ALGORITHM)
    assert {m.flags for numbers in changes.numbers.values() for m in numbers.values()} == {
        frozenset({QualityFlag.DIFFERENT_METHOD})
    }


def test_what_the_prior_did_not_measure_has_no_change():
    prior = first()
    del prior.findings.joints[Side.LEFT].measurements[Quantity.PJS]
    change = changes_since(prior, invent(2), ALGORITHM).numbers[Side.LEFT][Quantity.PJS]
    assert change == Measurement(Quantity.PJS, None, flags=frozenset({QualityFlag.DIFFERENT_METHOD}))


@pytest.fixture
def compared(now):
    """Report of a second study, its findings and changes."""
    findings = invent(2, right_FW=missing(Quantity.FW))
    changes = changes_since(first(), findings, ALGORITHM)
    return build_sr(NOW, findings, None, ALGORITHM, now, changes=changes), findings, changes


def test_the_report_is_valid(compared, validate, tmp_path):
    compared[0].save_as(tmp_path / "sr.dcm")
    assert validate(tmp_path / "sr.dcm") == ["Comprehensive3DSR"]
    dump = subprocess.run(["dsrdump", tmp_path / "sr.dcm"], capture_output=True, text=True, check=True).stdout
    assert "Prior report for current patient" in dump


def test_the_prior_is_pertinent_other_evidence(compared):
    sr, _, changes = compared
    (study,) = sr.PertinentOtherEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (item,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID, item.ReferencedSOPInstanceUID) == (
        changes.prior.study_instance_uid,
        changes.prior.series_instance_uid,
        changes.prior.sop_instance_uid,
    )


def test_highdicom_reads_the_changes_of_each_side(compared, tmp_path):
    sr, _, changes = compared
    sr.save_as(tmp_path / "sr.dcm")
    groups = hd.sr.srread(tmp_path / "sr.dcm").content.get_image_measurement_groups()
    assert len(groups) == len({group.tracking_uid for group in groups}) == 6
    for side, group in zip(SIDES, groups[3:], strict=True):
        assert group.finding_type == codes.change()
        assert group.finding_sites[0].laterality == codes.laterality(side)
        written = {m.name.value: m.value for m in group.get_measurements()}
        known = {q: m.value for q, m in changes.numbers[side].items() if m.value is not None}
        assert written == {codes.change_of(q).value: pytest.approx(value, abs=1e-4) for q, value in known.items()}
        references = [item for item in group[0].ContentSequence if item.ValueType == "COMPOSITE"]
        assert [r.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for r in references] == [
            changes.prior.sop_instance_uid
        ]


def test_the_numbers_read_back_are_not_the_changes(compared):
    sr, findings, _ = compared
    assert read_report(sr).findings.numbers(Side.RIGHT) == findings.numbers(Side.RIGHT)
    assert read_report(sr).findings.numbers(None) == findings.numbers(None)


def saved(sr):
    file = BytesIO()
    sr.save_as(file)
    return file.getvalue()


def test_the_same_prior_gives_the_same_bytes_and_another_one_another_uid(compared, now):
    sr, findings, changes = compared
    again = build_sr(NOW, findings, None, ALGORITHM, now, changes=changes_since(first(), findings, ALGORITHM))
    assert saved(again) == saved(sr)
    other = replace(changes, prior=replace(changes.prior, sop_instance_uid="1.2.77"))
    alone = build_sr(NOW, findings, None, ALGORITHM, now)
    uids = {build.SOPInstanceUID for build in (sr, alone, build_sr(NOW, findings, None, ALGORITHM, now, changes=other))}
    assert len(uids) == 3
    assert "PertinentOtherEvidenceSequence" not in alone


def test_the_issuer_of_the_patient_id_is_kept(now, validate, tmp_path):
    sr = build_sr(head(issuer="HOSPITAL"), invent(), None, ALGORITHM, now)
    sr.save_as(tmp_path / "sr.dcm")
    assert validate(tmp_path / "sr.dcm") == ["Comprehensive3DSR"]
    assert dcmread(tmp_path / "sr.dcm").IssuerOfPatientID == "HOSPITAL"


def test_table_and_json_say_what_changed(compared):
    _, findings, changes = compared
    changes.numbers[Side.RIGHT][Quantity.FD] = Measurement(Quantity.FD, 0.52)
    changes.numbers[Side.LEFT][Quantity.FD] = doubtful(Quantity.FD, -0.31)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(findings_table(findings, changes))
    text = capture.get()
    assert "Change since 2026-01-02" in text
    (line,) = [line for line in text.splitlines() if "(FD)" in line]
    assert "+0.5, -0.3*" in line and "change: Condyle and temporal bone touch" in line
    assert "Change: " not in text
    read = json.loads(json.dumps(findings_json(findings, changes), allow_nan=False))["changes"]
    assert (read["since"], read["accession_number"], read["report"]) == (
        "2026-01-02",
        "A-1",
        changes.prior.sop_instance_uid,
    )
    assert read["joints"]["left"]["FD"]["value"] == -0.31
    assert read["joints"]["right"]["FW"]["value"] is None
    assert set(read["joints"]["right"]["FW"]["flags"]) == {"FOSSA_NOT_FOUND"}
    assert "changes" not in findings_json(findings)


def test_what_holds_for_every_change_is_said_once():
    changes = changes_since(first(algorithm=replace(ALGORITHM, version="0.0.9")), invent(2), ALGORITHM)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(findings_table(invent(2), changes))
    assert capture.get().count(QualityFlag.DIFFERENT_METHOD.value) == 1
    assert f"Change: {QualityFlag.DIFFERENT_METHOD.value}" in capture.get()
