"""Which studies have nothing more to wait for, and which were removed."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from negvol_pacs.storage.database import Database, first, put
from negvol_pacs.storage.records import DeliveryState, State
from negvol_pacs.storage.schema import deliveries, generations, instances, removals, results

_WORKING = (State.RECEIVING, State.COMPLETE, State.PROCESSING)
_ENDED = (State.DONE, State.REFUSED, State.CANCELLED)


@dataclass(frozen=True)
class Settled:
    """A study whose images and results nobody waits for any more."""

    study_uid: str
    state: State
    """``DONE``: all its results are confirmed by all destinations; else how it ended."""
    since: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Removal:
    """A study whose images were removed; time in seconds since the epoch."""

    study_uid: str
    removed_at: float
    instances: int
    size: int
    """Bytes of its images."""
    reason: str


class Removals:
    """The part of the ledger that knows what may go, and what went.

    Parameters
    ----------
    database
        The ledger's.
    clock
        Seconds since the epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def settled(self) -> list[Settled]:
        """Return the studies with images that are settled, the longest ago first.

        A study is settled when nothing of it is received, waits or is computed, and its latest
        generation was refused or cancelled, or has results that are all confirmed wherever
        they, and any results before them, were to go. What no destination was to get is not.
        """
        return [_settled(row) for row in self._database.all(_query())]

    def called_aes(self, study_uid: str) -> set[str]:
        """Return the AE titles that a study's images came to, as far as they are known."""
        query = sa.select(instances.c.called_ae).where(instances.c.study_uid == study_uid).distinct()
        return {row["called_ae"] for row in self._database.all(query)} - {""}

    def remove(self, settled: Settled, reason: str) -> Removal | None:
        """Strike the images of a study off the ledger; its files may go when this returns.

        Returns
        -------
        Removal or None
            None where the study is not settled any more.
        """
        study = settled.study_uid
        mine = instances.c.study_uid == study
        columns: list[sa.ColumnElement[Any]] = [sa.func.count().label("instances")]
        columns.append(sa.func.sum(instances.c.size).label("size"))
        with self._database.writing() as connection:
            row = first(connection, _query(study))
            if row is None or _settled(row) != settled:
                return None
            removal = Removal(
                study, self._clock(), reason=reason, **first(connection, sa.select(*columns).where(mine)) or {}
            )
            connection.execute(instances.delete().where(mine))
            put(connection, removals, asdict(removal))
        return removal

    def find(self, study_uid: str) -> Removal | None:
        """Return when the images of a study were removed the last time."""
        rows = self._database.all(sa.select(removals).where(removals.c.study_uid == study_uid))
        return Removal(**rows[0]) if rows else None


def _settled(row: dict[str, Any]) -> Settled:
    return Settled(row["study_uid"], State(row["state"]), row["since"])


def _query(study_uid: str | None = None) -> sa.Select[Any]:
    numbers = sa.select(generations.c.study_uid, sa.func.max(generations.c.number).label("number"))
    if study_uid is not None:
        numbers = numbers.where(generations.c.study_uid == study_uid)
    latest = numbers.group_by(generations.c.study_uid).subquery()
    study = latest.c.study_uid
    other = generations.alias()
    working = sa.exists().where(other.c.study_uid == study, other.c.state.in_(_WORKING))
    sent = sa.and_(results.c.study_uid == study, results.c.sop_uid == deliveries.c.sop_uid)
    unconfirmed = sa.exists().where(sent, deliveries.c.state != DeliveryState.CONFIRMED)
    delivered = sa.exists().where(sent, results.c.generation == latest.c.number)
    confirmed_at = sa.select(sa.func.max(deliveries.c.updated_at)).where(sent).scalar_subquery()
    ended_at = generations.c.updated_at
    since = sa.case((confirmed_at > ended_at, confirmed_at), else_=ended_at).label("since")
    return (
        sa.select(study, generations.c.state, since)
        .join(latest, sa.and_(generations.c.study_uid == study, generations.c.number == latest.c.number))
        .where(generations.c.state.in_(_ENDED), ~working, ~unconfirmed)
        .where(sa.or_(generations.c.state != State.DONE, delivered))
        .where(sa.exists().where(instances.c.study_uid == study))
        .order_by(since)
    )
