"""The report says what holds, what does not and what is missing."""

import json

from negvol_pacs.validation import report
from negvol_pacs.validation.check import against, below


def test_report(tmp_path):
    place = ("Accuracy", "sphere", "NV volume", "0.4 mm")
    checks = [
        against(place, 101.0, 100.0, 1.5, "%"),
        against(place, 102.0, 100.0, 1.5, "%"),
        against(place, None, 100.0, 1.5, "%"),
        against((*place[:3], "0.8 mm"), 109.0, 100.0, None, "%"),
        below(("Symmetry", "sphere", "H_LR", "0.4 mm"), 0.1, 0.3, "mm"),
    ]
    text = report.write(checks, tmp_path, {"Accuracy": ["", "a picture"]}).read_text()
    assert [check.passed for check in checks] == [True, False, False, True, True]
    assert "2 of 4 checks hold" in text
    assert "| 102.00 | 100.00 | 2.00 % | 1.5 % | **does not hold** |" in text
    assert "| 0.8 mm | 109.00 | 100.00 | 9.00 % |  |  |" in text
    assert "| missing | 1.5 % | **does not hold** |" in text
    assert text.index("## Accuracy") < text.index("a picture") < text.index("## Symmetry")
    rows = json.loads((tmp_path / "validation.json").read_text())
    assert [row["passed"] for row in rows] == [True, False, False, True, True]
