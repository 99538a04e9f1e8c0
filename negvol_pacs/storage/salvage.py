"""What can still be read of a damaged ledger and no image tells: orders, requests for commitment, performed steps.

It is read row by row around the damage, as SQLite's own ``.recover`` does, and taken over only where it is
what it says: a page that was overwritten need not look damaged to SQLite, which keeps no sums of its pages.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from negvol_pacs.errors import MALFORMED, StorageError
from negvol_pacs.storage import schema
from negvol_pacs.storage.commitment_requests import CommitmentRequest
from negvol_pacs.storage.identify import is_uid
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.orders import order
from negvol_pacs.storage.performed import Step, StepState
from negvol_pacs.storage.records import Order

_Entry = TypeVar("_Entry")

_ROWID = sa.literal_column("rowid", sa.Integer)
_BEYOND = 1000
"""Row IDs that are tried behind the last row before the damage, where none is found behind it."""


def carry_over(damaged: Path, ledger: Ledger, keep_orders_s: float) -> Counter[str]:
    """Enter in a new ledger what can be read of a damaged one.

    Parameters
    ----------
    damaged
        The database; nobody else may use it.
    ledger
        The new one, with the images that were received.
    keep_orders_s
        How long orders are kept after they were seen.

    Returns
    -------
    Counter
        How many ``orders``, ``requests for commitment`` and ``performed steps`` were taken over.
    """
    kept: Counter[str] = Counter()
    found = list(_entries(damaged, schema.orders, _order))
    ledger.orders.record(found, keep_orders_s)
    kept["orders"] = len(found)
    for request in _entries(damaged, schema.commitment_requests, _request):
        ledger.commitment_requests.enter(request)
        kept["requests for commitment"] += 1
    for step in _entries(damaged, schema.performed, _step):
        ledger.performed.enter(step)
        kept["performed steps"] += 1
    return kept


def _entries(damaged: Path, table: sa.Table, made_of: Callable[[dict[str, Any]], _Entry]) -> Iterator[_Entry]:
    for row in rows(damaged, table):
        with suppress(*MALFORMED, StorageError):
            yield made_of(row)


def rows(path: Path, table: sa.Table) -> list[dict[str, Any]]:
    """Read what can be read of a table: from its beginning and its end to the damage, and one by one within.

    Parameters
    ----------
    path
        SQLite database.
    table
        Of the ledger's schema.

    Returns
    -------
    list of dict
        Rows by column name, in no order; none where there is no file.
    """
    if not path.exists():
        return []
    wanted = sa.select(_ROWID, *table.columns)
    ways = (wanted.order_by(_ROWID), wanted.order_by(_ROWID.desc()), wanted.where(sa.bindparam("number") == _ROWID))
    forwards, backwards, single = (str(way.compile(dialect=sqlite.dialect())) for way in ways)
    found: dict[int, tuple[Any, ...]] = {}
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema=ON")  # tables count whose neighbours in the schema are damaged
        if not _scan(connection, found, forwards):
            first, behind = max(found, default=0) + 1, dict[int, tuple[Any, ...]]()
            _scan(connection, behind, backwards)
            found |= behind
            for number in range(first, min(behind, default=first + _BEYOND)):
                _scan(connection, found, single, number)
    return [dict(zip(table.columns.keys(), row, strict=True)) for row in found.values()]


def _scan(connection: sqlite3.Connection, found: dict[int, tuple[Any, ...]], query: str, *values: int) -> bool:
    """Read rows by their row ID until the damage; tell whether there was none."""
    try:
        for number, *row in connection.execute(query, values):
            found[number] = tuple(row)
    except sqlite3.Error:
        return False
    return True


def _order(row: dict[str, Any]) -> Order:
    """Make an order, if its columns are those of its identifier: one with another's patient must not come back."""
    entry = Order(**row)
    told = order(entry.ris, entry.identifier, float(entry.seen_at), whole=True)
    if told is None or replace(told, key=entry.key) != entry:  # the key may be of what was left out
        raise ValueError("not what its identifier says")
    return entry


def _request(row: dict[str, Any]) -> CommitmentRequest:
    request = CommitmentRequest(**row | {"objects": json.loads(row["objects"])})
    if not all(map(is_uid, [request.transaction_uid, *request.objects, *request.objects.values()])):
        raise ValueError("not made of UIDs")
    return request


def _step(row: dict[str, Any]) -> Step:
    step = Step(**row | {"state": StepState(row["state"]), "images": tuple(json.loads(row["images"]))})
    if not all(map(is_uid, [step.sop_uid, step.study_uid, *step.images])):
        raise ValueError("not made of UIDs")
    return step
