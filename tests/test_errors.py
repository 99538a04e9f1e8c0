"""Every error has its own code and stands in the tree that opens errors.py."""

import re

import pytest

from negvol_pacs import errors
from negvol_pacs.errors import JointError, NegvolError, NoSuitableSeries, SeriesRefused
from negvol_pacs.quality import QualityFlag


def below(error: type[NegvolError]) -> list[type[NegvolError]]:
    return [kind for child in error.__subclasses__() for kind in (child, *below(child))]


ALL = [kind for kind in (NegvolError, *below(NegvolError)) if kind.__module__ == errors.__name__]


def drawn() -> dict[str, str]:
    """Child and parent as the docstring's tree draws them."""
    parents: dict[str, str] = {}
    open_at: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ((?:│   |    )*)(?:[├└]── )?([A-Z]\w+)\b", line)
        if not match:
            continue
        depth = len(match[1]) // 4 + ("──" in line)
        open_at[depth] = match[2]
        if depth:
            parents[match[2]] = open_at[depth - 1]
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_classes():
    assert drawn() == {kind.__name__: kind.__base__.__name__ for kind in ALL[1:]}


def test_codes_are_unique_words():
    codes = [kind.code for kind in ALL]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_class_states_its_own_code_and_meaning(kind):
    assert "code" in vars(kind)
    assert (kind.__doc__ or "").strip()
    assert str(kind("Slice 3 is missing.")) == "Slice 3 is missing."


@pytest.mark.parametrize("kind", [kind for kind in ALL if issubclass(kind, JointError)], ids=lambda kind: kind.__name__)
def test_every_joint_error_has_the_flag_that_replaces_its_numbers(kind):
    assert "flag" in vars(kind)
    assert kind.flag in QualityFlag


def test_a_list_of_refusals_is_itself_a_refusal():
    assert issubclass(NoSuitableSeries, SeriesRefused)
