"""Which destination takes what."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negvol_pacs.config import Destination
from negvol_pacs.workflow.routing import Traits, takers

CBCT = Traits(
    frozenset({"CBCT_1"}), frozenset({"NEGVOL"}), frozenset({"CT TMJ left"}), frozenset({"OP-2"}), frozenset({""})
)


def peer(name="pacs", **rule):
    return Destination.model_validate({"name": name, "ae_title": "PACS", "host": "h", "port": 104, "rule": rule})


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        ({}, True),
        ({"calling_ae": ["CBCT*"]}, True),
        ({"calling_ae": ["CT*"]}, False),
        ({"calling_ae": ["CT*", "cbct_?"]}, True),
        ({"called_ae": ["NEGVOL"]}, True),
        ({"called_ae": ["NEGVOL_SEG"]}, False),
        ({"study_description": ["*tmj*"]}, True),
        ({"station_name": ["OP-1"]}, False),
        ({"body_part": ["HEAD"]}, False),
        ({"body_part": ["", "HEAD"]}, True),
        ({"calling_ae": ["CBCT*"], "station_name": ["OP-1"]}, False),
        ({"calling_ae": ["CBCT*"], "station_name": ["OP-2"]}, True),
    ],
)
def test_a_destination_takes_what_its_rule_matches(rule, taken):
    assert takers([peer(**rule)], CBCT) == ["pacs"] * taken


def test_each_destination_has_its_own_rule():
    peers = [peer("all"), peer("research", study_description=["*TMJ*"]), peer("clinic", called_ae=["OTHER"])]
    assert takers(peers, CBCT) == ["all", "research"]
    assert takers(peers, replace(CBCT, called_ae=frozenset({"OTHER"}))) == ["all", "research", "clinic"]


@given(st.text("ab[]*?!", max_size=6), st.text("ab", max_size=6))
def test_every_pattern_is_taken_without_an_error(pattern, value):
    traits = replace(CBCT, station_name=frozenset({value}))
    assert takers([peer(station_name=[pattern])], traits) in ([], ["pacs"])
    assert takers([peer(station_name=[value + "*"])], traits) == ["pacs"]
