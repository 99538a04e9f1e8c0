"""kill -9 at points of the way that the running code names itself; at the end nothing is lost and nothing is twice.

A few points are killed in every run of the tests. All of them, each in a run of its own, first the
process alone and then together with the other one:

    NEGVOL_KILL_TABLE=table.md pytest tests/system/test_kill.py

writes a table of the points and what became of them.
"""

import os
from itertools import cycle
from pathlib import Path

import pytest
from conftest import Orthanc
from forged_node import Forge
from kill_run import Outcome, run, table, write_series

pytestmark = [pytest.mark.system, pytest.mark.slow]

TABLE = os.environ.get("NEGVOL_KILL_TABLE")
CHAIN = 8
DEEDS = ("alone", "both")


def check(outcome: Outcome, undisturbed: Outcome) -> None:
    assert (outcome.finished, outcome.exits) == (True, ())
    assert outcome.lost == frozenset(), "acknowledged, and not there"
    assert outcome.uids == undisturbed.uids
    assert outcome.generations == 1


def test_killed_again_and_again_on_the_way(forge: Forge, orthanc: Orthanc, tmp_path: Path) -> None:
    """Points that lie evenly on the way, every other time both processes."""
    files = write_series(tmp_path / "ct")
    undisturbed = run(forge, tmp_path / "node", orthanc, files)
    assert (len(undisturbed.uids), undisturbed.stored, undisturbed.measured) == (2, 2, 1)
    points = undisturbed.trace
    chosen = points[len(points) // (2 * CHAIN) :: len(points) // CHAIN]
    outcome = run(forge, tmp_path / "node", orthanc, files, dict(zip(chosen, cycle(DEEDS))))
    assert outcome.killed >= CHAIN
    check(outcome, undisturbed)


@pytest.mark.skipif(TABLE is None, reason="takes most of an hour: set NEGVOL_KILL_TABLE to the file to write")
@pytest.mark.timeout(4 * 3600)
def test_killed_at_every_point(forge: Forge, orthanc: Orthanc, tmp_path: Path) -> None:
    files = write_series(tmp_path / "ct")
    undisturbed = run(forge, tmp_path / "node", orthanc, files)
    tries = [(name, deed) for deed in DEEDS for name in undisturbed.trace]
    outcomes = {}
    for name, deed in tries:
        outcomes[name, deed] = run(forge, tmp_path / "node", orthanc, files, {name: deed})
        Path(str(TABLE)).write_text(table(outcomes, undisturbed), encoding="utf-8")
    for outcome in outcomes.values():
        check(outcome, undisturbed)
    reached = sum(name in outcome.trace for (name, _), outcome in outcomes.items())
    assert reached >= 0.95 * len(tries), "threads take turns, but not so much"
