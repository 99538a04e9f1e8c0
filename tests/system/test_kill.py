"""kill -9 at points of the way that the running code names itself; at the end nothing is lost and nothing is twice.

A few points are killed in every run of the tests. All of them, each in a run of its own, first the
process alone and then together with the other one:

    NEGVOL_KILL_TABLE=table.md pytest tests/system/test_kill.py

writes a table of the points and what became of them. The runs are kept beside it (``table.md.jsonl``): what was
interrupted goes on with the next point.
"""

import os
from contextlib import closing
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest
from forged_node import Forge, ForgedNode
from kill_run import SLICES, STUDY, Outcome, resumed, run, settled, table, write_series
from peers import Orthanc, wait_for

from negvol_pacs.config import load
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.rebuild import rebuild_state

pytestmark = [pytest.mark.system, pytest.mark.slow]

TABLE = os.environ.get("NEGVOL_KILL_TABLE")
CHAIN = 6
DEEDS = ("alone", "both")


def check(outcome: Outcome, undisturbed: Outcome) -> None:
    assert (outcome.finished, outcome.exits) == (True, ())
    assert outcome.lost == frozenset(), "acknowledged, and not there"
    assert outcome.uids == undisturbed.uids
    assert outcome.generations == 1


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_series(tmp_path_factory.mktemp("series") / "ct")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the node that nothing befalls."""
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="module")
def undisturbed(forge: Forge, orthanc: Orthanc, files: list[Path], folder: Path) -> Outcome:
    outcome = run(forge, folder, orthanc, files)
    assert (len(outcome.uids), outcome.stored, outcome.measured) == (2, 2, 1)
    return outcome


@pytest.mark.timeout(900)
def test_killed_again_and_again_on_the_way(
    forge: Forge, orthanc: Orthanc, files: list[Path], undisturbed: Outcome, tmp_path: Path
) -> None:
    """Points that lie evenly on the way, every other time both processes."""
    points = undisturbed.trace
    chosen = points[len(points) // (2 * CHAIN) :: len(points) // CHAIN]
    outcome = run(forge, tmp_path / "node", orthanc, files, dict(zip(chosen, cycle(DEEDS))))
    assert outcome.killed >= CHAIN
    check(outcome, undisturbed)


def test_rebuilt_from_the_inbox_it_gives_the_same_results(
    forge: Forge, orthanc: Orthanc, undisturbed: Outcome, folder: Path
) -> None:
    """The ledger is gone and the PACS has lost the study; nobody sends anything again."""
    orthanc.forget(STUDY)
    for path in (folder / "state").glob("ledger.db*"):
        path.unlink()
    settings = (folder / "config.toml").read_text()
    with closing(ForgedNode(forge, folder, settings)) as node:
        wait_for(lambda: (node.revive(), len(node.exits) >= 2)[1], 20, "both processes refuse to start")
        assert set(node.exits) == {65}
    found = rebuild_state(load(folder / "config.toml"))
    assert found is not None and (found.instances, found.left) == (SLICES, {})
    with (
        closing(ForgedNode(forge, folder, settings)) as node,
        closing(layout.open_ledger(folder / "state")) as ledger,
    ):
        assert settled(node, ledger)
        assert node.exits == []
    assert orthanc.uids(STUDY) == undisturbed.uids


@pytest.mark.skipif(TABLE is None, reason="takes most of an hour: set NEGVOL_KILL_TABLE to the file to write")
@pytest.mark.timeout(4 * 3600)
def test_killed_at_every_point(
    forge: Forge, orthanc: Orthanc, files: list[Path], undisturbed: Outcome, tmp_path: Path
) -> None:
    tries = [(name, deed) for deed in DEEDS for name in undisturbed.trace]
    outcomes = {}
    for name, deed in tries:
        make = partial(run, forge, tmp_path / "node", orthanc, files, {name: deed})
        outcomes[name, deed] = resumed(Path(f"{TABLE}.jsonl"), name, deed, make)
        Path(str(TABLE)).write_text(table(outcomes, undisturbed), encoding="utf-8")
    for outcome in outcomes.values():
        check(outcome, undisturbed)
    reached = sum(name in outcome.trace for (name, _), outcome in outcomes.items())
    assert reached >= 0.95 * len(tries), "threads take turns, but not so much"
