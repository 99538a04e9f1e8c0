"""Signs of life on a real disk."""

import os
import time

from negvol_pacs.storage.lifesigns import LifeSign, processes


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
