"""The negative volume of any joint is a proper solid or flagged; the faults are what they are called."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.measure import measure
from negvol_pacs.validation import solidity
from negvol_pacs.validation.random_joints import SIZES, Fault, Recipe

SPACING_MM = 1.0

sizes = st.fixed_dictionaries({name: st.floats(*limits) for name, limits in SIZES.items()})
amounts = st.floats(0, 1)
faults = st.dictionaries(st.sampled_from(Fault), amounts, max_size=2)


def faults_of(recipe: Recipe) -> list[str]:
    return solidity.faults(measure(recipe.masks(SPACING_MM)).joints[Side.RIGHT])


@settings(max_examples=3, deadline=None)
@given(sizes, faults)
def test_any_joint(sizes, faults):
    assert faults_of(Recipe(sizes, faults)) == []


@pytest.mark.parametrize("fault", list(Fault))
@settings(max_examples=2, deadline=None)
@given(sizes=sizes, amount=amounts)
def test_each_fault(fault, sizes, amount):
    assert faults_of(Recipe(sizes, {fault: amount})) == []


def middling(**faults: float) -> Recipe:
    sizes = {name: (low + high) / 2 for name, (low, high) in SIZES.items()}
    return Recipe(sizes | {"box": 1.0}, {Fault[name]: amount for name, amount in faults.items()})


def heights_of_bone_above(recipe: Recipe, y: float = 0.0) -> np.ndarray:
    upward = np.array([[0.0, y, z] for z in np.arange(-6, 12, 0.05)])
    return upward[recipe.joint().tb(upward) < 0, 2]


def test_faults_are_what_they_are_called():
    healthy = middling()
    assert healthy.kind == "healthy"
    assert middling(OPEN=0.5).kind == "open mouth"
    assert middling(OPEN=0.5, TINY=0.1).kind == "several"
    roof = heights_of_bone_above(healthy).min()
    assert roof == pytest.approx(6.5, abs=0.1)
    assert heights_of_bone_above(middling(FLAT=0.5)).min() < 3
    assert not len(heights_of_bone_above(middling(PERFORATED=0.5)))
    assert len(heights_of_bone_above(healthy, 9.0))
    assert not len(heights_of_bone_above(middling(NO_EMINENCE=0.5), 9.0))


def test_faulty_condyles():
    def volume(recipe: Recipe) -> float:
        return float((recipe.masks(1.0)[Side.RIGHT].mc.array > 0.5).sum())

    def touch(recipe: Recipe) -> bool:
        masks = recipe.masks(1.0)[Side.RIGHT]
        return bool((np.minimum(masks.mc.array, masks.tb.array) > 0.2).any())

    healthy = middling()
    assert volume(middling(TINY=0.5)) < 0.4 * volume(healthy)
    assert 0.7 * volume(healthy) < volume(middling(BIFID=0.5)) < volume(healthy)
    assert touch(middling(CONTACT=0.5))
    assert not touch(healthy)
    masks, opened = (recipe.masks(1.0)[Side.RIGHT].mc for recipe in (healthy, middling(OPEN=0.5)))
    before, after = (np.argwhere(mc.array > 0.5)[:, 1].min() for mc in (masks, opened))
    assert before - after == pytest.approx(10, abs=1)


def test_random_joints_are_numbered():
    assert solidity.recipe(3) == solidity.recipe(3)
    drawn = [solidity.recipe(number) for number in range(60)]
    assert {recipe.kind for recipe in drawn} == {"healthy", "several", *Fault}
    for recipe in drawn:
        assert all(low <= recipe.sizes[name] <= high for name, (low, high) in SIZES.items())


def test_run_tallies_random_joints(monkeypatch):
    monkeypatch.setattr(solidity, "degenerate", dict)
    checks = solidity.run(1.0, 3)
    assert sum(int(check.subject.split()[0]) for check in checks) == 3
    assert all(check.passed for check in checks)
    monkeypatch.setattr(solidity, "faults", lambda found: ["inside out"])
    assert [check.passed for check in solidity.run(1.0, 1)] == [False, False]
