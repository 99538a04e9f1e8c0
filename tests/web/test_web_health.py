"""When a node counts as working."""

import pytest

from negvol_pacs.storage.lifesigns import SILENT_S, Process
from negvol_pacs.web.health import Disk, judge

NOW = 1e9
ROOM = Disk(free=100, total=1000, low=50, least=10)
RECEIVER, WORKER = Process("receiver", "", NOW), Process("worker", "node-1", NOW - 10)
SILENT = Process("worker", "gpu1", NOW - SILENT_S - 1)


def test_a_node_that_works():
    assert judge([RECEIVER, WORKER], ROOM, NOW, 0).healthy


@pytest.mark.parametrize(
    ("found", "disk", "needing", "reason"),
    [
        ([WORKER], ROOM, 0, "no receiver is running"),
        ([RECEIVER], ROOM, 0, "no worker is running"),
        ([RECEIVER, SILENT], ROOM, 0, "worker gpu1 has been silent for 61 s"),
        ([RECEIVER, WORKER], Disk(9, 1000, 50, 10), 0, "the disk is full: nothing is received"),
        ([RECEIVER, WORKER], ROOM, None, "the ledger cannot be read"),
        ([RECEIVER, Process("worker", "", NOW + 3600)], ROOM, 0, "worker has been silent for 0 s"),
    ],
)
def test_a_node_that_does_not_work_says_why(found, disk, needing, reason):
    health = judge(found, disk, NOW, needing)
    assert (health.healthy, health.reasons) == (False, (reason,))


@pytest.mark.parametrize(
    ("found", "disk", "needing", "warning"),
    [
        ([RECEIVER, WORKER, SILENT], ROOM, 0, "worker gpu1 has been silent for 61 s"),
        ([RECEIVER, WORKER], Disk(49, 1000, 50, 10), 0, "the disk is low"),
        ([RECEIVER, WORKER], ROOM, 1, "1 study needs a person"),
        ([RECEIVER, WORKER], ROOM, 2, "2 studies need a person"),
    ],
)
def test_what_a_person_should_know_of_a_node_that_works(found, disk, needing, warning):
    health = judge(found, disk, NOW, needing)
    assert (health.healthy, health.warnings) == (True, (warning,))
