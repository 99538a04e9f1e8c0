"""Accession number and date out of files, whatever these hold."""

import invented_reports
import pytest

from negvol_pacs.web.identity import UNKNOWN, Identity, read_identity


def test_a_report_names_its_study(tmp_path):
    series = invented_reports.head(accession=" A-7 ", date="20260230")  # no day of any calendar
    path = invented_reports.save(invented_reports.report(series, invented_reports.invent()), tmp_path)
    assert read_identity(path) == Identity("A-7", None, "P-1")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 128 + b"DICM" + bytes(40)])
def test_a_file_that_is_no_image_leaves_a_study_without_a_name(tmp_path, content):
    (tmp_path / "x.dcm").write_bytes(content)
    assert read_identity(tmp_path / "x.dcm") == UNKNOWN
