"""The ledger: what was received, how far each study has come, and what was delivered.

A row is written only after what it speaks of is on the disk, and an answer is given only after
the row. No name of a patient is kept here, but in orders where `Worklist.answer_from_kept` wants it.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from negvol_pacs.storage.commitment_requests import CommitmentRequests
from negvol_pacs.storage.commitments import Commitments
from negvol_pacs.storage.database import Database, first, put
from negvol_pacs.storage.orders import Orders
from negvol_pacs.storage.overview import Overview
from negvol_pacs.storage.performed import Performed
from negvol_pacs.storage.quiet import due
from negvol_pacs.storage.records import (
    Delivery,
    DeliveryState,
    Generation,
    Instance,
    Outcome,
    Result,
    ResultKind,
    SeriesVerdict,
    State,
)
from negvol_pacs.storage.removals import Removals
from negvol_pacs.storage.schema import associations, deliveries, generations, instances, results, verdicts

# The statements of the way that every instance goes, built once.
_INSTANCE = sa.select(instances).where(instances.c.sop_uid == sa.bindparam("uid"))
_ASSOCIATION = sa.select(associations.c.id).where(associations.c.id == sa.bindparam("uid"))
_LATEST = (
    sa.select(generations)
    .where(generations.c.study_uid == sa.bindparam("study"))
    .order_by(generations.c.number.desc())
    .limit(1)
    .with_for_update()
)
_TOUCH = (
    generations.update()
    .where(generations.c.study_uid == sa.bindparam("study"), generations.c.state == State.RECEIVING)
    .values(last_at=sa.bindparam("now"), updated_at=sa.bindparam("now"))
)


class Ledger:
    """The books of one node, shared by the receiver, the worker and the command line.

    Parameters
    ----------
    url
        SQLAlchemy URL: ``sqlite:////var/lib/negvol-pacs/ledger.db`` or ``postgresql+psycopg://…``.
    clock
        Seconds since the epoch.
    read_only
        Change nothing, and make nothing where there is no ledger.

    Raises
    ------
    StorageError
        If the database cannot be opened or is of another version; and from every method when
        it cannot be read or written (`DiskFull` where there is no space).
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time, *, read_only: bool = False) -> None:
        self._database = Database(url, read_only=read_only)
        self._clock = clock
        self.orders = Orders(self._database, clock)
        """What the worklist brought."""
        self.commitments = Commitments(self._database, clock)
        """What destinations answer for."""
        self.commitment_requests = CommitmentRequests(self._database)
        self.removals = Removals(self._database, clock)
        self.performed = Performed(self._database, clock)
        self.overview = Overview(self._database)
        """How all studies stand."""

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    # --- receiving -----------------------------------------------------------------------

    def record_instance(self, instance: Instance, node: str = "") -> tuple[Outcome, Instance]:
        """Enter a received instance whose file is already durable.

        Idempotent: the same SOP Instance UID with the same data set changes nothing, and with
        another data set the first one stays. A new instance joins the study's open generation,
        or opens the next one.

        Parameters
        ----------
        instance
            What arrived; its ``generation`` is ignored.
        node
            Who received it: see `end_lost_associations`.

        Returns
        -------
        outcome
            Whether it was new.
        instance
            The instance as the ledger knows it.
        """
        try:
            return self._enter(instance, node)
        except IntegrityError:  # another receiver entered it at the same moment
            return self._enter(instance, node)

    def _enter(self, instance: Instance, node: str) -> tuple[Outcome, Instance]:
        now = self._clock()
        with self._database.writing() as connection:
            known = first(connection, _INSTANCE, uid=instance.sop_uid)
            if known is not None:
                connection.execute(_TOUCH, {"study": known["study_uid"], "now": now})
                same = known["sha256"] == instance.sha256
                return (Outcome.REPEATED if same else Outcome.CONFLICT), Instance(**known)
            entry = replace(instance, generation=self._open_generation(connection, instance, now))
            connection.execute(instances.insert(), asdict(entry))
            if first(connection, _ASSOCIATION, uid=instance.association_id) is None:
                row = {"id": instance.association_id, "node": node, "opened_at": now, "ended_at": None}
                connection.execute(associations.insert(), row)
            return Outcome.NEW, entry

    def _open_generation(self, connection: sa.Connection, instance: Instance, now: float) -> int:
        latest = first(connection, _LATEST, study=instance.study_uid)
        if latest is not None and latest["state"] == State.RECEIVING:
            connection.execute(_TOUCH, {"study": instance.study_uid, "now": now})
            return int(latest["number"])
        number = 1 if latest is None else int(latest["number"]) + 1
        row = {"study_uid": instance.study_uid, "number": number, "state": State.RECEIVING, "code": "", "reason": ""}
        row |= {"opened_at": now, "last_at": now, "updated_at": now, "calling_ae": instance.calling_ae}
        connection.execute(generations.insert(), row)
        return number

    def association_ended(self, association_id: str) -> None:
        """Count the quiet period of what came on this association from now."""
        now = self._clock()
        studies = sa.select(instances.c.study_uid).where(instances.c.association_id == association_id)
        open_ones = generations.c.study_uid.in_(studies) & (generations.c.state == State.RECEIVING)
        with self._database.writing() as connection:
            ended = associations.update().where(associations.c.id == association_id).values(ended_at=now)
            connection.execute(ended)
            connection.execute(generations.update().where(open_ones).values(last_at=now, updated_at=now))

    def end_lost_associations(self, node: str) -> None:
        """At the start of a receiver: the associations of its former life have ended."""
        lost = (associations.c.node == node) & associations.c.ended_at.is_(None)
        for row in self._database.all(sa.select(associations.c.id).where(lost)):
            self.association_ended(row["id"])

    def paths(self) -> set[str]:
        """Return the paths of all instances, below the inbox's folder."""
        return {row["path"] for row in self._database.all(sa.select(instances.c.path))}

    def find_instance(self, sop_uid: str) -> Instance | None:
        """Return the instance with this SOP Instance UID, if it was received."""
        with self._database.reading() as connection:
            row = first(connection, _INSTANCE, uid=sop_uid)
        return None if row is None else Instance(**row)

    def instances(self, study_uid: str, generation: int | None = None) -> list[Instance]:
        """Return what generation ``generation`` is computed from (default: all that arrived)."""
        mine = instances.c.study_uid == study_uid
        if generation is not None:
            mine &= instances.c.generation <= generation
        query = sa.select(instances).where(mine).order_by(instances.c.received_at, instances.c.sop_uid)
        return [Instance(**row) for row in self._database.all(query)]

    # --- generations ---------------------------------------------------------------------

    def quiet(self, study_uid: str, quiet_period_s: float) -> Generation | None:
        """Return the open generation of a study that has been quiet for long enough: see `quiet.due`."""
        now = self._clock()
        self._begin_anew(study_uid, now)
        rows = self._database.all(sa.select(generations.c.number).where(due(study_uid, quiet_period_s, now)))
        return self.generation(study_uid, rows[0]["number"]) if rows else None

    def complete_if_quiet(self, study_uid: str, quiet_period_s: float) -> Generation | None:
        """Close the open generation of a study that has been quiet for long enough.

        Returns
        -------
        Generation or None
            The generation, now ``COMPLETE``; None where there is none to close, or not yet.
        """
        now = self._clock()
        self._begin_anew(study_uid, now)
        mine = due(study_uid, quiet_period_s, now)
        with self._database.writing() as connection:
            row = first(connection, sa.select(generations).where(mine).with_for_update())
            if row is None:
                return None
            closed = generations.update().where(mine).values(state=State.COMPLETE, reason="", updated_at=now)
            connection.execute(closed)
        return self.generation(study_uid, row["number"])

    def _begin_anew(self, study_uid: str, now: float) -> None:
        """Let the quiet period begin now where the clock was set back behind the last instance."""
        receiving = (generations.c.study_uid == study_uid) & (generations.c.state == State.RECEIVING)
        with self._database.writing() as connection:
            connection.execute(generations.update().where(receiving, generations.c.last_at > now).values(last_at=now))

    def set_state(
        self,
        study_uid: str,
        number: int,
        state: State,
        *,
        code: str = "",
        reason: str = "",
        expected: Iterable[State] | None = None,
    ) -> bool:
        """Move a generation to another state, with its reason.

        Parameters
        ----------
        expected
            Only from one of these states (default: from any).

        Returns
        -------
        bool
            Whether it was moved.
        """
        where = (generations.c.study_uid == study_uid) & (generations.c.number == number)
        if expected is not None:
            where &= generations.c.state.in_(list(expected))
        values = {"state": state, "code": code, "reason": reason, "updated_at": self._clock()}
        with self._database.writing() as connection:
            return bool(connection.execute(generations.update().where(where).values(**values)).rowcount)

    def generation(self, study_uid: str, number: int | None = None) -> Generation | None:
        """Return one generation of a study (default: the latest)."""
        found = self.generations(study_uid)
        if number is None:
            return found[-1] if found else None
        return next((entry for entry in found if entry.number == number), None)

    def generations(
        self, study_uid: str | None = None, states: Iterable[State] | None = None, limit: int | None = None
    ) -> list[Generation]:
        """Return generations, oldest first; with a limit, only the newest ones."""
        counted = sa.select(sa.func.count()).where(
            instances.c.study_uid == generations.c.study_uid, instances.c.generation <= generations.c.number
        )
        query = sa.select(generations, counted.scalar_subquery().label("instances"))
        if study_uid is not None:
            query = query.where(generations.c.study_uid == study_uid)
        if states is not None:
            query = query.where(generations.c.state.in_(list(states)))
        newest = query.order_by(generations.c.opened_at.desc(), generations.c.number.desc()).limit(limit)
        rows = reversed(self._database.all(newest))
        return [Generation(**row | {"state": State(row["state"])}) for row in rows]

    def record_verdicts(self, entries: Iterable[SeriesVerdict]) -> None:
        """Enter what the gate said about each series; repeating replaces."""
        with self._database.writing() as connection:
            for entry in entries:
                put(connection, verdicts, asdict(entry))

    def verdicts(self, study_uid: str, number: int) -> list[SeriesVerdict]:
        """Return what the gate said about each series of a generation."""
        mine = (verdicts.c.study_uid == study_uid) & (verdicts.c.generation == number)
        query = sa.select(verdicts).where(mine).order_by(verdicts.c.series_uid)
        return [SeriesVerdict(**row) for row in self._database.all(query)]

    # --- results and deliveries ----------------------------------------------------------

    def record_results(self, entries: Iterable[Result], destinations: Iterable[str] = ()) -> None:
        """Enter results whose files are durable, and plan their delivery; repeating changes nothing more.

        A result that was already planned for a destination (the same SOP Instance UID, made
        again from the same input) keeps its delivery.
        """
        now = self._clock()
        names = list(destinations)
        with self._database.writing() as connection:
            for entry in entries:
                put(connection, results, asdict(entry) | {"former": json.dumps(entry.former)})
                for name in names if entry.sop_uid else ():
                    mine = (deliveries.c.sop_uid == entry.sop_uid) & (deliveries.c.destination == name)
                    if first(connection, sa.select(deliveries).where(mine)) is None:
                        row = Delivery(entry.sop_uid, name, DeliveryState.PENDING, 0, now, "", now)
                        connection.execute(deliveries.insert().values(**asdict(row)))

    def record_former_life(self, entries: Iterable[Result]) -> None:
        """Enter results whose own ledger was lost: their generations are done, and nobody waits for them."""
        with self._database.writing() as connection:
            for entry in entries:
                at = entry.created_at
                row = {"study_uid": entry.study_uid, "number": entry.generation, "state": State.DONE, "code": ""}
                row |= {"reason": "", "opened_at": at, "last_at": at, "updated_at": at, "calling_ae": ""}
                put(connection, generations, row)
                put(connection, results, asdict(entry) | {"former": json.dumps(entry.former)})

    def results(self, study_uid: str, number: int | None = None) -> list[Result]:
        """Return the results of one generation of a study (default: of all)."""
        mine = results.c.study_uid == study_uid
        if number is not None:
            mine &= results.c.generation == number
        query = sa.select(results).where(mine).order_by(results.c.generation, results.c.kind)
        return [_result(row) for row in self._database.all(query)]

    def former_results(self, study_uid: str, number: int) -> list[Result]:
        """Return the DICOM results of the latest generation before ``number`` that has any."""
        earlier = [r for r in self.results(study_uid) if r.generation < number and r.sop_uid]
        latest = max((r.generation for r in earlier), default=None)
        return [r for r in earlier if r.generation == latest]

    def latest_reports(self) -> list[Result]:
        """Return the SR of each study's latest generation that has one."""
        query = sa.select(results).where(results.c.kind == ResultKind.SR).order_by(results.c.generation)
        return list({row["study_uid"]: _result(row) for row in self._database.all(query)}.values())

    def is_own_result(self, sop_uid: str) -> bool:
        """Tell whether this node made the object with this SOP Instance UID."""
        query = sa.select(results.c.kind).where(results.c.sop_uid == sop_uid).limit(1)
        return bool(sop_uid) and bool(self._database.all(query))

    def record_attempt(
        self,
        sop_uid: str,
        destination: str,
        state: DeliveryState,
        error: str = "",
        next_try: float = 0.0,
        *,
        counted: bool = True,
    ) -> None:
        """Enter the outcome of one attempt to deliver a result, unless it was confirmed meanwhile."""
        mine = (deliveries.c.sop_uid == sop_uid) & (deliveries.c.destination == destination)
        open_ones = mine & (deliveries.c.state != DeliveryState.CONFIRMED)
        values: dict[str, Any] = {"state": state, "error": error, "next_try": next_try, "updated_at": self._clock()}
        values["attempts"] = deliveries.c.attempts + int(counted)
        with self._database.writing() as connection:
            connection.execute(deliveries.update().where(open_ones).values(**values))

    def retry_delivery(self, sop_uid: str, destination: str) -> None:
        """Plan a delivery anew, from the first attempt on."""
        mine = (deliveries.c.sop_uid == sop_uid) & (deliveries.c.destination == destination)
        now = self._clock()
        values = {"state": DeliveryState.PENDING, "attempts": 0, "next_try": now, "updated_at": now, "error": ""}
        with self._database.writing() as connection:
            connection.execute(deliveries.update().where(mine).values(**values))

    def deliveries(self, study_uid: str | None = None, states: Iterable[DeliveryState] | None = None) -> list[Delivery]:
        """Return deliveries, of one study or in some states."""
        where: sa.ColumnElement[bool] = sa.true()
        if study_uid is not None:
            where &= deliveries.c.sop_uid.in_(sa.select(results.c.sop_uid).where(results.c.study_uid == study_uid))
        if states is not None:
            where &= deliveries.c.state.in_(list(states))
        query = sa.select(deliveries).where(where).order_by(deliveries.c.destination, deliveries.c.sop_uid)
        rows = self._database.all(query)
        return [Delivery(**row | {"state": DeliveryState(row["state"])}) for row in rows]


def _result(row: dict[str, Any]) -> Result:
    return Result(**row | {"kind": ResultKind(row["kind"]), "former": tuple(json.loads(row["former"]))})
