"""The references are right, and the report says what was missed."""

import dataclasses
import json

import numpy as np
import pytest

from negvol_pacs.training.analytic_joints import sphere_in_cup
from negvol_pacs.validation import accuracy
from negvol_pacs.validation.quadrature import space


def test_quadrature_of_a_hollow_hemisphere():
    shell = dataclasses.replace(
        sphere_in_cup(),
        mc=lambda p: np.linalg.norm(p, axis=-1) - 6.5,
        tb=lambda p: 9.0 - np.linalg.norm(p, axis=-1),
        opening=0.0,
        depth=9.0,
        inside_rims=lambda p: np.ones(p.shape[:-1], dtype=bool),
    )
    volume, area = space(shell, 0.2)
    assert volume == pytest.approx(2 / 3 * np.pi * (9**3 - 6.5**3), rel=1e-3)
    assert area == pytest.approx(2 * np.pi * (81 + 42.25) + np.pi * (81 - 42.25), rel=1e-3)


def test_errors_and_report(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "joints", lambda: {"sphere in cup": sphere_in_cup()})
    checks = accuracy.run((0.6,))
    failed = {check.quantity for check in checks if not check.passed}
    assert failed <= {"NV area", "NV volume"}
    wrong = dataclasses.replace(checks[0], error=1.0)
    missing = dataclasses.replace(checks[0], error=None, value=None)
    assert not wrong.passed
    assert not missing.passed
    text = accuracy.write([*checks, wrong, missing], tmp_path).read_text()
    assert "**missed**" in text
    assert "missing" in text
    assert len(json.loads((tmp_path / "validation.json").read_text())) == len(checks) + 2
