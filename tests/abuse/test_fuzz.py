"""Some hundred broken inputs; ``python -m tests.abuse.fuzz`` tries as many as one likes."""

import struct

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_node import RunningNode, ct_slice
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from raw_peer import association_request, command_set, fragment, read_pdu

from negvol_pacs.errors import MalformedObject
from negvol_pacs.network.guards import StateMachine, _Machine
from negvol_pacs.storage.identify import identify
from negvol_pacs.storage.orders import decode
from negvol_pacs.storage.scan import scan


def test_broken_inputs_crash_nothing_hang_nothing_and_leave_nothing(tmp_path):
    tally, used, lives = fuzz.fuzz(tmp_path, 300, first=1_000_000)
    assert tally.failures == []
    assert lives
    assert sum(tally.outcomes.values()) == 300
    assert {outcome.partition(":")[0] for outcome in tally.outcomes} == {
        "pdu",
        "message",
        "object",
        "identifier",
        "file",
    }
    assert used[-1].threads <= used[0].threads + 1
    assert used[-1].descriptors <= used[0].descriptors + 4


def test_a_thread_that_dies_is_a_failure(tmp_path, monkeypatch):
    """The fuzzer finds what it once found: an even context ID ended pynetdicom's thread."""
    monkeypatch.setattr(_Machine, "do_action", StateMachine.do_action)
    even = association_request().replace(b"\1\0\0\0\x30", b"\2\0\0\0\x30")
    tally = fuzz.Tally()
    with fuzz.quiet(tally.failures):
        fuzzer = fuzz.Fuzzer(tmp_path, tally)
        fuzzer._say(even)
        fuzzer.node.wait_until_idle()
        fuzzer.close()
    assert any("context_id" in failure for failure in tally.failures)


def test_an_exception_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "scan", lambda *_: {}["a defect"])
    tally, _, _ = fuzz.fuzz(tmp_path, 20)
    assert tally.failures and all("KeyError" in failure for failure in tally.failures)


@given(st.binary(max_size=400), st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]))
def test_any_bytes_are_an_object_or_malformed(data, syntax):
    try:
        identify(scan(data, 0, syntax), "1.2", "1.3", syntax)
        decode(data)
    except MalformedObject as error:
        assert str(error)


tags = st.tuples(
    st.sampled_from([0x0008, 0x0010, 0x0040, 0xFFFE, 0x7FE0]),
    st.sampled_from([0, 5, 0x16, 0x100, 0xE000, 0xE00D, 0xE0DD]),
)
lengths = st.sampled_from([0, 1, 2, 8, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
elements = st.builds(
    lambda tag, length, value: struct.pack("<HHL", *tag, length) + value, tags, lengths, st.binary(max_size=8)
)


@given(st.lists(elements, max_size=20))
def test_any_elements_are_an_identifier_or_malformed(parts):
    try:
        decode(b"".join(parts))
    except MalformedObject as error:
        assert str(error)


commands = st.lists(
    st.tuples(
        st.sampled_from([0x0002, 0x0003, 0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x1000, 0x1002, 0x1008]),
        st.one_of(st.integers(0, 0xFFFF), st.sampled_from(["", "1.2", "1.2.840.10008.1.1", ct_slice().SOPInstanceUID])),
    ),
    max_size=8,
)
pdus = st.one_of(
    st.builds(command_set, commands),
    st.builds(
        lambda data, command, last: fragment(data, command=command, last=last),
        st.binary(max_size=50),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda kind, data: struct.pack(">BxL", kind, len(data)) + data, st.integers(0, 8), st.binary(max_size=12)
    ),
)


@pytest.fixture(scope="module")
def one_node(tmp_path_factory):
    node = RunningNode(tmp_path_factory.mktemp("node"), association_timeout_s=1, network_timeout_s=1)
    yield node
    node.close()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pdus, min_size=1, max_size=5))
def test_any_messages_are_answered_or_end_the_association(one_node, said):
    with one_node.connect() as connection:
        connection.sendall(association_request())
        assert read_pdu(connection)[0] == 0x02
        try:
            connection.sendall(b"".join(said) + fuzz.RELEASE)
            while read_pdu(connection):
                pass
        except OSError as error:
            assert error.errno in fuzz.GONE
    one_node.wait_until_idle(5)
    assert one_node.answers_echo()
