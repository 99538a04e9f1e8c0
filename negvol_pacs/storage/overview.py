"""How all studies of the node stand, counted and listed by the database."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from negvol_pacs.storage.database import Database
from negvol_pacs.storage.records import DeliveryState, ResultKind, State
from negvol_pacs.storage.schema import deliveries, generations, instances, results


class Standing(StrEnum):
    """How a study stands: its latest generation, and what became of all results on their way."""

    NEEDS_PERSON = "needs-person"
    RECEIVED = "received"
    WAITING = "waiting"
    COMPUTING = "computing"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    KEPT = "kept"
    """Measured; no destination was to get it."""
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def words(self) -> str:
        """What a person reads."""
        return {"needs-person": "needs a person", "kept": "kept here"}.get(self.value, self.value)


_ACTIVE = {State.RECEIVING: Standing.RECEIVED, State.COMPLETE: Standing.WAITING, State.PROCESSING: Standing.COMPUTING}


@dataclass(frozen=True)
class Stand:
    """How one study stands; times are seconds since the epoch."""

    study_uid: str
    standing: Standing
    number: int
    """Of its latest generation, which the following speak of."""
    code: str
    reason: str
    opened_at: float
    updated_at: float
    calling_ae: str
    instances: int
    """Images of the whole study that are here."""
    planned: int
    """Deliveries of results of the whole study."""
    confirmed: int
    """Those of them that the destination has confirmed."""
    stuck: int
    """Those that need a person."""
    image: str | None
    """Path of one of its images, below the inbox's folder."""
    report: str | None
    """Path of its latest report (SR), below the outbox's folder."""


class Overview:
    """The part of the ledger that looks at all studies.

    Parameters
    ----------
    database
        Of the ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(
        self,
        standings: Collection[Standing] = tuple(Standing),
        *,
        code: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Stand]:
        """Return studies, what changed last first.

        Parameters
        ----------
        standings
            Which ones.
        code
            Only those that were refused or failed with this one.
        limit, offset
            How many, after how many others.
        """
        all_of_them = _stands().subquery()
        query = sa.select(all_of_them).where(all_of_them.c.standing.in_(list(standings)))
        if code is not None:
            query = query.where(all_of_them.c.code == code)
        query = query.order_by(all_of_them.c.updated_at.desc(), all_of_them.c.study_uid).limit(limit).offset(offset)
        return [_stand(row) for row in self._database.all(query)]

    def study(self, study_uid: str) -> Stand | None:
        """Return how one study stands; None where nothing of it was received."""
        rows = self._database.all(_stands(study_uid))
        return _stand(rows[0]) if rows else None

    def counts(self) -> dict[Standing, int]:
        """Count the studies of each standing."""
        standing = _stands().subquery().c.standing
        rows = self._database.all(sa.select(standing, sa.func.count().label("studies")).group_by(standing))
        found = {row["standing"]: int(row["studies"]) for row in rows}
        return {standing: found.get(standing, 0) for standing in Standing}

    def deliveries(self) -> dict[str, dict[DeliveryState, int]]:
        """Count the deliveries to each destination by state."""
        columns = deliveries.c.destination, deliveries.c.state
        query = sa.select(*columns, sa.func.count().label("number")).group_by(*columns)
        found: dict[str, dict[DeliveryState, int]] = {}
        for row in self._database.all(query):
            states = found.setdefault(row["destination"], dict.fromkeys(DeliveryState, 0))
            states[DeliveryState(row["state"])] = int(row["number"])
        return found

    def oldest_active(self) -> float | None:
        """Return when the study was begun that is received, waits or is computed for the longest time."""
        active = generations.c.state.in_(list(_ACTIVE))
        rows = self._database.all(sa.select(sa.func.min(generations.c.opened_at).label("at")).where(active))
        return None if rows[0]["at"] is None else float(rows[0]["at"])


def _stand(row: dict[str, Any]) -> Stand:
    return Stand(**row | {"standing": Standing(row["standing"])})


def _stands(study_uid: str | None = None) -> sa.Select[Any]:
    """Query a row for each study: its latest generation with the deliveries of all its results."""
    numbers = sa.select(generations.c.study_uid, sa.func.max(generations.c.number).label("number"))
    # The same input gives the same results in each generation: they count once.
    made = sa.select(results.c.study_uid, results.c.sop_uid).distinct()
    if study_uid is not None:
        numbers = numbers.where(generations.c.study_uid == study_uid)
        made = made.where(results.c.study_uid == study_uid)
    latest, own = numbers.group_by(generations.c.study_uid).subquery(), made.subquery()
    sent = (
        sa.select(own.c.study_uid, sa.func.count().label("planned"))
        .add_columns(
            _count(DeliveryState.CONFIRMED).label("confirmed"), _count(DeliveryState.NEEDS_PERSON).label("stuck")
        )
        .join(deliveries, deliveries.c.sop_uid == own.c.sop_uid)
        .group_by(own.c.study_uid)
        .subquery()
    )
    planned, confirmed, stuck = (sa.func.coalesce(sent.c[name], 0) for name in ("planned", "confirmed", "stuck"))
    images = sa.select(sa.func.count()).where(instances.c.study_uid == latest.c.study_uid).scalar_subquery()
    image = sa.select(sa.func.min(instances.c.path)).where(instances.c.study_uid == latest.c.study_uid)
    reports = sa.select(results.c.path).where(
        results.c.study_uid == latest.c.study_uid, results.c.kind == ResultKind.SR
    )
    report = reports.order_by(results.c.generation.desc()).limit(1)
    columns = (generations.c[name] for name in ("study_uid", "number", "code", "reason", "opened_at", "updated_at"))
    return (
        sa.select(*columns, generations.c.calling_ae, images.label("instances"))
        .add_columns(planned.label("planned"), confirmed.label("confirmed"), stuck.label("stuck"))
        .add_columns(image.scalar_subquery().label("image"), report.scalar_subquery().label("report"))
        .add_columns(_standing(planned, confirmed, stuck).label("standing"))
        .join(latest, sa.and_(generations.c.study_uid == latest.c.study_uid, generations.c.number == latest.c.number))
        .outerjoin(sent, sent.c.study_uid == generations.c.study_uid)
    )


def _count(state: DeliveryState) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((deliveries.c.state == state, 1), else_=0))


def _standing(
    planned: sa.ColumnElement[int], confirmed: sa.ColumnElement[int], stuck: sa.ColumnElement[int]
) -> sa.ColumnElement[str]:
    state = generations.c.state
    return sa.case(
        *((state == active, standing) for active, standing in _ACTIVE.items()),
        (sa.or_(state == State.FAILED, stuck > 0), Standing.NEEDS_PERSON),
        (state == State.REFUSED, Standing.REFUSED),
        (state == State.CANCELLED, Standing.CANCELLED),
        (planned == 0, Standing.KEPT),
        (planned == confirmed, Standing.DELIVERED),
        else_=Standing.DELIVERING,
    )
