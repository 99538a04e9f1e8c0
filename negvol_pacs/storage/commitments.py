"""What destinations were asked to commit to, and what they answered (PS3.4 annex J)."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum

import sqlalchemy as sa

from negvol_pacs.storage.database import Database
from negvol_pacs.storage.records import DeliveryState
from negvol_pacs.storage.schema import commitments, deliveries


class CommitmentState(StrEnum):
    """Where one request for storage commitment stands."""

    PLANNED = "planned"
    """Written down; the destination may have heard of it or not."""
    ASKED = "asked"
    COMMITTED = "committed"
    FAILED = "failed"


_OPEN = (CommitmentState.PLANNED, CommitmentState.ASKED)


@dataclass(frozen=True)
class Commitment:
    """One request that a destination keep one result; times are seconds since the epoch (UTC)."""

    transaction_uid: str
    sop_uid: str
    destination: str
    state: CommitmentState
    reason: str
    created_at: float
    answered_at: float


class Commitments:
    """The part of the ledger that knows transactions of storage commitment.

    Parameters
    ----------
    database
        The ledger's.
    clock
        Seconds since the epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def plan(self, transaction_uid: str, sop_uid: str, destination: str) -> None:
        """Enter a transaction before the destination hears of it: its answer may come at once."""
        row = Commitment(transaction_uid, sop_uid, destination, CommitmentState.PLANNED, "", self._clock(), 0.0)
        with self._database.writing() as connection:
            connection.execute(commitments.insert().values(**asdict(row)))

    def asked(self, transaction_uid: str) -> None:
        """Note that the destination has accepted the request."""
        mine = (commitments.c.transaction_uid == transaction_uid) & (commitments.c.state == CommitmentState.PLANNED)
        with self._database.writing() as connection:
            connection.execute(commitments.update().where(mine).values(state=CommitmentState.ASKED))

    def find(self, transaction_uid: str) -> Commitment | None:
        """Return a transaction."""
        return self._one(commitments.c.transaction_uid == transaction_uid)

    def latest(self, sop_uid: str, destination: str, since: float) -> Commitment | None:
        """Return the latest transaction about a result since it was sent at ``since``, planned ones left out."""
        return self._one(
            (commitments.c.sop_uid == sop_uid)
            & (commitments.c.destination == destination)
            & (commitments.c.created_at >= since)
            & (commitments.c.state != CommitmentState.PLANNED)
        )

    def answer(self, transaction_uid: str, *, committed: bool, reason: str = "") -> bool:
        """Enter the destination's answer; with a commitment the result is delivered.

        Returns
        -------
        bool
            False where the transaction is unknown or was answered before.
        """
        now = self._clock()
        mine = (commitments.c.transaction_uid == transaction_uid) & commitments.c.state.in_(_OPEN)
        state = CommitmentState.COMMITTED if committed else CommitmentState.FAILED
        with self._database.writing() as connection:
            row = connection.execute(sa.select(commitments).where(mine)).mappings().first()
            if row is None:
                return False
            values = {"state": state, "reason": reason, "answered_at": now}
            connection.execute(commitments.update().where(mine).values(**values))
            if committed:
                _confirm(connection, row["sop_uid"], row["destination"], now)
            return True

    def confirm(self, sop_uid: str, destination: str) -> bool:
        """Mark a delivery as confirmed; return False where it was already."""
        with self._database.writing() as connection:
            return _confirm(connection, sop_uid, destination, self._clock())

    def _one(self, where: sa.ColumnElement[bool]) -> Commitment | None:
        rows = self._database.all(
            sa.select(commitments).where(where).order_by(commitments.c.created_at.desc()).limit(1)
        )
        return Commitment(**rows[0] | {"state": CommitmentState(rows[0]["state"])}) if rows else None


def _confirm(connection: sa.Connection, sop_uid: str, destination: str, now: float) -> bool:
    mine = (deliveries.c.sop_uid == sop_uid) & (deliveries.c.destination == destination)
    values = {"state": DeliveryState.CONFIRMED, "error": "", "next_try": 0.0, "updated_at": now}
    unconfirmed = mine & (deliveries.c.state != DeliveryState.CONFIRMED)
    return bool(connection.execute(deliveries.update().where(unconfirmed).values(**values)).rowcount)
