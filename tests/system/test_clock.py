"""The clock of the node is set back or forward by a day while work is under way; the work goes on.

NEGVOL_CLOCK=1 pytest tests/system/test_clock.py
"""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
from forged_node import Forge, ForgedNode
from kill_run import STUDY, send_acknowledged, settings_of, settled, write_series
from peers import Orthanc, wait_for

from negvol_pacs.storage.records import DeliveryState
from negvol_pacs.workflow import layout

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("NEGVOL_CLOCK" not in os.environ, reason="slow, and tested in parts: set NEGVOL_CLOCK"),
]

DAY_S = 86400


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """File with the seconds that the node's clock is wrong by."""
    path = tmp_path / "clock"
    path.write_text("0")
    return path


@pytest.mark.parametrize("shift_s", [-DAY_S, DAY_S])
def test_set_after_the_series_came(forge: Forge, orthanc: Orthanc, tmp_path: Path, clock: Path, shift_s: int) -> None:
    orthanc.forget(STUDY)
    settings = settings_of(orthanc, tmp_path / "state")
    with closing(ForgedNode(forge, tmp_path, settings, CLOCK=str(clock))) as node:
        send_acknowledged(node, write_series(tmp_path / "ct"), orthanc.node_port)
        clock.write_text(str(shift_s))
        with closing(layout.open_ledger(tmp_path / "state")) as ledger:
            assert settled(node, ledger), "within a minute"
    assert len(orthanc.uids(STUDY)) == 2


def test_set_back_while_deliveries_wait(forge: Forge, orthanc: Orthanc, tmp_path: Path, clock: Path) -> None:
    orthanc.forget(STUDY)
    settings = settings_of(orthanc, tmp_path / "state")
    down = settings.replace(f"\nport = {orthanc.port}\n", "\nport = 1\n")
    with (
        closing(ForgedNode(forge, tmp_path, down, CLOCK=str(clock))) as node,
        closing(layout.open_ledger(tmp_path / "state")) as ledger,
    ):
        send_acknowledged(node, write_series(tmp_path / "ct"), orthanc.node_port)
        wait_for(lambda: len(ledger.deliveries(states=[DeliveryState.FAILED])) == 2, 120, "the PACS is down")
        clock.write_text(str(-DAY_S))
        node.config.write_text(settings)
        os.kill(node.pids["worker"], signal.SIGHUP)
        assert settled(node, ledger), "within a minute"
    assert len(orthanc.uids(STUDY)) == 2
