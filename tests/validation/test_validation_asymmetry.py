"""A deepened fossa is seen by the measures that should see it."""

import pytest

from negvol_pacs.joint.findings import Quantity
from negvol_pacs.validation import asymmetry


def test_deepened_fossa():
    change = asymmetry.Change("fossa deepened", asymmetry.deepened, {Quantity.FD: 1, Quantity.FW: -1}, (3.0,))
    (grows, _, volume, area), tables = asymmetry.run(0.8, [change])
    assert grows.passed
    assert grows.value - grows.reference == pytest.approx(3, abs=0.3)
    assert volume.reference > 900
    assert area.quantity == "NV area"
    cells = next(line for line in asymmetry.markdown(tables) if line.startswith("| FD"))
    assert cells.count("**") == 2


def test_a_step_back_does_not_hold():
    change = asymmetry.Change("any", asymmetry.deepened, {Quantity.FD: 1})
    rows = [{Quantity.FD: depth} for depth in (7.0, 7.5, 7.3, 8.0)]
    check = asymmetry._monotone(change, Quantity.FD, rows, 0.4)
    assert check.error == pytest.approx(0.2)
    assert not check.passed
    assert not asymmetry._monotone(change, Quantity.FD, [*rows, {Quantity.FD: None}], 0.4).passed
