"""The order that a report fulfils (PS3.3 table C.17-2, Referenced Request Sequence)."""

from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.uid import UID

_NUMBERS = (
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
)
_WHOLE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_CODE = (*_WHOLE, "CodingSchemeVersion")


def refer_to_order(report: Dataset, order: Dataset) -> None:
    """Write into a report which order it fulfils.

    Parameters
    ----------
    report
        Changed in place, once its Specific Character Set stands. Its Accession Number is filled
        in only where the images had none.
    order
        Worklist item. A text that cannot be written in the report's character set is left empty.
    """
    item = Dataset()
    study = UID(str(order.get("StudyInstanceUID") or ""))
    item.StudyInstanceUID = study if study.is_valid else report.StudyInstanceUID
    item.ReferencedStudySequence = []
    for keyword in _NUMBERS:
        setattr(item, keyword, _writable(order, keyword, report))
    item.RequestedProcedureDescription = _writable(order, "RequestedProcedureDescription", report)
    codes = [_code(code, report) for code in order.get("RequestedProcedureCodeSequence") or []]
    item.RequestedProcedureCodeSequence = [code for code in codes if code is not None]
    report.ReferencedRequestSequence = [item]
    if not report.get("AccessionNumber"):
        report.AccessionNumber = item.AccessionNumber


def _code(code: Dataset, report: Dataset) -> Dataset | None:
    """Copy a code; None where it is not whole."""
    copy = Dataset()
    for keyword in _CODE:
        if text := _writable(code, keyword, report):
            setattr(copy, keyword, text)
    return copy if all(keyword in copy for keyword in _WHOLE) else None


def _writable(ds: Dataset, keyword: str, report: Dataset) -> str:
    value = ds.get(keyword)
    text = "" if value is None else str(value)
    encodings = convert_encodings(report.get("SpecificCharacterSet"))
    # pydicom's name for the default repertoire, which is ASCII (PS3.5 section 6.1.2.2)
    return text if any(_fits(text, "ascii" if name == "iso8859" else name) for name in encodings) else ""


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
