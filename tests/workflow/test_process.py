"""How a process of the node ends: its exit code says what ails it, whichever way the error came."""

import errno
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from node_process import CONFIG, free_port
from typer.testing import CliRunner

from negvol_pacs.cli import app
from negvol_pacs.errors import DiskFull, StorageError
from negvol_pacs.storage import database
from negvol_pacs.workflow import engine, layout, receiver
from negvol_pacs.workflow.process import Exit


def shared_memory():
    """What SQLite says where its shared memory cannot grow: no word of the disk."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname, error.sqlite_errorcode = "SQLITE_IOERR_SHMSIZE", 4874
    return error


def damaged():
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def by_sqlalchemy(error):
    wrapped = sa.exc.OperationalError("BEGIN IMMEDIATE", {}, error)
    wrapped.__cause__ = error
    return wrapped


def in_storage(error):
    wrapped = StorageError("the ledger cannot be opened")
    wrapped.__cause__ = error
    return wrapped


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NO_SPACE, Exit.DISK_FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Exit.DISK_FULL),
        (in_storage(NO_SPACE), Exit.DISK_FULL),
        (by_sqlalchemy(shared_memory()), Exit.DISK_FULL),
        (DiskFull("less than the watermark"), Exit.DISK_FULL),
        (by_sqlalchemy(damaged()), Exit.DAMAGED),
        (StorageError("of another version"), Exit.ERROR),
    ],
)
def test_the_exit_code_says_what_ails_the_disk(tmp_path, monkeypatch, error, code):
    def run(_config, _file):
        raise error

    monkeypatch.setattr(receiver, "run", run)
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(port=free_port(), state=tmp_path / "state", pacs_port=1))
    done = CliRunner().invoke(app, ["serve", "--only", "receiver", "--config", str(file)])
    assert done.exit_code == code


def test_the_engines_database_on_a_full_disk(tmp_path, monkeypatch):
    def migrate(_url):
        raise by_sqlalchemy(shared_memory())

    monkeypatch.setattr(engine.DBOS, "migrate", migrate)
    with pytest.raises(DiskFull):
        engine.migrate(tmp_path)


@pytest.mark.parametrize(("make", "name"), [(engine.migrate, "workflow.db"), (layout.open_ledger, "ledger.db")])
def test_two_processes_never_make_a_database_at_once(tmp_path, make, name):
    """Receiver and worker start together, and SQLite would turn one of them away."""
    with ThreadPoolExecutor(1) as pool:
        with database.alone(tmp_path):
            other = pool.submit(make, tmp_path)
            with pytest.raises(TimeoutError):
                other.result(0.3)
            assert (tmp_path / name).stat().st_size == 0
        made = other.result(60)
    if made is not None:
        made.close()
    assert (tmp_path / name).stat().st_size > 0


def test_a_ledger_that_cannot_be_made_on_a_full_disk(tmp_path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise NO_SPACE

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(DiskFull):
        database.Database(f"sqlite:///{tmp_path / 'ledger.db'}")
