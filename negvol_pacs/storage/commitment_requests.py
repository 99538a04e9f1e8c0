"""What peers asked this node to commit to, until they have heard the answer (PS3.4 annex J)."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from negvol_pacs.storage.database import Database, put
from negvol_pacs.storage.schema import commitment_requests as table


@dataclass(frozen=True)
class CommitmentRequest:
    """One request; times are seconds since the epoch (UTC)."""

    calling_ae: str
    transaction_uid: str
    called_ae: str
    address: str
    objects: Mapping[str, str]
    """SOP Class UID by SOP Instance UID."""
    created_at: float
    attempts: int = 0
    next_try: float = 0.0


class CommitmentRequests:
    """The part of the ledger that knows who waits for a report.

    Parameters
    ----------
    database
        The ledger's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def enter(self, request: CommitmentRequest) -> None:
        """Enter a request, or its next attempt; the same transaction of the same peer is replaced."""
        with self._database.writing() as connection:
            put(connection, table, asdict(request) | {"objects": json.dumps(dict(request.objects))})

    def remove(self, request: CommitmentRequest) -> None:
        """Forget a request that was answered, or given up."""
        mine = (table.c.calling_ae == request.calling_ae) & (table.c.transaction_uid == request.transaction_uid)
        with self._database.writing() as connection:
            connection.execute(table.delete().where(mine))

    def counts(self) -> Counter[str]:
        """Return how many requests wait, by calling AE title."""
        query = sa.select(table.c.calling_ae, sa.func.count().label("count")).group_by(table.c.calling_ae)
        return Counter({row["calling_ae"]: row["count"] for row in self._database.all(query)})

    def waiting(self) -> list[CommitmentRequest]:
        """Return all requests, the next one to try first."""
        rows = self._database.all(sa.select(table).order_by(table.c.next_try))
        return [_request(row) for row in rows]


def _request(row: dict[str, Any]) -> CommitmentRequest:
    return CommitmentRequest(**row | {"objects": json.loads(row["objects"])})
