"""When a node counts as working, on signs of life that real files show."""

import os
import time

import pytest

from negvol_pacs.storage.lifesigns import SILENT_S, LifeSign, Process, processes
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


def test_a_process_shows_that_it_lives_until_its_orderly_end(tmp_path, monkeypatch):
    monkeypatch.setattr("negvol_pacs.storage.lifesigns._EVERY_S", 0.0)
    sign = LifeSign(tmp_path, "worker", "a/../b", device="cpu")
    (path,) = (tmp_path / "processes").iterdir()
    os.utime(path, (1, 1))
    (found,) = processes(tmp_path)
    assert (found.kind, found.name, found.told, found.seen_at) == ("worker", "a/../b", {"device": "cpu"}, 1)
    assert found.is_silent(time.time())
    sign.beat()
    (found,) = processes(tmp_path)
    assert not found.is_silent(time.time())
    path.unlink()
    sign.beat()
    assert len(processes(tmp_path)) == 1
    sign.end()
    sign.end()
    assert processes(tmp_path) == []


def test_a_sign_that_cannot_be_written_hinders_nobody_and_half_a_sign_is_one(tmp_path):
    (tmp_path / "file").touch()
    LifeSign(tmp_path / "file", "receiver").beat()
    assert processes(tmp_path / "file") == []
    LifeSign(tmp_path, "worker", "node-1")
    (path,) = (tmp_path / "processes").iterdir()
    path.write_text('{"kind": "wor')
    (found,) = processes(tmp_path)
    assert (found.kind, found.name, found.version) == ("worker", "node-1", "")
