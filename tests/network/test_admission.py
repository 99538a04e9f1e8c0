"""The allow-list as a table."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from negvol_pacs.config import Config, Limits, Node, Peer, Profile
from negvol_pacs.network.admission import Request, admit

CONFIG = Config(
    node=Node(ae_title="NEGVOL"),
    peers=(
        Peer(ae_title="CT1", networks=(ip_network("10.1.2.0/24"), ip_network("2001:db8::/32"))),
        Peer(ae_title="CT1", networks=(ip_network("10.9.9.9/32"),)),
        Peer(ae_title="PACS", networks=(ip_network("10.3.0.0/16"),)),
    ),
    limits=Limits(max_associations=3),
)
GOOD = Request("CT1", "NEGVOL", "10.1.2.3", 0)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"calling_ae": " CT1 ", "called_ae": "NEGVOL  "},
        {"address": "10.9.9.9"},
        {"address": "::ffff:10.1.2.3"},
        {"address": "2001:db8::7"},
        {"open_associations": 2},
    ],
)
def test_who_is_listed_is_let_in(change):
    assert admit(replace(GOOD, **change), CONFIG) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"calling_ae": "CT2"}, (1, 1, 3)),
        ({"calling_ae": "ct1"}, (1, 1, 3)),
        ({"calling_ae": ""}, (1, 1, 3)),
        ({"address": "10.1.3.3"}, (1, 1, 3)),
        ({"address": "10.3.0.1"}, (1, 1, 3)),
        ({"calling_ae": "PACS"}, (1, 1, 3)),
        ({"address": "fe80::1%eth0"}, (1, 1, 3)),
        ({"called_ae": "OTHER"}, (1, 1, 7)),
        ({"called_ae": "ANY-SCP", "calling_ae": "CT2"}, (1, 1, 3)),
        ({"open_associations": 3}, (2, 3, 2)),
        ({"has_space": False}, (2, 3, 1)),
    ],
)
def test_everyone_else_is_rejected(change, expected):
    rejection = admit(replace(GOOD, **change), CONFIG)
    assert (rejection.result, rejection.source, rejection.diagnostic) == expected
    assert rejection.reason


def test_a_profile_is_called_like_the_node_unless_the_peer_may_not():
    config = CONFIG.model_copy(update={"profiles": (Profile(ae_title="SEGS"),)})
    called = replace(GOOD, called_ae="SEGS")
    assert admit(called, config) is None
    bound = CONFIG.peers[0].model_copy(update={"called_ae_titles": ("NEGVOL",)})
    assert admit(called, config.model_copy(update={"peers": (bound,)})).diagnostic == 7


def test_nobody_is_let_in_by_default():
    assert admit(Request("CT1", "NEGVOL", "127.0.0.1", 0), Config()) is not None
