"""The ledger's database (SQLite, or PostgreSQL): how it is opened, and its transactions."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from negvol_pacs.errors import DatabaseDamaged, DiskFull, StorageError
from negvol_pacs.storage.schema import METADATA, VERSION, schema_version

BUSY_TIMEOUT_S = 30
_VERSION = sa.select(sa.func.max(schema_version.c.version))
REMEDY = "stop the node and run `negvol rebuild`, which makes the databases anew from the images that were received"


def require_whole(path: Path) -> None:
    """Check every page of an SQLite database, if there is one: damage shows late where nobody looks.

    Raises
    ------
    DatabaseDamaged
        With the first thing that is wrong, and what to do.
    """
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if is_full(error):
            raise DiskFull(f"{path} cannot be read on a full disk") from error
        found = str(error)
    if found != "ok":
        raise DatabaseDamaged(f"{path} is damaged: {found}; {REMEDY}")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let no other process make a database in a folder meanwhile; the kernel lets go when this one dies.

    Where two turn a new SQLite file to its write-ahead log at once, one is told at once that the
    database is locked, however long it would have waited.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Database:
    """Connections to the ledger's database; may be shared by threads.

    Parameters
    ----------
    url
        SQLAlchemy URL.
    read_only
        Make nothing, and refuse to write.

    Raises
    ------
    StorageError
        If the database cannot be opened, is damaged or is of another version.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._engine = _reading_engine(url) if read_only else _create_engine(url)
        found = self._version() if read_only else self._made_version(url)
        if found != VERSION:
            self.close()
            raise StorageError(f"the ledger is of version {found}, this program needs version {VERSION}")

    def _made_version(self, url: str) -> int:
        file = _file(url)
        with nullcontext() if file is None else alone(file.parent), self.writing() as connection:
            METADATA.create_all(connection)
            found: int | None = connection.scalar(_VERSION)
            if found is None:
                connection.execute(schema_version.insert().values(version=VERSION))
        return VERSION if found is None else found

    def _version(self) -> int | None:
        with self.reading() as connection:
            found: int | None = connection.scalar(_VERSION)
            return found

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Open a transaction that is durable when the block ends."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that reads one state of the database and waits for no writer."""
        with _translated(), self._engine.connect() as connection:
            yield connection.execution_options(negvol_reading=True)

    def all(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        """Read rows."""
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def first(connection: sa.Connection, query: sa.Select[Any], **parameters: Any) -> dict[str, Any] | None:
    """Read the first row of a query."""
    row = connection.execute(query, parameters).mappings().first()
    return None if row is None else dict(row)


def put(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
    """Insert a row, in place of the one with the same primary key."""
    same = sa.and_(*(column == row[column.name] for column in table.primary_key))
    connection.execute(table.delete().where(same))
    connection.execute(table.insert().values(**row))


def is_full(error: BaseException | None) -> bool:
    """Tell whether a full disk is behind an error: one of the system, of a database's driver, or of this package."""
    return any(isinstance(cause, DiskFull) or _tells_full(cause) for cause in _causes(error))


def _tells_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
        return True
    # SQLite maps its shared memory from the disk, too, and says so differently when that cannot grow.
    shared_memory = getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE"
    return shared_memory or "disk is full" in str(error) or "No space left" in str(error)


def is_damaged(error: BaseException | None) -> bool:
    """Tell whether a damaged database is behind an error, or a file that is none."""
    # The rest of the code says more precisely what.
    codes = {getattr(cause, "sqlite_errorcode", 0) & 0xFF for cause in _causes(error)}
    known = any(isinstance(cause, DatabaseDamaged) for cause in _causes(error))
    return known or not codes.isdisjoint((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        if is_full(error):
            raise DiskFull("no space left for the ledger") from error
        if is_damaged(error):
            raise DatabaseDamaged(f"the ledger is damaged: {error.orig}; {REMEDY}") from error
        raise StorageError(f"the ledger cannot be used: {error.orig}") from error


def _create_engine(url: str) -> sa.Engine:
    parsed, file = sa.make_url(url), _file(url)
    if file is None:
        return sa.create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    _reserve(file)
    arguments = {"timeout": BUSY_TIMEOUT_S}
    engine = sa.create_engine(
        parsed, connect_args=arguments, pool_size=8, max_overflow=-1, hide_parameters=True
    )  # an error that is logged shows no patient
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _file(url: str) -> Path | None:
    """Return the file of an SQLite database; None where it is none."""
    parsed = sa.make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def _reading_engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, hide_parameters=True, execution_options={"postgresql_readonly": True})
    file = parsed.set(database=f"file:{quote(parsed.database or '')}", query={"mode": "ro", "uri": "true"})
    arguments = {"timeout": BUSY_TIMEOUT_S}
    engine = sa.create_engine(file, connect_args=arguments, poolclass=sa.NullPool, hide_parameters=True)
    sa.event.listen(engine, "connect", _configure_reading)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _reserve(path: Path) -> None:
    """Create the file readable by the service alone: its journals inherit the mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        kind = DiskFull if is_full(error) else StorageError
        raise kind(f"the ledger cannot be opened: {path}: {error.strerror}") from error


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _configure_reading(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the lock at once: a read lock that is upgraded later can fail without waiting.
    reading = connection.get_execution_options().get("negvol_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
