"""kill -9 at points of the way that the running code names itself; at the end nothing is lost and nothing is twice.

A few points are killed in every run of the tests. All of them, each in a run of its own, first the
process alone and then together with the other one:

    NEGVOL_KILL_TABLE=table.md pytest tests/system/test_kill.py

writes a table of the points and what became of them.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from conftest import Orthanc, need
from kill_run import Forge, Outcome, run, write_series

pytestmark = [pytest.mark.system, pytest.mark.slow]

TABLE = os.environ.get("NEGVOL_KILL_TABLE")
CHAIN = 8


@pytest.fixture(scope="module")
def forge(loopback_only: None) -> Iterator[Forge]:
    need("Orthanc")
    forge = Forge()
    yield forge
    forge.close()


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
    outcome = run(forge, tmp_path / "node", orthanc, files, {name: bool(n % 2) for n, name in enumerate(chosen)})
    assert outcome.killed >= CHAIN
    check(outcome, undisturbed)


def table(outcomes: Mapping[tuple[str, bool], Outcome], undisturbed: Outcome) -> str:
    """Points of one place in the code in one row: how many there are, and what killing there did."""
    rows: dict[tuple[str, str], list[Outcome]] = {}
    for (name, _), outcome in outcomes.items():
        role, _, what, _ = name.split(" | ")
        rows.setdefault((role, what), []).append(outcome)
    lines = [
        "| process | at | killed | not reached | not finished | lost | twice | sent again | measured again |",
        "|" + "---|" * 9,
    ]
    for (role, what), found in [*rows.items(), (("all", ""), list(outcomes.values()))]:
        numbers = (
            sum(outcome.killed > 0 for outcome in found),
            sum(outcome.killed == 0 for outcome in found),
            sum(not outcome.finished or bool(outcome.exits) for outcome in found),
            sum(len(outcome.lost) + len(undisturbed.uids - outcome.uids) for outcome in found),
            sum(len(outcome.uids - undisturbed.uids) for outcome in found),
            sum(outcome.stored > undisturbed.stored for outcome in found),
            sum(outcome.measured > undisturbed.measured for outcome in found),
        )
        lines.append(f"| {role} | {what} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(TABLE is None, reason="takes most of an hour: set NEGVOL_KILL_TABLE to the file to write")
@pytest.mark.timeout(4 * 3600)
def test_killed_at_every_point(forge: Forge, orthanc: Orthanc, tmp_path: Path) -> None:
    files = write_series(tmp_path / "ct")
    undisturbed = run(forge, tmp_path / "node", orthanc, files)
    tries = [(name, both) for both in (False, True) for name in undisturbed.trace]
    outcomes = {}
    for name, both in tries:
        outcomes[name, both] = run(forge, tmp_path / "node", orthanc, files, {name: both})
        Path(str(TABLE)).write_text(table(outcomes, undisturbed), encoding="utf-8")
    for outcome in outcomes.values():
        check(outcome, undisturbed)
    reached = sum(outcome.killed > 0 for outcome in outcomes.values())
    assert reached >= 0.95 * len(tries), "threads take turns, but not so much"
