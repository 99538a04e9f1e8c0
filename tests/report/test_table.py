"""The table and the JSON say every number with its unit and flags."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Measurement, Quantity
from negvol_pacs.joint.frame import Plane
from negvol_pacs.joint.midsagittal import MidsagittalPlane
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.table import findings_json, findings_table
from negvol_pacs.report.wording import MISSING, NAMES, UNITS, number


@pytest.fixture
def findings(make_case):
    base = make_case().findings
    right = base.joints[Side.RIGHT]
    changed = {
        Quantity.FW: Measurement(Quantity.FW, None, flags=frozenset({QualityFlag.FOSSA_NOT_FOUND})),
        Quantity.SJS: Measurement(Quantity.SJS, 0.44, flags=frozenset({QualityFlag.BONE_CONTACT})),
    }
    right = replace(right, measurements={**right.measurements, **changed}, flags=frozenset({QualityFlag.NOT_CONVERGED}))
    return replace(base, joints={**base.joints, Side.RIGHT: right})


def shown(findings):
    console = Console(width=160, record=True, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(findings_table(findings))
    return capture.get()


def cells(text, name):
    (line,) = [line for line in text.splitlines() if name in line]
    return [cell.strip() for cell in line.strip("\u2502").split("\u2502")]


def test_table_has_each_side_in_its_column(findings):
    text = shown(findings)
    assert cells(text, "(PJS)")[1:5] == ["2.2", "2.8", "", "mm"]
    assert cells(text, "(FW)")[1:6] == [MISSING, "17.2", "", "mm", "right: Fossa landmarks not found"]
    assert cells(text, "(SJS)")[1:6] == ["0.4*", "3.0", "", "mm", "right: Condyle and temporal bone touch"]
    assert cells(text, "(H_LR)")[1:5] == ["", "", "1.75 \u00b1 0.25", "mm"]
    assert "Right joint: Inflation did not converge" in text
    assert "Series: Slice spacing too coarse" in text
    assert "Research use only" in text


def test_json_survives_a_round_trip(findings):
    read = json.loads(json.dumps(findings_json(findings), allow_nan=False))
    assert read["flags"] == {"COARSE_SPACING": QualityFlag.COARSE_SPACING.value}
    right = read["joints"]["right"]
    assert right["measurements"]["FW"] == {
        "value": None,
        "sd": None,
        "unit": "mm",
        "flags": {"FOSSA_NOT_FOUND": QualityFlag.FOSSA_NOT_FOUND.value},
    }
    assert read["joints"]["left"]["measurements"]["PJS"]["value"] == 2.75
    assert right["landmarks"]["ROOF"] == pytest.approx([-46.3, 2.1, 10.2])
    assert read["symmetry"]["H_LR"]["sd"] == 0.25
    assert read["midsagittal_plane"] is None


def test_json_has_the_midsagittal_plane(findings):
    plane = MidsagittalPlane(Plane(np.array([1.0, 2, 3]), np.array([1.0, 0, 0])), 0.5)
    read = json.loads(json.dumps(findings_json(replace(findings, midsagittal=plane))))
    assert read["midsagittal_plane"] == {"point": [1, 2, 3], "normal": [1, 0, 0], "uncertainty_deg": 0.5}


def test_every_quantity_has_a_name_and_a_unit():
    assert set(NAMES) == set(Quantity)
    assert {quantity.unit for quantity in Quantity} <= set(UNITS)


def test_number_of_nothing_is_a_dash():
    assert number(None) == MISSING
