"""The report names the order that it fulfils."""

from datetime import datetime

import pydicom
import pytest
from pydicom import Dataset

from negvol_pacs.report.request import refer_to_order
from negvol_pacs.report.seg import build_seg
from negvol_pacs.report.sr import build_sr
from negvol_pacs.storage.orders import decode, encode


def worklist_item(charset="ISO_IR 100", description="Kiefergelenk für TMJ"):
    ds, code = Dataset(), Dataset()
    ds.SpecificCharacterSet = charset
    ds.AccessionNumber, ds.StudyInstanceUID = "A-5", "1.2.3.9"
    ds.RequestedProcedureID, ds.RequestedProcedureDescription = "R-5", description
    ds.FillerOrderNumberImagingServiceRequest = "F-5"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "TMJCT", "LN", "CT der Kiefergelenke"
    ds.RequestedProcedureCodeSequence = [code]
    return decode(encode(ds))


def report(**attributes):
    ds = Dataset()
    ds.StudyInstanceUID, ds.AccessionNumber = "1.2.3.4", ""
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def test_the_sr_has_the_order_and_is_valid(make_case, algorithm, now: datetime, tmp_path, validate):
    case = make_case()
    for header in case.series.headers:
        header.SpecificCharacterSet = "ISO_IR 192"
    seg = build_seg(case.series, case.geometry, case.masks, case.findings, algorithm, now)
    sr = build_sr(case.series, case.findings, seg, algorithm, now, order=worklist_item())
    sr.save_as(tmp_path / "sr.dcm")
    assert validate(tmp_path / "sr.dcm") == ["Comprehensive3DSR"]
    read = pydicom.dcmread(tmp_path / "sr.dcm")
    (request,) = read.ReferencedRequestSequence
    assert (request.AccessionNumber, request.RequestedProcedureID) == ("A-5", "R-5")
    assert request.FillerOrderNumberImagingServiceRequest == "F-5"
    assert request.PlacerOrderNumberImagingServiceRequest == ""
    assert request.RequestedProcedureDescription == "Kiefergelenk für TMJ"
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "TMJCT"
    assert request.StudyInstanceUID == "1.2.3.9"
    assert read.AccessionNumber == case.series.first.AccessionNumber == "A-1"


def test_without_an_order_nothing_is_said_of_one(make_case, algorithm, now):
    case = make_case()
    assert not build_sr(case.series, case.findings, None, algorithm, now).get("ReferencedRequestSequence")


def test_an_accession_number_that_the_images_lack_comes_from_the_order():
    ds = report()
    refer_to_order(ds, worklist_item())
    assert ds.AccessionNumber == "A-5"


@pytest.mark.parametrize(
    ("charset", "written"),
    [
        (None, ""),
        ("ISO_IR 100", "Kiefergelenk für TMJ"),
        ("ISO_IR 192", "Kiefergelenk für TMJ"),
        ("ISO_IR 144", ""),
        (["", "ISO 2022 IR 100"], "Kiefergelenk für TMJ"),
    ],
)
def test_a_text_that_the_reports_character_set_lacks_is_left_empty(charset, written):
    ds = report(SpecificCharacterSet=charset)
    refer_to_order(ds, worklist_item())
    (item,) = ds.ReferencedRequestSequence
    assert (item.RequestedProcedureDescription, item.AccessionNumber) == (written, "A-5")
    assert [code.CodeMeaning for code in item.RequestedProcedureCodeSequence] == ["CT der Kiefergelenke"]


def test_a_code_without_a_meaning_that_can_be_written_is_left_out():
    order = worklist_item()
    order.RequestedProcedureCodeSequence[0].CodeMeaning = "Gelenk-CT für alle"
    ds = report()
    refer_to_order(ds, order)
    assert list(ds.ReferencedRequestSequence[0].RequestedProcedureCodeSequence) == []


def test_an_order_without_a_study_uid_is_of_the_reports_study():
    order = worklist_item()
    order.StudyInstanceUID = ""
    ds = report()
    refer_to_order(ds, order)
    assert ds.ReferencedRequestSequence[0].StudyInstanceUID == "1.2.3.4"
